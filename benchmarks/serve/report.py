"""The page of figures of the live service, from the measurements kept in benchmarks/results.

python benchmarks/serve/report.py [--results FOLDER] [--page FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rate import quantile

from ethogram._matplotlib import Figure, ticker

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "results" / "service-load.md"
INTRODUCTION = """# Load of the live service

What `ethogram serve` bears: flows a second, devices, and days. Written by `benchmarks/serve/report.py` from what the
programs in `benchmarks/serve` measured; the command stands over each table.
"""
GOAL_P95_MS = 200.0
PEERS = {
    "ethogram": "flows, fingerprints, devices with verdicts, loss by reason",
    "nfcapd": "flow records in files and missing sequence numbers; no devices, nothing is identified, no page",
    "nfacctd": "sums by addresses, ports and protocol; no devices, nothing is identified, no page",
}


def read(folder: Path, name: str) -> Any | None:
    """One file of measurements; None if there is none."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def number(value: float | None, digits: int = 0) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:,.{digits}f}"


def command_of(results: dict[str, Any]) -> str:
    """The command, the machine, and its load average if it was not idle."""
    busy = f" **Load average {results['load']:.1f}: times are upper bounds.**" if results["load"] > 1 else ""
    return (f"`python {results['command']}`, {results['time']}, {results['cores']} cores ({results['machine']}), "
            f"{results['memory_gib']:.0f} GiB, Python {results['python']}.{busy}")  # fmt: skip


def holds(met: bool) -> str:
    """Whether a goal is met."""
    return "holds" if met else "**does not hold**"


def load(run: dict[str, Any], pictures: Path) -> list[str]:
    """Flows at a rate, with the page open."""
    shown, sent, stages = run["summary"], run["sent"], run["stages"]
    memory = shown["memory_mib"]
    growth = (memory["last_fifth"] or 0) - (memory["second_fifth"] or 0)
    requests = run["visitor"].get("requests", [])
    by_path: dict[str, list[float]] = {}
    for _, name, status, ms in requests:
        if status == 200:
            by_path.setdefault(name, []).append(ms)
    quiet = all(shown["sums"].values()) and not shown["uncounted_datagrams"] and shown["uncounted_records"] == 0
    rows = [
        ["no uncounted loss", f"{number(sent.get('messages'))} datagrams sent = "
         f"{number(stages['datagrams']['read'])} received or counted as lost; {number(sent.get('units'))} records sent "
         f"= {number(run['sequence']['received'])} received + {number(run['sequence']['gaps'])} missing by "
         f"sequence number; every stage: read = used + ignored + dropped", holds(quiet)],
        ["lost, by reason", ", ".join(f"{name} {number(count)}" for name, count in shown["lost"].items()) or "nothing",
         ""],
        ["memory flat", f"{number(memory['second_fifth'])} MiB in the second fifth of the time, "
         f"{number(memory['last_fifth'])} MiB in the last, {number(memory['peak'])} MiB at most",
         holds(growth <= 0.1 * (memory["second_fifth"] or 1))],
        ["page and API, p95 under 200 ms", f"p50 {number(shown['p50_ms'])} ms, p95 {number(shown['p95_ms'])} ms, p99 "
         f"{number(shown['p99_ms'])} ms, n = {number(shown['requests'])} requests, {number(shown['failed'])} failed",
         holds(shown["p95_ms"] is not None and shown["p95_ms"] < GOAL_P95_MS and not shown["failed"])],
        ["flows a second", f"{number(shown['flows_per_s'])} for {number(sent.get('seconds'))} s, "
         f"{number(run['devices'])} devices found ({number(sent.get('devices'))}, and a router and a phone in each "
         f"of {number(run['homes'])} homes)", ""],
        ["processor time", f"{number(shown['cpu_s_per_million_flows'], 1)} s per million flows, with page and judge",
         ""],
        ["judge", f"has read everything {number(run.get('catch_up_s'))} s after the last flow; "
         f"{number(shown['judged_flows_missing'])} flows of the last segment are read at the next start", ""],
        ["stored", ", ".join(f"{name} {octets / (1 << 20):,.0f} MiB" for name, octets in run["octets"].items()), ""],
    ]  # fmt: skip
    lines = ["## Flows", "", command_of(run)
             + ("" if run["complete"] else " **Interrupted: what was measured until then.**"), "",
             *table(["", "measured", ""], rows), "",
             *table(["request", "n", "p50 ms", "p95 ms", "most ms"], [
                 [name, str(len(times)), *(number(quantile(sorted(times), share)) for share in (0.5, 0.95, 1.0))]
                 for name, times in sorted(by_path.items())
             ]), ""]  # fmt: skip
    if run["memory"] and requests:
        _plot_load(run, pictures / "service-rate.png")
        lines += ["![Memory of the service and times of answers](service-rate.png)", ""]
    return lines


