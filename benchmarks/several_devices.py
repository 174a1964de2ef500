"""How often several devices behind one address are recognised as such: the page docs/results/several-devices.md.

    ETHOGRAM_CORPUS=... python benchmarks/several_devices.py

Devices of one network are put behind one address: their counts are added up, hour by hour from the first one on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.items import CONDITIONS, LadderItems
from ethogram.bench.ladder.measure import LadderMeasurement, same_kind
from ethogram.corpora.card import cards
from ethogram.fingerprint.count import merge_counts
from ethogram.knowledge.evidence import collect_evidence
from ethogram.pipeline.several import LEAST_PRESENCE, LEAST_VENDORS, MOST_BREADTH, cloud_vendors
from ethogram.report.tables import table_lines
from ethogram.schema import COUNT_KEYS, LadderEvidence, LadderVerdict, Windows

PAGE = Path(__file__).parent.parent / "docs" / "results" / "several-devices.md"
FITTED = ("aalto-2016", "unsw-profiles", "neu-us-2019")
TESTED = ("imperial-uk-2019", "neu-us-2021", "stevens-2019", "uclouvain-2023", "nankai-2024")
MERGED, EACH = range(2, 7), 40
PRESENCES, VENDORS = (0.0, 0.1, 0.2, 0.3, 0.5), (2, 3)
NAMES = next(condition for condition in CONDITIONS if condition.names and not condition.mac)


@dataclass(frozen=True)
class Address:
    """Devices that are put behind one address."""

    network: str
    devices: tuple[int, ...]


def addresses(items: LadderItems, networks: Sequence[str], seed: int) -> list[Address]:
    """Each device alone, and random sets of devices of one network."""
    random = np.random.default_rng(seed)
    drawn: list[Address] = []
    for network in networks:
        devices = [i for i, name in enumerate(items.networks) if name == network]
        drawn += [Address(network, (i,)) for i in devices]
        drawn += [
            Address(network, tuple(sorted(random.choice(devices, number, replace=False).tolist())))
            for number in MERGED if number <= len(devices) for _ in range(EACH)
        ]  # fmt: skip
    return drawn


def merged(items: LadderItems, drawn: Sequence[Address]) -> Windows:
    """One item for each address."""
    begin = items.windows.counts.group_by("item").agg(begin=pl.col("time").min())
    zero = items.windows.counts["time"].min()
    shifted = items.windows.counts.join(begin, on="item").with_columns(time=pl.col("time") - pl.col("begin") + zero)
    members = pl.DataFrame(
        [(i, number) for number, address in enumerate(drawn) for i in address.devices],
        schema={"item": pl.UInt32, "new": pl.UInt32}, orient="row",
    )  # fmt: skip
    counts = shifted.drop("begin").join(members, on="item").with_columns(item="new").drop("new")
    counts = merge_counts(counts.select(items.windows.counts.columns)).sort("item", *COUNT_KEYS[1:])
    first = pl.concat([items.windows.items.head(1)] * len(drawn))
    return Windows(first.with_columns(
        item=pl.int_range(pl.len(), dtype=pl.UInt32), device=pl.Series([f"address {i}" for i in range(len(drawn))])
    ), counts)  # fmt: skip


def recognised(
    evidence: Sequence[LadderEvidence], least: int, presence: float, breadth: int = MOST_BREADTH
) -> np.ndarray:  # fmt: skip
    """Which addresses are recognised as several devices."""
    return np.array([len(cloud_vendors(item, least=presence)) >= least and item.breadth <= breadth
                     for item in evidence])  # fmt: skip


def shares(drawn: Sequence[Address], hit: np.ndarray) -> list[str]:
    """Share recognised as several devices, by the number of devices from 1."""
    number = np.array([len(address.devices) for address in drawn])
    return [f"{hit[number == n].mean():.2f}" + (f" ({hit[number == n].sum()} of {(number == n).sum()})" * (n == 1))
            for n in (1, *MERGED)]  # fmt: skip


def kinds_found(
    measurement: LadderMeasurement, drawn: Sequence[Address], windows: Windows
) -> tuple[int, int, int, int]:  # fmt: skip
    """Kinds stated, right ones of these, kinds behind the recognised addresses, and wrong vendors."""
    items = measurement.items
    stated = right = present = wrong = 0
    for site in sorted({items.sites[address.devices[0]] for address in drawn}):
        mine = [i for i, address in enumerate(drawn) if items.sites[address.devices[0]] == site]
        verdicts: list[LadderVerdict] = measurement.judge_without(site, NAMES).verdicts(windows.take(mine))
        for address, verdict in zip((drawn[i] for i in mine), verdicts, strict=True):
            if verdict.level != "several":
                continue
            truth = [items.truth[i] for i in address.devices]
            kinds = {part.kind for part in verdict.several if part.kind}
            stated += len(kinds)
            right += sum(any(same_kind(kind, each.kind) for each in truth) for kind in kinds)
            present += len({each.kind for each in truth})
            vendors = [measurement.knowledge.vendor(part.vendor) or part.vendor for part in verdict.several]
            wrong += sum(not any(measurement.same_vendor(vendor, each.vendor) for each in truth) for vendor in vendors)
    return stated, right, present, wrong


def main() -> None:
    """Measure and write the page."""
    measurement = LadderBenchmark(Path(os.environ["ETHOGRAM_CORPUS"]), cards()).measurement
    items = measurement.items
    head = ("makers", "presence", "one device: false alarms", *(f"{n} devices" for n in MERGED))
    lines = [HEAD.format(vendors=LEAST_VENDORS, presence=LEAST_PRESENCE, breadth=MOST_BREADTH, each=EACH)]
    for title, networks in (("Networks on which the constants were fitted", FITTED), ("Other networks", TESTED)):
        drawn = addresses(items, networks, 1)
        windows = merged(items, drawn)
        evidence = collect_evidence(windows, measurement.knowledge)
        rows = []
        for least in VENDORS:
            for presence in PRESENCES:
                mark = " (default)" * ((least, presence) == (LEAST_VENDORS, LEAST_PRESENCE))
                rows.append([f"{least}", f"{presence}{mark}", *shares(drawn, recognised(evidence, least, presence))])
        any_breadth = shares(drawn, recognised(evidence, LEAST_VENDORS, LEAST_PRESENCE, 10**6))
        rows.append([f"{LEAST_VENDORS}", f"{LEAST_PRESENCE}, any breadth", *any_breadth])
        lines += [f"## {title}", "", ", ".join(networks) + ".", "", *table_lines(head, rows), ""]
        print(lines[-2], file=sys.stderr)
    stated, right, present, wrong = kinds_found(measurement, drawn, windows)
    cells = [f"{stated}", f"{right} ({right / max(stated, 1):.2f})", f"{present}", f"{right / max(present, 1):.2f}",
             f"{wrong}"]  # fmt: skip
    lines += [
        "## Kinds of the parts", "",
        "Other networks, each laboratory left out of library, weights and thresholds; addresses recognised as several",
        "devices.", "",
        *table_lines(
            ("kinds stated", "right: precision", "kinds behind these addresses", "recall", "vendors wrong"), [cells]
        ),
    ]  # fmt: skip
    PAGE.write_text("\n".join(lines) + "\n")


HEAD = """# Several devices behind one address

```
ETHOGRAM_CORPUS=... python benchmarks/several_devices.py
```

Behind NAT or a repeater several devices share an address. Ethogram states *several devices*, with the maker, the
probable kind and the share of traffic of each, if the address contacts the own clouds of at least {vendors} unrelated
makers, each in at least {presence:.0%} of its hours, and services of at most {breadth} vendors in all.

Each figure is the share of addresses that are recognised as several devices: single devices, and for each number of
devices {each} random sets of one network. Sets of devices of one maker, or of makers whose clouds have no name in the
knowledge pack, cannot be recognised. No corpus has a computer or phone with names of remote ends. The bound on the
number of vendors is meant for these, so its benefit is not measured; the last line of each table shows its cost. A home
automation server that contacts the clouds of several makers looks like several devices.
"""


if __name__ == "__main__":
    main()
