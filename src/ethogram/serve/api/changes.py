"""``/api/v1/changes``: what differs from the days before; ``/api/v1/history``: changes of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from ethogram.schema import CHANGE_KINDS, ChangeKind
from ethogram.serve.api.access import viewer
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import DeviceId, Limit, Offset, Service, existing
from ethogram.serve.api.models import ChangeList, DifferenceItem, DifferenceList
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.replies import json_reply
from ethogram.serve.changes import DeviceChange, StoredChanges, end_of_counts, with_statements

__all__ = ["SPAN", "ChangeFilter", "compared", "counts_by_kind", "router", "span_of"]

router = APIRouter(tags=["changes"], dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)

SPAN = "^([1-9][0-9]{0,2}h|[1-9][0-9]?d|[1-9]w)$"
"""A number of hours, days or weeks."""
WAIT_S, RETRY_S = 20.0, 5
_HOURS = {"h": 1, "d": 24, "w": 168}
Since = Annotated[str, Query(pattern=SPAN, description="Length of the later span: hours, days or weeks, as `1d`.")]
Every = Annotated[bool, Query(alias="all", description="Also differences that are probably chance.")]


def span_of(text: str) -> timedelta:
    """Length of a span.

    >>> span_of("2d") == timedelta(days=2)
    True
    """
    return timedelta(hours=int(text[:-1]) * _HOURS[text[-1]])


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes.

    Parameters
    ----------
    since
        Length of the later span.
    kind
        Only devices of this kind; ``-``: of which it is not known.
    change
        Only this kind of change.
    """

    since: Since = "1d"
    kind: Annotated[str, Query(max_length=64, description="Only this kind of devices; `-`: not known.")] = ""
    change: Annotated[ChangeKind | Literal[""], Query(description="Only this kind of change.")] = ""

    def of(self, rows: Sequence[DeviceChange]) -> list[DeviceChange]:
        """The rows that are wanted."""
        kind = "" if self.kind == "-" else self.kind
        of_kind = [row for row in rows if not self.kind or row.kind == kind]
        return [row for row in of_kind if not self.change or row.change.change == self.change]

    def query(self, **changes: object) -> str:
        """Query text of an address with changes; values that are the default are left out.

        >>> ChangeFilter(since="2d").query(kind="camera")
        'since=2d&kind=camera'
        """
        default = vars(ChangeFilter())
        values = {**vars(self), **changes}
        return urlencode({name: str(value) for name, value in values.items() if value not in ("", default.get(name))})


def compared(context: Context, since: str, *, every: bool = False, wait_s: float) -> StoredChanges | None:
    """What changed in a span, with changed statements; None while counts are compared.

    Raises
    ------
    InputError
        If nothing is stored yet, or store or counts cannot be read.
    """
    comparison = context.comparisons.get(end_of_counts(context.store), span_of(since), every=every, wait_s=wait_s)
    return None if comparison is None else with_statements(comparison, context.store)


def counts_by_kind(rows: Sequence[DeviceChange]) -> dict[str, dict[str, int]]:
    """Devices by their kind and by kind of change, in order of kinds of changes."""
    devices: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        devices.setdefault(row.kind, {}).setdefault(row.change.change, set()).add(row.id)
    return {
        kind: {change: len(changes[change]) for change in CHANGE_KINDS if change in changes}
        for kind, changes in sorted(devices.items())
    }


def _listed(stored: StoredChanges, rows: Sequence[DeviceChange], offset: int, limit: int) -> DifferenceList:
    def item(row: DeviceChange) -> dict[str, Any]:
        values = {"device": row.id, "device_name": row.name, "device_kind": row.kind}
        return row.change.model_dump(exclude={"also"}) | values

    return DifferenceList.model_validate({
        "before": stored.before, "after": stored.after, "unchanged": stored.unchanged, "compared": stored.compared,
        "by_kind": counts_by_kind(rows), "total": len(rows), "offset": offset,
        "rows": [DifferenceItem.model_validate(item(row)) for row in rows[offset:offset + limit]],
    })  # fmt: skip


@router.get("/changes", response_model=DifferenceList, summary="What differs from the days before")
def changes(
    request: Request, context: Service, wanted: Annotated[ChangeFilter, Depends()], every: Every = False,
    offset: Offset = 0, limit: Limit = 100,
) -> Response:  # fmt: skip
    """New and silent devices, changed statements, and services and names that appeared, vanished, grew or shrank.

    One row for each device and change. Counts are compared once for each hour of data, which takes seconds for a
    thousand devices; `503` with `Retry-After` says that it goes on.
    """
    comparison = compared(context, wanted.since, every=every, wait_s=WAIT_S)
    if comparison is None:
        raise ProblemError(503, "The counts are being compared.", {"Retry-After": str(RETRY_S)})
    return json_reply(request, _listed(comparison, wanted.of(comparison.rows), offset, limit))


@router.get("/devices/{device}/changes", response_model=DifferenceList, summary="What changed about a device")
def device_changes(
    request: Request, context: Service, device: DeviceId, since: Since = "1d", every: Every = False
) -> Response:  # fmt: skip
    """The same of one device; probabilities are corrected for its own comparisons alone."""
    comparison = context.service.device_changes(existing(context, device), span_of(since), every=every)
    return json_reply(request, _listed(comparison, comparison.rows, 0, len(comparison.rows)))


@router.get("/history", response_model=ChangeList, summary="Changes of statements of all devices, the latest first")
def history(request: Request, context: Service, offset: Offset = 0, limit: Limit = 100) -> Response:
    """Every change has a reason."""
    rows = context.store.changes(offset=offset, limit=limit)
    return json_reply(request, ChangeList.model_validate({"rows": rows}))
