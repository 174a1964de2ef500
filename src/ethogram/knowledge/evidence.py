"""Public facts about the traffic of devices, as terms for the ladder of levels.

A name, a port or a text that a device sends is evidence, not a rule: each term carries how much of the device's time it
covers, and the weights are learnt where vendors and networks were left out (:mod:`ethogram.identify.ladder`).

Of names, the *presence* is the share of the device's active hours in which it contacted the name. One contact in a day
tells nearly as much as one an hour, since devices cache addresses and keep connections open; hence a term has the
fourth root of the presence. What most devices of one network ask for is the network's own (its resolver, its portal)
and says little about any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from math import log1p
from operator import itemgetter

import polars as pl

from ethogram.knowledge.tables import Fact, Knowledge
from ethogram.schema import (
    GROUP,
    KINDS,
    NETWORK_EQUIPMENT,
    TCP,
    UDP,
    LadderEvidence,
    LadderTerm,
    TermLevel,
    Windows,
)
from ethogram.schema.service_words import service_words

__all__ = ["PRESENCE_POWER", "collect_evidence"]

_Name = tuple[str, float, int, int]
"""Name, presence, hours in which it was contacted, and devices that contacted it."""
MOST_NAMES = 512
"""Names considered of a device, those of the most hours first."""
PRESENCE_POWER = 0.25
"""Terms of names have this power of the presence: the fourth root."""
MOST_TERMS = 2
"""Terms of one feature for one label: further rows repeat what the first ones say."""
COMMON_SHARE = 0.3
"""A name without facts that more than this share of the devices contacted belongs to the network."""
FEW_DEVICES = 5
"""Below this number of devices, nothing can be said about the share of the network."""
MOST_SERVED = 32
"""A device that answers on more ports than this was scanned: which of them it serves is not known."""
USUAL_BREADTH = 6
"""Vendors whose services a device contacts: more than this speaks for a computer or phone, fewer against it."""

HOMEKIT_CATEGORIES = {
    "2": "bridge", "3": "fan", "4": "garage door opener", "5": "light", "6": "lock", "7": "outlet", "8": "switch",
    "9": "thermostat", "10": "sensor", "11": "security system", "12": "door", "13": "window", "14": "window covering",
    "15": "button", "16": "range extender", "17": "camera", "18": "doorbell", "19": "air purifier", "20": "heater",
    "21": "air conditioner", "22": "humidifier", "23": "dehumidifier", "24": "Apple TV", "25": "HomePod",
    "26": "speaker", "27": "AirPort", "28": "sprinkler", "29": "faucet", "30": "shower", "31": "television",
    "32": "remote control", "33": "router",
}  # fmt: skip
"""Accessory categories of the HomeKit Accessory Protocol, by number."""
_COMPUTERS = ("phone", "tablet", "laptop", "pc")
_STRENGTH = {"strong": 1.0, "fair": 0.6, "weak": 0.3}
_HOST_FACTS = ("host_name", "nbns_name", "llmnr_name", "lldp_name", "mdns_name", "name", "dhcp_vendor_class")
_WORDS = {
    "mdns_name": "mDNS name", "mdns_model": "mDNS model", "ssdp_server": "SSDP server", "ssdp_type": "SSDP type",
    "mdns_vendor": "mDNS manufacturer", "lldp_system": "LLDP system", "host_name": "host name",
    "nbns_name": "NetBIOS name", "llmnr_name": "LLMNR name", "lldp_name": "LLDP name", "name": "name",
    "dhcp_vendor_class": "DHCP vendor class",
}  # fmt: skip


def collect_evidence(
    windows: Windows,
    knowledge: Knowledge,
    identity: pl.DataFrame | None = None,
    base_kinds: Mapping[str, float] | None = None,
) -> list[LadderEvidence]:
    """Collect what is publicly known about the traffic and the identity facts of n items.

    Parameters
    ----------
    windows
        The items.
    knowledge
        Tables of facts.
    identity
        Identity facts of the devices (:data:`ethogram.schema.IDENTITY`); None: traffic alone.
    base_kinds
        Share of each kind among devices of unknown vendor; default: uniform over :data:`ethogram.schema.KINDS`.
    """
    base = dict(base_kinds) if base_kinds is not None else {kind: 1 / len(KINDS) for kind in KINDS}
    evidence = [LadderEvidence(base_kinds=base) for _ in range(len(windows))]
    lookup = _Lookup(knowledge)
    _add_names(evidence, windows, lookup)
    _add_services(evidence, windows, lookup)
    if identity is not None and identity.height:
        _add_identity(evidence, windows, identity, lookup)
    for item in evidence:
        item.terms = _bounded(item.terms)
        for vendor in {term.label for term in item.terms if term.level == "vendor"}:
            item.owners[vendor] = knowledge.owner(vendor)
            item.vendor_kinds[vendor] = lookup.kinds(vendor)
        for platform in {term.label for term in item.terms if term.level == "platform"}:
            if kinds := lookup.platform_kinds(platform):
                item.platform_kinds[platform] = kinds
    return evidence


class _Lookup:
    """Facts by key, each looked up once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._names: dict[str, tuple[list[Fact], list[Fact]]] = {}
        self._ports: dict[tuple[int, int, str, str], list[Fact]] = {}
        self._groups: dict[str, list[Fact]] = {}
        self._kinds: dict[str, dict[str, float]] = {}
        self._vendors = frozenset(knowledge.vendors)

    def name(self, name: str) -> tuple[list[Fact], list[Fact]]:
        """Facts of a name, and of the words in it."""
        facts = self._names.get(name)
        if facts is None:
            facts = self._names[name] = (self.knowledge.name(name), self.knowledge.name_word(name))
        return facts

    def port(self, protocol: int, port: int, role: str, scope: str) -> list[Fact]:
        """Facts of a service."""
        key = (protocol, port, role, scope)
        facts = self._ports.get(key)
        if facts is None:
            facts = self._ports[key] = self.knowledge.port(*key)
        return facts

    def group(self, address: str) -> list[Fact]:
        """Facts of a multicast group."""
        facts = self._groups.get(address)
        if facts is None:
            facts = self._groups[address] = self.knowledge.group(address)
        return facts

    def kinds(self, vendor: str) -> dict[str, float]:
        """Kinds that a vendor makes, with their shares."""
        shares = self._kinds.get(vendor)
        if shares is None:
            shares = self._kinds[vendor] = self.knowledge.kinds_of(vendor)
        return shares

    def platform_kinds(self, platform: str) -> dict[str, float]:
        """Kinds of the devices that run an operating system, with their shares; none if it is a vendor's own."""
        return {} if platform in self._vendors else self.kinds(platform)


