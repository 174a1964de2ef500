"""Detect several devices behind one address (NAT, repeaters) by the clouds of unrelated vendors that it contacts.

A smart-home device contacts the cloud of its vendor regularly. An address that regularly contacts clouds of three
vendors without a common owner is therefore several devices. Applications on computers and phones contact many clouds:
an address that contacts services of more vendors than a few appliances do is not reported as several devices. Accuracy:
``benchmarks/several_devices.py`` and ``docs/results/several-devices.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ethogram.knowledge.evidence import PRESENCE_POWER
from ethogram.knowledge.tables import Knowledge
from ethogram.schema import GROUP, LadderEvidence, Windows

__all__ = ["LEAST_PRESENCE", "LEAST_VENDORS", "MOST_BREADTH", "SCORE", "VendorParts", "cloud_vendors", "vendor_parts"]

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
