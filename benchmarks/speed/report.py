"""The page of speed from the measurements kept in benchmarks/results.

python benchmarks/speed/report.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "results" / "speed.md"
HEAD = ("Figure", "Goal", "Ours", "Wall, CPU", "Peer", "Goal is", "Load before", "Command")


def read(name: str) -> Any:
    """One file of measurements."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def times(wall_s: float | None, cpu_s: float | None) -> str:
    """Both times, as far as they were taken."""
    return f"{'not kept' if wall_s is None else f'{wall_s:.1f} s'}, {'not kept' if cpu_s is None else f'{cpu_s:.1f} s'}"


def said(met: bool) -> str:
    """Met or missed."""
    return "met" if met else "**missed**"


def capture_rows() -> list[tuple[str, ...]]:
    """Packets to flows."""
    results = read("captures")
    peers, first, last = results["peers"], results["curve"][0], results["curve"][-1]
    rate, command = last["packets"] / last["cpu_s"] / 1e6, "captures.py"
    took, load = times(last.get("wall_s"), last["cpu_s"]), "not kept"
    return [
        (f"captures to flows beside {name}", f">= {goal:g} x its packets/s", f"{rate:.1f} M packets/s", took,
         f"{name} {peers[name]['wall_s']:.2f} s for {peers[name]['packets']:,.0f} packets: "
         f"{peers[name]['ratio']:.1f} x as fast", said(peers[name]["ratio"] >= goal), load, command)
        for name, goal in (("nfstream", 8), ("softflowd", 0.5))
    ] + [
        ("memory from 0.1 to 10 M packets", "flat", f"{first['rss_mib']:.0f} to {last['rss_mib']:.0f} MiB", took, "",
         said(last["rss_mib"] < 1.25 * first["rss_mib"]), load, command),
    ]  # fmt: skip


def flow_rows() -> list[tuple[str, ...]]:
    """Flows to counts and fingerprints."""
    results = read("fingerprints")
    ours, counts, duck = results["fingerprints"], results["counts"], results["duckdb"]
    n, command = results["flows"], f"fingerprints.py --flows {results['flows']}"
    size, rate = f"{n / 1e6:.0f} M flows", n / ours["seconds"] / 1e6
    peer = f"DuckDB, the same counts: {times(duck['seconds'], duck['processor_s'])}; load {duck['load']:.1f}"

    def row(what: str, goal: str, figure: str, result: dict[str, float], other: str, met: bool) -> tuple[str, ...]:
        took = times(result["seconds"], result["processor_s"])
        return (what, goal, figure, took, other, said(met), f"{result['load']:.1f}", command)

    def beside(result: dict[str, float]) -> str:
        wall, cpu = (result[key] / duck[key] for key in ("seconds", "processor_s"))
        return f"{wall:.2f} x, CPU {cpu:.2f} x"

    ratio, alone = ours["seconds"] / duck["seconds"], counts["seconds"] / duck["seconds"]
    memory = f"DuckDB {duck['peak_mib']:,.0f} MiB"
    return [
        row(f"{size} to fingerprints", ">= 5 M flows/s on two cores", f"{rate:.1f} M flows/s", ours, "", rate >= 5),
        row("the same beside a query", "<= 1.5 x its time", beside(ours), ours, peer, ratio <= 1.5),
        row("counts alone", "<= 1.5 x its time", beside(counts), counts, peer, alone <= 1.5),
        row("peak memory, fingerprints", "< 2,048 MiB", f"{ours['peak_mib']:,.0f} MiB", ours, memory,
            ours["peak_mib"] < 2048),
        row("peak memory, counts", "< 2,048 MiB", f"{counts['peak_mib']:,.0f} MiB", counts, memory,
            counts["peak_mib"] < 2048),
    ]  # fmt: skip


def other_rows() -> list[tuple[str, ...]]:
    """Orientation and identification."""
    orient, identify = read("orientation"), read("identify")
    rate = orient["records"] / orient["processor_s"] / 1e6
    return [
        ("records to the flow table", ">= 1 M records/s of one core", f"{rate:.2f} M records/s of CPU time",
         times(orient["seconds"], orient["processor_s"]), "", said(rate >= 1), "not kept", "orientation.py"),
        (f"{identify['items']:,} fingerprints by {identify['known']:,}", "< 10 s, exact",
         f"{identify['ours_s']:.1f} s", times(identify["ours_s"], None),
         f"NumPy {identify['numpy_s']:.1f} s: {identify['numpy_s'] / identify['ours_s']:.1f} x as fast",
         said(identify["ours_s"] < 10), "not kept", "identify.py"),
    ]  # fmt: skip


