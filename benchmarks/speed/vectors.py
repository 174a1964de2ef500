"""Captures to custom flows on disk, and their expansion: packets and flows per second of one core.

Usage::

    python benchmarks/speed/vectors.py [--sizes 0.3 1 3] [--twin 0.2] [--corpus] [--write]

Each run is a process of its own on one core; compiling is done before and printed apart. The capture is the synthetic
one of ``captures.py`` with random payload: 200 devices, half of the packets outgoing. The peer is the plain twin of
the tests (a dictionary, a list and one pass, numbers one by one), which first proves that it gives the same numbers.
One row writes the packets of both directions beside, too. ``--corpus`` adds the captures of two networks named by
ETHOGRAM_CORPUS. ``--write`` keeps the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "tests")]

from captures import one_core, write_capture  # noqa: E402

import custom_flow_twin as twin  # noqa: E402 (of the tests)

RESULTS = Path(__file__).parent.parent / "results" / "vectors.json"

OURS = """
import sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from ethogram.config import CustomFlowSettings, PacketFlowSettings
from ethogram.pipeline.vectors import read_vectors, write_vectors
from ethogram.pipeline.vector_files import load_vectors
from ethogram.representation.vector import expand
warm_up, out, direction, *paths = sys.argv[1:]
beside = (Path(out + ".packets"),) if direction == "beside" else ()
packets = PacketFlowSettings() if beside else None
settings = CustomFlowSettings(direction="outgoing" if beside else direction)
warm = time.perf_counter()
write_vectors(read_vectors([warm_up], settings=settings, packets=packets), Path(out), *beside)
expand(load_vectors([out]))
warm = time.perf_counter() - warm
begin, busy = time.perf_counter(), time.process_time()
run = read_vectors(paths, settings=settings, packets=packets)
rows = write_vectors(run, Path(out), *beside)
busy, wall = time.process_time() - busy, time.perf_counter() - begin
packets = sum(report.accounting.read for report in run.reports)
# Not getrusage: its peak is inherited from the process that started this one.
[peak] = [int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]
flows = load_vectors([out])
rate = 0
x = expand(flows.take(slice(0, 4096)))
for repeat in range(5):
    begin = time.perf_counter()
    for first in range(0, min(len(flows), 40960), 4096):
        part = range(first, min(first + 4096, len(flows)))
        expand(flows, rows=part, out=x[:len(part)])
    rate = max(rate, min(len(flows), 40960) / (time.perf_counter() - begin))
