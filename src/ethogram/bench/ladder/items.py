"""Devices of all corpora with their true vendor and kind, and what is at hand about each in the first minute.

A device is one item with all of its traffic. Captures of one laboratory are one site, and units that moved between
sites are left out of enrolment when their other site is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import item_windows
from ethogram.bench.counts.task import CountTask, count_tasks
from ethogram.corpora.card import Card
from ethogram.corpora.platforms import platforms_of_product
from ethogram.identify.library import Identity
from ethogram.knowledge.tables import Knowledge
from ethogram.schema import GROUP, IDENTITY, Windows

__all__ = ["CONDITIONS", "Condition", "LadderItems", "Truth", "ladder_items", "ladder_task"]

SITES = {
    "neu-us-2019": "neu", "neu-us-2021": "neu", "vpn-us": "neu", "imperial-uk-2019": "imperial", "vpn-uk": "imperial",
    "unsw-2016": "unsw", "unsw-profiles": "unsw",
}  # fmt: skip
"""Networks of one laboratory; other networks are sites of their own, and other VPN exits are never tested."""
VPN = "vpn"
NO_VENDOR = ("generic", "smart", "android")
"""Vendors of the cards that name no company."""
PERSONAL = {"android-phone": "phone", "iphone": "phone", "laptop": "laptop", "samsung-galaxy-tab": "tablet"}
"""Kinds of the devices that the cards call non-IoT."""


@dataclass(frozen=True)
class Condition:
    """What is at hand about a device: names that it contacts, and its MAC."""

    name: str
    names: bool
    mac: bool


CONDITIONS = (
    Condition("names and MAC", names=True, mac=True), Condition("names", names=True, mac=False),
    Condition("MAC", names=False, mac=True), Condition("neither", names=False, mac=False),
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What a device is; an empty vendor is one that cannot be scored, and so is a platform that is left out."""

    model: str
    vendor: str
    kind: str
    platforms: Mapping[str, bool] = field(default_factory=dict)


@dataclass
class LadderItems:
    """Devices with their truth.

    Parameters
    ----------
    windows
        One item per device.
    truth
        (n) What each is.
    networks, sites, units
        (n) Network, laboratory and unit of each.
    identity
        MACs of the devices (:data:`ethogram.schema.IDENTITY`).
    personal
        (n) Whether each is a person's device, which is tested but never enrolled.
    digest
        Digest of the data.
    """

    windows: Windows
    truth: list[Truth]
    networks: list[str]
    sites: list[str]
    units: list[str]
    identity: pl.DataFrame
    personal: list[bool]
    digest: str

    def __len__(self) -> int:
        return len(self.truth)

    def seen(self, condition: Condition) -> Windows:
        """The items as they are seen under a condition."""
        if condition.names:
            return self.windows
        group = pl.when(pl.col("name").str.contains(GROUP)).then("name")
        return Windows(self.windows.items, self.windows.counts.with_columns(name=group))

    @property
    def tested_sites(self) -> list[str]:
        """Sites whose devices are tested."""
        return sorted(set(self.sites) - {VPN})

    def tested(self, site: str) -> list[int]:
        """Items of a site that are tested."""
        return [
            i for i, (name, network) in enumerate(zip(self.sites, self.networks, strict=True))
            if name == site and not network.startswith(VPN)
        ]  # fmt: skip

    def enrolled(self, left_out: Sequence[str], tested: Sequence[int], vendor: str = "") -> list[int]:
        """Items that may be enrolled: of other sites, other units, other vendors, and no person's device."""
        units = {self.units[i] for i in tested}
        return [
            i for i in range(len(self))
            if self.sites[i] not in left_out and self.units[i] not in units and not self.personal[i]
            and (not vendor or self.truth[i].vendor != vendor)
        ]  # fmt: skip

    def identities(self, items: Sequence[int]) -> list[Identity]:
        """Identities of items, as a library has them."""
        return [Identity(t.model, t.model, t.vendor, t.kind) for t in (self.truth[i] for i in items)]


def ladder_task(cards: Mapping[str, Card]) -> CountTask:
    """The task whose data are the devices of all corpora."""
    return count_tasks()["coarse-networks-names"].model_copy(
        update={"corpora": tuple(sorted(cards)), "networks": (), "exclude_types": ()}
    )


def ladder_items(bench: CountBenchmark, cards: Mapping[str, Card], knowledge: Knowledge) -> LadderItems:
    """All devices of all corpora, people's devices included."""
    data = bench.task_data(ladder_task(cards))
    items = item_windows(data, "device")
    rows = items.truth
    truth = [
        Truth(
            model,
            "" if vendor in NO_VENDOR else knowledge.vendor(vendor) or vendor,
            PERSONAL.get(model, kind) if coarse == "non-iot" else kind,
            platforms_of_product(model),
        )
        for model, vendor, kind, coarse in rows.select("model", "vendor", "type", "coarse").iter_rows()
    ]
    networks = rows["network"].to_list()
    macs = {(card.name, device.id): device.mac for card in cards.values() for device in card.devices if device.mac}
    stated = [
        {"device": device, "mac": mac, "fact": "mac", "value": mac, "source": "card", "times": 1}
        for device, corpus, name in zip(items.windows.items["device"], rows["corpus"], rows["id"], strict=True)
        if (mac := macs.get((corpus, name))) is not None
    ]
    identity = pl.DataFrame(stated, schema_overrides=dict(IDENTITY.schema)) if stated else IDENTITY.empty()
    return LadderItems(
        windows=items.windows, truth=truth, networks=networks, sites=[_site(name) for name in networks],
        units=rows["unit"].to_list(), identity=identity, personal=[c == "non-iot" for c in rows["coarse"]],
        digest=data.digest,
    )  # fmt: skip


def _site(network: str) -> str:
    return SITES.get(network, VPN if network.startswith(VPN) else network)
