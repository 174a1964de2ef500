"""Shared parents of host names (clouds, CDNs, clock pools, IoT brokers), and which labels below them name a customer.

The registrable domain of ``a1b2c3.iot.us-east-1.amazonaws.com`` says only that a device uses a cloud; the label
``a1b2c3`` is an account of one vendor. ``data/knowledge/parents.tsv`` lists such parents as patterns. The
class ``own`` marks hosts that are not shared, but are more specific evidence than the domain of their vendor.

A pattern matches the end of a host name, label by label:

``{keep}``
    A label, or the part of one, that identifies the customer and is kept.
``{domain}``
    The customer's own registrable domain, as CDNs embed it: ``www.maker.example.edgekey.net``.
``*``, ``#``
    Any part of a label, and a decimal or hexadecimal number; both are left out of the kept name.

Other labels are literal. The pattern with the longest literal end is tried first, then the one with more labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files

__all__ = ["Parents", "shared_parent"]

_PARTS = {"{keep}": "([a-z0-9_-]+)", "*": "[a-z0-9_-]+", "#": "[0-9a-f]+"}
_PLACEHOLDER = re.compile(r"(\{keep\}|\*|#)")
_SECOND_LEVEL = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})  # as in co.uk, com.cn
_TOP_LEVEL = re.compile(  # of embedded domains; anything else below a CDN is a name of the CDN
    r"[a-z]{2}|app|biz|cloud|com|dev|digital|global|home|info|link|live|mobi|net|online|org|page|shop|site|store|tech"
)
_MAX_NAME = 253  # RFC 1035 section 2.3.4, without the final dot

# Labels that name a part of the service, a place or a number, and no customer.
_GENERIC = re.compile(
    r"[a-z]{0,3}\d{1,4}|\d+|[a-z]{2,5}-(?:[a-z]+-)*[a-z]+-?\d"  # m1, 0, us-east-1
    r"|www|api|app|apps|auth|cdn|cloud|com|data|dev|global|gw|iot|login|mqtt|net|prod|production|ssl|stage|staging"
    r"|static|stun|test|turn|us|eu|cn|uk|asia|europe|usa|america|default|public|private|internal|core|server"
)
_PLACES = re.compile(
    r"[a-z]{2}|africa|antarctica|asia|europe|north-america|oceania|south-america|x|ipv6"  # subzones of pool.ntp.org
)


class Parents:
    """Patterns of shared parents, indexed by their literal end.

    Parameters
    ----------
    rows
        Pairs of pattern and class.

    Raises
    ------
    ValueError
        If a pattern has no literal end, or both or two of ``{keep}`` and ``{domain}``.

    Examples
    --------
    >>> parents = Parents([("{keep}.iot.*.maker.example", "iot-broker")])
    >>> parents.find("a1.b2c3x.iot.east.maker.example"), parents.find("maker.example")
    (('b2c3x.iot.maker.example', 'iot-broker'), None)
    """

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self._by_end: dict[str, list[_Pattern]] = {}
        self._plain: dict[str, str] = {}
        for pattern, kind in rows:
            if not ("{" in pattern or "*" in pattern or "#" in pattern):
                if not all(pattern.split(".")):
                    raise ValueError(f"invalid pattern {pattern!r}")
                self._plain.setdefault(pattern, kind)
                continue
            compiled = _Pattern(pattern, kind)
            self._by_end.setdefault(compiled.end, []).append(compiled)
            if not compiled.keeps and "{domain}" not in pattern:
                self._plain.setdefault(compiled.rest, kind)  # its kept name is kept again
        for patterns in self._by_end.values():
            patterns.sort(key=lambda each: (-each.labels, -each.literal))
        self._rests = {
            pattern.rest: pattern.kind for patterns in self._by_end.values() for pattern in patterns if pattern.keeps
        }

    def find(self, host: str) -> tuple[str, str] | None:
        """Kept name and class of a host name in lower case without a final dot; None if no pattern matches."""
        if len(host) > _MAX_NAME:
            return None
        labels = host.split(".")
        end = host
        while end:
            for pattern in self._by_end.get(end, ()):
                parent = pattern.kept(labels)
                if parent is not None:
                    # A kept name such as maker.r.parent.example may also match a shorter pattern.
                    longer = len(host.partition(".")[2]) > len(pattern.rest)
                    return (self._as_kept(host) if longer else None) or (parent, pattern.kind)
            if end in self._plain:
                return (end, self._plain[end]) if end == host else self._as_kept(host) or (end, self._plain[end])
            end = end.partition(".")[2]
        return self._as_kept(host)

    def _as_kept(self, host: str) -> tuple[str, str] | None:
        """The host itself, if it is a name that a pattern keeps: a kept name is kept again."""
        head, _, rest = host.partition(".")
        kind = self._rests.get(rest)
        if kind is not None and not _GENERIC.fullmatch(head) and not (kind == "clock" and _PLACES.fullmatch(head)):
            return host, kind
        return (host, self._rests[host]) if host in self._rests else None


class _Pattern:
    """One pattern: what each label of the end of a host name must be, and the name to keep."""

    def __init__(self, text: str, kind: str) -> None:
        labels = text.split(".")
        variable = [i for i, label in enumerate(labels) if "{" in label or _PLACEHOLDER.search(label)]
        literal = labels[variable[-1] + 1 :] if variable else labels
        if not literal or not all(labels) or text.count("{keep}") + text.count("{domain}") > 1:
            raise ValueError(f"invalid pattern {text!r}")
        if "{" in text.removeprefix("{domain}.").replace("{keep}", ""):
            raise ValueError(f"invalid placeholder in {text!r}")
        self.kind = kind
        self.end = ".".join(literal)
        self.labels = len(labels)
        self.literal = len(_PLACEHOLDER.sub("", text))
        self._embeds = labels[0] == "{domain}"
        self.keeps = "{keep}" in text
        # Labels before the literal end, counted from the end of the name.
        self._checks = [(i - len(labels), labels[i]) for i in range(self._embeds, len(labels) - len(literal))]
        rests = (_PLACEHOLDER.sub("", label).strip("-") for label in labels if "{" not in label)
        self.rest = ".".join(filter(None, rests))

    def kept(self, labels: list[str]) -> str | None:
        """The name to keep of a host name that ends in this pattern's literal end; None if it does not match."""
        if len(labels) < self.labels:
            return None
        keep = None
        for place, expected in self._checks:
            match = _expression(expected).fullmatch(labels[place])
            if match is None:
                return None
            keep = match[1] if match.re.groups else keep
        if self._embeds:
            return _domain_of(labels[: len(labels) - self.labels + 1])
        if keep is None or _GENERIC.fullmatch(keep) or (self.kind == "clock" and _PLACES.fullmatch(keep)):
            return self.rest
        return f"{keep}.{self.rest}"


