"""Captures to flows: packets per second beside nfstream and softflowd, and the curve over the size of the capture.

Usage::

    python benchmarks/speed/captures.py [--sizes 0.1 0.3 1 3 10] [--peers-at 0.3] [--write]

Each run is a process of its own on one core. The capture is synthetic: 200 devices, and from 1.2 M packets on about
60,000 live flows, whatever its length. Compiling is done before and printed apart.
``--write`` keeps the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent.parent / "results" / "captures.json"
PACKETS_PER_S = 10_000
FLOW_PACKETS = 20
"""A flow has 20 packets in about 4 s. Until the idle timeout it stays live: some 60,000 flows, however long."""


def write_capture(path: Path, packets: int, seed: int = 1) -> None:
    """Write a pcap file of TCP and UDP packets of 200 devices, in parts of 200,000 packets."""
    random = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
        for first in range(0, packets, 200_000):
            file.write(part(random, first, min(200_000, packets - first)))


def part(random: np.random.Generator, first: int, count: int) -> bytes:
    """Octets of ``count`` records: headers of all packets as one table, cut to their lengths."""
    number = np.arange(first, first + count)
    # Flows interleave: 2,000 are open at a time, and every packet belongs to one of them at random.
    flow = (number // (2000 * FLOW_PACKETS)) * 2000 + random.integers(0, 2000, count)
    mixed = flow * 2654435761 % (1 << 32)
    device, remote = mixed % 200, (mixed >> 8) % 5000
    back, tcp = random.random(count) < 0.5, mixed % 4 != 0
    payload = random.choice([0, 26, 86, 400, 1400], count, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    table = np.zeros((count, 16 + 14 + 20 + 20 + 1400), np.uint8)
    header = np.where(tcp, 20, 8)
    total = 20 + header + payload
    seconds, micro = 1_700_000_000 + number // PACKETS_PER_S, number % PACKETS_PER_S * (1_000_000 // PACKETS_PER_S)
    put(table, 0, seconds, "<u4")
    put(table, 4, micro, "<u4")
    put(table, 8, total + 14, "<u4")
    put(table, 12, total + 14, "<u4")
    here, there = 0x020000000000 + device, np.full(count, 0x02FFFFFFFFFF)
    put(table, 16, np.where(back, here, there) << 16, ">u8")
    put(table, 22, np.where(back, there, here) << 16, ">u8")
    put(table, 28, np.full(count, 0x0800), ">u2")
    table[:, 30], table[:, 38], table[:, 39] = 0x45, 64, np.where(tcp, 6, 17)
    put(table, 32, total, ">u2")
    inside, outside = 0xC0A80000 + device, 0x32000000 + remote * 7
    put(table, 42, np.where(back, outside, inside), ">u4")
    put(table, 46, np.where(back, inside, outside), ">u4")
    local, service = 32768 + flow % 28000, np.where(tcp, 443, 123)
    put(table, 50, np.where(back, service, local), ">u2")
    put(table, 52, np.where(back, local, service), ">u2")
    table[:, 62], table[:, 63] = np.where(tcp, 0x50, 0), np.where(tcp, 0x18, 0)
    put(table, 54, np.where(tcp, 0, 8 + payload), ">u2")
    lengths = 16 + 14 + total
    return table[np.arange(table.shape[1]) < lengths[:, None]].tobytes()


def put(table: np.ndarray, at: int, values: np.ndarray, kind: str) -> None:
    """Write one number per row at a column."""
    octets = np.ascontiguousarray(values.astype(kind)).view(np.uint8).reshape(len(values), -1)
    table[:, at : at + octets.shape[1]] = octets


OURS = """
import sys, time
from ethogram.config import MeterSettings
from ethogram.pipeline.capture import capture_flows
warm = time.perf_counter()
list(capture_flows(sys.argv[1], MeterSettings()).batches())
warm = time.perf_counter() - warm
begin, busy = time.perf_counter(), time.process_time()
flows = capture_flows(sys.argv[2], MeterSettings())
count = sum(batch.height for batch in flows.batches())
busy, begin = time.process_time() - busy, time.perf_counter() - begin
flows.accounting.check()
# Not getrusage: its peak is inherited from the process that started this one.
[peak] = [int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(flows.accounting.used, count, begin, busy, peak, warm)
"""

NFSTREAM = """
import sys, time
from nfstream import NFStreamer
def main():
    begin = time.perf_counter()
    count = packets = 0
    for flow in NFStreamer(source=sys.argv[1], n_dissections=0, statistical_analysis=False, n_meters=1,
                           idle_timeout=120, active_timeout=1800):
        count += 1
        packets += flow.bidirectional_packets
    print(packets, count, time.perf_counter() - begin)
if __name__ == "__main__":
    main()
"""


def one_core(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command on one core."""
    pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*pin, *command], capture_output=True, text=True, check=True, env=environment)


