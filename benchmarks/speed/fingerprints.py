"""Parquet flows to daily fingerprints, beside a hand-written DuckDB query of the same counts in the same run.

    python benchmarks/speed/fingerprints.py --flows 10000000

Synthetic flows, drawn from fixed seeds: 300 devices with 11,111 flows a day each (100 M flows are 30 days). A device
has 30 services, each of its own port and one of 60 domains; the k-th is used about 0.85 times as often as the one
before it, a third of them by UDP, a quarter inside the network. One flow in a hundred has a random high port, one in
twenty is a probe from outside that is never answered, one in a hundred is neither TCP nor UDP. Starts are uniform,
durations exponential with a mean of 20 s, and rows are in order of their end, as a meter writes them. A few million are
drawn; more are the same row groups again under later dates, so 100 M flows need no 100 M draws. ``--days`` spreads the
same flows over more days, which makes more counts of fewer flows each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from ethogram.schema import FLOW

GROUP = 1 << 20
T0_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
DEVICES, SERVICES = 300, 30
PER_DAY = DEVICES * 11_111

DUCKDB = """
select device, time_bucket(interval 1 hour, start) as time, protocol, service_port as port, role, scope, answered,
       remote_domain as name, count(*) as flows, sum(octets_out) as octets_out, sum(octets_in) as octets_in,
       sum(packets_out) as packets_out, sum(packets_in) as packets_in,
       sum(greatest(date_diff('millisecond', start, "end"), 0)) as duration_ms
from read_parquet('{path}')
where protocol in (6, 17) and not (initiator = 'remote' and not answered)
group by all
"""


def draw(n: int, seed: int, first_us: int, days: float) -> pl.DataFrame:
    """Draw n flows of the flow table, sorted by end as a meter writes them."""
    rng = np.random.default_rng(seed)
    device = rng.integers(0, DEVICES, n)
    rank = np.minimum(rng.geometric(0.15, n), SERVICES)
    port = np.where(rng.random(n) < 0.01, rng.integers(1024, 65536, n), (rank * 443 + device % 7 * 11) % 9000 + 1)
    start = first_us + rng.integers(0, int(days * 86_400_000_000), n)
    end = start + rng.exponential(2e7, n).astype(np.int64)
    probe = rng.random(n) < 0.05
    protocol = np.where(rng.random(n) < 0.01, 1, np.where(rank % 3 == 0, 17, 6))
    domain = (device * 7 + rank) % 60
    macs = np.array([f"02:00:5e:00:{i >> 8:02x}:{i & 255:02x}" for i in range(DEVICES)])
    domains = np.array([f"service-{i}.example-{i % 9}.com" for i in range(60)])
    inside = np.array([f"192.168.{i >> 7}.{i & 127}" for i in range(DEVICES)])
    outside = np.array([f"198.51.100.{i * 4 % 250}" for i in range(60)])
    packets = rng.geometric(0.05, n)
    order = np.argsort(end, kind="stable")
    frame = pl.DataFrame({
        "device": macs[device], "device_address": inside[device], "remote": outside[domain],
        "local_port": rng.integers(32768, 61000, n), "remote_port": port, "protocol": protocol, "start": start,
        "end": end, "octets_out": packets * 90, "octets_in": packets * 400, "packets_out": packets,
        "packets_in": packets + 1, "first_flags_out": np.full(n, 2), "first_flags_in": np.full(n, 18),
        "initiator": np.where(probe, "remote", "device"), "service_port": np.where(protocol == 1, 0, port),
        "role": np.where(probe, "server", "client"), "scope": np.where(rank % 4 == 0, "lan", "wan"),
        "answered": ~probe, "end_reason": np.full(n, 3), "joined": np.ones(n, dtype=np.int64),
        "remote_name": domains[domain], "remote_domain": domains[domain],
    }).with_columns(
        pl.when(pl.col("scope") == "wan").then(pl.col(c)).alias(c) for c in ("remote_name", "remote_domain")
    )  # fmt: skip
    timed = frame[order].with_columns(
        pl.from_epoch(name, time_unit="us").dt.replace_time_zone("UTC") for name in ("start", "end")
    )
    absent = [pl.lit(None).alias(column.name) for column in FLOW.columns if column.name not in timed.columns]
    return timed.with_columns(absent).select(FLOW.names).cast(FLOW.schema)  # type: ignore[arg-type]


def write(path: Path, flows: int, days: float | None = None, drawn: int = 4 * GROUP) -> None:
    """Write a flow table of this many rows, in row groups by time."""
    groups = -(-flows // GROUP)
    kinds = max(1, min(groups, drawn // GROUP))
    span = (days or flows / PER_DAY) / groups
    base = [draw(GROUP, seed, T0_US, span) for seed in range(kinds)]
    writer = None
    for g in range(groups):
        shift = pl.duration(microseconds=int(g * span * 86_400_000_000))
        part = base[g % kinds].head(min(GROUP, flows - g * GROUP)).with_columns(
            pl.col("start") + shift, pl.col("end") + shift
        )  # fmt: skip
        table = part.cast({"initiator": pl.String, "role": pl.String, "scope": pl.String}).to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()


def ours(path: str) -> dict[str, float]:
    """Flows to fingerprints by the package."""
    from ethogram.pipeline.fingerprints import fingerprint

    begin = time.perf_counter()
    run = fingerprint(path)
    return {"seconds": time.perf_counter() - begin, "flows": run.accounting.read, "rows": run.table.height}


def counting(path: str) -> dict[str, float]:
    """Flows to counts by the package."""
    from ethogram.config import CountSettings
    from ethogram.pipeline.counts import count_inputs

    begin = time.perf_counter()
    counted = count_inputs(path, CountSettings())
    counts, accounting = counted.gathering.counts(), counted.accounting
    return {"seconds": time.perf_counter() - begin, "flows": accounting.read, "rows": counts.height}


def peer(path: str) -> dict[str, float]:
    """Flows to the same counts by DuckDB."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"set threads = {os.cpu_count() or 2}; set timezone = 'UTC'")
    begin = time.perf_counter()
    rows = connection.sql(DUCKDB.format(path=path)).to_arrow_table().num_rows
    return {"seconds": time.perf_counter() - begin, "rows": rows}


