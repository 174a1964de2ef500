"""Judge all devices again from stored counts: with another library, knowledge pack, or version of the program."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ethogram.schema import Judgement, RoundResult, VerdictChange
from ethogram.serve.judge import AT_ONCE, Judge

__all__ = ["rejudge"]


def rejudge(
    judge: Judge, *, dry_run: bool = False, on_progress: Callable[[int], None] | None = None
) -> tuple[VerdictChange, ...]:  # fmt: skip
    """Judge all devices that were judged before, at once and in parts.

    Parameters
    ----------
    judge
        With the store, the counts and the library.
    dry_run
        Whether to store nothing.
    on_progress
        Called with the number of devices of each part.

    Returns
    -------
    Changes of statements, made or that would be made.

    Raises
    ------
    InputError
        If the store or the counts cannot be read or written; parts before it are stored.
    """
    store, after = judge.store, ""
    changes: list[VerdictChange] = []
    clock = store.clock()
    epoch = timedelta(seconds=judge.settings.epoch_s)
    while clock is not None and (devices := store.judged_devices(after, limit=AT_ONCE)):
        judged = judge.judged(devices)
        judgements = tuple(
            Judgement(device.id, verdict, device.last_seen - device.first_seen < epoch, device.due, hours)
            for device in devices
            if device.id in judged
            for verdict, hours in (judged[device.id],)
        )
        result = RoundResult("rejudge", 0, 0, clock, judge.identifier.name, judgements=judgements, again=True)
        before = store.changes(limit=1)
        if dry_run:
            changes += store.try_round(result)
        else:
            store.record_round(result)
            changes += store.changes_after(before[0].id if before else 0)
        after = devices[-1].id
        if on_progress is not None:
            on_progress(len(devices))
    return tuple(changes)
