"""A flow exporter of our own: biflows to export messages, in order of flow end, as a router sends them.

It sends its templates again after so many messages or so much time, tells its sampling by options, has several
observation domains, restarts on demand, and counts exactly what it sent. A seed gives the same octets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from ethogram.config import Settings
from ethogram.io.wire.build import HEADER, Data, Encoded, MessageBuilder, Set, data_set, encode, template_set
from ethogram.simulate.impairment import Message
from ethogram.simulate.layout import (
    OPTIONS_ID,
    Layout,
    Protocol,
    halves,
    layout_of,
    milliseconds,
    packed_addresses,
)
from ethogram.simulate.timeout import cut, in_order

__all__ = ["ExportSettings", "FlowExporter", "Sent"]

LARGEST_RATE = (1 << 14) - 1  # v5's header has 14 bits for it


class ExportSettings(Settings):
    """How the simulated exporter exports."""

    protocol: Protocol = "ipfix"
    domains: int = Field(default=1, ge=1, le=255, description="observation domains; a pair of addresses stays in one")
    mtu: int = Field(default=1400, ge=128, le=65_507, description="octets of a message at most")
    flush_s: int = Field(default=60, ge=1, description="a record waits in the exporter for so long at most")
    active_s: int = Field(default=1800, ge=0, description="a flow lasting longer is cut into several records; 0: never")
    template_messages: int = Field(
        default=200, ge=0, description="messages after which templates are sent again; 0: no"
    )
    template_s: int = Field(default=600, ge=0, description="time after which templates are sent again; 0: never")
    sampling: int = Field(default=1, ge=1, le=LARGEST_RATE, description="one packet of so many is looked at")
    restarts: tuple[datetime, ...] = Field(default=(), description="when the exporter starts anew")
    seed: int = Field(default=1, ge=0, description="of the sampling")


@dataclass
class Sent:
    """What a flow exporter sent, on its own account: what a collector received and what it missed add up to it.

    Parameters
    ----------
    biflows
        Given to it.
    unsampled, unsupported
        Of them, those of whose packets none was sampled, and those of IPv6 where the protocol knows IPv4 alone.
    flows, options, templates
        Records in the messages: of flows, of options, and templates.
    messages, octets, restarts
        Messages, their octets, and how often the exporter began anew.
    units
        Distance of all sequence numbers: flow records (v5), messages (v9), data records with options (IPFIX).
    """

    biflows: int = 0
    unsampled: int = 0
    unsupported: int = 0
    flows: int = 0
    options: int = 0
    templates: int = 0
    messages: int = 0
    octets: int = 0
    restarts: int = 0
    units: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain data for JSON."""
        return asdict(self)


@dataclass
class _Domain:
    """One observation domain: its sequence, and when it last sent its templates."""

    build: MessageBuilder
    since: int = -1  # messages since then; -1: never
    announced_ms: int = 0


@dataclass
class _EncodedRecords:
    """Encoded records of one domain and IP version, ordered by the clock's intervals in which they leave."""

    domain: int
    family: int
    records: Encoded
    interval: NDArray[np.int64]


