"""Comparisons of stored counts in the background: one at a time, each once for an hour of data."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ethogram.errors import EthogramError, InputError
from ethogram.serve.api.service_view import ServiceView
from ethogram.serve.changes import StoredChanges

__all__ = ["Comparisons"]

KEPT = 6
"""Results that are kept; a result of a large network has some megabytes."""

_Key = tuple[datetime, timedelta, bool]


@dataclass
class _Comparison:
    done: threading.Event = field(default_factory=threading.Event)
    result: StoredChanges | None = None
    error: EthogramError | None = None


class Comparisons:
    """Runs comparisons of all devices in a thread of their own, and keeps the latest results.

    Parameters
    ----------
    service
        Compares.
    """

    def __init__(self, service: ServiceView) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._kept: dict[_Key, _Comparison] = {}

    def get(self, end: datetime, since: timedelta, *, every: bool = False, wait_s: float = 0.0) -> StoredChanges | None:
        """The result for an hour of data; None if it is not there after the wait, and will be later.

        Parameters
        ----------
        end
            End of the later span.
        since
            Its length.
        every
            Also differences that are probably chance.
        wait_s
            Longest wait.

        Raises
        ------
        InputError
            If the store or the counts cannot be read; the next call tries it again.
        """
        key, deadline = (end, since, every), time.monotonic() + wait_s
        while True:
            with self._lock:
                wanted = self._kept.get(key)
                busy = next((each for each in self._kept.values() if not each.done.is_set()), None)
                if wanted is None and busy is None:
                    wanted = self._start(key)
            awaited = wanted or busy
            if awaited is None or not awaited.done.wait(max(deadline - time.monotonic(), 0.0)):
                return None
            if awaited is wanted:
                if wanted.error is not None:
                    with self._lock:
                        self._kept.pop(key, None)
                    raise wanted.error
                return wanted.result

    def _start(self, key: _Key) -> _Comparison:
        """Begin a comparison; called with the lock, while no other one runs."""
        for old in list(self._kept)[: max(len(self._kept) - KEPT + 1, 0)]:
            del self._kept[old]
        comparison = self._kept[key] = _Comparison()
        threading.Thread(target=self._run, args=(key, comparison), name="ethogram changes", daemon=True).start()
        return comparison

    def _run(self, key: _Key, comparison: _Comparison) -> None:
        end, since, every = key
        try:
            comparison.result = self._service.changes(since, end, every=every)
        except EthogramError as error:
            comparison.error = error
        except Exception as error:
            comparison.error = InputError(f"internal error: {type(error).__name__}: {error}; please report it")
        finally:
            comparison.done.set()
