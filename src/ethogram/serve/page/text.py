"""Text of values on the page: times, octets, probabilities, levels and states."""

from __future__ import annotations

from datetime import UTC, datetime

from markupsafe import Markup, escape

from ethogram._units import octets_text, span_text
from ethogram.schema import KINDS
from ethogram.schema.service_words import LOCAL, service_words

__all__ = [
    "LEVEL_NAMES", "STATE_NAMES", "ago", "kind_label", "lasting", "moment", "number", "octets", "probability",
    "service_text", "share", "stamp", "sure",
]  # fmt: skip

LEVEL_NAMES = {
    "kind": "Kind", "vendor": "Vendor", "platform": "Platform", "family": "Vendor and kind", "model": "Model",
    "device": "Device", "label": "Your label", "unknown": "Not known", "several": "Several devices", "": "Not judged",
}  # fmt: skip
STATE_NAMES = {
    "new": "New", "changed": "Changed", "several": "Several devices", "unknown": "Unknown", "silent": "Silent",
    "ignored": "Ignored",
    "known": "Known", "running": "Working", "starting": "Starting", "degraded": "Needs attention", "stopped": "Stopped",
    "failed": "Failed",
}  # fmt: skip
_WORDS = ((0.97, "almost certain"), (0.85, "very likely"), (0.65, "likely"), (0.4, "possible"), (0.0, "unlikely"))
_RECENT_S = 60 * 86_400
_LASTING = ((172_800, 86_400, "day"), (3600, 3600, "hour"), (60, 60, "minute"), (0, 1, "second"))


def sure(score: float) -> str:
    """A probability with two digits, without the zero; 1 only for labels of users.

    >>> sure(0.934), sure(0.999), sure(1.0)
    ('.93', '.99', '1')
    """
    return "1" if score >= 1 else f"{min(score, 0.99):.2f}"[1:]


def probability(score: float) -> str:
    """A probability in words and as a number.

    >>> probability(0.93)
    'very likely, .93'
    """
    return f"{next(word for least, word in _WORDS if score >= least)}, {sure(score)}"


def octets(count: float | None) -> str:
    """Octets with a unit of 1000.

    >>> octets(922_600), octets(12), octets(None)
    ('923 kB', '12 B', '–')
    """
    return "–" if count is None else octets_text(count)


def number(count: float) -> str:
    """A whole number with separators.

    >>> number(12345)
    '12,345'
    """
    return f"{count:,.0f}"


def share(part: float) -> str:
    """A share as a percentage.

    >>> share(0.423)
    '42 %'
    """
    return f"{100 * part:.0f} %"


def lasting(seconds: float) -> str:
    """How long something lasts, in words and figures.

    >>> lasting(240), lasting(3600), lasting(12.5), lasting(0)
    ('4 minutes', '1 hour', '12 seconds', 'a moment')
    """
    size, unit = next((size, unit) for least, size, unit in _LASTING if seconds >= least)
    count = int(seconds / size)
    return f"{count} {unit}{'' if count == 1 else 's'}" if count else "a moment"


def ago(time: datetime, now: datetime | None = None) -> str:
    """How long ago a time is, in one unit.

    >>> ago(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 5, tzinfo=UTC))
    '5 h ago'
    """
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    if seconds < -60:
        return f"{time:%Y-%m-%d %H:%M}"
    if seconds < 5:
        return "now"
    return f"{span_text(seconds)} ago" if seconds < _RECENT_S else f"{time:%Y-%m-%d}"


def moment(time: datetime | str | None) -> Markup:
    """A time as an element: relative, with the absolute time for pointers and screen readers."""
    if not time:
        return Markup("–")
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return escape(time)
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    absolute = f"{time:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(time.isoformat(), absolute, ago(time))


def stamp(time: datetime) -> str:
    """A time to the hour.

    >>> stamp(datetime(2026, 3, 1, 5, tzinfo=UTC))
    '2026-03-01 05:00'
    """
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def service_text(service: str) -> str:
    """A service of a fingerprint in the words of a network engineer; the scope is left out where it is obvious.

    >>> service_text("UDP/5353 client multicast ff02::fb"), service_text("TCP/443 server lan")
    ('mDNS', 'HTTPS server lan')
    >>> service_text("name maker.example"), service_text("IP/2 client multicast 224.0.0.22")
    ('maker.example', 'IGMP')
    """
    key, _, rest = service.partition(" ")
    if key == "name":
        return rest
    words = service_words(key)
    return words if words in LOCAL or not rest else f"{words} {rest}"


def kind_label(kind: str) -> str:
    """Name of a kind to show; two kinds that cannot be told apart are separated by a slash.

    >>> kind_label("baby-monitor"), kind_label("camera or doorbell"), kind_label("")
    ('baby monitor', 'camera / doorbell', 'not known')
    """
    if not kind:
        return "not known"
    return " / ".join(KINDS[part].label if part in KINDS else part for part in kind.split(" or "))
