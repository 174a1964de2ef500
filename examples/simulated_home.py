"""From flows to verdicts in a few lines: a simulated home, three of its days enrolled and one identified.

python examples/simulated_home.py
"""

from __future__ import annotations

import polars as pl

from ethogram.config import FlowSettings
from ethogram.fingerprint.count import count
from ethogram.flow.devices import LocalDevices
from ethogram.flow.local import LocalNetwork
from ethogram.flow.orient import Orientation
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Source
from ethogram.pipeline.identify import ObservedWindows, enrol, identify
from ethogram.simulate import SimulatedHome


def main() -> None:
    """Print what each device is."""
    home = SimulatedHome(days=4)
    biflows = pl.concat(home.batches()).with_columns(joined=pl.lit(1, dtype=pl.UInt32))
    orientation = Orientation(LocalNetwork(FlowSettings().local), LocalDevices())
    counts, accounting = count(orientation.rows(biflows))
    print(accounting.line())
    seen = ObservedWindows.of_counts(counts, 86_400)
    last = seen.windows.items["start"].max()
    early = seen.take(seen.windows.items.filter(pl.col("start") < last)["item"].to_list())
    today = seen.take(seen.windows.items.filter(pl.col("start") == last)["item"].to_list())
    labels = [Label(home.mac_of(device), Identity(device.label)) for device in home.devices[:10]]
    library, report = enrol(early, labels, source=Source("simulated home"))
    print(*report.lines(), sep="\n")
    for verdict in identify(today, library, simulated=True).devices:
        print(f"{verdict.device:18}  {verdict.verdict:16}  {verdict.score:.2f}  {verdict.reason}")


if __name__ == "__main__":
    main()
