"""Make what the package ships: the library of known products, and later windows of some of them for the demo.

    ETHOGRAM_CORPUS=... python benchmarks/packaged_data.py
    python benchmarks/packaged_data.py --learnt

The second only learns the library that is there again, which is needed when the library or a method changes: what it
teaches is shipped beside it, so that no user learns it.

Only figures leave the corpora: counts per hour and service, and registrable domains. Of Stevens and UNSW the earlier
windows are enrolled and the later ones kept to be identified, split as in the tasks ``e4-stevens`` and ``unsw-hours``;
of the other sources each device is one window. Phones, tablets and laptops are left out, for they are people's.

The settings are those of the task ``coarse-networks-names``, so that what ships is what its results page measures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import Items, item_windows
from ethogram.bench.counts.score import splits_of
from ethogram.bench.counts.task import CountTask, count_tasks
from ethogram.config import CountSettings
from ethogram.corpora.card import Card, cards
from ethogram.identify import library_file
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.learnt import write_bundled
from ethogram.pipeline.learnt_ladder import write_bundled_ladder
from ethogram.pipeline.library import PACKAGED

DATA = Path(__file__).parent.parent / "src" / "ethogram" / "data"
MEASURED = "coarse-networks-names"
"""The task whose settings the packaged library has."""
COUNTS = CountSettings(other_protocols=True)
SPLIT = ("e4-stevens", "unsw-hours")
WHOLE = ("aalto_iot_sentinel_2016", "neu_imperial_mud_2019", "neu_behaviot_2021", "cic_iot_2022_interactions",
         "ctu_iot23_benign", "cesnet_nemea_siot", "nku_lifecycle_2025", "uclouvain_2023_firewall",
         "unsw_mud_2018")  # fmt: skip


def identities(items: Items) -> list[Identity | None]:
    """What each item is; None for a person's device."""
    columns = ["model", "vendor", "type", "coarse"]
    return [
        None if coarse == "non-iot" else Identity(model, model, vendor, kind, coarse)
        for model, vendor, kind, coarse in items.truth.select(columns).iter_rows()
    ]


def library(items: Items, card: Card, settings: str) -> Library:
    """The items as a library with their source."""
    source = Source(card.name, settings=settings, licence=card.licence, citation=card.citation)
    return Library.of(items.windows, identities(items), source=source, name="known products")


def split(bench: CountBenchmark, name: str) -> tuple[Items, Items]:
    """Earlier and later items of a task."""
    task: CountTask = count_tasks()[name].model_copy(update={"counts": COUNTS})
    items = bench.items(task, statistics=False)
    parts = splits_of(task, items)[0]
    return items.take(parts.enrol), items.take(parts.test)


def whole(bench: CountBenchmark, name: str) -> Items:
    """One item per device of a source."""
    task = count_tasks()[MEASURED].model_copy(update={"corpora": (name,), "networks": (), "exclude_types": ()})
    return item_windows(bench.task_data(task), "device")


def write_learnt() -> None:
    """Learn the shipped library at each level."""
    for path in DATA.glob("library.learnt-*.npz"):
        path.unlink()
    packaged = library_file.read(DATA / PACKAGED)
    for path in [*write_bundled(packaged, DATA), write_bundled_ladder(packaged, DATA)]:
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def main(arguments: Sequence[str]) -> None:
    """Write all files."""
    if list(arguments) == ["--learnt"]:
        write_learnt()
        return
    root = Path(arguments[0] if arguments else os.environ["ETHOGRAM_CORPUS"])
    known = cards()
    bench = CountBenchmark(root, known)
    products, later = Library(name="known products"), Library(name="later windows")
    for name in SPLIT:
        card = known[count_tasks()[name].corpora[0]]
        early, late = split(bench, name)
        products = products.merge(library(early, card, COUNTS.digest))
        later = later.merge(library(late, card, COUNTS.digest))
    for name in WHOLE:
        products = products.merge(library(whole(bench, name), known[name], COUNTS.digest))
    DATA.mkdir(exist_ok=True)
    for made, file in ((products, "library.jsonl.gz"), (later, "later.jsonl.gz")):
        library_file.write(made, DATA / file)
        size = (DATA / file).stat().st_size
        print(f"{file}: {len(made):,} windows of {len(set(made.labels()))} models, {size:,} bytes")
    write_learnt()


if __name__ == "__main__":
    main(sys.argv[1:])
