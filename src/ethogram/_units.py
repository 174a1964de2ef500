"""Octets and durations as text, in one unit that fits."""

from __future__ import annotations

__all__ = ["octets_text", "span_text"]

_SPANS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (float("inf"), 86_400, "d"))


def octets_text(octets: float, *, fine: bool = False) -> str:
    """Octets in powers of 1000; with ``fine``, one decimal from 1 kB on.

    >>> octets_text(922_600), octets_text(1_234_000), octets_text(922_600, fine=True), octets_text(12, fine=True)
    ('923 kB', '1.2 MB', '922.6 kB', '12 B')
    """
    value, unit = float(octets), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < (999.95 if fine and unit != "B" else 999.5) or unit == "TB":
            break
        value /= 1000
    decimal = unit != "B" and (fine or value < 9.95)
    return f"{value:.1f} {unit}" if decimal else f"{value:.0f} {unit}"


def span_text(seconds: float, *, fine: bool = False) -> str:
    """A duration; with ``fine``, one decimal of hours and days.

    >>> span_text(4.2), span_text(7200), span_text(5400, fine=True), span_text(200_000, fine=True)
    ('4 s', '2 h', '1.5 h', '2.3 d')
    """
    size, unit = next((size, unit) for bound, size, unit in _SPANS if seconds < bound)
    return f"{seconds / size:.1f} {unit}" if fine and unit in ("h", "d") else f"{seconds / size:.0f} {unit}"
