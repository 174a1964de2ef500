"""Judge devices again from stored counts: with another library, knowledge pack, or version of the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from ethogram.schema import DueDevice, Judgement, RoundResult, VerdictChange
from ethogram.serve.judge import AT_ONCE, Judge

__all__ = ["LibraryChange", "rejudge", "rejudge_devices"]


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
    after = ""
    changes: list[VerdictChange] = []
    while devices := judge.store.judged_devices(after, limit=AT_ONCE):
        changes += rejudge_devices(judge, devices, dry_run=dry_run)
        after = devices[-1].id
        if on_progress is not None:
            on_progress(len(devices))
    return tuple(changes)


def rejudge_devices(
    judge: Judge, devices: Sequence[DueDevice], *, dry_run: bool = False
) -> tuple[VerdictChange, ...]:  # fmt: skip
    """Judge some devices again in one transaction; returns changes of statements, made or that would be made.

    Raises
    ------
    InputError
        If the store or the counts cannot be read or written.
    """
    store, epoch = judge.store, timedelta(seconds=judge.settings.epoch_s)
    clock = store.clock()
    if clock is None:
        return ()
    judged = judge.judged(devices)
    judgements = tuple(
        Judgement(device.id, verdict, device.last_seen - device.first_seen < epoch, device.due, hours)
        for device in devices
        if device.id in judged
        for verdict, hours in (judged[device.id],)
    )
    result = RoundResult("rejudge", 0, 0, clock, judge.identifier.name, judgements=judgements, again=True)
    if dry_run:
        return store.try_round(result)
    before = store.changes(limit=1)
    store.record_round(result)
    return store.changes_after(before[0].id if before else 0)


class LibraryChange:
    """Judges devices whose verdicts rest on another library again, part by part between the rounds of a judge.

    The store knows which devices are left, so that a restart goes on with them.

    Attributes
    ----------
    judged
        Devices judged again since :meth:`begin`.
    """

    def __init__(self) -> None:
        self.judged = 0
        self._after: str | None = ""

    def begin(self) -> None:
        """Start from the first device: the library has changed."""
        self.judged, self._after = 0, ""

    def part(self, judge: Judge) -> bool:
        """Judge the next devices; returns whether more are waiting.

        Raises
        ------
        InputError
            If the store or the counts cannot be read or written; the next part tries the same again.
        """
        if self._after is None:
            return False
        devices = judge.store.judged_devices(self._after, limit=AT_ONCE, other_than=judge.identifier.name)
        if devices:
            rejudge_devices(judge, devices)
        self.judged += len(devices)
        self._after = devices[-1].id if len(devices) == AT_ONCE else None
        return self._after is not None
