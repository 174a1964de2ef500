"""A small own library beside the packaged one: how often other devices get the name of one of your devices.

    ETHOGRAM_CORPUS=... python benchmarks/own_beside_packaged.py > docs/results/own-beside-packaged.md

The first windows of three devices, or of half of the devices, of a network are enrolled as the own library; later
windows of all devices are identified. In one run the packaged library is learnt without the network; in the other it
holds earlier windows of it, so that each device is one of its products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from own_library import NETWORKS, Network, benchmark, first_windows

from ethogram.bench.counts.items import Items
from ethogram.identify.library import Library
from ethogram.identify.verdict import VerdictModel
from ethogram.pipeline.contradiction import AHEAD, MOST_LOST, limit_of
from ethogram.pipeline.library import by_source, devices_of, open_library
from ethogram.pipeline.verdicts import build, settings_for
from ethogram.report.tables import table_lines

ENROLLED = (1, 2, 5)
MOST = 300
"""Later windows that are identified, drawn at random."""
ROUNDS = {"3 devices": 3, "half of the devices": 2}
LIMITS = (0.0, 1.0, 2.0, 3.0)
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Claims:
    """Labels that own libraries of one network give to later windows; columns of n items.

    Parameters
    ----------
    network, own, without
        Network, size of the own library, and whether the packaged library is learnt without the network.
    known
        Whether the device is enrolled.
    named
        Whether the verdict of the own library alone is a label.
    right
        Whether that label is the device's own, or that of a device of its platform.
    ahead
        Nats by which a packaged product is ahead; minus infinity where the packaged library names none, or the one
        that is nearest to the own device.
    """

    network: str
    own: str
    without: bool
    known: Flags
    named: Flags
    right: Flags
    ahead: NDArray[np.float64]

    def contradicted(self, limit: float) -> Flags:
        """Own labels that are contradicted at a limit."""
        return self.named & (self.ahead > limit)


def packaged(source: str, *, without: bool) -> tuple[VerdictModel, Library]:
    """The packaged library, with or without a network, and a model fitted on it."""
    entries = [
        entry for entry in open_library().entries if not (without and source in {o.source for o in entry.observed})
    ]
    library, settings = Library(tuple(entries)), settings_for("cross-network")
    model = VerdictModel(build(settings), settings)
    return model.fit(library.windows(), library.labels("label"), by_source(library), units=devices_of(library)), library


def claims_of(network: Network, *, without: bool) -> Iterator[Claims]:
    """All own libraries of a network."""
    rng = np.random.default_rng(1)
    items = benchmark().items(network.task, statistics=False)
    items = items.take(np.flatnonzero(~np.isin(items.labels("id"), list(network.users))))
    source = network.task.corpora[0]
    model, library = packaged(source, without=without)
    ends = [seen.end for entry in library.entries for seen in entry.observed if seen.source == source]
    device, start = items.labels("id"), np.array(items.truth["start"].dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list())
    for number in ENROLLED:
        first, later = first_windows(items, number)
        if ends:
            later = later[start[later] >= max(str(end) for end in ends)]
        if not later.size:
            continue
        names = np.array(sorted(set(device[later].tolist())))
        asked = items.take(rng.choice(later, MOST, replace=False) if later.size > MOST else later)
        for own, count in ROUNDS.items():
            for _ in range(count):
                size = 3 if own == "3 devices" else len(names) // 2
                enrolled_names = rng.permutation(names)[:size]
                enrol = items.take(first[np.isin(device[first], enrolled_names)])
                yield claims(network, own, model, enrol, asked, without=without)


def claims(network: Network, own: str, model: VerdictModel, enrol: Items, asked: Items, *, without: bool) -> Claims:
    """Labels that one own library gives."""
    settings = settings_for("evidence")
    labels, truth = enrol.labels("id"), asked.labels("id")
    mine = VerdictModel(build(settings), settings).fit(enrol.windows, labels.tolist()).decide(asked.windows)
    other = model.decide(asked.windows)
    products = np.array(model.identifier.labels_)
    nearest = products[model.identifier.decision_function(enrol.windows).argmax(axis=1)]
    ratios = model.identifier.ratios_of(asked.windows, enrol.windows)  # type: ignore[attr-defined]
    ahead = np.full(len(truth), -np.inf)
    claimed = np.array(mine.labels)[mine.best]
    for i, label in enumerate(claimed):
        if not other.unknown[i] and products[other.best[i]] not in nearest[labels == label]:
            ahead[i] = other.raw[i].max() - ratios[i, labels == label].max()
    platform = np.array([network.platform.get(name, name) for name in truth])
    of_label = np.array([network.platform.get(name, name) for name in claimed])
    return Claims(network.title, own, without, np.isin(truth, labels), ~mine.unknown, of_label == platform, ahead)


def concatenate(parts: Sequence[Claims]) -> Claims:
    """Several own libraries as one table."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts])
               for name in ("known", "named", "right", "ahead")}  # fmt: skip
    return Claims(parts[0].network, parts[0].own, parts[0].without, **columns)


