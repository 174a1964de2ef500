"""Export messages to columns: records per second of one core, beside netflume, netflow, and nfcapd with nfdump.

Usage::

    python benchmarks/wire/decode.py [--datagrams 100000] [--peers 3000] [--nfcapd 50000] [--write]

Datagrams hold 30 records. Ours goes from octets in memory to ten columns of numbers; netflume and netflow, which are
Python, to a dictionary for each record, of fewer datagrams, since they take that much longer; nfcapd receives the
datagrams over a socket, and nfdump then writes CSV: the processor time of both counts. Each runs in a process of its
own on one core, three times, of which the fastest counts. netflow hangs on some input: it is stopped after a minute.
``--write`` keeps the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from load import COLUMNS, COLUMNS_IPFIX, RECORDS, messages, templates

RESULTS = Path(__file__).parent.parent / "results" / "wire-decode.json"
RUNS = 3
LIMIT_S = 60
GOALS = {"fixed, v9": 5e6, "fixed, IPFIX": 5e6, "variable, IPFIX": 1.5e6}
TIMES_NETFLUME = 40
BLOCK = 20_000  # datagrams of one batch: about 28 MB, as the reader's own blocks
CHUNK = 4  # datagrams sent to nfcapd before its queue is looked at
SETTLE_S = 1.0  # nfcapd that is ended while it still works writes nothing
QUEUE = 8 << 10  # octets of that queue beyond which the sender waits


def ours(kind: str, datagrams: int) -> dict[str, float]:
    """To ten columns, in the blocks the reader makes."""
    from ethogram.io.wire.build import batch
    from ethogram.io.wire.decoder import Decoder

    template = templates()[kind]
    columns = COLUMNS if template.version == 9 else COLUMNS_IPFIX
    made = messages(template, datagrams)
    blocks = [batch(made[first : first + BLOCK]) for first in range(0, datagrams, BLOCK)]

    def decode(messages: list[Any]) -> int:
        decoder, count = Decoder(), 0
        for block in messages:
            for records in decoder.decode(block):
                for element in columns:
                    index = records.has(0, element)
                    assert index is not None
                    count += len(records.unsigned(index))
        return count // len(columns)

    decode([batch(made[:200])])
    begin, busy = time.perf_counter(), time.process_time()
    count = decode(blocks)
    wall, busy = time.perf_counter() - begin, time.process_time() - busy
    [peak] = [int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]  # noqa: PTH123, SIM115
    return {"records": count, "wall_s": wall, "cpu_s": busy, "rss_mib": peak}


def netflume(kind: str, datagrams: int) -> dict[str, float]:
    """To a dictionary for each record, with what it tracks left on, as it is meant to be used."""
    import netflume as peer

    made = messages(templates()[kind], datagrams)
    decoder = peer.Decoder()
    begin, busy = time.perf_counter(), time.process_time()
    count = sum(len(decoder.flows(message, "192.0.2.1")) for message in made)
    return {"records": count, "wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - busy}


def netflow(kind: str, datagrams: int) -> dict[str, float]:
    """The same with netflow, which keeps templates in a dictionary that is given back to it."""
    import netflow as peer

    made = messages(templates()[kind], datagrams)
    known: dict[str, Any] = {"netflow": {}, "ipfix": {}}
    begin, busy = time.perf_counter(), time.process_time()
    count = sum(len(peer.parse_packet(message, known).flows) for message in made)
    return {"records": count, "wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - busy}


def nfcapd(kind: str, datagrams: int) -> dict[str, float]:
    """nfcapd receives, nfdump writes CSV; the sender waits whenever nfcapd has not read what it was sent."""
    made = messages(templates()[kind], datagrams)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
        daemon = subprocess.Popen(
            [*pin, "nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", folder, "-t", "3600", "-B", str(1 << 22)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while waiting(port) is None:
            time.sleep(0.02)
        begin = time.perf_counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", port))
            for first in range(0, datagrams, CHUNK):
                for message in made[first : first + CHUNK]:
                    sender.send(message)
                while (waiting(port) or 0) > QUEUE:
                    time.sleep(0.0002)
            while waiting(port):
                time.sleep(0.001)
        received = time.perf_counter() - begin
        time.sleep(SETTLE_S)
        daemon.send_signal(signal.SIGTERM)
        _, _, used = os.wait4(daemon.pid, 0)
        receive = used.ru_utime + used.ru_stime
        written = Path(other) / "flows.csv"
        dumping = time.perf_counter()
        with written.open("wb") as out:
            dump = subprocess.Popen([*pin, "nfdump", "-R", folder, "-o", "csv"], stdout=out)
            _, _, used = os.wait4(dump.pid, 0)
        dumped = used.ru_utime + used.ru_stime
        wall = received + time.perf_counter() - dumping
        with written.open("rb") as text:
            count = sum(line[:2] == b"20" for line in text)
    return {"records": count, "wall_s": wall, "cpu_s": receive + dumped, "receive_cpu_s": receive, "csv_cpu_s": dumped}


def waiting(port: int) -> int | None:
    """Octets that wait at a UDP socket of this machine; None when there is none."""
    place = f"0100007F:{port:04X}"
    for line in Path("/proc/net/udp").read_text().splitlines():
        if place in line:
            return int(line.split()[4].split(":")[1], 16)
    return None


METHODS = {"ours": ours, "netflume": netflume, "netflow": netflow, "nfcapd": nfcapd}


def measured(method: str, kind: str, datagrams: int) -> dict[str, float] | str:
    """The fastest of some runs, each a process of its own on one core; or why there is none."""
    if not datagrams:
        return "not asked"
    if method == "nfcapd" and (shutil.which("nfcapd") is None or shutil.which("nfdump") is None):
        return "not installed (Debian package nfdump)"
    # What sends to nfcapd must not share its core.
    pin = ["taskset", "-c", "1" if method == "nfcapd" else "0"] if shutil.which("taskset") else []
    environment = os.environ | {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    best: dict[str, float] | None = None
    for _ in range(RUNS):
        command = [*pin, sys.executable, __file__, "--only", method, "--kind", kind, "--datagrams", str(datagrams)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"no answer within {LIMIT_S} s"
        except subprocess.CalledProcessError as error:
            return (error.stderr.strip().splitlines() or ["failed"])[-1]
        run = json.loads(done.stdout)
        if best is None or run["cpu_s"] < best["cpu_s"]:
            best = run
    return best or "failed"


def rate(run: dict[str, float]) -> float:
    """Records per second of processor time: one core, whatever else the machine did."""
    return run["records"] / run["cpu_s"]


def main() -> None:
    """Measure, print a table, and keep the result when asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--datagrams", type=int, default=100_000, help="that ours decodes")
    arguments.add_argument("--peers", type=int, default=3_000, help="that netflume and netflow decode")
    arguments.add_argument("--nfcapd", type=int, default=50_000, help="that nfcapd receives")
    arguments.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments.add_argument("--only", choices=METHODS, help=argparse.SUPPRESS)
    arguments.add_argument("--kind", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.only:
        print(json.dumps(METHODS[options.only](options.kind, options.datagrams)))
        return
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "machine": platform.machine(), "load_before": load, "records_of_a_datagram": RECORDS, "goals": GOALS,
        "times_netflume": TIMES_NETFLUME, "kinds": {},
        "command": f"benchmarks/wire/decode.py --datagrams {options.datagrams} --peers {options.peers} "
                   f"--nfcapd {options.nfcapd}",
    }  # fmt: skip
    sizes = {"ours": options.datagrams, "netflume": options.peers, "netflow": options.peers, "nfcapd": options.nfcapd}
    print("| messages | decoder | records | M records/s of CPU | wall s | ours to it |\n|---|---|---|---|---|---|")
    for kind in templates():
        runs = {method: measured(method, kind, datagrams) for method, datagrams in sizes.items()}
        result["kinds"][kind] = runs
        mine = runs["ours"]
        for method, run in runs.items():
            if isinstance(run, str) or isinstance(mine, str):
                print(f"| {kind} | {method} | | {run} | | |", flush=True)
                continue
            whole = run["records"] == sizes[method] * RECORDS
            print(f"| {kind} | {method} | {run['records']:,}{'' if whole else ' (not all)'} | {rate(run) / 1e6:.3f} "
                  f"| {run['wall_s']:.2f} | {rate(mine) / rate(run):.1f} |", flush=True)  # fmt: skip
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
