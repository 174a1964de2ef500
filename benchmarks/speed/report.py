"""The page of speed from the measurements kept in benchmarks/results.

python benchmarks/speed/report.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "results" / "speed.md"


def read(name: str) -> Any:
    """One file of measurements."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows() -> list[tuple[str, str, str, str, str, str]]:
    """Figure, goal, ours, peer, ratio, command."""
    captures, prints, orient, identify = (read(n) for n in ("captures", "fingerprints", "orientation", "identify"))
    nfstream, softflowd = captures["peers"]["nfstream"], captures["peers"]["softflowd"]
    largest = captures["curve"][-1]
    ours, counts, duck = prints["fingerprints"], prints["counts"], prints["duckdb"]
    flows, by = prints["flows"], "benchmarks/speed"
    packets = largest["packets"] / largest["cpu_s"] / 1e6
    records = orient["records"] / orient["processor_s"] / 1e6
    return [
        ("captures to flows, beside nfstream", ">= 8 x", f"{packets:.1f} M packets/s",
         "nfstream", f"{nfstream['ratio']:.1f} x", f"{by}/captures.py"),
        ("captures to flows, beside softflowd", ">= 0.5 x", "as above", "softflowd", f"{softflowd['ratio']:.1f} x",
         f"{by}/captures.py"),
        ("memory from 0.1 to 10 M packets", "flat",
         f"{captures['curve'][0]['rss_mib']:.0f} to {largest['rss_mib']:.0f} MiB", "", "", f"{by}/captures.py"),
        ("records to the flow table", ">= 1 M/s of one core",
         f"{records:.2f} M/s of processor time", "", "", f"{by}/orientation.py"),
        (f"{flows / 1e6:.0f} M flows to fingerprints", ">= 5 M/s on two cores",
         f"{flows / ours['seconds'] / 1e6:.1f} M/s ({ours['seconds']:.1f} s, processor {ours['processor_s']:.1f} s)",
         f"DuckDB {duck['seconds']:.1f} s, processor {duck['processor_s']:.1f} s",
         f"{ours['seconds'] / duck['seconds']:.2f} x its time (goal 1.5)", f"{by}/fingerprints.py --flows {flows}"),
        ("the same counts alone", "<= 1.5 x DuckDB's time", f"{counts['seconds']:.1f} s",
         f"DuckDB {duck['seconds']:.1f} s", f"{counts['seconds'] / duck['seconds']:.2f} x", f"{by}/fingerprints.py"),
        ("peak memory of it", "< 2,048 MiB", f"{ours['peak_mib']:,.0f} MiB", f"DuckDB {duck['peak_mib']:,.0f} MiB", "",
         f"{by}/fingerprints.py"),
        ("100,000 fingerprints by 1,000", "< 10 s, exact", f"{identify['ours_s']:.1f} s",
         f"NumPy {identify['numpy_s']:.1f} s", f"{identify['numpy_s'] / identify['ours_s']:.1f} x faster",
         f"{by}/identify.py"),
    ]  # fmt: skip


def main() -> None:
    head = ("Figure", "Goal", "Ours", "Peer", "Ratio", "Command")
    load = read("fingerprints")["load"]
    lines = [
        "# Speed", "",
        "Each figure beside its peer in one run on one machine: two cores, x86-64, 24 GiB, which other work shared "
        f"(load {load:.1f} after the run of the fingerprints), so wall times are upper bounds and processor time "
        "stands beside them. The flows are drawn; how is told at the head of each program.", "",
        f"| {' | '.join(head)} |", f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows()), "",
    ]  # fmt: skip
    PAGE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
