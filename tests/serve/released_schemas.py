"""SQL text of every released schema of the store, as SQLite has it: fixtures for tests of migrations.

    python tests/serve/released_schemas.py

writes ``schemas/store-schema-0001.sql`` and so on. A file of a schema that was released never changes.
"""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from alembic.script import ScriptDirectory

from ethogram.serve.store.database import _config, connect, migrate, url_of

FOLDER = Path(__file__).parent / "schemas"


def revisions() -> list[str]:
    """Names of all schemas, the oldest first."""
    return sorted(str(script.revision) for script in ScriptDirectory.from_config(_config()).walk_revisions())


def path_of(revision: str) -> Path:
    return FOLDER / f"store-schema-{revision}.sql"


def schema_text(revision: str) -> str:
    """The schema as SQL, one statement after another in order of name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        engine = connect(url_of(path))
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            migrate(connection, "store", revision)
        engine.dispose()
        database = sqlite3.connect(path)
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name"
        rows = [text for table, text in database.execute(query) if not table.startswith("sqlite_")]
        database.close()
    return "".join(f"{text.strip()};\n" for text in rows)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in revisions():
        path_of(name).write_text(schema_text(name))
