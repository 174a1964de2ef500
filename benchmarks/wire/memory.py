"""Memory under what an exporter, or somebody who forges one, can send: bounds that hold, and counters of what left.

Usage::

    python benchmarks/wire/memory.py [--share 1.0] [--write]

Each case is a process of its own. Its peak is what the process took beyond what it had after loading and a first
small batch. ``--share`` makes the cases smaller; ``--write`` keeps the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "results" / "wire-memory.json"
BATCH = 4096  # messages that are decoded together
MIB = 1 << 20


def status(field: str) -> float:
    """A line of the process's status, in MiB."""
    text = Path("/proc/self/status").read_text()
    [value] = [int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(field)]
    return value


def ipfix(domain: int, sets: bytes, sequence: int = 0) -> bytes:
    """One message, without the builder: a flood has to be made quickly."""
    return struct.pack(">HHIII", 10, 16 + len(sets), 1_700_000_000, sequence, domain) + sets


def template(number: int, fields: list[tuple[int, int]]) -> bytes:
    """A set with one template."""
    body = struct.pack(">HH", number, len(fields)) + b"".join(struct.pack(">HH", *field) for field in fields)
    return struct.pack(">HH", 2, 4 + len(body)) + body


def records(number: int, body: bytes) -> bytes:
    """A set of data."""
    return struct.pack(">HH", number, 4 + len(body)) + body


FLOW = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (152, 8), (153, 8)]
RECORD = struct.Struct(">IIHHBIIQQ")


def record(device: int, day: int = 0) -> bytes:
    """A flow of one device."""
    first = 1_700_000_000_000 + day * 86_400_000
    return RECORD.pack(0x0A000000 + device, 0xC6336401, 40000, 443, 6, 1500, 12, first, first + 1000)


class Run:
    """Decoder and biflows, with a peak that begins after a first batch."""

    def __init__(self) -> None:
        from ethogram.io.wire.biflows import Biflows
        from ethogram.io.wire.decoder import Decoder
        from ethogram.io.wire.sequence import Sequences

        self.decoder, self.biflows = Decoder(), Biflows()
        self.decoder.sequence = Sequences()
        self.octets = self.messages = 0
        self.frames: Callable[[Any], None] = lambda _: None
        self.feed([(0, ipfix(0, template(256, FLOW) + records(256, record(1))))])
        self.rest = status("VmRSS")
        self.began = time.perf_counter()

    def feed(self, given: list[tuple[int, bytes]]) -> None:
        """Messages of exporters by number."""
        import numpy as np

        from ethogram.schema import DatagramBatch, Exporter

        octets = np.array([len(payload) for _, payload in given], np.int32)
        numbers = np.array([number for number, _ in given], np.int64)
        known, index = np.unique(numbers, return_inverse=True)
        exporters = [Exporter(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 4739) for n in known.tolist()]
        batch = DatagramBatch(
            np.frombuffer(b"".join(payload for _, payload in given), np.uint8),
            np.cumsum(octets, dtype=np.int64) - octets,
            octets, np.full(len(given), 1_700_000_000_000_000_000, np.int64), index.astype(np.int32), exporters,
        )  # fmt: skip
        self.frames(self.biflows.batch(self.decoder.decode(batch)))
        self.octets += int(octets.sum())
        self.messages += len(given)

    def result(self, **more: Any) -> dict[str, Any]:
        """What was sent, what it took, and what was counted."""
        sets = self.decoder.sets
        return {
            "messages": self.messages, "mib_sent": self.octets / MIB, "mib_before": self.rest,
            "mib_peak": status("VmHWM"), "mib_more": status("VmHWM") - self.rest,
            "seconds": time.perf_counter() - self.began, "templates_held": len(self.decoder.store),
            "template_events": dict(self.decoder.store.counters), "sets_dropped": dict(sets.dropped),
            "pending_octets": self.decoder.pending.octets, "records": self.decoder.records.used,
            "messages_dropped": dict(self.decoder.accounting.dropped),
            "balanced": all(a.balanced for a in (self.decoder.accounting, sets, self.decoder.records)), **more,
        }  # fmt: skip


def in_batches(run: Run, made: Any) -> None:
    """Feed messages as they are made."""
    waiting: list[tuple[int, bytes]] = []
    for message in made:
        waiting.append(message)
        if len(waiting) == BATCH:
            run.feed(waiting)
            waiting = []
    if waiting:
        run.feed(waiting)


def many_templates(share: float) -> dict[str, Any]:
    """10,000 templates of 500 exporters, each of 20 fields, with data of each; all are within the bounds."""
    run = Run()
    fields = [*FLOW, *((1000 + i, 4) for i in range(11))]
    body = record(7) + b"\0" * 44

    def made() -> Any:
        for again in range(3):
            for number in range(int(10_000 * share)):
                exporter, place = number % 500, number // 500
                own_fields = [*fields, (2000 + place, 4)]
                sets = template(256 + place, own_fields) + records(256 + place, body + b"\0\0\0\7")
                yield 1 + exporter, ipfix(again * 0, sets, again)

    in_batches(run, made())
    return run.result(bound="32,768 templates")