def _plot_load(results: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot([row[0] for row in results["memory"]], [row[1] for row in results["memory"]], color="#0b6477")
    above.set_ylabel("resident memory, MiB")
    above.set_ylim(bottom=0)
    answered = [row for row in results["visitor"]["requests"] if row[2] == 200]
    for label, color, prefixes in (("page", "#0b6477", "page"), ("API and metrics", "#b3550f", ("API", "metrics"))):
        rows = [row for row in answered if row[1].startswith(prefixes)]
        below.scatter([row[0] for row in rows], [row[3] for row in rows], s=5, color=color, label=label)
    below.axhline(GOAL_P95_MS, color="#666666", linewidth=1, linestyle="--", label="goal of the 95th percentile")
    _log_scale(below)
    below.set_ylabel("time of an answer, ms")
    below.set_xlabel("time since the start of the measurement, s")
    below.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def _log_scale(axes: Any) -> None:
    """A logarithmic scale with plain numbers at 1, 2 and 5 of every decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def scale(results: dict[str, Any], pictures: Path) -> list[str]:
    """Devices over days."""
    runs = [run for run in results["runs"] if run["days"]]
    rows = []
    for run in runs:
        last = run["days"][-1]
        rows.append([
            number(run["devices"]), _activity(run), number(last["day"]), number(last["store_mib"], 1),
            number(last["facts_mib"], 1), number(run["peak_mib"]), number(last["read_s"], 1),
            number(last.get("judge_cpu_ms_per_device"), 1), number(last["judge_ms_per_device"], 1),
            number(last["judge_day_s"], 1), number(last["judged"]), number(last["compact_s"], 1),
        ])  # fmt: skip
    lines = [
        "## Devices and days", "", *(f"{command_of(run)}\n" for run in runs),
        "Every device has the days of a real device (counts by hour and service, varied), and is judged by its latest "
        "seven days when a day ends. Devices with traffic on one day of several take turns: what is measured is then "
        "how store and files grow with many devices, most of which are silent. Processor time of judging is that of "
        "all threads. Where the limit of time does not suffice for 30 days, fewer are reached; where it "
        "does not suffice for judging all devices of a day, some are judged, and *judging a day* is the time of one "
        "device times the number of devices. Figures are those of the last day reached.", "",
        *table(["devices", "each has traffic", "days", "store, MiB", "counts, MiB", "peak memory, MiB",
                "reading a day, s", "judging a device, CPU ms", "judging a device, ms", "judging a day, s",
                "judged that day", "compaction, s"], rows), "",
    ]  # fmt: skip
    daily = [run for run in runs if run.get("every", 1) == 1]
    if len(daily) > 1:
        lines += ["Growth, as the factor from one number of devices to the next, on the last day both reached:", "",
                  *table(["devices", "store", "counts", "reading a day", "judging a device"], _growth(daily)), ""]
    names = list(dict.fromkeys(name for run in runs for name in run.get("queries_ms", {})))
    if names:
        lines += ["Queries of the store, median and most of up to 20 runs, ms:", "", *table(
            ["query", *(f"{run['devices']:,} devices, {_activity(run)}" for run in runs)],
            [[name, *(_pair(run.get("queries_ms", {}).get(name)) for run in runs)] for name in names],
        ), ""]  # fmt: skip
    if runs:
        _plot_scale(runs, pictures / "service-scale.png")
        lines += ["![Store, counts, memory and judge by day](service-scale.png)", ""]
    return lines


def _activity(run: dict[str, Any]) -> str:
    """On which days a device has traffic."""
    every = run.get("every", 1)
    return "every day" if every == 1 else f"one day in {every}"


def _pair(times: Sequence[float] | None) -> str:
    return "" if times is None else f"{times[0]:,.1f} / {times[1]:,.1f}"


def _growth(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for fewer, more in itertools.pairwise(runs):
        day = min(len(fewer["days"]), len(more["days"])) - 1
        before, after = fewer["days"][day], more["days"][day]
        rows.append([f"{fewer['devices']:,} to {more['devices']:,} (day {day + 1})", *(
            f"{after[name] / before[name]:,.1f}" if before[name] and after[name] else ""
            for name in ("store_mib", "facts_mib", "read_s", "judge_ms_per_device")
        )])  # fmt: skip
    return rows


def _plot_scale(runs: Sequence[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    plots = figure.subplots(2, 2)
    for axes, (name, label) in zip(plots.flat, (
        ("store_mib", "store, MiB"), ("facts_mib", "counts, MiB"), ("rss_mib", "resident memory, MiB"),
        ("judge_ms_per_device", "judging a device, ms"),
    ), strict=True):  # fmt: skip
        for run in runs:
            days = [day for day in run["days"] if day[name]]
            axes.plot([day["day"] for day in days], [day[name] for day in days], marker=".",
                      label=f"{run['devices']:,} devices, {_activity(run)}")  # fmt: skip
        if name == "judge_ms_per_device":
            axes.set_ylim(bottom=0)
        else:
            _log_scale(axes)
        axes.set_ylabel(label)
        axes.set_xlabel("day")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    figure.legend(*plots[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=110)


def peers(results: dict[str, Any]) -> list[str]:
    """Other collectors on the same flows."""
    rows, receivers = [], results["receivers"]
    mean_load = statistics.mean(row["load"] for row in receivers.values())
    for name, row in receivers.items():
        sent = row["sent"].get("flows", 0)
        rows.append([name, number(sent), number(row.get("stored")), number(row["cpu_s"], 1),
                     number(row["cpu_s_per_million"], 2), number(row["peak_mib"]), PEERS.get(name, "")])  # fmt: skip
    return [
        "## Other collectors", "", command_of(results | {"load": mean_load}), "",
        "The same exporter sends the same flows to one receiver after the other. Debian has no other program that "
        "identifies devices from flows, so these do a part of the work.", "",
        *table(["receiver", "flow records sent", "stored", "CPU, s", "CPU, s per million", "peak memory, MiB",
                "what comes out"], rows), "",
    ]  # fmt: skip


def main() -> None:
    """Write the page and its plots."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--results", type=Path, default=RESULTS)
    arguments.add_argument("--page", type=Path, default=PAGE)
    options = arguments.parse_args()
    lines = [INTRODUCTION]
    if (results := read(options.results, "service-rate")) is not None:
        lines += load(results, options.page.parent)
    if (results := read(options.results, "service-scale")) is not None:
        lines += scale(results, options.page.parent)
    if (results := read(options.results, "service-peers")) is not None:
        lines += peers(results)
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text("\n".join(lines).rstrip() + "\n")
    print(options.page)


if __name__ == "__main__":
    main()
