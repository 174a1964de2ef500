"""Removes facts that are older than they are kept, and merges the small files of counts."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ethogram.config import RetentionSettings
from ethogram.serve.facts import midnight_before
from ethogram.serve.judge import Judge
from ethogram.serve.segments import segments_in

__all__ = ["Retention", "old_segments"]

EVERY_S = 3600.0


def old_segments(folder: Path, read: int, before: datetime) -> list[Path]:
    """Segments that were read and that arrived before a time, in order.

    Parameters
    ----------
    folder
        Of the collector.
    read
        Last segment that the judge has read.
    before
        Time of arrival.
    """
    stamp = f"{before.astimezone(UTC):%Y%m%dT%H%M%S}"
    return [path for number, path in segments_in(folder / "flows").items() if number <= read and path.name < stamp]


class Retention:
    """Applies retention once an hour.

    Parameters
    ----------
    settings
        How long facts are kept.
    collector
        Folder of a collector that this process runs; segments of other collectors are not removed.
    """

    def __init__(self, settings: RetentionSettings, collector: Path | None) -> None:
        self._settings, self._collector = settings, collector
        self._last = float("-inf")

    def run(self, judge: Judge, now: datetime | None = None) -> int:
        """Remove what is too old, if an hour has passed; returns the number of files, days and facts removed.

        Raises
        ------
        InputError
            If the store or the facts cannot be read.
        """
        if time.monotonic() - self._last < EVERY_S:
            return 0
        self._last = time.monotonic()
        now = now or datetime.now(tz=UTC)
        removed = 0
        if self._collector is not None:
            before = now - timedelta(days=self._settings.flow_days)
            for path in old_segments(self._collector, judge.store.position("collector"), before):
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed += 1
            removed += self._remove_fingerprints(now)
        limits = {
            name: now - timedelta(days=days)
            for name, days in (("history", self._settings.history_days), ("alert", self._settings.alert_days),
                               ("event", self._settings.event_days), ("audit", self._settings.audit_days))
            if days
        }  # fmt: skip
        removed += judge.store.remove_before(limits) if limits else 0
        if self._settings.identity_days:
            removed += judge.store.forget_facts(now - timedelta(days=self._settings.identity_days))
        for name, facts in judge.counts.by_source.items():
            facts.compact(judge.store.position(name))
            # Old captures have old counts: what is too old follows the data, not the day on which it was read.
            latest = min(now, judge.store.clock() or now)
            removed += facts.remove_before(midnight_before(latest, self._settings.count_days).date())
        return removed

    def _remove_fingerprints(self, now: datetime) -> int:
        """Remove files of fingerprints that were written too long ago; returns their number."""
        if not self._settings.fingerprint_days or self._collector is None:
            return 0
        stamp = f"{(now - timedelta(days=self._settings.fingerprint_days)).astimezone(UTC):%Y%m%dT%H%M%S}"
        old = [path for path in segments_in(self._collector / "fingerprints").values() if path.name < stamp]
        for path in old:
            with contextlib.suppress(OSError):
                path.unlink()
        return len(old)
