"""Long-term database of Pi-hole's FTL (``pihole-FTL.db``, SQLite): who asked for which name, without answers.

The file is never written. While another program has it open, its locks are respected; otherwise it is opened as
immutable. Reference: Pi-hole documentation, "Query database".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl

from ethogram.errors import ConfigurationError
from ethogram.io.resolver.log import MAX_ROWS, ResolverLog

__all__ = ["FORMAT", "MAGIC", "read"]

FORMAT = "Pi-hole database"
MAGIC = b"SQLite format 3\0"

NEWEST_VERSION = 21
"""Newest version of the database that was tested."""

_NEEDED = {"timestamp", "domain", "client"}
_WAIT_S = 2.0
_ROWS = 1 << 16


def read(path: Path, log: ResolverLog) -> None:
    """Read the latest questions; times are UTC.

    Raises
    ------
    ConfigurationError
        If the database is locked, damaged, or of an unknown form.
    """

    def wrong(reason: str) -> ConfigurationError:
        return ConfigurationError(f"resolver log {path}: {reason}")

    in_use = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
    options = "mode=ro" if in_use else "mode=ro&immutable=1"
    version = None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=_WAIT_S)) as database:
            database.text_factory = lambda octets: octets.decode("utf-8", "replace")
            version = _version(database)
            columns = {str(row[1]) for row in database.execute("PRAGMA table_info(queries)")}
            if not columns >= _NEEDED:
                missing = ", ".join(sorted(_NEEDED - columns))
                problem = "a database of another program" if not columns else f"no column {missing} in queries"
                raise wrong(problem + ("" if version is None else f"; version {version}, known up to {NEWEST_VERSION}"))
            for frame in _frames(database):
                times = (pl.col("time") * 1e6).cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))
                log.add(frame.with_columns(time=times))
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise wrong("locked by another program; read a copy of it, or try again") from None
        raise wrong(f"cannot be read: {error}") from None
    except sqlite3.Error as error:
        raise wrong(f"damaged, or no database: {error}") from None
    except UnicodeDecodeError:  # of a message in which SQLite quotes damaged names
        raise wrong("damaged, or no database") from None
    log.version_note = _version_note(version)


def _version_note(version: int | None) -> str:
    if version is None or version <= NEWEST_VERSION:
        return ""
    return f"database version {version} is newer than {NEWEST_VERSION}, the newest that was tested"


def _version(database: sqlite3.Connection) -> int | None:
    """Version of the database, which FTL keeps in the table ``ftl``."""
    try:
        row = database.execute("SELECT value FROM ftl WHERE id = 0").fetchone()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            return None
        raise
    return int(row[0]) if row and str(row[0]).isdigit() else None


def _frames(database: sqlite3.Connection) -> Iterator[pl.DataFrame]:
    query = "SELECT timestamp, client, domain FROM queries ORDER BY timestamp DESC LIMIT ?"
    cursor = database.execute(query, (MAX_ROWS,))
    schema = {"time": pl.Float64(), "client": pl.String(), "name": pl.String()}
    while rows := cursor.fetchmany(_ROWS):
        plain = [(time if isinstance(time, int | float) else None, _text(client), _text(name))
                 for time, client, name in rows]  # fmt: skip
        yield pl.DataFrame(plain, schema=schema, orient="row", strict=False)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
