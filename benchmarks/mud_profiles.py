"""MUD profiles learnt from traffic beside published ones: share of published rules that are covered, and extra rules.

    python benchmarks/mud_profiles.py --corpus CORPUS > docs/results/mud-profiles.md

Two pairs of sources. ``neu_imperial_mud_2019`` has counters per flow rule and a MUD file of the same captures; the file
was made by MUDGEE. ``unsw_mud_2018`` has profiles of months, ``unsw_2016_kics_flows`` one day of flows of the same
testbed. Rules of both sides are compared in one form: direction, protocol, service port and its side, and the other end
as domain, group, ``local``, DNS or NTP server, or any.
"""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ethogram.config import CountSettings
from ethogram.corpora.card import card
from ethogram.corpora.load import load
from ethogram.fingerprint.mud_profile import learn_rules
from ethogram.flow.names import domains
from ethogram.io.mud import read_mud
from ethogram.pipeline.service_use import uses_of_counts, uses_of_flows
from ethogram.schema import MudRule

GATEWAY = "urn:ietf:params:mud:gateway"


HEAD = """# Learnt MUD profiles beside published ones

```bash
python benchmarks/mud_profiles.py --corpus CORPUS > docs/results/mud-profiles.md
```

Rules that `ethogram export mud` learns from traffic, beside the rules of published MUD files (RFC 8520) of the same
devices. Both are compared in one form: direction, protocol, service port and the side that serves it, and the other
end as registrable domain, multicast group, local network, DNS server, NTP server, or any. *Covered* are published rules
that a learnt profile permits, *extra* are learnt rules that the published profile does not permit.

## The same captures, by two tools

Northeastern and Imperial, `neu_imperial_mud_2019`: counters per flow rule, and the MUD files that MUDGEE made of the
same captures. Of 424 rules that are missing, 115 are of ICMP, IGMP and other protocols, 94 of multicast groups, which
the counts of these counters do not have, and 104 of NTP servers, which a learnt profile without addresses states as the
network's own; 69 are of local ends and 42 of names.
"""
MIDDLE = """
## One day beside months

UNSW: profiles that MUDGEE made of months (`unsw_mud_2018`), and profiles learnt from one day of flows of the same
testbed (`unsw_2016_kics_flows`). These flows have no names, so all ends on the Internet are one here. A day does not
show all that a device does, and firmware of other years does other things.
"""


class Plain(NamedTuple):
    """A rule without what the other side cannot state."""

    outward: bool
    protocol: int
    port: int
    serves: bool
    end: str


def plain(rules: tuple[MudRule, ...]) -> set[Plain]:
    """Rules in the common form; those that match no protocol are left out."""
    names = sorted({rule.name for rule in rules if rule.name})
    domain = dict(zip(names, domains(pl.Series(names, dtype=pl.String))["remote_domain"], strict=True))
    made = set()
    for rule in rules:
        if rule.protocol is None or (not rule.outward and rule.network and multicast(rule.network)):
            continue
        far, near = rule.remote_ports, rule.device_ports
        serves = far is None and near is not None
        port = (near if serves else far) or (0, 0)
        made.add(Plain(rule.outward, rule.protocol, port[0], serves, end_of(rule, domain)))
    return made


def without_names(rules: set[Plain]) -> set[Plain]:
    """Rules of which all ends on the Internet are one."""
    return {rule if rule.end in ("local", "dns", "ntp") or rule.end[:1].isdigit() or rule.end.startswith("ff")
            else rule._replace(end="any") for rule in rules}  # fmt: skip


def multicast(network: str) -> bool:
    """Whether a prefix is a multicast group or the broadcast address."""
    address = ipaddress.ip_network(network).network_address
    return address.is_multicast or str(address) == "255.255.255.255"


