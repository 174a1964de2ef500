"""The page of figures of the wire from the measurements kept in benchmarks/results.

python benchmarks/wire/report.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "results" / "wire.md"
INTRODUCTION = """# Figures of the wire

Export messages to columns, to Parquet and fingerprints, and what they can do to memory. Written by
`benchmarks/wire/report.py` from what `benchmarks/wire/decode.py`, `collect.py` and `memory.py` measured with `--write`;
the command stands over each table. The machine has two cores (x86-64) and 24 GiB; the load named is the number of
processes that wanted a core in the minute before. How right the decoder is, beside others, is told by
`benchmarks/wire/scores.py`.
"""


def read(name: str) -> Any | None:
    """One file of measurements; None when there is none."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def said(met: bool) -> str:
    """Met or missed."""
    return "met" if met else "**missed**"


def decoding(results: dict[str, Any]) -> list[str]:
    """Records a second of one core, beside the peers."""
    rows, goals = [], []
    for kind, runs in results["kinds"].items():
        mine = runs["ours"]
        rate = mine["records"] / mine["cpu_s"]
        goals.append([f"{kind}, to ten columns", f"{results['goals'][kind] / 1e6:g} M records/s",
                      f"{rate / 1e6:.1f} M records/s", said(rate >= results["goals"][kind])])  # fmt: skip
        for method, run in runs.items():
            if isinstance(run, str):
                rows.append([kind, method, "", run, "", ""])
                continue
            own_speed = run["records"] / run["cpu_s"]
            rows.append([kind, {"nfcapd": "nfcapd, then nfdump -o csv"}.get(method, method), f"{run['records']:,.0f}",
                         f"{own_speed / 1e6:.3g}", f"{run['wall_s']:.2f}",
                         "" if method == "ours" else f"{rate / own_speed:,.0f} x"])  # fmt: skip
            if "receive_cpu_s" in run:
                alone = run["records"] / run["receive_cpu_s"]
                rows.append([kind, "nfcapd alone", f"{run['records']:,.0f}", f"{alone / 1e6:.3g}", "",
                             f"{rate / alone:,.1f} x"])  # fmt: skip
        peer = runs["netflume"]
        if not isinstance(peer, str):
            times = rate / (peer["records"] / peer["cpu_s"])
            goals.append([f"{kind}, beside netflume", f"{results['times_netflume']} x", f"{times:,.0f} x",
                          said(times >= results["times_netflume"])])  # fmt: skip
    return [
        "## Decoding", "",
        f"`python {results['command']}` (load {results['load_before']:.1f}). Datagrams of "
        f"{results['records_of_a_datagram']} records. Ours goes from octets in memory to ten columns of "
        "numbers, in the blocks the reader makes; netflume "
        "and netflow, which are Python, to a dictionary for each record; nfcapd from a socket to its file, of which "
        "nfdump then writes CSV. Rates are of processor time, one core.", "",
        *table(["Goal", "at least", "Measured", ""], goals), "",
        *table(["Messages", "Decoder", "Records", "M records/s", "Wall, s", "Ours to it"], rows), "",
    ]  # fmt: skip


def collecting(results: dict[str, Any]) -> list[str]:
    """From UDP to Parquet and fingerprints."""
    rows, sums = [], []
    for run in results["runs"]:
        sent, inside = run["sent"], sum(run["lost_inside"].values())
        rows.append([f"{run['rate']:,.0f}", f"{run['records_per_s']:,.0f}", f"{sent['seconds']:.0f}",
                     f"{run['lost_at_socket']:,}", f"{inside:,}", f"{run['gaps']:,}", f"{run['cpu_s']:.1f}",
                     f"{run['stop_s']:.1f}", f"{run['rss_mib']:,.0f}", f"{run['queue_highest_octets'] >> 20:,}",
                     f"{run['load_before']:.1f}"])  # fmt: skip
        holds = sent["messages"] == run["datagrams_read"] and run["behind_the_last"] >= 0
        sums.append([f"{run['rate']:,.0f}", f"{sent['messages']:,}",
                     f"{run['datagrams_used']:,} + {run['datagrams_read'] - run['datagrams_used']:,}",
                     f"{sent['units']:,}", f"{run['received']:,} + {run['gaps']:,} + {run['behind_the_last']:,}",
                     "holds" if holds else "**does not hold**"])  # fmt: skip
    losses = [
        f"At {run['rate']:,.0f}: {', '.join(f'{reason} {count:,}' for reason, count in run['lost_inside'].items())}."
        for run in results["runs"]
        if run["lost_inside"]
    ]
    homes = results["runs"][0]
    return [
        "## Collecting", "",
        f"`python {results['command']}`. One process receives IPFIX over UDP, decodes, pairs, joins, orients, writes "
        f"Parquet, and counts fingerprints of {homes['sent']['devices']:,} devices of {homes['homes']:,} simulated "
        f"homes; the sender is another process on the same {results['cores']} cores. *Lost at the socket* are "
        "datagrams that the kernel dropped because the process did not read them in time; *lost inside* is "
        "everything dropped by "
        "any stage of the process. *Stop* is the time to work off what waited, and to write it, when told to stop.", "",
        *table(["Records/s asked", "sent/s", "for, s", "lost at the socket", "lost inside", "records missing", "CPU, s",
                "stop, s", "RSS, MiB", "queue at most, MiB", "load"], rows), "",
        "The sums: datagrams sent = used + dropped for a reason, the socket's among them; records sent = received + "
        "gaps of the sequence numbers + those behind the last message that arrived, which no number tells.", "",
        *table(["Records/s asked", "datagrams sent", "used + dropped", "records sent", "received + gaps + behind", ""],
               sums), "", *losses, *([""] if losses else []),
    ]  # fmt: skip


def memory(results: dict[str, Any]) -> list[str]:
    """What floods do to memory."""
    rows = []
    for name, run in results["cases"].items():
        counters = {**run["template_events"], **run["sets_dropped"], **run["messages_dropped"]}
        counters |= {f"forgotten: {kind}": count for kind, count in run.get("forgotten", {}).items()}
        if "devices_evicted" in run:
            counters |= {"devices held": run["devices_held"]}
            counters |= {f"flows: {reason}": count for reason, count in run["fingerprints"]["dropped"].items()}
        counted = ", ".join(f"{reason} {count:,}" for reason, count in counters.items())
        rows.append([name, f"{run['messages']:,}", f"{run['mib_sent']:,.0f}", f"{run['seconds']:.0f}", run["bound"],
                     f"{run['mib_peak']:,.0f}", f"{run['mib_more']:,.0f}", counted,
                     "hold" if run["balanced"] else "**do not hold**"])  # fmt: skip
    return [
        "## Memory", "",
        f"`python {results['command']}`. Each case is a process of its own with the bounds as they are set by default. "
        "*More* is the peak beyond what the process had after loading and a first batch.", "",
        *table(["Case", "messages", "MiB sent", "s", "bound", "peak, MiB", "more, MiB", "counted", "sums"], rows), "",
    ]  # fmt: skip


def main() -> None:
    """Write the page."""
    lines = [INTRODUCTION]
    for name, section in (("wire-decode", decoding), ("wire-collect", collecting), ("wire-memory", memory)):
        results = read(name)
        if results is not None:
            lines += section(results)
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