def ours(warm: Path, path: Path) -> dict[str, float]:
    """Our reader and meter: wall and processor seconds, peak memory, and seconds of the warm-up."""
    done = one_core([sys.executable, "-c", OURS, str(warm), str(path)])
    packets, flows, wall, busy, peak, warmed = map(float, done.stdout.split())
    return {"packets": packets, "flows": flows, "wall_s": wall, "cpu_s": busy, "rss_mib": peak, "warm_s": warmed}


def nfstream(path: Path, folder: Path) -> dict[str, float] | str:
    """nfstream with one meter, without dissection and statistics: its fastest."""
    script = folder / "peer.py"
    script.write_text(NFSTREAM)
    try:
        done = one_core([sys.executable, str(script), str(path)])
    except subprocess.CalledProcessError as error:
        return f"nfstream: {error.stderr.strip().splitlines()[-1] if error.stderr else 'failed'}"
    packets, flows, wall = map(float, done.stdout.split()[-3:])
    return {"packets": packets, "flows": flows, "wall_s": wall}


def softflowd(path: Path, packets: int) -> dict[str, float] | str:
    """softflowd that exports to a closed port of this machine."""
    program = shutil.which("softflowd", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        return "softflowd: not installed (Debian package softflowd)"
    begin = time.perf_counter()
    try:
        one_core([program, "-r", str(path), "-n", "127.0.0.1:9", "-v", "10", "-t", "maxlife=1800", "-m", "100000"])
    except subprocess.CalledProcessError as error:
        return f"softflowd: {(error.stderr or 'failed').strip().splitlines()[-1]}"
    return {"packets": packets, "wall_s": time.perf_counter() - begin}


def rate(run: dict[str, float]) -> float:
    """Packets per second of wall time."""
    return run["packets"] / run["wall_s"]


def main() -> None:
    """Measure, print a table, and keep the result when asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sizes", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 10.0], help="M packets")
    arguments.add_argument("--peers-at", type=float, default=1.0, help="M packets of the capture the peers read")
    arguments.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    options = arguments.parse_args()
    result: dict[str, object] = {"machine": platform.processor() or platform.machine(), "curve": [], "peers": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm, path = folder / "warm.pcap", folder / "capture.pcap"
        write_capture(warm, 1000)
        print(f"first run, with compiling or loading what was kept: {ours(warm, warm)['warm_s']:.1f} s\n")
        print("| M packets | MB | M packets/s | of processor time | flows | peak RSS, MiB |")
        print("|---|---|---|---|---|---|")
        for size in options.sizes:
            write_capture(path, int(size * 1e6))
            run = ours(warm, path)
            result["curve"].append({"m_packets": size, **run})  # type: ignore[attr-defined]
            print(f"| {size:g} | {path.stat().st_size / 1e6:,.0f} | {rate(run) / 1e6:.2f} "
                  f"| {run['packets'] / run['cpu_s'] / 1e6:.2f} | {run['flows']:,.0f} | {run['rss_mib']:,.0f} |",
                  flush=True)  # fmt: skip
        packets = int(options.peers_at * 1e6)
        write_capture(path, packets)
        mine = ours(warm, path)
        print(f"\nSame capture of {options.peers_at:g} M packets, one core:\n")
        print("| meter | M packets/s | ours to it |\n|---|---|---|")
        print(f"| ethogram | {rate(mine) / 1e6:.2f} | 1 |")
        for peer, run_of in {"nfstream": nfstream(path, folder), "softflowd": softflowd(path, packets)}.items():
            if isinstance(run_of, str):
                print(f"| {peer} | - | {run_of} |")
                continue
            result["peers"][peer] = {**run_of, "ratio": rate(mine) / rate(run_of)}  # type: ignore[index]
            print(f"| {peer} | {rate(run_of) / 1e6:.2f} | {rate(mine) / rate(run_of):.1f} |")
        result["ours"] = mine
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