class FlowExporter:
    """Biflows to export messages.

    Parameters
    ----------
    settings
        Protocol and habits.

    Attributes
    ----------
    sent
        What was sent so far; complete when the messages end.

    Examples
    --------
    >>> from ethogram.simulate import SimulatedHome
    >>> exporter = FlowExporter(ExportSettings(protocol="v9", domains=2))
    >>> messages = list(exporter.messages(SimulatedHome(days=1).batches()))
    >>> exporter.sent.units == exporter.sent.messages == len(messages)
    True
    """

    def __init__(self, settings: ExportSettings | None = None) -> None:
        self.settings = settings or ExportSettings()
        self._layout: Layout = layout_of(self.settings.protocol, self.settings.sampling > 1)
        self._random = np.random.default_rng([self.settings.seed, 0x5A3B])
        self._restarts = sorted(int(time.timestamp() * 1000) // 1000 * 1000 for time in self.settings.restarts)
        self._domains: list[_Domain] = []
        self._time_ms = 0
        self.sent = Sent()

    def messages(self, biflows: Iterable[pl.DataFrame]) -> Iterator[Message]:
        """Export biflows (:data:`ethogram.schema.BIFLOW`), in batches that are roughly in order of time."""
        for frame in in_order(cut(batch, self.settings.active_s) for batch in biflows):
            if not frame.height:
                continue
            self.sent.biflows += int(frame["_first"].sum())
            if not self._domains:
                # It was started an hour before: the first records have begun since.
                self._start((int(milliseconds(frame["start"]).min()) // 1000 - 3600) * 1000)
            rest = frame
            while self._restarts and self._restarts[0] <= int(milliseconds(rest["end"]).max()):
                restart = self._restarts.pop(0)
                at = int(np.searchsorted(milliseconds(rest["end"]), restart))
                yield from self._exported(rest[:at])
                rest = rest[at:]
                self.sent.restarts += 1
                self._start(restart)
            yield from self._exported(rest)

    def _start(self, boot_ms: int) -> None:
        rate = self.settings.sampling
        self._boot_ms = boot_ms
        self._time_ms = max(self._time_ms + 1000, boot_ms)  # it does not start anew within a second
        sampling = 1 << 14 | rate if rate > 1 else 0  # mode 1: deterministic
        self._domains = [
            _Domain(MessageBuilder(self._layout.version, number, 0, boot_ms, self.settings.mtu, sampling))
            for number in range(1, self.settings.domains + 1)
        ]

    def _exported(self, frame: pl.DataFrame) -> Iterator[Message]:
        """Messages of records that no restart divides."""
        if not frame.height:
            return
        parts = list(self._parts(frame))
        intervals = sorted({int(one) for part in parts for one in np.unique(part.interval)})
        places = [
            (np.searchsorted(part.interval, intervals), np.searchsorted(part.interval, intervals, side="right"))
            for part in parts
        ]
        for i, interval in enumerate(intervals):
            # Never back in time, and by whole seconds: v9 tells no less of its clock.
            self._time_ms = max(self._time_ms, (interval + 1) * self.settings.flush_s * 1000)
            for number, domain in enumerate(self._domains):
                waiting = []
                for part, (first, last) in zip(parts, places, strict=True):
                    if part.domain == number and last[i] > first[i]:
                        template = self._layout.template(part.family, number + 1, self.sent.restarts)
                        waiting.append(Data(template, part.records[int(first[i]) : int(last[i])]))
                if waiting:
                    yield from self._sent(domain, waiting)

    def _sent(self, domain: _Domain, parts: Iterable[Data]) -> Iterator[Message]:
        """Pack records into messages, with templates where they are due."""
        room = self.settings.mtu - HEADER[domain.build.version]
        for sets in domain.build.packed(parts):
            due = self._due(domain)
            if due and sum(len(one.octets) for one in (*due, *sets)) > room:
                yield self._message(domain, due)
                due = []
            yield self._message(domain, [*due, *sets])

    def _due(self, domain: _Domain) -> list[Set]:
        """Templates and options, when they have not been sent for long enough."""
        settings, layout, build = self.settings, self._layout, domain.build
        never = domain.since < 0
        after = settings.template_messages and domain.since >= settings.template_messages
        old = settings.template_s and self._time_ms - domain.announced_ms >= settings.template_s * 1000
        if layout.version == 5 or not (never or after or old):
            return []
        domain.since, domain.announced_ms = 0, self._time_ms
        templates = [layout.template(family, build.domain, self.sent.restarts) for family in sorted(layout.fields)]
        due = [template_set(*templates)]
        if settings.sampling > 1:
            options = layout.options_template(build.domain)
            values = [np.array([value]) for value in layout.option_values(settings.sampling)]
            due += [template_set(options), data_set(options, encode(options.fields, values))]
        return due

    def _message(self, domain: _Domain, sets: list[Set]) -> Message:
        build, sent = domain.build, self.sent
        octets = build.message(sets, self._time_ms)
        data = sum(one.records for one in sets if one.data)
        options = sum(one.records for one in sets if one.data and one.number == OPTIONS_ID) if build.version > 5 else 0
        units = 1 if build.version == 9 else data
        domain.since += 1
        sent.messages += 1
        sent.octets += len(octets)
        sent.flows += data - options
        sent.options += options
        sent.templates += sum(one.records for one in sets if not one.data)
        sent.units += units
        return Message(octets, self._time_ms, build.domain, sent.restarts, data - options, units)

    def _parts(self, frame: pl.DataFrame) -> Iterator[_EncodedRecords]:
        """Encode records, apart by domain and IP version."""
        family = pl.when(pl.col("source_address").str.contains(":", literal=True)).then(6).otherwise(4)
        frame = frame.with_columns(_family=family)
        frame = self._sampled(frame) if self.settings.sampling > 1 else frame
        for version in (4, 6):
            rows = frame.filter(pl.col("_family") == version)
            if not rows.height:
                continue
            if version not in self._layout.fields:
                self.sent.unsupported += rows.height
                continue
            if self._layout.one_way:
                rows = halves(rows)
            both = [packed_addresses(rows[name], version) for name in ("source_address", "destination_address")]
            # The same for both halves of a biflow: the sum of all octets of its addresses.
            sums = sum(one.reshape(rows.height, -1).view(np.uint8).sum(axis=1, dtype=np.int64) for one in both)
            for domain in range(self.settings.domains):
                own = rows.filter(pl.Series(sums % self.settings.domains == domain))
                if own.height:
                    values = self._layout.values(own, version, self._boot_ms)
                    encoded = encode(self._layout.fields[version], values)
                    interval = milliseconds(own["end"]) // (self.settings.flush_s * 1000)
                    yield _EncodedRecords(domain, version, encoded, interval)

    def _sampled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Each packet is looked at with the same chance; the rest of the flow is not known to the exporter."""
        columns = {}
        for packets, octets in (("packets", "octets"), ("reverse_packets", "reverse_octets")):
            all_packets, all_octets = frame[packets].to_numpy(), frame[octets].to_numpy()
            taken = self._random.binomial(all_packets.astype(np.int64), 1 / self.settings.sampling).astype(np.uint64)
            columns[packets] = taken
            columns[octets] = all_octets * taken // np.maximum(all_packets, np.uint64(1))
        sampled = frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})
        seen = sampled.filter((pl.col("packets") > 0) | (pl.col("reverse_packets") > 0))
        self.sent.unsampled += sampled.height - seen.height
        return seen
