"""The rules of a MUD file as rules of a profile, with names to count by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from ethogram._text import visible
from ethogram.schema import BehaviourProfile, BehaviourRule, MudProfile, MudRule, PortRange, service_name

__all__ = ["mud_behaviour"]

_SIDES: dict[str, Literal["device", "remote"]] = {"from-device": "device", "to-device": "remote"}


def mud_behaviour(profile: MudProfile, source: str, notices: Iterable[str] = ()) -> BehaviourProfile:
    """Rules of a MUD file, in order, for :func:`ethogram.behaviour.mud_match.match_mud`.

    Parameters
    ----------
    profile
        As the file was read.
    source
        What the profile says it was made from.
    notices
        What of the file is not used.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> rule = MudRule(True, 4, 17, name="pool.ntp.org", remote_ports=(123, 123))
    >>> profile = MudProfile("https://example.com/plug", datetime(2026, 1, 1, tzinfo=UTC), (rule,))
    >>> mud_behaviour(profile, "a file").rules[0].name
    'to pool.ntp.org UDP/123'
    """
    rules = [_rule(rule) for rule in profile.rules]
    times = Counter(rule.name for rule in rules)
    seen: Counter[str] = Counter()
    named = []
    for rule in rules:
        seen[rule.name] += 1
        number = f" ({seen[rule.name]})" if times[rule.name] > 1 else ""
        named.append(rule.model_copy(update={"name": rule.name + number}))
    types = sum(rule.icmp is not None for rule in profile.rules)
    lines = [*notices, *([f"flow records have no types of ICMP: not checked in {types:,} rules"] if types else [])]
    return BehaviourProfile(source=source, url=profile.url, rules=tuple(named), notices=tuple(lines))


def _rule(rule: MudRule) -> BehaviourRule:
    peer = f"{rule.place} {rule.place_value}".strip()
    return BehaviourRule(
        name=_words(rule), direction="from" if rule.outward else "to", permits=rule.action == "accept",
        protocol=rule.protocol, version=rule.version, local_ports=_ports(rule.device_ports),
        remote_ports=_ports(rule.remote_ports), scope="lan" if rule.place and not rule.network else None,
        remote=visible(rule.name) if rule.name else None, networks=(rule.network,) if rule.network else (),
        initiated=_SIDES.get(rule.initiated), peer=visible(peer),
    )  # fmt: skip


def _ports(ports: PortRange | None) -> tuple[PortRange, ...]:
    return () if ports is None else (ports,)


def _words(rule: MudRule) -> str:
    """A rule in words: direction, other end, service."""
    end = rule.name or rule.network or (rule.place_value or rule.place).removeprefix("urn:ietf:params:mud:") or "any"
    words = ["to" if rule.outward else "from", visible(end)]
    if rule.protocol is not None:
        base = service_name(rule.protocol, 0, 1 << 17).removesuffix("/0")
        words.append(base + (f"/{_range(rule.remote_ports)}" if rule.remote_ports else ""))
    if rule.device_ports:
        words.append(f"port {_range(rule.device_ports)} of the device")
    return " ".join(words)


def _range(ports: PortRange) -> str:
    low, high = ports
    return f"{low}" if low == high else f"{low}-{high}"
