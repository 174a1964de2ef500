"""Memory under two floods: distinct names of one device, and forged devices times many ports.

    python benchmarks/speed/floods.py [--records 5000000] [--points 10] [--json FILE]

Each flood goes through the collector's way (flow stages where it says so, then the fingerprint exporter, in batches)
and through the way of files (one table of counts, then fingerprints), each in a process of its own. A point of a curve
is the resident memory of the process after so many records, beyond what it had after loading and a first batch. All
records lie in one day, so that no epoch closes before the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from ethogram.schema import BIFLOW, FLOW

BATCH = 250_000
T0_US = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000
DAY_US = 86_400_000_000
PORTS, HOSTS = 1_000, 1 << 20
MIB = 1 << 20


def resident(field: str = "VmRSS") -> float:
    """A line of the process's status, in MiB."""
    return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) / 1024


def numbers(first: int, count: int, total: int) -> pl.DataFrame:
    """Number and start of each record of a batch; the records of a flood are spread over one day."""
    row = pl.DataFrame({"row": pl.int_range(first, first + count, eager=True)})
    return row.with_columns(
        start=pl.from_epoch(T0_US + pl.col("row") * (DAY_US // total), time_unit="us").dt.replace_time_zone("UTC")
    )


def flows(first: int, count: int, total: int, flood: str) -> pl.DataFrame:
    """Flows of a flood, as the flow table has them."""
    row = pl.col("row")
    if flood == "names":
        device, domain, port = pl.lit("10.0.0.1"), pl.format("n{}.net", row), pl.lit(443)
    else:
        host = row // PORTS % HOSTS
        device, domain = pl.format("10.{}.{}.{}", host // 65_536, host // 256 % 256, host % 256), pl.lit(None)
        port = row % PORTS * 61 + 1
    words = {"initiator": "device", "role": "client", "scope": "wan"}
    given = {
        "device": device, "device_address": device, "remote": pl.lit("198.51.100.1"), "local_port": pl.lit(40_000),
        "remote_port": port, "protocol": pl.lit(6), "start": pl.col("start"), "end": pl.col("start"),
        "service_port": port, "answered": pl.lit(value=True), "remote_domain": domain, "joined": pl.lit(1),
        **{name: pl.lit(value) for name, value in words.items()},
        **{name: pl.lit(100) for name in ("octets_out", "octets_in", "packets_out", "packets_in")},
    }  # fmt: skip
    columns = [given.get(name, pl.lit(None)).cast(kind).alias(name) for name, kind in FLOW.schema.items()]
    return numbers(first, count, total).select(columns)


def biflows(first: int, count: int, total: int, flood: str) -> pl.DataFrame:
    """The same records as a decoder gives them."""
    as_flows = flows(first, count, total, flood)
    given = {
        "source_address": "device_address", "destination_address": "remote", "source_port": "local_port",
        "destination_port": "remote_port", "destination_name": "remote_domain", "octets": "octets_out",
        "reverse_octets": "octets_in", "packets": "packets_out", "reverse_packets": "packets_in",
        "protocol": "protocol", "start": "start", "end": "end",
    }  # fmt: skip
    columns = [
        (pl.col(given[name]) if name in given else pl.lit(None)).cast(kind).alias(name)
        for name, kind in BIFLOW.schema.items()
    ]
    return as_flows.select(columns)


class Exporting:
    """The collector's fingerprint exporter."""

    def __init__(self) -> None:
        from ethogram.fingerprint.exporter import FingerprintExporter

        self.exporter = FingerprintExporter()

    def add(self, first: int, count: int, total: int, flood: str) -> None:
        self.exporter.feed(flows(first, count, total, flood))

    def end(self) -> tuple[int, Any]:
        table = self.exporter.finish()
        return table.height, self.exporter.accounting


class Collecting(Exporting):
    """The collector's flow stages before it."""

    def __init__(self) -> None:
        from ethogram.config import FlowSettings
        from ethogram.flow.devices import LocalDevices
        from ethogram.pipeline.stages import FlowStages

        super().__init__()
        self.stages = FlowStages(FlowSettings(), LocalDevices(), 1800.0)

    def add(self, first: int, count: int, total: int, flood: str) -> None:
        table = self.stages.flows(biflows(first, count, total, flood), last=first + count >= total)
        self.exporter.feed(table.sort("end", maintain_order=True))


class Gathering:
    """The counts of files."""

    def __init__(self) -> None:
        from ethogram.fingerprint.gather import Gathering as Table

        self.table = Table()

    def add(self, first: int, count: int, total: int, flood: str) -> None:
        self.table.add(flows(first, count, total, flood))

    def end(self) -> tuple[int, Any]:
        from ethogram.fingerprint.exporter import FingerprintExporter

        exporter = FingerprintExporter(max_devices=None)
        table = exporter.whole(self.table.blocks(), self.table.last() or 0)
        return table.height, self.table.accounting


WAYS = {"exporter": Exporting, "files": Gathering, "collector": Collecting}
SHARE = {"exporter": 1.0, "files": 1.0, "collector": 0.4}  # the flow stages are slower, and names are read one by one


def curve(flood: str, way: str, records: int, points: int) -> dict[str, Any]:
    """Resident memory as the records come, and the peak at the end."""
    chain = WAYS[way]()
    batch = max(1, min(BATCH, records // points))
    begin = time.perf_counter()
    curve: list[tuple[int, float]] = []
    rest = resident()
    for first in batches(records, batch):
        chain.add(first, min(batch, records - first), records, flood)
        done = min(first + batch, records)
        if first == 0:
            gc.collect()
            rest = resident()
        if done * points // records > first * points // records:
            gc.collect()
            curve.append((done, round(resident() - rest, 1)))
    fingerprints, accounting = chain.end()
    return {
        "records": records, "mib_before": round(rest, 1), "curve": curve,
        "mib_peak": round(resident("VmHWM") - rest, 1),
        "seconds": round(time.perf_counter() - begin, 1), "fingerprints": fingerprints,
        "accounting": accounting.as_dict(), "balanced": accounting.balanced,
    }  # fmt: skip


def batches(records: int, batch: int) -> Iterator[int]:
    """First record of each batch."""
    yield from range(0, records, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=5_000_000)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--flood", choices=["names", "ports"], help="one flood")
    parser.add_argument("--way", choices=WAYS, help="one way")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(curve(options.flood, options.way, options.records, options.points)))
        return
    report: dict[str, Any] = {"command": f"benchmarks/speed/floods.py --records {options.records}"}
    print("| flood | way | records -> MiB beyond rest | peak, MiB | s | counted |\n|---|---|---|---|---|---|")
    for flood in [options.flood] if options.flood else ["names", "ports"]:
        for way in [options.way] if options.way else WAYS:
            records = max(options.points, int(options.records * SHARE[way]))
            command = [sys.executable, __file__, "--inside", "--flood", flood, "--way", way,
                       "--records", str(records), "--points", str(options.points)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result = json.loads(done.stdout)
            report.setdefault(flood, {})[way] = result
            line = ", ".join(f"{n / 1e6:g} M {mib:,.0f}" for n, mib in result["curve"])
            accounting = result["accounting"]
            counters = {**accounting["ignored"], **accounting["dropped"], **accounting["corrected"]}
            counted = ", ".join(f"{reason} {count:,}" for reason, count in counters.items())
            print(f"| {flood} | {way} | {line} | {result['mib_peak']:,.0f} | {result['seconds']:.0f} | {counted} |",
                  flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
