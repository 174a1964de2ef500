"""Peak memory of a block of code, as Linux counts it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Peak"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak:
    """Peak resident memory inside the block minus that before it, in MiB; None when the system does not report it.

    >>> with Peak() as peak:
    ...     held = bytearray(1)
    >>> peak.mib is None or peak.mib >= 0
    True
    """

    def __init__(self) -> None:
        self.mib: float | None = None
        self._before: float | None = None

    def __enter__(self) -> Self:
        try:
            CLEAR.write_text("5")  # reset the peak
            self._before = _of("VmRSS")
        except OSError:
            self._before = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._before is not None:
                self.mib = round(max(0.0, _of("VmHWM") - self._before), 1)
        except OSError:
            self.mib = None


def _of(name: str) -> float:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(name)
