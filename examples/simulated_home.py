"""From flow records to verdicts in a few lines: a simulated home, three of its days enrolled and one identified.

python examples/simulated_home.py
"""

from __future__ import annotations

import polars as pl

import ethogram
from ethogram.simulate import SimulatedHome

LAST_DAY = "2026-01-08"


def main() -> None:
    """Print what each device is."""
    home = SimulatedHome(days=4)
    biflows = pl.concat(home.batches())
    labels = {home.mac_of(device): device.label for device in home.devices[:10]}
    library = ethogram.enrol(biflows, labels, source="simulated home", time_to=LAST_DAY)
    print(f"{len(library)} windows of {len(set(library.labels()))} labels enrolled")
    for verdict in ethogram.identify(biflows, library=library, time_from=LAST_DAY).devices:
        print(f"{verdict.device:18}  {verdict.verdict:16}  {verdict.score:.2f}  {verdict.reason}")


if __name__ == "__main__":
    main()
