"""UDP to Parquet and fingerprints in one process, the sender in another: what is lost, and that all of it is counted.

Usage::

    python benchmarks/wire/collect.py [--rates 500000 1000000] [--seconds 30] [--homes 1000] [--write]

The load is the package's own flow exporter: IPFIX of simulated homes with 15 devices each, sent at a rate of flow
records per second, or as near to it as the machine's other core comes. What was sent is what the collector read, with
the datagrams that the kernel dropped at the socket; and in records, what it received with the gaps of the sequence
numbers, and those behind the last message that arrived. ``--write`` keeps the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results" / "wire-collect.json"
SETTLE_S = 1.0
LATENESS_S = 25 * 3600


def serve(folder: Path) -> None:
    """The collector: says its port, collects until told to stop, and says what it counted."""
    from ethogram.config import ExporterSettings
    from ethogram.io.receive.address import Listen
    from ethogram.io.wire.biflows import Biflows
    from ethogram.io.wire.build import batch
    from ethogram.io.wire.decoder import Decoder
    from ethogram.serve.collector import Collector, CollectorSettings
    from ethogram.simulate.load import Load

    # What is compiled is loaded before the clock runs.
    Biflows().batch(Decoder().decode(batch(list(Load().messages(1))[:50])))
    # Homes send their day one after the other: to the fingerprints, the second home is a day late.
    settings = CollectorSettings(exporter=ExporterSettings(lateness_s=LATENESS_S))
    collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder, settings)
    collector.start()
    print(collector.listening[0].port, flush=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    before = used.ru_utime + used.ru_stime
    sys.stdin.readline()
    stopping = time.perf_counter()
    collector.stop()
    used = resource.getrusage(resource.RUSAGE_SELF)
    [peak] = [int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")]  # noqa: PTH123, SIM115
    counters = collector.counters.as_dict()
    counters |= {"cpu_s": used.ru_utime + used.ru_stime - before, "stop_s": time.perf_counter() - stopping,
              "rss_mib": peak, "flows": collector.flows}  # fmt: skip
    print(json.dumps(counters), flush=True)


def send(port: int, rate: float, seconds: float, homes: int) -> None:
    """The sender: says what it sent."""
    from ethogram.io.receive.address import Listen
    from ethogram.simulate.load import Load

    load = Load(homes=homes)
    used = time.process_time()
    sent = load.send(Listen.parse(f"udp://127.0.0.1:{port}"), seconds=seconds, rate=rate)
    print(json.dumps(vars(sent) | {"cpu_s": time.process_time() - used, "devices": load.devices}), flush=True)


def run(rate: float, seconds: float, homes: int) -> dict[str, Any]:
    """One measurement."""
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        collector = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert collector.stdin is not None
        assert collector.stdout is not None
        port = collector.stdout.readline().strip()
        sender = subprocess.run(
            [sys.executable, __file__, "--send", port, "--rates", str(rate), "--seconds", str(seconds),
             "--homes", str(homes)], capture_output=True, text=True, check=True,
        )  # fmt: skip
        sent = json.loads(sender.stdout)
        time.sleep(SETTLE_S)
        collector.stdin.write("stop\n")
        collector.stdin.flush()
        counted = json.loads(collector.stdout.readline())
        collector.wait(60)
        parquet = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
    datagrams, sequence, stages = counted["stages"]["datagrams"], counted["sequence"], counted["stages"]
    inside = {
        f"{name}: {reason}": count
        for name, stage in stages.items()
        for reason, count in stage["dropped"].items()
        if not (name == "datagrams" and reason == "socket")
    }
    return {
        "rate": rate, "load_before": before, "sent": sent, "homes": homes,
        "records_per_s": sent["flows"] / sent["seconds"],
        "datagrams_read": datagrams["read"], "datagrams_used": datagrams["used"],
        "lost_at_socket": datagrams["dropped"].get("socket", 0), "lost_inside": inside,
        "received": sequence["received"], "gaps": sequence["gaps"],
        "behind_the_last": sent["units"] - sequence["received"] - sequence["gaps"],
        "datagrams_balance": datagrams["read"] == sent["messages"],
        "cpu_s": counted["cpu_s"], "stop_s": counted["stop_s"], "rss_mib": counted["rss_mib"],
        "queue_highest_octets": counted["queue"]["highest_octets"], "socket_buffers": counted["socket_buffers"],
        "flows": counted["flows"], "parquet_octets": parquet, "stages": stages, "sequence": sequence,
        "written": counted["written"],
    }  # fmt: skip


def main() -> None:
    """Measure, print a table, and keep the result when asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rates", type=float, nargs="+", default=[500_000, 1_000_000], help="records a second")
    arguments.add_argument("--seconds", type=float, default=30)
    arguments.add_argument("--homes", type=int, default=1000)
    arguments.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--send", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    if options.send is not None:
        send(options.send, options.rates[0], options.seconds, options.homes)
        return
    result: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count(), "runs": []}
    print("| records/s asked | sent/s | datagrams sent | read | of them lost at the socket | lost inside "
          "| records sent | received | gaps | behind the last | CPU s | stop s | RSS MiB |")  # fmt: skip
    print("|" + "---|" * 13)
    for rate in options.rates:
        row = run(rate, options.seconds, options.homes)
        result["runs"].append(row)
        print(f"| {rate:,.0f} | {row['records_per_s']:,.0f} | {row['sent']['messages']:,} | {row['datagrams_read']:,} "
              f"| {row['lost_at_socket']:,} | {sum(row['lost_inside'].values()):,} | {row['sent']['units']:,} "
              f"| {row['received']:,} | {row['gaps']:,} | {row['behind_the_last']:,} | {row['cpu_s']:.1f} "
              f"| {row['stop_s']:.1f} | {row['rss_mib']:,.0f} |", flush=True)  # fmt: skip
        for reason, count in row["lost_inside"].items():
            print(f"  {reason}: {count:,}")
    result["command"] = (f"benchmarks/wire/collect.py --rates {' '.join(f'{rate:.0f}' for rate in options.rates)} "
                         f"--seconds {options.seconds:g} --homes {options.homes}")  # fmt: skip
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
