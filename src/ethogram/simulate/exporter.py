"""Simulated flow exporter: biflows to export messages, in order of flow end, as a router sends them.

It repeats its templates after a number of messages or a time, states its sampling in options, has several observation
domains, restarts on demand, and counts exactly what it sent. A seed reproduces identical octets.
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

LARGEST_RATE = (1 << 14) - 1  # limit of the 14 bits in the v5 header


class ExportSettings(Settings):
    """Settings of the simulated exporter."""

    protocol: Protocol = "ipfix"
    domains: int = Field(default=1, ge=1, le=255, description="observation domains; an address pair belongs to one")
    mtu: int = Field(default=1400, ge=128, le=65_507, description="maximum octets per message")
    flush_s: int = Field(default=60, ge=1, description="maximum time that a record waits in the exporter")
    active_s: int = Field(default=1800, ge=0, description="active timeout: longer flows are split; 0: never")
    template_messages: int = Field(
        default=200, ge=0, description="number of messages after which templates are repeated; 0: never"
    )
    template_s: int = Field(default=600, ge=0, description="time after which templates are repeated; 0: never")
    names: bool = Field(default=False, description="export the host name of the destination (IPFIX biflows)")
    sampling: int = Field(default=1, ge=1, le=LARGEST_RATE, description="sampling: one packet of this many is observed")
    restarts: tuple[datetime, ...] = Field(default=(), description="times at which the exporter restarts")
    seed: int = Field(default=1, ge=0, description="seed of the sampling")


@dataclass
class Sent:
    """What a flow exporter sent; the counters of a collector and its losses must add up to this.

    Parameters
    ----------
    biflows
        Given to the exporter.
    unsampled, unsupported
        Biflows without a sampled packet, and IPv6 biflows if the protocol only supports IPv4.
    flows, options, templates
        Flow records, options records and templates in the messages.
    messages, octets, restarts
        Messages, their octets, and restarts.
    units
        Sum of sequence increments: flow records (v5), messages (v9), data records with options (IPFIX).
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
    since: int = -1  # messages since the last templates; -1: never sent
    announced_ms: int = 0


@dataclass
class _EncodedRecords:
    """Encoded records of one domain and IP version, ordered by the clock intervals in which they are sent."""

    domain: int
    family: int
    records: Encoded
    interval: NDArray[np.int64]


class FlowExporter:
    """Converts biflows to export messages.

    Parameters
    ----------
    settings
        Protocol and behaviour.

    Attributes
    ----------
    sent
        Totals so far; complete after the last message.

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
        self._layout: Layout = layout_of(self.settings.protocol, self.settings.sampling > 1, self.settings.names)
        self._random = np.random.default_rng([self.settings.seed, 0x5A3B])
        self._restarts = sorted(int(time.timestamp() * 1000) // 1000 * 1000 for time in self.settings.restarts)
        self._domains: list[_Domain] = []
        self._time_ms = 0
        self.sent = Sent()

    def messages(self, biflows: Iterable[pl.DataFrame]) -> Iterator[Message]:
        """Export biflows (:data:`ethogram.schema.BIFLOW`) in batches that are approximately in order of time."""
        for frame in in_order(cut(batch, self.settings.active_s) for batch in biflows):
            if not frame.height:
                continue
            self.sent.biflows += int(frame["_first"].sum())
            if not self._domains:
                # The exporter started an hour earlier, before the first records began.
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
        self._time_ms = max(self._time_ms + 1000, boot_ms)  # no restart within a second
        sampling = 1 << 14 | rate if rate > 1 else 0  # mode 1: deterministic
        self._domains = [
            _Domain(MessageBuilder(self._layout.version, number, 0, boot_ms, self.settings.mtu, sampling))
            for number in range(1, self.settings.domains + 1)
        ]

    def _exported(self, frame: pl.DataFrame) -> Iterator[Message]:
        """Messages of records without a restart between them."""
        if not frame.height:
            return
        parts = list(self._parts(frame))
        intervals = sorted({int(interval) for part in parts for interval in np.unique(part.interval)})
        places = [
            (np.searchsorted(part.interval, intervals), np.searchsorted(part.interval, intervals, side="right"))
            for part in parts
        ]
        for i, interval in enumerate(intervals):
            # Time never decreases, and has a resolution of one second, as in v9.
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
        """Pack records into messages, with templates when they are due."""
        room = self.settings.mtu - HEADER[domain.build.version]
        for sets in domain.build.packed(parts):
            due = self._due(domain)
            if due and sum(len(part.octets) for part in (*due, *sets)) > room:
                yield self._message(domain, due)
                due = []
            yield self._message(domain, [*due, *sets])

    def _due(self, domain: _Domain) -> list[Set]:
        """Templates and options if they are due."""
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
        data = sum(part.records for part in sets if part.data)
        options = 0
        if build.version > 5:
            options = sum(part.records for part in sets if part.data and part.number == OPTIONS_ID)
        units = 1 if build.version == 9 else data
        domain.since += 1
        sent.messages += 1
        sent.octets += len(octets)
        sent.flows += data - options
        sent.options += options
        sent.templates += sum(part.records for part in sets if not part.data)
        sent.units += units
        return Message(octets, self._time_ms, build.domain, sent.restarts, data - options, units)

    def _parts(self, frame: pl.DataFrame) -> Iterator[_EncodedRecords]:
        """Encode records by domain and IP version."""
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
            octets = (addresses.reshape(rows.height, -1).view(np.uint8) for addresses in both)
            sums = sum(matrix.sum(axis=1, dtype=np.int64) for matrix in octets)
            for domain in range(self.settings.domains):
                domain_rows = rows.filter(pl.Series(sums % self.settings.domains == domain))
                if domain_rows.height:
                    values = self._layout.values(domain_rows, version, self._boot_ms)
                    encoded = encode(self._layout.fields[version], values)
                    interval = milliseconds(domain_rows["end"]) // (self.settings.flush_s * 1000)
                    yield _EncodedRecords(domain, version, encoded, interval)

    def _sampled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Sample packets independently; the exporter does not know the rest of the flow."""
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
