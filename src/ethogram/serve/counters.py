"""All counters of a collector: the outcome of each datagram, message, set, record and flow."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import Exporters, MessageQueue
from ethogram.io.receive.tcp import TcpReceiver
from ethogram.io.receive.udp import UdpReceiver
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.identity_elements import IdentityElements
from ethogram.io.wire.sequence import Sequences
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import Accounting
from ethogram.serve.output import Output
from ethogram.serve.state import accounting_of

__all__ = ["COUNTERS_FORMAT", "CollectorParts", "Counters", "Loss"]

COUNTERS_FORMAT = "ethogram.collect-counters/1"
STORED_WITH_OUTPUT = ("facts", "fingerprints", "output")  # saved with the output
ARRIVALS = {"datagrams", "stream"}  # count arrivals, decoded or not
MOST_EXPORTERS = 100  # listed individually, those with most losses first
WAITED = "waited for a template at a restart"


@dataclass(frozen=True)
class Loss:
    """A loss at one stage, for display."""

    place: str
    reason: str
    count: int
    unit: str


class CollectorParts(Protocol):
    """The parts of a collector that have counters."""

    udp: UdpReceiver
    tcp: TcpReceiver
    queue: MessageQueue
    exporters: Exporters
    recorded: Accounting
    decoder: Decoder
    sequences: Sequences
    taken: Counter[str]
    biflows: Biflows
    identity: IdentityElements
    stages: FlowStages
    output: Output

    @property
    def listening(self) -> list[Listen]:
        """Listen addresses."""
        ...


class Counters:
    """Counters of a collector, including earlier runs in the same folder.

    Parameters
    ----------
    collector
        The collector.
    """

    def __init__(self, collector: CollectorParts) -> None:
        self._of = collector
        self._before: dict[str, Accounting] = {}
        self._connections_before: Counter[str] = Counter()
        self._evicted_before: Counter[str] = Counter()
        self._opened_before = 0
        self.lost_waiting = 0
        self.started = time.time()

    def restore(self, saved: dict[str, Any]) -> None:
        """Restore :meth:`totals` of an earlier run."""
        self._before = {name: accounting_of(each) for name, each in saved["accountings"].items()}
        self._connections_before = Counter(saved["connections"]["closed"])
        self._evicted_before = Counter(saved.get("evicted_exporters", {}))
        self._opened_before = int(saved["connections"]["opened"])
        self.lost_waiting = int(saved["lost_waiting"])

    def accountings(self) -> dict[str, Accounting]:
        """Accounting of every stage by name, in pipeline order."""
        of = self._of
        now = {
            "datagrams": of.udp.accounting,
            "stream": of.tcp.accounting,
            "recording": of.recorded,
            "messages": of.decoder.accounting,
            "sets": of.decoder.sets,
            "records": of.decoder.records,
            "biflows": of.biflows.accounting,
            "identity": of.identity.accounting,
            "facts": of.output.identity,
            **of.stages.accountings,
            "fingerprints": of.output.exporter.accounting,
            "output": of.output.accounting,
        }
        totals: dict[str, Accounting] = {}
        for name in dict.fromkeys([*now, *self._before]):
            accounting = Accounting(now[name].unit if name in now else self._before[name].unit)
            if name in self._before:
                accounting.merge(self._before[name])
            if name in now:
                accounting.merge(_copied(now[name]))
            if accounting.read:
                totals[name] = accounting
        return totals

    def totals(self) -> dict[str, Any]:
        """Counters for :meth:`restore`, as if nothing had arrived since the last block, which a kill would lose."""
        accountings = {name: each for name, each in self.accountings().items() if name not in STORED_WITH_OUTPUT}
        for name in ARRIVALS & accountings.keys():
            saved, before = accountings[name], self._before.get(name)
            saved.used = self._of.taken[name] + (0 if before is None else before.used)
            saved.read = saved.used + saved.ignored.total() + saved.dropped.total()
        return {
            "accountings": {name: each.as_dict() for name, each in accountings.items()},
            "connections": {"opened": self._opened, "closed": dict(self._closed)},
            "evicted_exporters": dict(self._evicted),
            "lost_waiting": self.lost_waiting,
        }

    @property
    def _opened(self) -> int:
        return self._opened_before + self._of.tcp.opened

    @property
    def _closed(self) -> Counter[str]:
        return self._connections_before + self._of.tcp.closed

    @property
    def _evicted(self) -> Counter[str]:
        return self._evicted_before + self._of.udp.evicted

    def as_dict(self) -> dict[str, Any]:
        """All counters as plain data."""
        of = self._of
        return {
            "format": COUNTERS_FORMAT,
            "time": datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
            "listening": [str(place) for place in of.listening],
            "uptime_s": round(time.time() - self.started, 3),
            "stages": {name: each.as_dict() for name, each in self.accountings().items()},
            "sequence": {**of.sequences.totals.as_dict(), "forgotten_streams": of.sequences.forgotten},
            "lost": [vars(loss) for loss in self.losses()],
            "queue": {
                "octets": of.queue.octets, "highest_octets": of.queue.highest_octets, "bound_octets": of.queue.bound,
            },
            "socket_buffers": of.udp.buffer_octets,
            "connections": {"open": of.tcp.connections, "opened": self._opened, "closed": dict(self._closed)},
            "evicted_exporters": dict(self._evicted),
            "templates": {"held": len(of.decoder.store), **dict(of.decoder.store.counters)},
            "unknown_versions": sorted(of.decoder.unknown_versions),
            "waiting": {"sets": len(of.decoder.pending), "octets": of.decoder.pending.octets},
            "written": {
                "segments": of.output.segments, "fingerprints": of.output.fingerprints,
                "devices": len(of.output.exporter.devices), "evicted_devices": of.output.exporter.evicted,
                "problem": of.output.problem,
            },
            "exporters": self.exporters(),
        }  # fmt: skip

    def json(self) -> bytes:
        """All counters as JSON."""
        return orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def losses(self) -> list[Loss]:
        """Every non-zero loss, in pipeline order."""
        losses = [
            Loss(name, reason, count, accounting.unit)
            for name, accounting in self.accountings().items()
            for reason, count in sorted(accounting.dropped.items())
        ]
        totals = self._of.sequences.totals
        if totals.gaps:
            losses.append(Loss("sequence", "gap", totals.gaps, "units"))
        if totals.undecoded:
            losses.append(Loss("sequence", "records not counted", totals.undecoded, "records"))
        if self.lost_waiting:
            losses.append(Loss("sets", WAITED, self.lost_waiting, "sets"))
        return losses

    def exporters(self) -> list[dict[str, Any]]:
        """Sequence sums, templates and clock error of the exporters with the most losses.

        The clock error is that of the latest message: seconds by which its export time is ahead of its arrival.
        """
        known, templates = self._of.exporters.now, self._of.decoder.store.by_exporter()
        errors = self._of.decoder.clock_errors
        rows: list[dict[str, Any]] = [
            {
                "address": known[index].address, "port": known[index].port, "transport": known[index].transport,
                **totals.as_dict(), "templates": templates[known[index]],
                "clock_error_s": round(errors[index], 3) if index in errors else None,
            }
            for index, totals in self._of.sequences.by_exporter().items()
            if index < len(known)
        ]  # fmt: skip
        rows.sort(key=lambda row: (-row["gaps"], row["address"], row["port"]))
        return rows[:MOST_EXPORTERS]


def _copied(accounting: Accounting) -> Accounting:
    """A copy of an accounting that another thread may be modifying."""
    return Accounting(
        accounting.unit, accounting.read, accounting.used, Counter(dict(accounting.ignored)),
        Counter(dict(accounting.dropped)), Counter(dict(accounting.corrected)),
    )  # fmt: skip
