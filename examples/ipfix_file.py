"""Export a simulated home as IPFIX into a file, with a tenth of the messages lost, and read it back as a flow table.

python examples/ipfix_file.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from ethogram.pipeline.flows import collect, read_flows
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.impairment import Impairment
from ethogram.simulate.send import write


def main() -> None:
    """Print what was sent, what was read, and the busiest devices."""
    exporter, network = FlowExporter(ExportSettings(protocol="ipfix")), Impairment(loss=0.1, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "home.ipfix"
        written = write(network(exporter.messages(SimulatedHome(days=2).batches())), file)
        run = read_flows([file])
        flows = collect(run)
    sent, lost = exporter.sent, network.lost
    print(f"sent {sent.flows:,} flow records, lost {lost['flows']:,}, written {written.flows:,}")
    for report in run.reports:
        print(f"{report.format}: {report.accounting.line()}", *report.notes, sep="\n  ")
    busiest = flows.group_by("device").agg(
        flows=pl.len(), octets=pl.sum("octets_out") + pl.sum("octets_in"), services=pl.n_unique("service_port")
    )
    print(busiest.sort("octets", descending=True).head(5))


if __name__ == "__main__":
    main()
