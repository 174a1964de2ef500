"""The schema of the store: migrations give the tables of the code, a newer schema is refused, old data stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from ethogram.errors import InputError
from ethogram.serve.store import Store
from ethogram.serve.store.database import connect, head, migrate, revision, url_of
from ethogram.serve.store.tables import METADATA
from serve.released_schemas import path_of, revisions, schema_text
from serve.store_rows import document, judge, see, sighting

Open = Callable[..., Store]


def test_migrations_give_the_tables_of_the_code(store_place: str, open_store: Open) -> None:
    open_store()
    engine = connect(url_of(store_place))
    with engine.connect() as connection:
        assert revision(connection) == head()
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}
    engine.dispose()


def test_a_store_is_opened_again_without_a_migration(store_place: str, open_store: Open) -> None:
    (id_,) = see(open_store(), sighting("10.0.0.2"))
    judge(open_store(), id_, document())
    engine = connect(url_of(store_place))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        assert not migrate(connection, "store")
    engine.dispose()
    assert open_store().devices().rows[0].statement == "Acme camera"


def test_a_store_of_the_first_schema_is_brought_up_to_date(store_place: str, open_store: Open) -> None:
    engine = connect(url_of(store_place))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        migrate(connection, "store", "0001")
        connection.execute(text("INSERT INTO source (name, segment) VALUES ('here', 7)"))
        assert "alert" not in inspect(connection).get_table_names()
    engine.dispose()
    store = open_store()
    assert store.position("here") == 7
    assert store.alerts().total == 0


def test_a_newer_schema_is_refused_and_left_alone(store_place: str, open_store: Open) -> None:
    open_store().close()
    engine = connect(url_of(store_place))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match=rf"written by a newer version \(schema 9999, not {head()}\)"):
        open_store()
    with engine.connect() as connection:
        assert revision(connection) == "9999"
    engine.dispose()


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"store\.db: .*not a database"):
        Store.open(path)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="unable to open database file"):
        Store.open(tmp_path / "missing" / "store.db")


def test_only_the_owner_can_read_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        see(store, sighting("10.0.0.2"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_locked_store_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.serve.store.database.BUSY_S", 0.2)
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"store\.db: cannot be written: database is locked"):
            see(store, sighting("10.0.0.2"))
        assert store.devices().total == 0
        other.execute("ROLLBACK")
        other.close()
        see(store, sighting("10.0.0.2"))
        assert store.devices().total == 1


def test_a_server_that_goes_away_and_comes_back(postgresql_server: object) -> None:
    server = postgresql_server
    place = server.new_database()  # type: ignore[attr-defined]
    with Store.open(place) as store:
        see(store, sighting("10.0.0.2"))
        server.stop()  # type: ignore[attr-defined]
        try:
            with pytest.raises(InputError, match="cannot be read"):
                store.devices()
            with pytest.raises(InputError, match="cannot be written: Connection refused"):
                store.label("0" * 16, "porch", "ana")
        finally:
            server.start()  # type: ignore[attr-defined]
        assert store.position("here") == 1
        see(store, sighting("10.0.0.3"))
        assert store.devices().total == 2


@pytest.mark.parametrize("released", revisions())
def test_a_store_of_every_released_schema_is_brought_up_to_date(tmp_path: Path, released: str) -> None:
    """From the SQL text of the schema as it was released, not from today's migrations."""
    path = tmp_path / "store.db"
    database = sqlite3.connect(path)
    database.executescript(path_of(released).read_text())
    database.execute("INSERT INTO alembic_version VALUES (?)", (released,))
    database.execute("INSERT INTO source (name, segment) VALUES ('here', 7)")
    database.commit()
    database.close()
    with Store.open(path) as store:
        assert store.position("here") == 7
        (id_,) = see(store, sighting("10.0.0.2"))
        judge(store, id_, document())
        store.label(id_, "porch", "ana")
        assert store.devices().rows[0].name == "porch"
    new = tmp_path / "new.db"
    Store.open(new).close()

    def tables(place: Path) -> dict[str, set[str]]:
        with sqlite3.connect(place) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: {row[1] for row in connection.execute(f"PRAGMA table_info('{name}')")} for name in names}

    assert tables(path) == tables(new)


def test_the_text_of_a_released_schema_is_what_its_migration_gives() -> None:
    for released in revisions():
        assert path_of(released).read_text() == schema_text(released), released
