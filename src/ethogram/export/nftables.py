"""Rules of nftables from profiles: a chain for each device and direction, and a named set for each host name.

References
----------
nft(8), https://www.netfilter.org/projects/nftables/manpage.html; ``nftset`` in dnsmasq(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ethogram._text import visible
from ethogram.export.policy import Policy, PolicyRule, write_policies
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ICMP, ICMPV6, TCP, UDP, PortRange

__all__ = ["ruleset", "write"]

TABLE = "ethogram"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_FAMILY = {4: "ip", 6: "ip6"}
_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "reject"}


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """One ruleset for ``nft -f``, which replaces the table ``inet ethogram``; with a dry run, what it would drop."""
    return write_policies(data, options, lambda all_policies: "".join(f"{line}\n" for line in ruleset(all_policies)))


def ruleset(all_policies: Sequence[Policy]) -> Iterator[str]:
    """Lines of the ruleset.

    Names of devices are in comments alone, where no character ends the line; identifiers are made of letters, digits
    and underscores, and host names are checked.
    """
    all_policies = [policy for policy in all_policies if policy.rules]
    hosts: dict[str, tuple[str, tuple[str, ...]]] = {}
    for policy in all_policies:
        for each in policy.rules:
            if each.rule.name:
                hosts.setdefault(_host_set(each, hosts), (each.rule.name, each.networks or ()))
    yield "# Made by Ethogram. Load with: nft -f FILE; remove with: nft delete table inet ethogram"
    yield f"table inet {TABLE} {{}}"
    yield f"delete table inet {TABLE}"
    yield f"table inet {TABLE} {{"
    for name, (host, networks) in hosts.items():
        yield f"\tset {name} {{"
        yield f"\t\ttype {_TYPES[6 if name.endswith('_6') else 4]}; flags interval; auto-merge"
        yield f'\t\tcomment "{host[:100]}"'
        if networks:
            yield f"\t\telements = {{ {', '.join(networks)} }}"
        yield "\t}"
    for policy in all_policies:
        yield from _sets(policy)
    for policy in all_policies:
        for outward in (True, False):
            if outward or policy.device.addresses:
                yield from _chain(policy, outward=outward, hosts=hosts)
    yield "\tchain forward {"
    yield "\t\ttype filter hook forward priority filter; policy accept;"
    for policy in all_policies:
        yield from _jumps(policy)
    yield "\t}"
    yield "}"
    if hosts:
        yield "# For dnsmasq 2.87 and later, which fills the sets with the addresses that it gives:"
        for name, (host, _) in hosts.items():
            yield f"# nftset=/{host}/{name[-1]}#inet#{TABLE}#{name}"


def _identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", text)


def _host_set(each: PolicyRule, hosts: dict[str, tuple[str, tuple[str, ...]]]) -> str:
    """Name of the set of a host name; another number where two names give the same."""
    base, number = f"host_{_identifier(each.rule.name)[:180]}", 1
    while (name := f"{base}{f'_n{number}' if number > 1 else ''}_{each.rule.version}") in hosts:
        if hosts[name][0] == each.rule.name:
            break
        number += 1
    return name


def _device(policy: Policy) -> str:
    return f"dev_{_identifier(policy.name)}"


def _own_addresses(policy: Policy, version: int) -> list[str]:
    return [each for each in policy.device.addresses if (":" in each) == (version == 6) and "%" not in each]


def _macs(policy: Policy) -> list[str]:
    return [mac.lower() for mac in policy.device.macs if _MAC.fullmatch(mac.lower())]


def _sets(policy: Policy) -> Iterator[str]:
    yield f'\t# device "{_comment(policy.device.name)}"'
    for version in (4, 6):
        if addresses := _own_addresses(policy, version):
            yield f"\tset {_device(policy)}_{version} {{"
            yield f"\t\ttype {_TYPES[version]}"
            yield f"\t\telements = {{ {', '.join(addresses)} }}"
            yield "\t}"


def _comment(text: str) -> str:
    """Text of a comment: printable ASCII on one line."""
    return visible(text).encode("ascii", "backslashreplace").decode()[:200]


def _jumps(policy: Policy) -> Iterator[str]:
    device = _device(policy)
    versions = [version for version in (4, 6) if _own_addresses(policy, version)]
    for version in versions:
        yield f"\t\t{_FAMILY[version]} saddr @{device}_{version} jump {device}_from"
        yield f"\t\t{_FAMILY[version]} daddr @{device}_{version} jump {device}_to"
    if not versions:
        for mac in _macs(policy):
            yield f"\t\tether saddr {mac} jump {device}_from"


def _chain(policy: Policy, *, outward: bool, hosts: dict[str, tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    yield f"\tchain {_device(policy)}_{'from' if outward else 'to'} {{"
    for each in policy.rules:
        if each.rule.outward == outward:
            yield f"\t\t{' '.join(_words(each, hosts))}"
    yield "\t\tcounter drop"
    yield "\t}"


def _words(each: PolicyRule, hosts: dict[str, tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    """One rule."""
    rule = each.rule
    family, end = _FAMILY[rule.version], "daddr" if rule.outward else "saddr"
    if rule.name:
        yield f"{family} {end} @{_host_set(each, hosts)}"
    elif each.networks:
        yield f"{family} {end} {_group(each.networks)}"
    else:
        yield f"meta nfproto {'ipv6' if rule.version == 6 else 'ipv4'}"
    if rule.protocol in (TCP, UDP):
        word = "tcp" if rule.protocol == TCP else "udp"
        source, target = (rule.device_ports, rule.remote_ports) if rule.outward else (
            rule.remote_ports, rule.device_ports)  # fmt: skip
        if source is None and target is None:
            yield f"meta l4proto {word}"
        for side, ports in (("sport", source), ("dport", target)):
            if ports is not None:
                yield f"{word} {side} {_ports(ports)}"
    elif rule.icmp is not None and rule.protocol in (ICMP, ICMPV6):
        word = "icmp" if rule.protocol == ICMP else "icmpv6"
        yield f"{word} type {rule.icmp[0]}"
        if rule.icmp[1] is not None:
            yield f"{word} code {rule.icmp[1]}"
    elif rule.protocol is not None:
        yield f"meta l4proto {rule.protocol}"
    if rule.initiated:
        began = (rule.initiated == "from-device") == rule.outward
        yield f"ct direction {'original' if began else 'reply'}"
    yield f"counter {_VERDICTS[rule.action]}"


def _group(networks: Iterable[str]) -> str:
    items = list(networks)
    return items[0] if len(items) == 1 else f"{{ {', '.join(items)} }}"


def _ports(ports: PortRange) -> str:
    low, high = ports
    return f"{low}" if low == high else f"{low}-{high}"