def flood_of_templates(share: float) -> dict[str, Any]:
    """200,000 different templates of 200 fields each from 3,000 addresses, as fast as they come."""
    run = Run()
    most = [(1 + i, 4) for i in range(200)]

    def made() -> Any:
        packed = b"".join(struct.pack(">HH", *field) for field in most)
        for number in range(int(200_000 * share)):
            template_set = struct.pack(">HHHH", 2, 8 + len(packed), 256 + number % 60_000, len(most)) + packed
            yield number % 3_000, ipfix(number // 60_000, template_set)

    in_batches(run, made())
    return run.result(bound="32,768 templates, 4,096 of one exporter")


def sets_without_template(share: float) -> dict[str, Any]:
    """A million sets of 1,000 octets whose template never comes, from 2,000 addresses."""
    run = Run()
    body = b"\x5a" * 1000

    def made() -> Any:
        for number in range(int(1_000_000 * share)):
            yield number % 2_000, ipfix(number % 7, records(300 + number % 1000, body))

    in_batches(run, made())
    return run.result(bound="64 MiB waiting, 4 MiB of one exporter")


def forged_exporters(share: float) -> dict[str, Any]:
    """A million addresses that each send one template and one record."""
    run = Run()
    sets = template(256, FLOW) + records(256, record(9))
    in_batches(run, ((number, ipfix(0, sets)) for number in range(int(1_000_000 * share))))
    return run.result(bound="4,096 exporters")


def short_records(share: float) -> dict[str, Any]:
    """A template whose records have 4 octets, and blocks full of them: the most rows that octets can become."""
    run = Run()
    tiny = [(8, 1), (12, 1), (4, 1), (1, 1)]
    run.feed([(0, ipfix(0, template(400, tiny)))])
    data = records(400, b"\1\2\6\7" * 16_300)
    for _ in range(max(int(4 * share), 1)):
        run.feed([(0, ipfix(0, data))] * 512)  # 32 MiB: a block
    return run.result(bound="blocks of 32 MiB")


def million_devices(share: float) -> dict[str, Any]:
    """A million devices with a flow on each of three days, to the flow table and the fingerprint exporter."""
    from ethogram.config import CollectSettings, FlowSettings
    from ethogram.fingerprint.exporter import FingerprintExporter
    from ethogram.flow.devices import LocalDevices
    from ethogram.pipeline.stages import FlowStages

    run = Run()
    stages = FlowStages(FlowSettings(), LocalDevices(), 1800.0)
    exporter = FingerprintExporter(max_devices=CollectSettings().max_devices)

    def frames(biflows: Any) -> None:
        exporter.feed(stages.flows(biflows).sort("end", maintain_order=True))

    run.frames = frames
    each = 30
    devices = int(1_000_000 * share)

    def made() -> Any:
        for day in range(3):
            for first in range(0, devices, each):
                flows = (record(device, day) for device in range(first, min(first + each, devices)))
                yield 0, ipfix(0, records(256, b"".join(flows)))

    in_batches(run, made())
    exporter.feed(stages.flows(run.biflows.batch([]), last=True))
    return run.result(
        bound="100,000 devices", devices_held=exporter.pending["device"].n_unique(), devices_evicted=exporter.evicted,
        fingerprints=exporter.accounting.as_dict(),
    )  # fmt: skip


def names_of_interfaces(share: float) -> dict[str, Any]:
    """500,000 names of interfaces, each of 500 octets, that 1,000 addresses state in options records."""
    run = Run()
    # An options template: scope ingressInterface, then interfaceName of variable length.
    body = struct.pack(">HHHHHHH", 300, 2, 1, 10, 4, 82, 65535)
    head = struct.pack(">HH", 3, 4 + len(body)) + body
    each = 50

    def made() -> Any:
        for number in range(int(10_000 * share)):
            states = b"".join(
                struct.pack(">IBH", number // 1000 * each + i, 255, 500) + b"%08d" % (number * each + i) + b"x" * 492
                for i in range(each)
            )
            yield number % 1000, ipfix(0, head + records(300, states))

    in_batches(run, made())
    return run.result(bound="131,072 names and samplers", forgotten=dict(run.biflows.metadata.forgotten))


CASES = {
    "10,000 templates of 500 exporters": many_templates,
    "200,000 templates": flood_of_templates,
    "sets that never get a template": sets_without_template,
    "500,000 names of interfaces": names_of_interfaces,
    "a million forged exporters": forged_exporters,
    "the shortest records": short_records,
    "a million devices": million_devices,
}


def main() -> None:
    """Run each case, print a table, and keep the result when asked."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--share", type=float, default=1.0, help="of the size of each case")
    arguments.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments.add_argument("--only", choices=CASES, help="one case")
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.inside:
        print(json.dumps(CASES[options.only](options.share)))
        return
    result: dict[str, Any] = {
        "machine": platform.machine(), "share": options.share, "cases": {},
        "command": f"benchmarks/wire/memory.py --share {options.share:g}",
    }  # fmt: skip
    print("| case | messages | MiB sent | s | bound | peak, MiB | beyond rest, MiB | counted |")
    print("|---|---|---|---|---|---|---|---|")
    for name in [options.only] if options.only else CASES:
        command = [sys.executable, __file__, "--inside", "--only", name, "--share", str(options.share)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | | | | | {(done.stderr.strip().splitlines() or ['failed'])[-1]} | | |", flush=True)
            continue
        run = json.loads(done.stdout)
        result["cases"][name] = run
        counters = {**run["template_events"], **run["sets_dropped"], **run["messages_dropped"]}
        counters |= run.get("forgotten", {})
        if "devices_evicted" in run:
            counters |= {"devices held": run["devices_held"], "windows evicted": run["devices_evicted"]}
            counters |= {f"flows: {reason}": count for reason, count in run["fingerprints"]["dropped"].items()}
        counted = ", ".join(f"{reason} {count:,}" for reason, count in counters.items())
        print(f"| {name} | {run['messages']:,} | {run['mib_sent']:,.0f} | {run['seconds']:.1f} | {run['bound']} "
              f"| {run['mib_peak']:,.0f} | {run['mib_more']:,.0f} | {counted} |", flush=True)  # fmt: skip
    if options.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
