"""A store as one file of JSON lines (gzip), from which a store in SQLite or PostgreSQL is made again.

The first line is a header with the schema; each further line is a row: ``["device", {"id": ...}]``. Tables come in an
order in which references exist. Sessions of browsers are left out.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, MetaData, Table, insert, inspect, select, text

from ethogram._files import atomic_write
from ethogram.errors import InputError
from ethogram.serve.store.database import migrate, revision
from ethogram.serve.store.tables import METADATA

__all__ = ["BACKUP_FORMAT", "restore", "save"]

BACKUP_FORMAT = "ethogram.backup/1"
LEFT_OUT = frozenset({"web_session"})
MAX_LINE = 1 << 26
_ROWS = 1000


def save(connection: Connection, path: Path) -> int:
    """Write all rows as of one moment; returns their number. The file is readable by its owner only."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    header = {"format": BACKUP_FORMAT, "schema": revision(connection), "time": datetime.now(tz=UTC).isoformat()}
    rows = 0
    try:
        with atomic_write(path) as part:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
                os.fchmod(descriptor, 0o600)
                file.write(orjson.dumps(header) + b"\n")
                for table in METADATA.sorted_tables:
                    if table.name in LEFT_OUT:
                        continue
                    names = [f"{column.name}" for column in table.c]
                    for row in connection.execute(select(table)):
                        values = dict(zip(names, row, strict=True))
                        file.write(orjson.dumps([table.name, values], option=orjson.OPT_UTC_Z) + b"\n")
                        rows += 1
                file.write(orjson.dumps({"rows": rows}) + b"\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    return rows


def _lines(path: Path) -> Iterator[Any]:
    """Values of the lines of a backup."""
    try:
        with gzip.open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    raise InputError("not a line of a backup", file=path, line=number) from None
    except FileNotFoundError:
        raise InputError("there is no such file", file=path) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError("is cut short, or not a backup", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None


def restore(connection: Connection, path: Path, name: str) -> int:
    """Make an empty database a store with the rows of a backup; returns their number.

    Raises
    ------
    InputError
        If the file cannot be used, or the database is not empty; nothing is written then.
    """
    lines = _lines(path)
    header = next(lines, None)
    if not isinstance(header, dict) or header.get("format") != BACKUP_FORMAT or not header.get("schema"):
        raise InputError(f"not a backup of a store ({BACKUP_FORMAT})", file=path)
    if inspect(connection).get_table_names():
        raise InputError("is not empty: restore into a new store", file=name)
    migrate(connection, f"{path}", str(header["schema"]))
    tables = MetaData()
    tables.reflect(connection)
    rows, merged, end = 0, [], None
    for part in chunks_of_tables(lines, path):
        if isinstance(part, int):
            end = part
            continue
        table_name, values = part
        if table_name not in tables.tables:
            raise InputError(f"there is no table {table_name!r}", file=path)
        table = _typed(tables.tables[table_name])
        if any(set(row) - set(table.c.keys()) for row in values):
            raise InputError(f"a row of {table_name} has other columns", file=path)
        for row in values:
            if row.get("merged_into"):
                merged.append({"id_": row["id"], "into": row["merged_into"]})
                row["merged_into"] = None
            for column, value in row.items():
                if value is not None and column in _TIMES.get(table_name, ()):
                    row[column] = datetime.fromisoformat(value)
        connection.execute(insert(table), values)
        rows += len(values)
    if end != rows:
        raise InputError("is cut short, or not a backup", file=path)
    if merged:
        connection.execute(text("UPDATE device SET merged_into = :into WHERE id = :id_"), merged)
    if connection.dialect.name == "postgresql":
        for table in METADATA.sorted_tables:
            if "id" in table.c and table.c.id.autoincrement is True:
                connection.execute(text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "  # noqa: S608 (our own names)
                    f"(SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)"
                ))  # fmt: skip
    migrate(connection, name)
    return rows


_TIMES = {
    table.name: frozenset(column.name for column in table.c if type(column.type).__name__ == "Utc")
    for table in METADATA.sorted_tables
}


def _typed(reflected: Table) -> Table:
    """The table of the code if it has the same columns, since it knows their types; else the reflected one."""
    known = METADATA.tables.get(reflected.name)
    return known if known is not None and set(known.c.keys()) == set(reflected.c.keys()) else reflected


def chunks_of_tables(lines: Iterator[Any], path: Path) -> Iterator[tuple[str, list[dict[str, Any]]] | int]:
    """Rows of one table at a time, at most a thousand; at the end the number of rows that the backup has."""
    table = ""
    rows: list[dict[str, Any]] = []
    for line in lines:
        if isinstance(line, dict) and isinstance(line.get("rows"), int):
            if rows:
                yield table, rows
            yield line["rows"]
            return
        if not (isinstance(line, list) and len(line) == 2 and isinstance(line[0], str) and isinstance(line[1], dict)):
            raise InputError("not a row of a backup", file=path)
        if rows and (line[0] != table or len(rows) >= _ROWS):
            yield table, rows
            rows = []
        table = line[0]
        rows.append(line[1])
    if rows:
        yield table, rows