def end_of(rule: MudRule, domain: dict[str, str | None]) -> str:
    """The other end in one word."""
    if rule.network and multicast(rule.network):
        return str(ipaddress.ip_network(rule.network).network_address)
    if rule.place_value.startswith("urn:ietf:params:mud:") and rule.place_value != GATEWAY:
        return rule.place_value.rpartition(":")[2]
    port = (rule.remote_ports or (0, 0))[0]
    if port == 53 and rule.protocol in (6, 17):
        return "dns"
    if port == 123 and rule.protocol == 17 and not rule.name:
        return "ntp"
    if rule.place:
        return "local"
    if rule.network and ipaddress.ip_network(rule.network).is_private:
        return "local"
    return (domain[rule.name] or rule.name) if rule.name else "any"


def covers(rule: Plain, ours: set[Plain]) -> bool:
    """Whether a rule, or the same one for any end, is in a set; a range of dynamic ports has its first port."""
    ports = {rule.port, 49_152} if rule.port >= 49_152 else {rule.port}
    ends = {rule.end, "any"} if rule.end not in ("local", "dns", "ntp") else {rule.end}
    return any(rule._replace(port=port, end=end) in ours for port in ports for end in ends)


class Compared(NamedTuple):
    """One device."""

    device: str
    published: int
    covered: int
    ours: int
    extra: int


def compare(device: str, published: set[Plain], ours: set[Plain]) -> Compared:
    """Rules of the published profile that ours has, and rules of ours that it has not."""
    return Compared(device, len(published), sum(covers(rule, ours) for rule in published), len(ours),
                    sum(not covers(rule, published) for rule in ours))  # fmt: skip


def of_counters(root: Path) -> Iterator[Compared]:
    """Devices of NEU and Imperial: profiles learnt from counters, beside those that MUDGEE made."""
    corpus = card("neu_imperial_mud_2019")
    loaded = load(corpus, root, counts=CountSettings(other_protocols=True), cache_folder=None)
    uses = uses_of_counts(loaded.counts)
    instances = {id_: part["device"] for (id_,), part in loaded.labels.group_by("id")}
    for device in corpus.used_devices:
        files = sorted((root / corpus.name / device.id).glob("*Mud.json"))
        mine = uses.filter(pl.col("device").is_in(instances.get(device.id, pl.Series([], dtype=pl.String)).implode()))
        if len(files) == 1 and mine.height:
            yield compare(device.id, plain(read_mud(files[0])[0].rules), plain(learn_rules(mine)[0]))


def of_flows(root: Path) -> Iterator[Compared]:
    """Devices of UNSW: profiles of one day, beside those of months."""
    flows_card, profiles = card("unsw_2016_kics_flows"), card("unsw_mud_2018")
    loaded = load(flows_card, root, cache_folder=None)
    instances = {id_: part["device"] for (id_,), part in loaded.labels.group_by("id")}
    files = {device.model: root / profiles.name / device.files[0] for device in profiles.used_devices}
    for device in flows_card.used_devices:
        if device.model in files and device.id in instances:
            mine = loaded.flows.filter(pl.col("device").is_in(instances[device.id].implode()))
            ours = without_names(plain(learn_rules(uses_of_flows(mine))[0]))
            yield compare(device.id, without_names(plain(read_mud(files[device.model])[0].rules)), ours)


def table(rows: list[Compared]) -> Iterator[str]:
    """The rows as Markdown, and their sums."""
    yield "| device | published rules | covered | share | learnt rules | extra | share |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    total = Compared("**all**", *(sum(row[i] for row in rows) for i in range(1, 5)))  # type: ignore[arg-type]
    for row in [*rows, total]:
        yield (f"| {row.device} | {row.published} | {row.covered} | {row.covered / max(row.published, 1):.0%} "
               f"| {row.ours} | {row.extra} | {row.extra / max(row.ours, 1):.0%} |")  # fmt: skip


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    root = parser.parse_args().corpus
    print("\n".join([HEAD, *table(list(of_counters(root))), MIDDLE, *table(list(of_flows(root))), ""]))


if __name__ == "__main__":
    main()