def startup_rows() -> list[tuple[str, ...]]:
    """Short commands, warm."""
    results = read("startup")
    bare = results["commands"]["bare imports"]["cpu_s"]
    names = {"identify small.pcap": "`ethogram identify small.pcap`", "doctor": "`ethogram doctor`",
             "identify home-day": "`ethogram identify` of a home's day (7 captures)",
             "identify(home-day)": "`ethogram.identify` of a home's day, second call"}  # fmt: skip
    return [
        (f"{names[name]}, warm", "< 2 s of CPU", f"{row['cpu_s']:.2f} s of CPU, median {row['median_s']:.2f} s",
         times(None, row["cpu_s"]), f"importing NumPy, Polars, PyArrow, Numba and Typer alone: {bare:.2f} s",
         said(row["cpu_s"] < 2), f"{results['load']:.1f}", "startup.py")
        for name, row in results["commands"].items() if name in names
    ]  # fmt: skip


def library_rows() -> list[tuple[str, ...]]:
    """A library of own devices: learnt once, then identified by."""
    results = read("library")
    rows = []
    for run in results["runs"]:
        learn, identify = run["learn"], run["identify"]
        command = f"library.py --labels {run['labels']} --days {run['windows'] // run['labels']}"
        size = f"{run['windows']:,} windows of {run['labels']} labels"
        met = identify["cpu_s"] < 20 and identify["peak_mib"] < 1024
        rows += [
            (f"learning {size}, once", "", f"{learn['cpu_s']:.0f} s of CPU, {learn['peak_mib']:,.0f} MiB",
             times(learn["wall_s"], learn["cpu_s"]), f"kept in {run['learnt_mib']:,.0f} MiB", "",
             f"{run['load']:.1f}", command),
            (f"{identify['items']:,} device-days by them", "< 20 s of CPU, 1,024 MiB",
             f"{identify['cpu_s']:.1f} s of CPU, {identify['peak_mib']:,.0f} MiB",
             times(identify["wall_s"], identify["cpu_s"]), "", said(met), f"{run['load']:.1f}", command),
        ]  # fmt: skip
    return rows


def vector_rows() -> list[tuple[str, ...]]:
    """Captures to custom flows on disk."""
    results = read("vectors")
    first, last, twin = results["curve"][0], results["curve"][-1], results["twin"]
    goal, command = ">= 300,000 packets/s of one core", "vectors.py --corpus"

    def row(what: str, run: dict[str, float], peer: str) -> tuple[str, ...]:
        rate = run["packets"] / run["cpu_s"]
        figure = f"{rate:,.0f} packets/s of CPU time, {run['packets'] / run['wall_s']:,.0f} of wall time"
        took = times(run["wall_s"], run["cpu_s"])
        return what, goal, figure, took, peer, said(rate >= 3e5), f"{run['load']:.1f}", command

    plain = (
        f"the plain twin on {twin['plain']['packets'] / 1e6:g} M packets: {twin['ratio']:.0f} x as fast, same numbers"
    )
    return [
        row(f"captures to outgoing custom flows, {last['m_packets']:g} M packets", last, plain),
        row("the same, bidirectional", results["bidirectional"], ""),
        *(row(f"the same, {name}", run, "") for name, run in results["corpus"].items()),
        ("memory from 0.3 to 3 M packets", "bounded", f"{first['rss_mib']:.0f} to {last['rss_mib']:.0f} MiB", "", "",
         said(last["rss_mib"] < 1024), "", command),
    ]  # fmt: skip


def encoder_rows() -> list[tuple[str, ...]]:
    """Flows to embeddings, and training."""
    embedding, training, memory = read("embedding"), read("training"), read("training-memory")
    rows = {row["name"]: row for row in embedding["rows"]}
    ours, rounded = rows["ethogram, from packed flows"], rows["torch bfloat16, vectors ready"]
    peer = max(row["flows_s"] for name, row in rows.items() if name.startswith("torch float32, vectors ready"))
    learnt, plain = training["ratio"], training["seconds"]["plain loop, float32"]
    best = max(learnt["ethogram, bfloat16"], learnt["ethogram, float32"])
    other = (
        f"eager torch float32, vectors ready: {peer:,.0f} flows/s; in bfloat16 {rounded['flows_s']:,.0f}, off by "
        f"{rounded['error_mean']:.1g} of the spread"
    )
    return [
        ("embedding, base encoder", ">= 2 x torch, aim 100,000 flows/s",
         f"{ours['flows_s']:,.0f} flows/s, {ours['ratio']:.1f} x, off by {ours['error_mean']:.1g}", "", other,
         said(ours["ratio"] >= 2), f"{embedding['load']:.1f}", "embedding.py"),
        ("training, base autoencoder", ">= 1.5 x a plain loop",
         f"{best:.1f} x, in float32 {learnt['ethogram, float32']:.1f} x", times(plain / best, None),
         f"plain float32 loop {plain:.1f} s for {training['flows']:,} flows", said(best >= 1.5),
         f"{training['load']:.1f}", "training.py"),
        (f"peak memory, training on {memory['flows'] / 1e6:g} M flows", "< 4,096 MiB",
         f"{memory['peak_mib']:,.0f} MiB", "", "", said(memory["peak_mib"] < 4096), "", "training.py --memory"),
    ]  # fmt: skip