def _add_names(evidence: list[LadderEvidence], windows: Windows, lookup: _Lookup) -> None:
    counts = windows.counts
    hours = counts.group_by("item").agg(hours=pl.col("time").n_unique())
    group = pl.col("name").str.contains(GROUP)
    rows = (
        counts.filter(pl.col("name").is_not_null() & ~group & (pl.col("packets_out") > 0))
        .group_by("item", "name")
        .agg(present=pl.col("time").n_unique())
        .join(hours, on="item")
        .with_columns(presence=pl.col("present") / pl.col("hours"), devices=pl.len().over("name"))
        .sort("item", "presence", "name", descending=[False, True, False])
        .with_columns(rank=pl.int_range(pl.len()).over("item"))
        .filter(pl.col("rank") < MOST_NAMES)
    )
    total = max(len(windows), 1)
    of_items = rows.select("item", "name", "presence", "present", "devices").iter_rows()
    for item, names in groupby(of_items, key=itemgetter(0)):
        _add_names_of(evidence[item], (row[1:] for row in names), lookup, total)


def _add_names_of(item: LadderEvidence, names: Iterable[_Name], lookup: _Lookup, devices: int) -> None:
    """Terms of the names of one item; each label keeps the name of the largest presence."""
    telling = 0
    best: dict[tuple[str, str, str], LadderTerm] = {}
    number: dict[str, int] = {}
    vendors: set[str] = set()
    for name, presence, present, asking in names:
        facts, words = lookup.name(name)
        text = f"contacts {name} in {presence:.0%} of its hours" if present > 1 else f"contacts {name}"
        of_vendor = {fact.value: fact.weight for fact in reversed(facts) if fact.subject == "vendor"}
        shared = any(fact.subject == "shared" for fact in facts)
        strength = presence**PRESENCE_POWER
        local = devices >= FEW_DEVICES and asking > max(COMMON_SHARE * devices, 2)
        for fact in facts:
            if fact.subject == "platform":
                _keep(best, fact, "name platform", strength * _STRENGTH.get(fact.weight, 0.0), text)
                continue
            feature = f"name {fact.weight}" if fact.subject == "vendor" else f"name {fact.subject} {fact.weight}"
            _keep(best, fact, feature, strength, text)
        if of_vendor or not shared:
            for fact in words:
                _keep(best, fact, f"word {fact.weight}", strength, f"{fact.key!r} in {name}")
        if of_vendor:
            telling += 1
            for vendor in (vendor for vendor, weight in of_vendor.items() if weight != "weak"):
                number[vendor] = number.get(vendor, 0) + 1
                vendors.add(lookup.knowledge.owner(vendor))
        elif not facts and not local and _may_be_own(name):
            telling += 1
            number[name] = number.get(name, 0) + 1
            vendors.add(name)
            best.setdefault(
                ("vendor", name, "own domain"), LadderTerm("vendor", name, "own domain", strength, text, "own domain")
            )
    item.terms += best.values()
    for vendor, count in number.items():
        text = f"{count} of the {telling} names that tell a vendor"
        item.terms.append(LadderTerm("vendor", vendor, "share of names", count / telling, text))
    item.named, item.breadth = telling > 0, len(vendors)
    if vendors:
        breadth, text = log1p(len(vendors)) - log1p(USUAL_BREADTH), f"contacts services of {len(vendors)} vendors"
        item.terms += [LadderTerm("kind", kind, "breadth", breadth, text) for kind in _COMPUTERS]


