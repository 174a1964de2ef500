"""Parameters of lists of devices, shared by the API and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query

from ethogram.schema import DeviceRow, DeviceState
from ethogram.serve.store import Store

__all__ = ["DeviceFilter", "SortColumn", "all_devices"]

SortColumn = Literal[
    "name", "address", "kind", "vendor", "statement", "score", "network", "first_seen", "last_seen", "octets_a_day",
    "flows", "changed",
]  # fmt: skip
_PART = 1000


@dataclass(frozen=True)
class DeviceFilter:
    """Which devices, in which order.

    Parameters
    ----------
    search
        Words that name, addresses, MAC, statement, kind, vendor or model contain, all of them.
    kind, vendor, network
        Only these; ``-`` are devices of which it is not known.
    state
        Only devices of this state.
    sort, descending
        Order.
    """

    search: Annotated[str, Query(max_length=200, description="Words that a device must contain, all of them.")] = ""
    kind: Annotated[str, Query(max_length=64, description="Only this kind; `-`: not known.")] = ""
    vendor: Annotated[str, Query(max_length=255, description="Only this vendor; `-`: not known.")] = ""
    state: Annotated[DeviceState | Literal[""], Query(description="Only this state.")] = ""
    network: Annotated[str, Query(max_length=64, description="Only this network; `-`: not known.")] = ""
    sort: Annotated[SortColumn, Query(description="Column to sort by.")] = "name"
    descending: Annotated[bool, Query(description="The largest first.")] = False

    def arguments(self) -> dict[str, Any]:
        """Arguments of :meth:`ethogram.serve.store.Store.devices`."""

        def choice(text: str) -> str | None:
            return None if not text else "" if text == "-" else text

        return {
            "search": self.search, "kind": choice(self.kind), "vendor": choice(self.vendor),
            "state": self.state or None, "network": choice(self.network), "sort": self.sort,
            "descending": self.descending,
        }  # fmt: skip

    def query(self, **changes: object) -> str:
        """Query text of an address with changes; values that are the default are left out.

        >>> DeviceFilter(kind="camera").query(sort="score", descending=True)
        'kind=camera&sort=score&descending=true'
        """
        default = DeviceFilter()
        values = {**vars(self), **changes}
        given = {name: value for name, value in values.items() if value != getattr(default, name, None) and value != ""}
        return urlencode({name: str(value).lower() if value is True else str(value) for name, value in given.items()})


def all_devices(store: Store, wanted: DeviceFilter) -> list[DeviceRow]:
    """All devices that a filter leaves, read in parts."""
    rows: list[DeviceRow] = []
    while True:
        part = store.devices(**wanted.arguments(), offset=len(rows), limit=_PART)
        rows += part.rows
        if not part.rows or len(rows) >= part.total:
            return rows
