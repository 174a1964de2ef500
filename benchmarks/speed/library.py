"""A large library of own devices: learning it once, and identifying by what was learnt, each in its own process.

    python benchmarks/speed/library.py [--labels 500] [--days 20] [--later 2] [--folder F] [--json FILE]

The library has ``labels`` devices of ``days`` daily windows each (:mod:`made_library`); ``later`` further days of every
device are identified. *Learn* reads the library file, learns it by the default method and for all levels, and writes
what it learnt beside it; *identify* opens the library, reads what was learnt, and makes a verdict at all levels with
evidence for each day. With ``--folder``, the material is kept there and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from made_library import identities, made_library, made_windows

from ethogram.identify import library_file
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import identify_by_library, learn
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.library import open_library
from ethogram.pipeline.verdicts import settings_for
from ethogram.pipeline.windows import ObservedWindows
from ethogram.schema import Windows


def make(folder: Path, labels: int, days: int, later: int) -> None:
    """Write the library and the later days."""
    if (folder / "home.jsonl").exists():
        return
    library_file.write(made_library(labels, days), folder / "home.jsonl")
    windows = made_windows(labels, later, first=days)
    windows.items.write_parquet(folder / "items.parquet")
    windows.counts.write_parquet(folder / "counts.parquet")


def step(name: str, folder: Path, later: int) -> dict[str, Any]:
    """One step in this process: what it took, and what came of it."""
    known = open_library(folder / "home.jsonl")
    settings = settings_for("evidence")
    result: dict[str, Any] = {}
    if name == "learn":
        messages = learn(known, settings).messages + learn_ladder(known, Knowledge.bundled()).messages
        result["message"] = "; ".join(messages).replace(f"{folder}/", "")
    else:
        windows = Windows(pl.read_parquet(folder / "items.parquet"), pl.read_parquet(folder / "counts.parquet"))
        inventory, messages = identify_by_library(ObservedWindows(windows, ["open"] * len(windows)), known, settings)
        ladder = learn_ladder(known, Knowledge.bundled())
        judge = LadderJudge(ladder.products)
        inventory = add_ladder(inventory, windows, judge, enrolled=ladder.identities)
        labels = [known.label for known in identities(len(windows) // later, later) if known is not None]
        verdicts = [device.verdict for device in inventory.devices]
        result |= {
            "message": "; ".join(messages + ladder.messages).replace(f"{folder}/", ""), "items": len(windows),
            "right": sum(a == b for a, b in zip(verdicts, labels, strict=True)), "unknown": verdicts.count("unknown"),
        }  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return {**result, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": int(peak) / 1024}


def main() -> None:
    """Make the material, run both steps, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--later", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", choices=["make", "learn", "identify"])
    options = parser.parse_args()
    if options.step == "make":
        make(options.folder, options.labels, options.days, options.later)
        return
    if options.step:
        print(json.dumps(step(options.step, options.folder, options.later)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        report: dict[str, Any] = {"windows": options.labels * options.days, "labels": options.labels,
                                  "load": os.getloadavg()[0]}  # fmt: skip
        for name in ("make", "learn", "identify", "identify"):  # the second one is warm
            began = time.perf_counter()
            command = [sys.executable, __file__, "--step", name, "--folder", str(folder)]
            command += [f"--{key}={getattr(options, key)}" for key in ("labels", "days", "later")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            if name != "make":
                report[name] = json.loads(done.stdout) | {"wall_s": time.perf_counter() - began}
                row = report[name]
                took = f"{row['cpu_s']:7.1f} s of CPU, {row['peak_mib']:,.0f} MiB"
                print(f"{name:9} {took}; {row['message']}", flush=True)
        report["learnt_mib"] = sum(path.stat().st_size for path in folder.glob("*.npz")) / 2**20
        counts = pl.read_parquet(folder / "counts.parquet").height / report["identify"]["items"]
        report["counts_per_window"] = counts
    print(f"{report['identify']['right']:,} of {report['identify']['items']:,} right, "
          f"{report['identify']['unknown']:,} unknown; {report['learnt_mib']:,.0f} MiB learnt")  # fmt: skip
    if options.json:
        runs = json.loads(options.json.read_text())["runs"] if options.json.exists() else []
        others = [run for run in runs if (run["windows"], run["labels"]) != (report["windows"], report["labels"])]
        options.json.write_text(json.dumps({"runs": [*others, report]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