print(packets, rows, wall, busy, peak, warm, Path(out).stat().st_size, rate)
"""


def fill_payload(path: Path) -> None:
    """Random octets instead of zeros behind the headers of a capture of ``captures.py``."""
    data = np.fromfile(path, np.uint8)
    random = np.frombuffer(np.random.default_rng(7).bytes(data.size), np.uint8)
    octets = data.tobytes()
    at = 24
    while at < len(octets):
        length = struct.unpack_from("<I", octets, at + 8)[0]
        head = 16 + 14 + 20 + (20 if octets[at + 39] == 6 else 8)
        rest = length + 16 - head
        data[at + head : at + head + rest] = random[at + head : at + head + rest]
        at += 16 + length
    data.tofile(path)


def plain_packets(path: Path) -> list[twin.P]:
    """The packets of a capture, read in the plainest way."""
    octets = path.read_bytes()
    packets, at = [], 24
    while at < len(octets):
        seconds, micro, length, _ = struct.unpack_from("<IIII", octets, at)
        ip = at + 30
        protocol = octets[ip + 9]
        end = ip + struct.unpack_from(">H", octets, ip + 2)[0]
        ports = struct.unpack_from(">HH", octets, ip + 20)
        start = ip + 20 + (20 if protocol == 6 else 8)
        source, destination = (".".join(map(str, octets[ip + i : ip + i + 4])) for i in (12, 16))
        packets.append(twin.P(seconds * 10**9 + micro * 1000, source, destination, *ports, protocol, octets[start:end]))
        at += 16 + length
    return packets


def ours(warm: Path, out: Path, paths: list[Path], direction: str = "outgoing") -> dict[str, float]:
    """Our way from captures to vectors on disk."""
    done = one_core([sys.executable, "-c", OURS, str(warm), str(out), direction, *map(str, paths)])
    packets, rows, wall, busy, peak, warmed, octets, rate = map(float, done.stdout.split())
    return {
        "packets": packets, "rows": rows, "wall_s": wall, "cpu_s": busy, "rss_mib": peak, "warm_s": warmed,
        "octets_per_row": octets / rows, "expanded_per_s": rate, "load": os.getloadavg()[0],
    }  # fmt: skip


def plain(path: Path, out: Path) -> dict[str, float]:
    """The twin on the same capture: read, meter, and the numbers of each outgoing record, checked against ours."""
    from ethogram.config import CustomFlowSettings
    from ethogram.pipeline.vector_files import load_vectors
    from ethogram.representation.vector import expand

    settings = CustomFlowSettings()
    begin, busy = time.perf_counter(), time.process_time()
    packets = plain_packets(path)
    records = [r for r in twin.meter(packets, settings)[0] if r.source.startswith("192.168.")]
    numbers = [twin.vector(record, settings) for record in records]
    busy, wall = time.process_time() - busy, time.perf_counter() - begin
    np.testing.assert_allclose(expand(load_vectors([out])), np.array(numbers, np.float32), rtol=1e-6)
    return {"packets": len(packets), "rows": len(records), "wall_s": wall, "cpu_s": busy}


def row(name: str, run: dict[str, float]) -> str:
    """One line of the table."""
    return (
        f"| {name} | {run['packets'] / 1e6:.2f} | {run['packets'] / run['wall_s']:,.0f} "
        f"| {run['packets'] / run['cpu_s']:,.0f} | {run['rows']:,.0f} | {run['octets_per_row']:,.0f} "
        f"| {run['rss_mib']:,.0f} | {run['expanded_per_s']:,.0f} |"
    )


def main() -> None:
    """Measure, print a table, and keep the result when asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--sizes", type=float, nargs="+", default=[0.3, 1.0, 3.0], help="M packets")
    arguments.add_argument("--twin", type=float, default=0.2, help="M packets that the plain twin reads, too")
    arguments.add_argument("--corpus", action="store_true", help="also the captures of ETHOGRAM_CORPUS")
    arguments.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    options = arguments.parse_args()
    result: dict[str, object] = {"machine": platform.processor() or platform.machine(), "curve": [], "corpus": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warm, path, out = folder / "warm.pcap", folder / "capture.pcap", folder / "out.parquet"
        write_capture(warm, 1000)
        print(f"first run, with compiling or loading what was kept: {ours(warm, out, [warm])['warm_s']:.1f} s\n")
        print("| capture | M packets | packets/s | of processor time | flows | octets a flow on disk | peak RSS, MiB "
              "| expanded flows/s |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
        for size in options.sizes:
            write_capture(path, int(size * 1e6))
            fill_payload(path)
            run = ours(warm, out, [path])
            result["curve"].append({"m_packets": size, **run})  # type: ignore[attr-defined]
            print(row(f"{size:g} M, outgoing", run), flush=True)
        both = result["bidirectional"] = ours(warm, out, [path], "bidirectional")
        print(row(f"{options.sizes[-1]:g} M, bidirectional", both), flush=True)
        beside = result["beside"] = ours(warm, out, [path], "beside")
        print(row(f"{options.sizes[-1]:g} M, outgoing, packets beside", beside), flush=True)
        if options.corpus:
            sources = {"Stevens": "stevens_lsif_2019/*/*.zip", "Aalto": "aalto_iot_sentinel_2016/**/*.pcap"}
            for source, pattern in sources.items():
                run = ours(warm, out, sorted(Path(os.environ["ETHOGRAM_CORPUS"]).glob(pattern)))
                result["corpus"][source] = run  # type: ignore[index]
                print(row(source, run), flush=True)
        write_capture(path, int(options.twin * 1e6))
        fill_payload(path)
        mine, other = ours(warm, out, [path]), plain(path, out)
        ratio = (mine["packets"] / mine["cpu_s"]) / (other["packets"] / other["cpu_s"])
        result["twin"] = {"ours": mine, "plain": other, "ratio": ratio}
        print(f"\nThe plain twin on {options.twin:g} M packets: {other['packets'] / other['cpu_s']:,.0f} packets/s, "
              f"ours {ratio:,.0f} x as fast on the same capture, same numbers.")  # fmt: skip
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
