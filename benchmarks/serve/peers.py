"""Processor time of receiving the same flows: the live service and collectors of other projects.

Usage::

    python benchmarks/serve/peers.py [--rate 50000] [--seconds 30] [--homes 667] [--output FILE]

Each receiver gets the same IPFIX over UDP on the loopback address from the same exporter, one after the other, and
what it has used until it has stored everything is divided by the flow records sent. Those that are not installed are
left out: ``nfcapd`` (Debian: nfdump) and ``nfacctd`` (Debian: pmacct).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rate import answer_of, child, machine, service, usage, wait_for

RESULTS = Path(__file__).parents[1] / "results" / "service-peers.json"
QUIET_S, DRAIN_S = 3.0, 240.0
Running = tuple[int, int]  # process and port


def free_port() -> int:
    """An unused UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@contextlib.contextmanager
def ethogram(folder: Path, segment_s: float) -> Iterator[Running]:
    """The live service without its page: flows, fingerprints, devices, verdicts."""
    with service(folder, segment_s, "--no-page") as (process, lines):
        yield process.pid, int(wait_for(r"receiving flows at udp://127.0.0.1:(\d+)", lines, process))


@contextlib.contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another project's collector in the foreground."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(2.0)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def nfcapd(folder: Path, segment_s: float) -> Iterator[Running]:  # noqa: ARG001 (one file)
    """Stores records in files."""
    port = free_port()
    folder.mkdir()
    with program("nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(folder), "-t", "3600",
                 "-B", str(1 << 25)) as process:  # fmt: skip
        yield process.pid, port


@contextlib.contextmanager
def nfacctd(folder: Path, segment_s: float) -> Iterator[Running]:
    """Sums octets and packets by address pair, ports and protocol, in memory, and writes them to a file."""
    port = free_port()
    folder.mkdir()
    settings = folder / "nfacctd.conf"
    settings.write_text(
        f"nfacctd_ip: 127.0.0.1\nnfacctd_port: {port}\nnfacctd_pipe_size: {1 << 25}\nplugins: print[one]\n"
        "aggregate[one]: src_host, dst_host, src_port, dst_port, proto\n"
        f"print_refresh_time[one]: {max(round(segment_s), 1)}\n"
        f"print_output[one]: csv\nprint_output_file[one]: {folder}/flows.csv\n"
        f"plugin_pipe_size[one]: {1 << 27}\nplugin_buffer_size[one]: {1 << 17}\n"
    )
    with program("nfacctd", "-f", str(settings)) as process:
        yield process.pid, port


RECEIVERS: dict[str, Callable[[Path, float], contextlib.AbstractContextManager[Running]]] = {
    "ethogram": ethogram, "nfcapd": nfcapd, "nfacctd": nfacctd,
}  # fmt: skip


def processes_of(pid: int) -> list[int]:
    """A process and its children."""
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += [int(number) for number in task.read_text().split()]
    return [pid, *(each for number in children for each in processes_of(number))]


def used(pid: int) -> tuple[float, float]:
    """Memory in MiB and processor seconds of a process and its children."""
    rows = []
    for number in processes_of(pid):
        with contextlib.suppress(OSError, ValueError, IndexError):
            rows.append(usage(number))
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def measure(
    name: str, rate: float, seconds: float, homes: int, settle_s: float, segment_s: float, folder: Path
) -> dict[str, Any]:  # fmt: skip
    """One receiver."""
    with RECEIVERS[name](folder, segment_s) as (pid, port):
        before = used(pid)[1]
        sender = child("--send", port, "--rate", rate, "--seconds", seconds, "--homes", homes)
        peak = 0.0
        while sender.poll() is None:
            peak = max(peak, used(pid)[0])
            time.sleep(0.5)
        sent = answer_of(sender, end=False)
        peak = max(peak, settled(pid, 0.0 if name == "nfcapd" else settle_s))
        cpu_s = used(pid)[1] - before
    result = {"sent": sent, "cpu_s": cpu_s, "peak_mib": peak, "load": os.getloadavg()[0],
              "cpu_s_per_million": cpu_s / max(sent.get("flows", 0), 1) * 1e6}  # fmt: skip
    if name == "nfcapd":
        result["stored"] = stored_by_nfcapd(folder)
    if name == "ethogram":
        counters = json.loads((folder / "collector" / "counters.json").read_text())
        result["stored"] = counters["sequence"]["received"]
    return result


def settled(pid: int, least_s: float) -> float:
    """Wait until a process has nothing to do; returns the most memory it had meanwhile."""
    begin, peak, before, quiet = time.monotonic(), 0.0, -1.0, 0.0
    while time.monotonic() - begin < DRAIN_S and (quiet < QUIET_S or time.monotonic() - begin < least_s):
        time.sleep(1.0)
        memory, cpu_s = used(pid)
        quiet = quiet + 1.0 if cpu_s - before < 0.1 else 0.0
        peak, before = max(peak, memory), cpu_s
    return peak


def stored_by_nfcapd(folder: Path) -> int | None:
    """Flow records in the files of nfcapd."""
    if shutil.which("nfdump") is None:
        return None
    text = subprocess.run(["nfdump", "-R", str(folder), "-I"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"^Flows: (\d+)", text, re.MULTILINE)
    return int(match[1]) if match else None


def main() -> None:
    """Measure every receiver that is installed, and keep the result after each."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rate", type=float, default=50_000, help="flow records a second")
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--homes", type=int, default=667, help="homes of fifteen devices")
    arguments.add_argument("--settle-s", type=float, default=150, help="time for what is done once a minute")
    arguments.add_argument("--segment-s", type=float, default=60, help="length of a segment of the service")
    arguments.add_argument("--output", type=Path, default=RESULTS, help="file of the result")
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = machine() | {
        "command": f"benchmarks/serve/peers.py --rate {options.rate:g} --seconds {options.seconds:g} "
                   f"--homes {options.homes}",
        "receivers": {},
    }  # fmt: skip
    print("| receiver | flow records sent | stored | CPU s | CPU s per million | peak MiB |")
    print("|---|---|---|---|---|---|")
    with contextlib.suppress(KeyboardInterrupt):
        for name in RECEIVERS:
            if name != "ethogram" and shutil.which(name) is None:
                print(f"| {name} | not installed | | | | |", flush=True)
                continue
            with tempfile.TemporaryDirectory(prefix="ethogram-peers-") as folder:
                row = measure(name, options.rate, options.seconds, options.homes, options.settle_s,
                              options.segment_s, Path(folder) / name)  # fmt: skip
            result["receivers"][name] = row
            options.output.parent.mkdir(exist_ok=True, parents=True)
            options.output.write_text(json.dumps(result, indent=1) + "\n")
            print(f"| {name} | {row['sent'].get('flows', 0):,} | {row.get('stored') or 0:,} | {row['cpu_s']:.1f} "
                  f"| {row['cpu_s_per_million']:.2f} | {row['peak_mib']:,.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
