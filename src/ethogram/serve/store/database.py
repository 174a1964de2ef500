"""Connection to the database, and its schema: SQLite in WAL mode, or PostgreSQL by URL."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ethogram.errors import ConfigurationError, InputError

__all__ = ["FAILURES", "connect", "head", "migrate", "reason_of", "revision", "shown", "url_of"]

FAILURES = (SQLAlchemyError, sqlite3.Error, OSError)
"""Exceptions of a database that is locked, gone, full or damaged."""

BUSY_S = 10.0
"""Time that SQLite waits for another process that writes."""


def url_of(place: str | Path) -> URL:
    """URL of a store: a path is an SQLite file; PostgreSQL is reached through pg8000.

    >>> str(url_of("home.db")), url_of("postgresql://user@host/ethogram").drivername
    ('sqlite:///home.db', 'postgresql+pg8000')

    Raises
    ------
    ConfigurationError
        If the text is not the URL of such a database.
    """
    text = str(place)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError("the store is neither a file nor a URL such as postgresql://USER@HOST/NAME") from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+pg8000")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"the store is a file or postgresql://..., not {url.drivername}://...")
    return url


def shown(url: URL) -> str:
    """A URL without its password; of SQLite, the file."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def connect(url: URL) -> Engine:
    """An engine whose transactions begin with a lock for writing where SQLite needs one.

    Raises
    ------
    ConfigurationError
        If the driver of the database is not installed.
    """
    try:
        if url.get_backend_name() == "sqlite":
            _create_private(Path(str(url.database)))
            engine = create_engine(
                url, connect_args={"timeout": BUSY_S, "check_same_thread": False}, json_serializer=_json_text,
                json_deserializer=_json_value,
            )  # fmt: skip
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            # The pool logs the trace of every connection that the server has closed; callers get the reason.
            logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
            engine = create_engine(
                url, pool_pre_ping=True, connect_args={"timeout": int(BUSY_S)}, json_serializer=_json_text
            )
    except (NoSuchModuleError, ImportError) as error:
        raise ConfigurationError(f"the driver of the database is not installed: {error}") from None
    return engine


def _json_text(value: Any) -> str:
    """JSON of a column; a number that JSON does not have becomes null."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _json_value(value: Any) -> Any:
    """The value of a JSON column; SQLite keeps a number as such."""
    return value if isinstance(value, (int, float)) else orjson.loads(value)


def _create_private(path: Path) -> None:
    """Create the file so that only its owner can read it; SQLite gives its journal the same mode."""
    with contextlib.suppress(OSError):  # it exists, or SQLite says why it cannot be opened
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    """WAL lets readers work while one connection writes; FULL keeps commits over a power failure."""
    connection.isolation_level = None  # BEGIN is sent by _begin_sqlite
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """Name of the newest schema."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(connection: Connection) -> str | None:
    """Name of the schema of a database; None if it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(connection: Connection, name: str, target: str = "head") -> bool:
    """Bring the schema up to date, inside the transaction of the connection.

    Parameters
    ----------
    connection
        Within a transaction that is allowed to write.
    name
        Of the database, for messages.
    target
        Schema to stop at.

    Returns
    -------
    Whether anything was changed.

    Raises
    ------
    InputError
        If the schema is newer than this version knows.
    """
    current = revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current is not None and current not in known:
        raise InputError(f"the store was written by a newer version (schema {current}, not {head()})", file=name)
    if current == (head() if target == "head" else target):
        return False
    command.upgrade(_config(connection), target)
    return True


def reason_of(error: BaseException) -> str:
    """The reason of a failure in one line, without SQL and without the values of a statement."""
    cause: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    detail = cause.args[0] if cause.args else ""
    if isinstance(detail, dict):  # PostgreSQL's message fields
        return str(detail.get("M", detail))
    for each in (cause, cause.__cause__):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    return str(cause).partition("\n")[0] or type(cause).__name__
