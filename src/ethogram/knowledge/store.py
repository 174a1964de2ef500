"""Rows of the knowledge pack by table and key, with those of users in place of packaged ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from ethogram._parents import Parents, shared_parent
from ethogram.knowledge.patterns import Patterns
from ethogram.knowledge.rows import Row, packaged_rows

__all__ = ["RowStore"]


class RowStore:
    """Tables of rows; each is read on first use.

    Parameters
    ----------
    read
        Function that returns the rows of a table.
    added
        Rows of users, in the order of their files. They replace all rows of the same table and key; in the table of
        vendors, aliases add to those that are there.
    """

    def __init__(self, read: Callable[[str], Sequence[Row]], added: Sequence[Row] = ()) -> None:
        self.read = read
        self.added = tuple(added)
        self._tables: dict[str, dict[str, list[Row]]] = {}
        self._patterns: dict[str, Patterns] = {}

    def table(self, name: str) -> dict[str, list[Row]]:
        """Rows of one table by key."""
        table = self._tables.get(name)
        if table is None:
            table = {}
            for row in self.read(name):
                table.setdefault(row.key, []).append(row)
            replaced: set[tuple[str, str]] = set()
            for row in self.added:
                if row.table != name:
                    continue
                rows = table.setdefault(row.key, [])
                if name == "vendors":
                    rows[:] = [each for each in rows if row.subject == "alias" or each.subject != row.subject]
                elif (row.key, row.source) not in replaced:
                    rows.clear()
                    replaced.add((row.key, row.source))
                rows.append(row)
            self._tables[name] = table
        return table

    def rows(self, name: str) -> list[Row]:
        """All rows of one table."""
        return [row for rows in self.table(name).values() for row in rows]

    def matching(self, name: str, text: str) -> list[Row]:
        """Rows of a table of patterns that match a text, the most literal pattern first."""
        table = self.table(name)
        if name not in self._patterns:
            self._patterns[name] = Patterns(table)
        return [row for pattern in self._patterns[name].matches(text.strip()) for row in table[pattern]]

    @cached_property
    def ports(self) -> dict[str, list[tuple[Row, str, str]]]:
        """Rows of each service, with role and scope: ``tcp/9100``."""
        services: dict[str, list[tuple[Row, str, str]]] = {}
        for key, rows in self.table("ports").items():
            service, role, scope = key.split(" ")
            services.setdefault(service, []).extend((row, role, scope) for row in rows)
        return services

    @cached_property
    def ecosystems(self) -> frozenset[str]:
        """Vendors whose own domains many other vendors' devices ask for."""
        return frozenset(row.value for row in self.rows("names") if row.weight == "weak" and row.subject == "vendor")

    @cached_property
    def _parents(self) -> Parents | None:
        """Patterns of these tables, if they are not those of the package."""
        if self.read is packaged_rows and not any(row.table == "parents" for row in self.added):
            return None
        return Parents((row.key, row.value) for row in self.rows("parents"))

    def parent(self, name: str) -> tuple[str, str] | None:
        """Kept name and class of a host name (:func:`ethogram._parents.shared_parent`)."""
        return shared_parent(name, name) if self._parents is None else self._parents.find(name)

    def parent_source(self, name: str, parent: str) -> str:
        """Source of the row that a shared name matched."""
        for row in self.added:
            if row.table == "parents" and Parents([(row.key, row.value)]).find(name) is not None:
                return row.source
        return next((row.source for row in self.table("parents").get(parent, ())), "hand")