def measured(what: str, path: Path) -> dict[str, float]:
    """One measurement in a process of its own, with its peak memory and the load of the machine before it."""
    load = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, __file__, "--only", what, "--file", str(path)], capture_output=True, text=True, check=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return {**result, "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", type=int, default=10_000_000)
    parser.add_argument("--days", type=float)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["fingerprints", "counts", "duckdb"])
    options = parser.parse_args()
    if options.only:
        work = {"fingerprints": ours, "counts": counting, "duckdb": peer}[options.only]
        result = work(str(options.file))
        # VmHWM begins anew with the program; getrusage would give the parent's peak, who drew the flows.
        status = Path("/proc/self/status").read_text()
        result["processor_s"] = time.process_time()
        result["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "flows.parquet"
        if not path.exists():
            write(path, options.flows, options.days)
        flows = pq.ParquetFile(path).metadata.num_rows
        print(f"{flows:,} flows, {path.stat().st_size / 2**20:,.0f} MiB of Parquet, {os.cpu_count()} cores")
        best: dict[str, dict[str, float]] = {}
        has_peer = find_spec("duckdb") is not None
        if not has_peer:
            print("duckdb        not installed (pip install 'ethogram[speed]')")
        for _ in range(options.repeat):
            for what in (*(["duckdb"] if has_peer else []), "counts", "fingerprints"):
                result = measured(what, path)
                if what not in best or result["seconds"] < best[what]["seconds"]:
                    best[what] = result
        for what, result in best.items():
            rate = flows / result["seconds"] / 1e6
            beside = f"{result['seconds'] / best['duckdb']['seconds']:5.2f} x DuckDB's time  " if has_peer else ""
            print(
                f"{what:<13} {result['seconds']:6.2f} s  {rate:6.2f} M flows/s  {beside}"
                f"processor {result['processor_s']:6.2f} s  "
                f"{result['peak_mib']:6,.0f} MiB peak  {result['rows']:,.0f} rows  load before {result['load']:.1f}"
            )
        if options.json:
            report = {"flows": flows, "cores": os.cpu_count(), **best}
            options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
