"""What changed on the network of the live service, from its stored counts and history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from ethogram.errors import InputError
from ethogram.pipeline.changes import change_order, join_changes, traffic_changes
from ethogram.schema import (
    ChangedSpan,
    DeviceDetail,
    DeviceRow,
    DueDevice,
    NetworkChange,
    NetworkChanges,
    VerdictChange,
)
from ethogram.serve.judge import AT_ONCE
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = [
    "DeviceChange", "StoredChanges", "device_changes", "due_of", "end_of_counts", "stored_changes", "with_statements",
]  # fmt: skip

HOUR = timedelta(hours=1)
PAGE = 1000


@dataclass(frozen=True)
class DeviceChange:
    """One change of one device of the store.

    Parameters
    ----------
    id
        Of the device.
    name, kind
        What the device is called, and its kind as far as it is sure.
    change
        What changed, with the name of the device.
    """

    id: str
    name: str
    kind: str
    change: NetworkChange


@dataclass(frozen=True)
class StoredChanges:
    """What differs between two spans of stored counts.

    Parameters
    ----------
    before, after
        The spans.
    unchanged
        Devices in both spans of which no service and no name changed.
    compared
        Services and names of devices that were compared.
    rows
        One for each device and change, in order of kinds of changes, the surest first.
    """

    before: ChangedSpan
    after: ChangedSpan
    unchanged: int
    compared: int
    rows: tuple[DeviceChange, ...]

    def joined(self) -> NetworkChanges:
        """The same with each change of several devices once."""
        return NetworkChanges(
            before=self.before, after=self.after, unchanged=self.unchanged, compared=self.compared,
            changes=join_changes([row.change for row in self.rows]),
        )  # fmt: skip


def end_of_counts(store: Store) -> datetime:
    """End of the hour up to which flows were judged.

    Raises
    ------
    InputError
        If nothing is stored yet, or the store cannot be read.
    """
    clock = store.clock()
    if clock is None:
        raise InputError("no flows are stored yet")
    return clock.replace(minute=0, second=0, microsecond=0) + HOUR


def stored_changes(
    store: Store, counts: StoredCounts, since: timedelta, *, every: bool = False, end: datetime | None = None
) -> StoredChanges:  # fmt: skip
    """Compare the services and names of all devices in the latest part of the stored counts and in the days before it.

    Changed statements are added by :func:`with_statements`.

    Parameters
    ----------
    store
        With the devices.
    counts
        What is compared.
    since
        Length of the later span; the earlier one has the days that verdicts rest on.
    every
        Also give differences that are probably chance.
    end
        End of the later span; None: :func:`end_of_counts`.

    Notes
    -----
    Devices are compared in groups, so that memory does not grow with their number; probabilities are corrected for the
    comparisons of one group.

    Raises
    ------
    InputError
        If the store or the counts cannot be read, or nothing is stored yet.
    """
    return _compared(store, counts, _all_devices(store), since, end or end_of_counts(store), every=every)


def device_changes(
    store: Store, counts: StoredCounts, detail: DeviceDetail, since: timedelta, *, every: bool = False
) -> StoredChanges:  # fmt: skip
    """The same of one device, with its changed statements; probabilities are corrected for its comparisons alone.

    Raises
    ------
    InputError
        If the store or the counts cannot be read, or nothing is stored yet.
    """
    row = detail.row
    comparison = _compared(store, counts, [[due_of(detail)]], since, end_of_counts(store), every=every)
    changes = (change for change in detail.history if change.before and change.time >= comparison.after.start)
    return _with(comparison, [DeviceChange(row.id, row.name, row.kind, _of_history(change)) for change in changes])


def due_of(detail: DeviceDetail) -> DueDevice:
    """A device as stored counts are read: its names in the flow table, and when they were its own."""
    names = tuple((key.value, key.first, key.last) for key in detail.keys if key.kind == "flow")
    return DueDevice(detail.row.id, names, detail.row.first_seen, detail.row.last_seen, None, detail.facts)


def with_statements(comparison: StoredChanges, store: Store) -> StoredChanges:
    """Changes with those of statements in the later span, but for first statements.

    Raises
    ------
    InputError
        If the store cannot be read.
    """
    changes: list[VerdictChange] = []
    while part := store.changes(offset=len(changes), limit=PAGE, since=comparison.after.start):
        changes += part
    devices = store.rows(sorted({change.device for change in changes}))
    rows = []
    for change in changes:
        device = devices.get(change.device)  # None: it was merged into another one
        rows.append(DeviceChange(change.device, change.device_name, device.kind if device else "", _of_history(change)))
    return _with(comparison, rows)


def _with(comparison: StoredChanges, more: Sequence[DeviceChange]) -> StoredChanges:
    rows = sorted((*comparison.rows, *more), key=lambda row: change_order(row.change))
    return StoredChanges(comparison.before, comparison.after, comparison.unchanged, comparison.compared, tuple(rows))


def _all_devices(store: Store) -> Iterator[list[DueDevice]]:
    after = ""
    while devices := store.judged_devices(after, limit=AT_ONCE):
        after = devices[-1].id
        yield devices


def _compared(
    store: Store, counts: StoredCounts, groups: Iterable[Sequence[DueDevice]], since: timedelta, end: datetime, *,
    every: bool,
) -> StoredChanges:  # fmt: skip
    cut = end - since
    start = cut - timedelta(days=counts.window_days)
    hours = int((cut - start) / HOUR), int(since / HOUR)
    totals = [0, 0], [0, 0]  # devices and flows of each span
    compared, unchanged = 0, 0
    rows: list[DeviceChange] = []
    for devices in groups:
        active = counts.of_devices([device for device in devices if device.last_seen >= start], start)
        active = active.filter(pl.col("time") < end)
        early, late = active.filter(pl.col("time") < cut), active.filter(pl.col("time") >= cut)
        for number, part in enumerate((early, late)):
            totals[number][0] += part["device"].n_unique()
            totals[number][1] += int(part["flows"].sum())
        named = store.rows([device.id for device in devices])
        of_part, changed = traffic_changes(early, late, hours, {id_: row.statement for id_, row in named.items()},
                                           every=every)  # fmt: skip
        compared += of_part
        both = set(early["device"].unique()) & set(late["device"].unique())
        unchanged += len(both - {change.device for change in changed})
        rows += [_named(change, named[change.device]) for change in changed if change.device in named]
    spans = [
        ChangedSpan(start=first, end=last, hours=length, devices=devices, flows=flows)
        for first, last, length, (devices, flows) in zip((start, cut), (cut, end), hours, totals, strict=True)
    ]
    return _with(StoredChanges(spans[0], spans[1], unchanged, compared, ()), rows)


def _named(change: NetworkChange, row: DeviceRow) -> DeviceChange:
    return DeviceChange(row.id, row.name, row.kind, change.model_copy(update={"device": row.name}))


def _of_history(change: VerdictChange) -> NetworkChange:
    reason = "; ".join([f"was {change.before}", change.reason, *change.evidence[:3]])
    return NetworkChange(
        device=change.device_name, change="verdict", subject=change.after, before=0.0, after=change.score,
        hours_before=0, hours_after=0, first=change.time, probability=0.0, reason=reason,
    )  # fmt: skip