def main() -> None:
    rows = (*capture_rows(), *vector_rows(), *encoder_rows(), *flow_rows(), *other_rows(), *startup_rows(),
            *library_rows())  # fmt: skip
    lines = [
        "# Speed", "",
        "Each figure stands beside its peer in one run on one machine: two cores, x86-64, 24 GiB. Other work shared "
        "it, more in some runs than in others: the column of load says how many processes wanted a core just before "
        "that row was measured (average of a minute, which the measurement before it is part of). Wall times are "
        "therefore upper bounds, and CPU time, of all threads together, stands beside them; busy neighbours raise "
        "that too, but less. "
        "The flows are drawn; how is told at the head of the program. Commands are in `benchmarks/speed`.", "",
        f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}",
        *(f"| {' | '.join(row)} |" for row in rows), "",
        *NOTES, "", *flood_lines(), "",
    ]  # fmt: skip
    PAGE.write_text("\n".join(lines))


def flood_lines() -> list[str]:
    """Two floods: curves of memory, before counts were bounded on arrival and since."""
    lines = [
        "## Two floods", "",
        "`python benchmarks/speed/floods.py --json benchmarks/results/floods.json`. Distinct names of one device, and "
        "forged devices with 1,000 ports each, all within a day, so that no epoch closes before the end. *Exporter* is "
        "the collector's fingerprint exporter alone, *collector* the flow stages before it too (fewer records, since "
        "names are looked at one by one), *files* the counts of files. MiB are those of the process beyond what it had "
        "after a first batch, which is why small curves go below zero. *Before* is the code before counts were bounded "
        "on arrival. What is beyond a bound is counted: see [memory of counts](../explanation/robustness.md"
        "#memory-of-counts).", "",
        "| Flood | Way | | Records, M: MiB | Peak, MiB | Made coarser or dropped on arrival |",
        f"|{'---|' * 6}",
    ]  # fmt: skip
    measured = [(name, json.loads((RESULTS / file).read_text()))
                for name, file in (("before", "floods-before.json"), ("now", "floods.json"))]  # fmt: skip
    for flood in ("names", "ports"):
        for way in ("exporter", "files", "collector"):
            for name, results in measured:
                run = results[flood][way]
                curve = ", ".join(f"{n / 1e6:g}: {mib:,.0f}" for n, mib in run["curve"])
                kinds = {**run["accounting"]["corrected"], **run["accounting"]["dropped"]}
                counted = ", ".join(f"{reason} {n:,}" for reason, n in kinds.items() if "over the bound" in reason)
                lines.append(f"| {flood} | {way} | {name} | {curve} | {run['mib_peak']:,.0f} | {counted} |")
    return lines


NOTES = [
    "## Records to the flow table",
    "",
    "The figure fell when two checks were added: cells of native Parquet files are checked like text (range of "
    "numbers, canonical addresses and MACs), and routers are recognised by addresses in use at the same time. On one "
    "machine, alternating, 2 M records took 3.0 to 3.5 s of CPU time before and 3.6 to 4.1 s after. Of 3.1 s in a "
    "profile, reading the file takes 0.5 s, checking cells 0.5 s, naming both ends 0.7 s and joining 0.6 s.",
    "",
    "## Profile: flows to fingerprints",
    "",
    "CPU time per 100 M flows, each part measured alone, best of several runs: reading the columns 6 s; checking the "
    "three fixed words against their lists 4.8 s; numbers for the two texts 4.4 s; what is ignored 1.0 s; packing the "
    "key 1.0 s; adding up in the compiled table 2.7 s; then about 6 s for making 6.8 M counts readable, comparing "
    "epochs and exporting. On a shared machine the sum comes out larger. "
    "The run before the one above, with busier neighbours, took 26.5 s for the fingerprints (3.8 M flows/s, CPU "
    "35.3 s) and 36.9 s for the counts (CPU 33.2 s) beside 123.2 s of DuckDB (CPU 81.1 s): 5 M flows/s needs two cores "
    "that are nearly free, and there is little to spare.",
    "",
    "What was tried:",
    "",
    "- Grouping each slice by the data frame engine and grouping the groups again, which the compiled table replaced: "
    "38.0 s of CPU time and 2,708 MiB for the counts, 47.5 s and 2,193 MiB for the fingerprints of the same flows.",
    "- Reading the file another way, which keeps the texts as the numbers they have in the file: 15 s of CPU time for "
    "100 M flows, where the engine took 11 s with the texts (both the first runs of a process). Not taken.",
    "- Slices of 2 M flows instead of 1 M: no faster, and 200 MiB more for 16 M flows.",
    "- Exporting all devices at once: the rows, their copy in order and the fingerprints stood in memory together. "
    "By blocks of devices only the packed counts stand beside the fingerprints.",
]


if __name__ == "__main__":
    main()
