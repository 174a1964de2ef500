"""The page of what changed, by kind of change, by device, or by kind of device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, Response

from ethogram.errors import EthogramError
from ethogram.pipeline.text import plural
from ethogram.schema import CHANGE_KINDS, NetworkChange
from ethogram.serve.api.access import Viewer
from ethogram.serve.api.changes import ChangeFilter, compared, counts_by_kind
from ethogram.serve.api.devices import Service
from ethogram.serve.changes import DeviceChange, StoredChanges
from ethogram.serve.page import views
from ethogram.serve.page.render import is_part, render
from ethogram.serve.page.text import kind_label, octets, sure

__all__ = ["ChangeGroup", "ChangeLine", "change_lines", "router"]

router = APIRouter(prefix="/changes", default_response_class=HTMLResponse)

SPANS = (("1h", "hour"), ("6h", "6 hours"), ("1d", "day"), ("2d", "2 days"), ("1w", "week"))
TITLES: dict[str, str] = {
    "new device": "New devices", "silent device": "Silent devices", "verdict": "Changed verdicts",
    "service appeared": "Services that appeared", "service grew": "Services that grew",
    "peer appeared": "Peers that appeared", "peer grew": "Peers that grew",
    "service vanished": "Services that vanished", "service shrank": "Services that shrank",
    "peer vanished": "Peers that vanished", "peer shrank": "Peers that shrank",
}  # fmt: skip
WORDS: dict[str, str] = {name: name.capitalize() for name in CHANGE_KINDS}
_MOST, _MOST_NAMES = 200, 20
_FIRST_WAIT_S, _WAIT_S = 0.5, 2.0
By = Annotated[Literal["change", "device", "kind"], Query(description="How changes are grouped.")]


class ChangeLine(NamedTuple):
    """One line: a change, the devices that have it, and its figures."""

    change: NetworkChange
    devices: list[tuple[str, str]]
    more: int
    before: str
    after: str


class ChangeGroup(NamedTuple):
    """Lines of one kind of change, device or kind of devices."""

    id: str
    title: str
    link: str
    kind: str
    hint: str
    lines: list[ChangeLine]
    more: int


@router.get("")
def changes(
    request: Request, context: Service, access: Viewer, wanted: Annotated[ChangeFilter, Depends()], by: By = "change"
) -> Response:  # fmt: skip
    """What differs from the days before; the address holds the filters. While counts are compared, it asks again."""
    stored: StoredChanges | None = None
    problem = ""
    try:
        stored = compared(context, wanted.since, wait_s=_WAIT_S if is_part(request) else _FIRST_WAIT_S)
    except EthogramError as error:
        problem = str(error)
    of_kind = ChangeFilter(wanted.since, wanted.kind).of(stored.rows) if stored is not None else []
    rows = wanted.of(of_kind)
    groups = _groups(rows, by)
    return render(
        context, access, "changes.html", "/changes", wanted=wanted, by=by, found=stored, problem=problem, spans=SPANS,
        groups=groups[:_MOST], groups_left=max(len(groups) - _MOST, 0), words=WORDS, total=len(rows),
        device_count=len({row.id for row in rows}), numbers=_devices_by_change(of_kind), titles=TITLES,
        kind_choices=views.choices(context.store.overview())["kind"],
    )  # fmt: skip


def _devices_by_change(rows: Sequence[DeviceChange]) -> list[tuple[str, int]]:
    """Kinds of changes that occurred, with the number of devices."""
    devices: dict[str, set[str]] = {}
    for row in rows:
        devices.setdefault(row.change.change, set()).add(row.id)
    return [(name, len(devices[name])) for name in CHANGE_KINDS if name in devices]


def _groups(rows: Sequence[DeviceChange], by: str) -> list[ChangeGroup]:
    if by == "device":
        groups = _split(rows, lambda row: row.id)
        made = [
            ChangeGroup(f"of-{id_}", part[0].name, f"/devices/{id_}", part[0].kind, kind_label(part[0].kind),
                        *_most(change_lines(part)))
            for id_, part in sorted(groups.items(), key=lambda item: item[1][0].name.lower())
        ]  # fmt: skip
    elif by == "kind":
        groups = _split(rows, lambda row: row.kind)
        counts = counts_by_kind(rows)
        made = [
            ChangeGroup(f"of-{number}", kind_label(kind).capitalize(), "", kind,
                        ", ".join(f"{WORDS[change].lower()}: {count}" for change, count in counts[kind].items()),
                        *_most(change_lines(part)))
            for number, (kind, part) in enumerate(sorted(groups.items(), key=lambda item: kind_label(item[0])))
        ]  # fmt: skip
    else:
        groups = _split(rows, lambda row: row.change.change)
        made = [
            ChangeGroup(name.replace(" ", "-"), TITLES[name], "", "",
                        plural(len({row.id for row in part}), "device"), *_most(change_lines(part)))
            for name, part in groups.items()
        ]  # fmt: skip
    return made


def _split(rows: Iterable[DeviceChange], key: Callable[[DeviceChange], str]) -> dict[str, list[DeviceChange]]:
    parts: dict[str, list[DeviceChange]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return parts


def _most(lines: list[ChangeLine]) -> tuple[list[ChangeLine], int]:
    return lines[:_MOST], max(len(lines) - _MOST, 0)


def change_lines(rows: Iterable[DeviceChange]) -> list[ChangeLine]:
    """One line for each change; the same service or name of several devices is one line."""
    lines: dict[Any, list[DeviceChange]] = {}
    for row in rows:
        change = row.change
        same = change.change.startswith(("service", "peer"))
        lines.setdefault((change.change, change.service, change.subject, "" if same else row.id), []).append(row)
    return [
        ChangeLine(
            part[0].change, [(row.id, row.name) for row in part[:_MOST_NAMES]], max(len(part) - _MOST_NAMES, 0),
            *_figures(part[0].change),
        )
        for part in lines.values()
    ]  # fmt: skip


def _figures(change: NetworkChange) -> tuple[str, str]:
    """Octets in an hour with traffic, before and after; of a verdict, its probability."""
    if change.change == "verdict":
        return "", sure(change.after)
    before, after = (f"{octets(value)}/h" if value else "–" for value in (change.before, change.after))
    return before, after
