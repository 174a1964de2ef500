"""Detect several devices behind one address (NAT, repeaters) by the clouds that they contact, and by their host names.

A smart-home device contacts the cloud of its vendor regularly. An address that regularly contacts clouds of three
vendors without a common owner is therefore several devices. Applications on computers and phones contact many clouds:
an address that contacts services of more vendors than a few appliances do is not reported as several devices. Accuracy:
``benchmarks/several_devices.py`` and ``docs/results/several-devices.md``.

A device has one host name at a time. Host names that are in use at the same time are of several devices if three or
more are, or if two are and what they tell of vendor and kind, DHCP vendor classes or UPnP servers differ, too. Names
that follow each other are of a device that was renamed, or of an address that was given to another device. Names of
multicast DNS do not count: a device announces one for each of its services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations

import polars as pl

from ethogram.knowledge.evidence import PRESENCE_POWER
from ethogram.knowledge.tables import Knowledge
from ethogram.schema import GROUP, LadderEvidence, Windows

__all__ = [
    "LEAST_PRESENCE", "LEAST_VENDORS", "MOST_BREADTH", "NAMES_SCORE", "SCORE", "NamedPart", "VendorParts",
    "cloud_vendors", "named_parts", "shares_of", "vendor_parts",
]  # fmt: skip

LEAST_VENDORS = 3
"""Vendors whose own clouds are contacted. Single devices contact two, such as a speaker that controls lights."""
LEAST_PRESENCE = 0.2
"""Least share of the active hours in which each of these clouds is contacted."""
MOST_BREADTH = 12
"""Vendors whose services are contacted; a computer or phone contacts more."""
SCORE = 0.95
"""Score that is stated: the share of single devices that are not reported as several. None of 73 is reported on the
networks that the constants were not fitted on, so the share is at least 0.96 with a confidence of 95 %. How many
addresses have several devices behind them is not known, so this is no probability that there are several."""
NAMES_SCORE = 0.84
"""Score that is stated of several host names. None of 18 single devices with host names in the captures of two
laboratories has two of them, so the share of single devices that are not reported is at least 0.84 with a confidence of
95 %. None of 25 has two UPnP servers or DHCP vendor classes, either."""
HOST_NAMES = ("host_name", "nbns_name", "llmnr_name", "lldp_name")
"""Facts of which a device has one value at a time."""
PRODUCTS = ("dhcp_vendor_class", "ssdp_server")
LEAST_NAMES = 3
SHORT = timedelta(days=1)
"""Three names within this time are of several devices even if each was seen once."""
_NETBIOS = 15  # characters of a NetBIOS name
OWN_CLOUD = "name strong"
"""Feature of names that only products of the vendor contact."""


@dataclass(frozen=True)
class VendorParts:
    """Traffic of one item with the clouds of n vendors, the largest share first.

    Parameters
    ----------
    vendors
        (n) In the knowledge pack.
    shares
        (n) Of the octets of all parts.
    windows
        n items, each with the traffic with one cloud.
    """

    vendors: tuple[str, ...]
    shares: tuple[float, ...]
    windows: Windows


def cloud_vendors(item: LadderEvidence, *, least: float = LEAST_PRESENCE) -> dict[str, str]:
    """Owners whose own clouds an item contacts regularly, each with the vendor of the largest presence.

    >>> from ethogram.schema import LadderTerm
    >>> item = LadderEvidence([LadderTerm("vendor", "hue", "name strong", 1.0)], owners={"hue": "signify"})
    >>> cloud_vendors(item)
    {'signify': 'hue'}
    """
    terms = [term for term in item.terms if term.level == "vendor" and term.feature == OWN_CLOUD]
    regular = [term for term in terms if term.value ** (1 / PRESENCE_POWER) >= least]
    vendors: dict[str, str] = {}
    for term in sorted(regular, key=lambda term: (-term.value, term.label)):
        vendors.setdefault(item.owners.get(term.label, term.label), term.label)
    return vendors


def vendor_parts(
    windows: Windows, evidence: Sequence[LadderEvidence], knowledge: Knowledge
) -> dict[int, VendorParts]:
    """Parts of the items that are several devices, by item.

    Parameters
    ----------
    windows
        n items.
    evidence
        (n) Evidence for the levels of each item.
    knowledge
        Owners of names.
    """
    parts: dict[int, VendorParts] = {}
    for item, facts in enumerate(evidence):
        vendors = cloud_vendors(facts)
        if len(vendors) >= LEAST_VENDORS and facts.breadth <= MOST_BREADTH:
            parts[item] = _split(windows.take([item]), vendors, knowledge)
    return parts


def _split(item: Windows, vendors: Mapping[str, str], knowledge: Knowledge) -> VendorParts:
    names = item.counts.filter(pl.col("name").is_not_null() & ~pl.col("name").str.contains(GROUP))["name"].unique()
    owner_of = {
        name: owner
        for name in names
        for fact in knowledge.name(name)
        if fact.subject == "vendor" and (owner := knowledge.owner(fact.value)) in vendors
    }
    by_name = pl.col("name").replace_strict(owner_of, default=None, return_dtype=pl.String)
    rows = item.counts.with_columns(owner=by_name).drop_nulls("owner")
    octets = rows.group_by("owner").agg((pl.col("octets_out") + pl.col("octets_in")).sum().alias("octets"))
    octets = octets.sort("octets", "owner", descending=[True, False])
    total = max(int(octets["octets"].sum()), 1)
    numbers = {owner: number for number, owner in enumerate(octets["owner"])}
    number = pl.col("owner").replace_strict(numbers, return_dtype=pl.UInt32)
    counts = rows.with_columns(item=number).drop("owner").sort("item", maintain_order=True)
    items = pl.concat([item.items] * len(numbers)).with_columns(
        item=pl.int_range(pl.len(), dtype=pl.UInt32), device=pl.Series(list(numbers), dtype=pl.String)
    )
    return VendorParts(
        tuple(vendors[name] for name in numbers), tuple(n / total for n in octets["octets"]), Windows(items, counts)
    )


def shares_of(windows: Windows, item: int, vendors: Mapping[str, str], knowledge: Knowledge) -> dict[str, float]:
    """Share of each vendor in the octets with their clouds, by vendor; none without such traffic."""
    parts = _split(windows.take([item]), vendors, knowledge)
    return dict(zip(parts.vendors, parts.shares, strict=True))


@dataclass(frozen=True)
class NamedPart:
    """A device behind an address, by its host name.

    Parameters
    ----------
    name
        Host name.
    vendor, kind
        What the name tells, as the knowledge pack names it; empty: nothing.
    """

    name: str
    vendor: str
    kind: str


@dataclass
class _Span:
    text: str
    first: datetime
    last: datetime


def named_parts(
    windows: Windows, identity: pl.DataFrame, knowledge: Knowledge
) -> dict[int, tuple[NamedPart, ...]]:  # fmt: skip
    """Devices by host name of the items that are several devices, by item.

    Parameters
    ----------
    windows
        n items.
    identity
        Identity facts of their devices (:data:`ethogram.schema.IDENTITY`); facts without times do not count.
    knowledge
        What names tell.
    """
    kind = pl.col("fact").cast(pl.String)
    rows = identity.filter(
        kind.is_in([*HOST_NAMES, *PRODUCTS]) & pl.col("first").is_not_null() & pl.col("last").is_not_null()
    ).with_columns(kind)
    often = rows.filter(kind.is_in(list(HOST_NAMES))).group_by("device").agg(pl.col("value").n_unique())
    rows = rows.join(often.filter(pl.col("value") > 1).select("device"), on="device", how="semi")
    items = dict(windows.items.select("device", "item").iter_rows())
    spans: dict[int, dict[str, dict[str, _Span]]] = {}
    for device, fact, value, first, last in rows.select("device", "fact", "value", "first", "last").iter_rows():
        if device in items:
            key = _host_key(value) if fact in HOST_NAMES else value
            of_fact = spans.setdefault(items[device], {}).setdefault(fact, {})
            known = of_fact.setdefault(key, _Span(value, first, last))
            known.first, known.last = min(known.first, first), max(known.last, last)
    parts = {item: _named(of_item, knowledge) for item, of_item in sorted(spans.items())}
    return {item: named for item, named in parts.items() if named}


def _host_key(name: str) -> str:
    """A host name without domain, as NetBIOS shortens it."""
    return name.lower().partition(".")[0][:_NETBIOS]


def _named(spans: Mapping[str, Mapping[str, _Span]], knowledge: Knowledge) -> tuple[NamedPart, ...]:
    """The devices of one item, if it is several."""
    parts: dict[str, NamedPart] = {}
    differ = any(len(_together(list(spans.get(fact, {}).values()))) > 1 for fact in PRODUCTS)
    for fact in HOST_NAMES:
        names = list(spans.get(fact, {}).values())
        used = _together(names)
        if len(names) >= LEAST_NAMES and len(used) < LEAST_NAMES:
            ordered = sorted(names, key=lambda span: span.first)
            if ordered[-1].first - ordered[0].last <= SHORT:
                used = ordered
        of_names = [_part(span.text, fact, knowledge) for span in used]
        if len(used) >= LEAST_NAMES or (len(used) > 1 and (differ or _unlike(of_names))):
            begin, end = min(span.first for span in used) - SHORT, max(span.last for span in used) + SHORT
            near = [span for span in names if span.first <= end and span.last >= begin]
            for part in (_part(span.text, fact, knowledge) for span in near):
                parts.setdefault(_host_key(part.name), part)
    return tuple(parts[key] for key in sorted(parts))


def _together(spans: Sequence[_Span]) -> list[_Span]:
    """Values that are in use while another one is."""
    used: dict[int, _Span] = {}
    for (i, first), (j, other) in combinations(enumerate(spans), 2):
        if first.first <= other.last and other.first <= first.last:
            used |= {i: first, j: other}
    return [used[i] for i in sorted(used)]


def _part(name: str, fact: str, knowledge: Knowledge) -> NamedPart:
    facts = knowledge.identity(fact, name)

    def value_of(subject: str) -> str:
        return next((each.value for each in facts if each.subject == subject and each.weight != "weak"), "")

    return NamedPart(name, value_of("vendor"), value_of("kind"))


def _unlike(parts: Sequence[NamedPart]) -> bool:
    """Whether two names tell different vendors or kinds."""
    return any(len({value for value in values if value}) > 1 for values in (
        [part.vendor for part in parts], [part.kind for part in parts],
    ))  # fmt: skip