@cache
def _expression(label: str) -> re.Pattern[str]:
    return re.compile("".join(_PARTS.get(part, re.escape(part)) for part in _PLACEHOLDER.split(label)))


def _domain_of(labels: list[str]) -> str | None:
    """The registrable domain at the end of an embedded host name; None if there is none."""
    if len(labels) < 2 or not all(labels[-2:]) or not _TOP_LEVEL.fullmatch(labels[-1]):
        return None
    country = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3:] if country else labels[-2:])


@cache
def packaged_parents() -> Parents:
    """The patterns of the bundled table, read on first use."""
    text = files("ethogram").joinpath("data/knowledge/parents.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return Parents((fields[0], fields[2]) for fields in rows)


@lru_cache(maxsize=1 << 16)
def shared_parent(host: str, domain: str | None) -> tuple[str, str] | None:
    """Name to keep of a host under a shared parent, and the parent's class; None if the host has none.

    Parameters
    ----------
    host
        Host name in lower case without a final dot.
    domain
        Its registrable domain; a host without one (``printer.local``) has no shared parent.

    Returns
    -------
    tuple of str or None
        The kept name and the class: ``cloud``, ``cdn``, ``clock``, ``iot-broker``, ``advertising`` ... The kept name
        holds the customer's label, or is the parent alone if that label is a number, a place or a generic word.

    Examples
    --------
    >>> shared_parent("a1b2c3d4e5f6-ats.iot.us-east-1.amazonaws.com", "amazonaws.com")
    ('a1b2c3d4e5f6.iot.amazonaws.com', 'iot-broker')
    >>> shared_parent("0.maker.pool.ntp.org", "ntp.org"), shared_parent("2.us.pool.ntp.org", "ntp.org")
    (('maker.pool.ntp.org', 'clock'), ('pool.ntp.org', 'clock'))
    >>> shared_parent("firmware.maker.com.edgekey.net", "edgekey.net")
    ('maker.com', 'cdn')
    >>> shared_parent("api.maker.example", "maker.example") is None
    True
    """
    return None if domain is None else packaged_parents().find(host)
