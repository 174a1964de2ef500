"""Durations, times and parts of fingerprints as users write them, on the command line and in the public API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ethogram.errors import UsageError

__all__ = [
    "DAY_S",
    "duration_text",
    "parse_duration",
    "parse_epoch",
    "parse_granularity",
    "parse_key",
    "parse_time",
    "parse_weight",
]

DAY_S = 86_400

_UNIT_S = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw]?)")


def parse_duration(value: str | float | timedelta, option: str = "duration") -> float:
    """Convert a duration to seconds.

    Parameters
    ----------
    value
        A number of seconds, a number with a unit (``ms``, ``s``, ``m``, ``h``, ``d``, ``w``), or a timedelta.
    option
        The name to use in the error message.

    Raises
    ------
    UsageError
        If the text is not a duration, or the duration is negative.

    Examples
    --------
    >>> parse_duration("1d"), parse_duration("1.5h"), parse_duration("250ms"), parse_duration(900)
    (86400.0, 5400.0, 0.25, 900.0)
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, str):
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            raise UsageError(f"{option}: invalid duration {value!r}; expected for example 1d, 6h, 30m, 45s or 900")
        seconds = float(match[1]) * _UNIT_S[match[2]]
    else:
        seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{option}: {value!r} is out of range; a duration cannot be negative or infinite")
    return seconds


def duration_text(seconds: float) -> str:
    """A duration in its largest unit, as :func:`parse_duration` reads it.

    >>> [duration_text(seconds) for seconds in (86_400, 604_800.0, 21_600, 90, 0.25, 0)]
    ['1d', '7d', '6h', '90s', '250ms', '0s']
    """
    for unit in ("d", "h", "m"):
        count = seconds / _UNIT_S[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds:g}s" if seconds == int(seconds) or seconds >= 1 else f"{seconds * 1000:g}ms"


def parse_epoch(value: str | float | timedelta, option: str = "epoch") -> int:
    """Convert the length of an epoch to whole seconds, at least one.

    >>> parse_epoch("6h")
    21600
    """
    seconds = parse_duration(value, option)
    if seconds < 1 or seconds != int(seconds):
        raise UsageError(f"{option}: {value!r} is not a whole number of seconds of at least 1")
    return int(seconds)


def parse_time(value: str | datetime | None, option: str = "time") -> datetime | None:
    """Convert an ISO 8601 date or time; one without a zone is UTC.

    >>> parse_time("2024-05-01").isoformat()
    '2024-05-01T00:00:00+00:00'
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(
                f"{option}: invalid time {value!r}; expected for example 2024-05-01 or 2024-05-01T12:00:00Z"
            ) from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def parse_granularity(value: str | int, option: str = "granularity") -> int:
    """Convert G of Generalized(G) to a number; 0 stands for infinity.

    >>> parse_granularity("16"), parse_granularity("inf")
    (16, 0)
    """
    text = str(value)
    if text in ("inf", "infinity"):
        return 0
    if not text.isdigit() or int(text) == 0:
        raise UsageError(f"{option}: {value!r} is neither a whole number of at least 1 nor inf")
    return int(text)


_WEIGHTS = {"flow": "flow_share", "presence": "presence", "octets": "octet_share", "packets": "packet_share"}
_KEY_PARTS = ("role", "scope", "answered", "name")


def parse_weight(value: str, option: str = "prevalence") -> str:
    """Convert the weight of a service to its setting.

    >>> parse_weight("octets")
    'octet_share'
    """
    if value not in _WEIGHTS:
        raise UsageError(f"{option}: invalid weight {value!r}; expected {', '.join(_WEIGHTS)}")
    return _WEIGHTS[value]


def parse_key(value: str | Iterable[str], option: str = "key") -> list[str]:
    """Convert the parts of a service besides its port, separated by commas, to a list.

    >>> parse_key("role, scope")
    ['role', 'scope']
    """
    parts = [part.strip() for part in (value.split(",") if isinstance(value, str) else value) if part.strip()]
    for part in parts:
        if part not in _KEY_PARTS:
            raise UsageError(f"{option}: invalid part {part!r}; expected role, scope, answered or name")
    return parts
