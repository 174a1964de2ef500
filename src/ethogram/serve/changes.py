"""What changed on the network of the live service, from its stored counts and history."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from ethogram.errors import InputError
from ethogram.pipeline.changes import join_changes, traffic_changes
from ethogram.schema import ChangedSpan, NetworkChange, NetworkChanges, VerdictChange
from ethogram.serve.judge import AT_ONCE
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["stored_changes"]

HOUR = timedelta(hours=1)
PAGE = 1000


def stored_changes(
    store: Store, counts: StoredCounts, since: timedelta, *, every: bool = False
) -> NetworkChanges:  # fmt: skip
    """Compare the latest part of the stored counts with the days before it.

    Parameters
    ----------
    store
        With the devices and their history.
    counts
        What is compared.
    since
        Length of the later span, which ends with the latest flow; the earlier one has the days that verdicts rest on.
    every
        Also give differences that are probably chance.

    Notes
    -----
    Devices are compared in groups, so that memory does not grow with their number; probabilities are corrected for the
    comparisons of one group.

    Raises
    ------
    InputError
        If the store or the counts cannot be read, or nothing is stored yet.
    """
    clock = store.clock()
    if clock is None:
        raise InputError("no flows are stored yet")
    end = clock.replace(minute=0, second=0, microsecond=0) + HOUR
    cut = end - since
    start = cut - timedelta(days=counts.window_days)
    hours = int((cut - start) / HOUR), int(since / HOUR)
    totals = [0, 0], [0, 0]  # devices and flows of each span
    compared, unchanged, after = 0, 0, ""
    rows: list[NetworkChange] = []
    while devices := store.judged_devices(after, limit=AT_ONCE):
        after = devices[-1].id
        active = counts.of_devices([device for device in devices if device.last_seen >= start], start)
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
        rows += [change.model_copy(update={"device": named[change.device].name}) for change in changed]
    rows += [_of_history(change) for change in _history(store, cut)]
    spans = [
        ChangedSpan(start=first, end=last, hours=length, devices=devices, flows=flows)
        for first, last, length, (devices, flows) in zip((start, cut), (cut, end), hours, totals, strict=True)
    ]
    return NetworkChanges(before=spans[0], after=spans[1], unchanged=unchanged, compared=compared,
                          changes=join_changes(rows))  # fmt: skip


def _history(store: Store, since: datetime) -> list[VerdictChange]:
    """Changes of statements since a time, but for first statements."""
    changes: list[VerdictChange] = []
    while part := store.changes(offset=len(changes), limit=PAGE):
        changes += part
        if part[-1].time < since:
            break
    return [change for change in changes if change.time >= since and change.before]


def _of_history(change: VerdictChange) -> NetworkChange:
    reason = "; ".join([f"was {change.before}", change.reason, *change.evidence[:3]])
    return NetworkChange(
        device=change.device_name, change="verdict", subject=change.after, before=0.0, after=change.score,
        hours_before=0, hours_after=0, first=change.time, probability=0.0, reason=reason,
    )  # fmt: skip
