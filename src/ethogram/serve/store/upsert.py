"""Insert rows, or update those that exist, on both databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from ethogram.serve.store.rows import chunks

__all__ = ["upsert"]

_ROWS = 2000


def upsert(
    connection: Connection, table: Table, rows: Sequence[dict[str, Any]], keys: Sequence[str],
    update: Callable[[Any], dict[str, Any]] | None = None,
) -> None:  # fmt: skip
    """Insert rows; a row with the same keys is updated.

    Parameters
    ----------
    keys
        Columns of a primary key or unique constraint.
    update
        New values of columns, given those of the row that could not be inserted; default: all other columns.
    """
    for part in chunks(rows, _ROWS):
        make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        statement = make(table)
        inserted = statement.excluded
        names = [name for name in part[0] if name not in keys]
        values = {name: inserted[name] for name in names} if update is None else update(inserted)
        connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=values), part)