def _may_be_own(name: str) -> bool:
    """Whether a name without facts may be the domain of the device's maker: no local name and no reverse zone."""
    return "." in name and not name.endswith((".local", ".lan", ".home", ".arpa", ".internal", ".localdomain"))


def _level(fact: Fact) -> TermLevel | None:
    levels: dict[str, TermLevel] = {"vendor": "vendor", "platform": "platform", "kind": "kind"}
    return levels.get(fact.subject)


def _keep(best: dict[tuple[str, str, str], LadderTerm], fact: Fact, feature: str, value: float, text: str) -> None:
    """Keep the strongest term of a label and feature."""
    level, key = _level(fact), (fact.subject, fact.value, feature)
    if level is not None and (key not in best or value > best[key].value):
        best[key] = LadderTerm(level, fact.value, feature, value, text, fact.source)


def _add_services(evidence: list[LadderEvidence], windows: Windows, lookup: _Lookup) -> None:
    """Terms of ports and multicast groups. A port on which nobody was answered is not served."""
    served = (pl.col("role") != "server") | pl.col("answered") | (pl.col("scope") == "multicast")
    rows = (
        windows.totals.filter(pl.col("protocol").is_in([TCP, UDP]) & (pl.col("port") > 0) & served)
        .filter(pl.col("packets_out") > 0)
        .select("item", "protocol", "port", pl.col("role", "scope").cast(pl.String))
        .unique()
    )
    answers = (pl.col("role") == "server") & (pl.col("scope") != "multicast")
    ports = pl.when(answers).then(pl.struct("protocol", "port")).drop_nulls().n_unique().over("item")
    rows = rows.filter(~answers | (ports <= MOST_SERVED))
    for item, protocol, port, role, scope in rows.iter_rows():
        facts = lookup.port(protocol, port, role, scope)
        if facts:
            service = service_words(f"{'TCP' if protocol == TCP else 'UDP'}/{port}")
            text = f"{'serves' if role == 'server' else 'uses'} {service}"
            for fact in facts:
                _add_fact(evidence[item], fact, "port", text)
    groups = (
        windows.totals.filter(pl.col("name").str.contains(GROUP) & (pl.col("packets_out") > 0))
        .select("item", "name").unique().sort("item", "name")
    )  # fmt: skip
    for item, name in groups.iter_rows():
        for fact in lookup.group(name):
            _add_fact(evidence[item], fact, "group", f"multicasts to {name}")


