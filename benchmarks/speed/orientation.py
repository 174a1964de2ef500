"""Flow records to the flow table: devices found, service side decided, cut records joined, names given.

    python benchmarks/speed/orientation.py --records 2000000

Synthetic biflows in Parquet, drawn from a fixed seed: 300 devices with MACs behind one router, 3,000 addresses outside,
records in order of their start over a day; four in five are TCP with a handshake, one in twenty has the two ends in the
wrong order, one in fifty is between two devices, one in fifty was cut at the active timeout, one in three carries a
server's name. No peer does this; the figure is records per second.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.schema import BIFLOW

T0_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def draw(n: int, seed: int = 0) -> pl.DataFrame:
    """Draw n biflows in order of their start."""
    rng = np.random.default_rng(seed)
    device = rng.integers(0, 300, n)
    other = rng.integers(0, 3_000, n)
    inside = np.array([f"192.168.{i >> 7}.{i & 127}" for i in range(1, 301)])
    outside = np.array([f"198.51.{100 + (i >> 8)}.{i & 255}" for i in range(3_000)])
    macs = np.array([f"02:00:5e:00:{i >> 8:02x}:{i & 255:02x}" for i in range(301)])
    hosts = np.array([f"host.example-{i}.com" for i in range(90)])
    between = rng.random(n) < 0.02
    tcp = rng.random(n) < 0.8
    cut = rng.random(n) < 0.02
    port = np.array([443, 80, 8883, 53, 123, 1883, 5223, 49_200])[(device + other) % 8]
    start = np.sort(T0_US + rng.integers(0, 86_400_000_000, n))
    packets = rng.geometric(0.05, n)
    ends = {
        "address": (inside[device], np.where(between, inside[other % 300], outside[other])),
        "port": (rng.integers(32_768, 61_000, n), port),
        "mac": (macs[device], np.where(between, macs[other % 300], macs[300])),
        "name": (np.full(n, ""), np.where(rng.random(n) < 1 / 3, hosts[other % 90], "")),
    }  # fmt: skip
    wrong = rng.random(n) < 0.05
    columns: dict[str, object] = {
        "start": start, "end": start + np.where(cut, 1_800_000_000, rng.exponential(2e7, n)).astype(np.int64),
        "protocol": np.where(tcp, 6, 17), "octets": packets * 90, "packets": packets, "reverse_octets": packets * 400,
        "reverse_packets": packets + 1, "end_reason": np.where(cut, 2, 3),
    }  # fmt: skip
    for part, (near, far) in ends.items():
        columns[f"source_{part}"] = np.where(wrong, far, near)
        columns[f"destination_{part}"] = np.where(wrong, near, far)
    frame = pl.DataFrame(columns)
    flags = {"initial_tcp_flags": np.where(wrong, 18, 2), "reverse_initial_tcp_flags": np.where(wrong, 2, 18),
             "union_tcp_flags": np.full(n, 27), "reverse_union_tcp_flags": np.full(n, 27)}  # fmt: skip
    frame = frame.with_columns(
        pl.when(pl.Series(tcp)).then(pl.Series(values)).alias(name) for name, values in flags.items()
    )
    return BIFLOW.conform(
        frame.with_columns(
            *(pl.from_epoch(c, time_unit="us").dt.replace_time_zone("UTC") for c in ("start", "end")),
            *(pl.col(c).replace("", None) for c in ("source_name", "destination_name")),
        )
    )


def measured(path: Path, repeat: int) -> dict[str, float]:
    """Seconds to read and orient the file, best of several, with the processor time of that one."""
    from ethogram.pipeline.flows import read_flows

    best: dict[str, float] = {}
    for _ in range(repeat):
        begin, used = time.perf_counter(), time.process_time()
        run = read_flows([path])
        rows = sum(batch.height for batch in run.batches())
        seconds, cpu = time.perf_counter() - begin, time.process_time() - used
        if not best or seconds < best["seconds"]:
            best = {"seconds": seconds, "processor_s": cpu, "rows": rows}
    best["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--only", action="store_true", help="measure --file in this process")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.file, options.repeat)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or Path(folder) / "biflows.parquet"
        if not path.exists():
            draw(options.records).write_parquet(path, row_group_size=1 << 18)
        done = subprocess.run(
            [sys.executable, __file__, "--only", "--file", str(path), "--repeat", str(options.repeat)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    result = json.loads(done.stdout)
    n = options.records
    print(
        f"{n:,} records: {result['seconds']:.2f} s, {n / result['seconds'] / 1e6:.2f} M records/s; "
        f"processor {result['processor_s']:.2f} s, {n / result['processor_s'] / 1e6:.2f} M records/s of one core; "
        f"{result['peak_mib']:,.0f} MiB peak, {result['rows']:,.0f} rows"
    )
    if options.json:
        options.json.write_text(json.dumps({"records": n, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