def row(part: Claims) -> list[str]:
    """One line of the first table."""
    after = part.named & ~part.contradicted(AHEAD)
    cells = [part.network, part.own]
    for known in (True, False):
        mine = part.known == known
        cells.append(f"{mine.sum():,}")
        for named in (part.named, after):
            count = int((named & (part.right == known) & mine).sum())
            cells.append(f"{count:,} ({count / max(mine.sum(), 1):.1%})")
    return cells


HEAD = """# Your own library beside the packaged one

Made by `benchmarks/own_beside_packaged.py`; do not edit.

```
ETHOGRAM_CORPUS=FOLDER python benchmarks/own_beside_packaged.py > docs/results/own-beside-packaged.md
```

A library of few devices gives a new device the name of the nearest one. Where the packaged library names another
product, both labels are compared by the log likelihood ratio of *same product* between networks: that of the item and
the enrolled windows of the own label, and that of the item and the packaged product. The own label is contradicted if
the product is more than {ahead:g} nats ahead, unless the enrolled windows of the own label are nearest to that product,
too.

The first 1, 2 and 5 windows of three devices, or of half of the devices, are enrolled; up to {most} later windows of
all devices are identified with each of several own libraries. *Before* is without the rule. The label of another device
of the same platform (two Kasa devices) is not counted as false.
"""
COLUMNS = ("network", "own library", "windows of own devices", "own name, right: before", "after",
           "windows of strangers", "own name, false: before", "after")  # fmt: skip
LIMIT = """## The limit

Own labels that are contradicted, over both packaged libraries and all own libraries, by the limit in nats. *Learnt
without it* is the limit that is learnt of the packaged library without the network: of its own windows, each against
the others of its product and corpus, at most {lost:.0%} are contradicted, as many known devices as may be called
unknown (`limit_of` in `ethogram.pipeline.contradiction`). *Then* is the number of labels that it contradicts. The limit
in use, {ahead:g}, is that of the whole packaged library; no identified window decides it.
"""


def main() -> None:
    """Print the page."""
    runs: dict[bool, list[Claims]] = {True: [], False: []}
    limits = {}
    for network in NETWORKS:
        model, library = packaged(network.task.corpora[0], without=True)
        limits[network.title] = limit_of(library, model)
    for without in runs:
        for network in NETWORKS:
            if without or network.title != NETWORKS[-1].title:  # all windows of the last one are packaged
                parts = list(claims_of(network, without=without))
                runs[without] += [concatenate([part for part in parts if part.own == own]) for own in ROUNDS]
    print(HEAD.format(ahead=AHEAD, most=MOST))
    for without, title in ((True, "The packaged library without the network"), (False, "The product is packaged")):
        print("\n".join([f"## {title}", "", *table_lines(COLUMNS, map(row, runs[without])), ""]))
    print(LIMIT.format(ahead=AHEAD, lost=MOST_LOST))
    rows: list[list[str]] = []
    every = runs[True] + runs[False]
    for network in NETWORKS:
        mine = [part for part in every if part.network == network.title]
        limit = limits[network.title]
        for name, wanted in (("right", True), ("false", False)):
            def lost(limit: float, wanted: bool = wanted, mine: Sequence[Claims] = mine) -> str:
                of = sum(int((part.named & (part.right == wanted)).sum()) for part in mine)
                return f"{sum(int((p.contradicted(limit) & (p.right == wanted)).sum()) for p in mine)} of {of:,}"

            rows.append([network.title, name, *map(lost, LIMITS), f"{limit:.2f}", lost(limit)])
    head = ("network", "own labels", *(f"{limit:g}" for limit in LIMITS), "learnt without it", "then")
    print("\n".join(table_lines(head, rows)))


if __name__ == "__main__":
    main()