def _add_fact(item: LadderEvidence, fact: Fact, feature: str, text: str) -> None:
    level = _level(fact)
    if level is not None:
        name = f"{feature} {fact.weight}" if level == "kind" else f"{feature} {level}"
        if name == "port strong" and fact.value in NETWORK_EQUIPMENT:
            # Shares of kinds count a vendor's products. It may sell more plugs than routers, but plugs serve no DNS.
            name = "equipment port"
        value = 1.0 if level == "kind" else _STRENGTH.get(fact.weight, 0.0)
        item.terms.append(LadderTerm(level, fact.value, name, value, text, fact.source))


def _add_identity(evidence: list[LadderEvidence], windows: Windows, identity: pl.DataFrame, lookup: _Lookup) -> None:
    """Terms of MACs and of what devices and files say."""
    knowledge = lookup.knowledge
    rows = (
        identity.with_columns(pl.col("fact").cast(pl.String))
        .join(windows.items.select("item", "device"), on="device")
        .select("item", "fact", "value", "source").unique().sort("item", "fact", "value", "source")
    )  # fmt: skip
    for item, fact_kind, value, source in rows.iter_rows():
        target, text = evidence[item], f"{_WORDS.get(fact_kind, fact_kind)} {value!r}"
        if fact_kind == "mdns_service":
            text = f"announces {value}"
        if fact_kind == "mdns_category":
            text = f"announces itself as HomeKit {HOMEKIT_CATEGORIES.get(value, f'category {value}')}"
        if fact_kind == "mac":
            _add_mac(target, knowledge.mac(value))
        elif fact_kind == "vendor" and (vendor := knowledge.vendor(value)) is not None:
            target.terms.append(LadderTerm("vendor", vendor, "stated", 1.0, text, source))
        elif fact_kind == "kind" and value in KINDS:
            target.terms.append(LadderTerm("kind", value, "stated", 1.0, text, source))
        else:
            feature = "host name" if fact_kind in _HOST_FACTS else "announced"
            _add_facts(target, knowledge.identity(fact_kind, value), feature, text)


def _add_facts(item: LadderEvidence, facts: list[Fact], feature: str, text: str) -> None:
    for fact in facts:
        _add_fact(item, fact, feature, text)


def _add_mac(item: LadderEvidence, facts: list[Fact]) -> None:
    organisation = next((fact.value for fact in facts if fact.subject == "organisation"), None)
    if organisation is not None:
        item.has_mac = True
        _add_facts(item, facts, "mac", f"MAC of {organisation}")


def _bounded(terms: list[LadderTerm]) -> list[LadderTerm]:
    """At most :data:`MOST_TERMS` terms of one feature for one label, the strongest first."""
    counts: dict[tuple[str, str, str], int] = {}
    result = []
    for term in sorted(terms, key=lambda term: (-term.value, term.level, term.label, term.feature, term.text)):
        key = (term.level, term.label, term.feature)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= MOST_TERMS:
            result.append(term)
    return result
