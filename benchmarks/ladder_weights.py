"""Fit the weights of the ladder that the package ships, on all corpora.

    ETHOGRAM_CORPUS=... python benchmarks/ladder_weights.py

Each site is judged without its own devices; see :mod:`ethogram.bench.ladder`. The behaviour of kinds is fitted on the
packaged library, so run this after ``packaged_data.py`` and ``studies/knowledge_pack.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.measure import fit_on
from ethogram.corpora.card import cards
from ethogram.identify.behaviour import Behaviour
from ethogram.identify.ladder_file import LadderFile, write_ladder
from ethogram.pipeline.library import open_library

FILE = Path(__file__).parent.parent / "src" / "ethogram" / "data" / "ladder.json"


def main() -> None:
    """Write the file."""
    root = Path(os.environ["ETHOGRAM_CORPUS"])
    measurement = LadderBenchmark(root, cards(), on_stage=lambda line: print(line, file=sys.stderr)).measurement
    items = measurement.items
    weights = fit_on(measurement, items.tested_sites)
    library = open_library()
    kinds = [entry.identity.type for entry in library.entries]
    behaviour = Behaviour().fit(library.windows(), kinds)
    provenance = {
        "command": "python benchmarks/ladder_weights.py", "data": items.digest, "library": library.digest,
        "sites": " ".join(items.tested_sites), "devices": str(sum(len(items.tested(s)) for s in items.tested_sites)),
    }  # fmt: skip
    write_ladder(LadderFile(weights, behaviour, provenance), FILE)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes; thresholds {dict(weights.thresholds)}")


if __name__ == "__main__":
    main()
