"""Export messages to records: walk, match sets with templates, and give the records of each template as columns."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import WireSettings
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import parse_definitions, v5_template
from ethogram.io.wire.templates import Event, TemplateStore
from ethogram.io.wire.walk import (
    COUNTERS,
    HEADER,
    MESSAGES_CORRECTED,
    MESSAGES_DROPPED,
    MESSAGES_READ,
    MESSAGES_USED,
    SET,
    SETS_DROPPED,
    SETS_IGNORED,
    SETS_READ,
    V5,
    walk,
)  # fmt: skip
from ethogram.schema import Accounting, DatagramBatch

__all__ = ["Decoder"]

TABLE_ROWS = 1 << 18  # messages, and sets, that are looked at together
NO_TEMPLATE, TEMPLATE_SET = -1, -2
V5_FIRST = -1_000_000_000  # the generation of v5 records of the first exporter; downwards from there

definitions_of = lru_cache(1 << 12)(parse_definitions)


class Decoder:
    """Batches of export messages to :class:`~ethogram.io.wire.records.Records`.

    Parameters
    ----------
    settings
        Bounds.
    store
        Templates, when they are to outlive the decoder.

    Attributes
    ----------
    accounting
        Over messages.
    sets
        Over sets: used, held until their template comes, and what became of those.
    records
        Over records: data records are used, options records ignored (they tell of the exporter, not of flows).
    sequence
        When it is set, its ``observe(headers, exporters, records, whole)`` is told of each chunk of messages: how
        many data records (options included) each had, and whether all its sets could be decoded.
    """

    def __init__(self, settings: WireSettings | None = None, store: TemplateStore | None = None) -> None:
        self._settings = settings or WireSettings()
        self.store = store or TemplateStore(self._settings)
        self.accounting = Accounting("messages")
        self.sets = Accounting("sets")
        self.records = Accounting("records")
        self.sequence: Any = None

    @property
    def events(self) -> deque[Event]:
        """The last things that happened to templates."""
        return self.store.events

    def decode(self, batch: DatagramBatch) -> list[Records]:
        """Decode the messages of a batch.

        Returns
        -------
        The records of each template, data and options apart (``template.options``); sets that waited for a template
        which has now come stand before those that came after it.
        """
        found: list[Records] = []
        if not len(batch):
            return found
        now_ns = int(batch.arrival_ns.max())
        self.store.expire(now_ns)
        slots = np.array([self.store.slot(one, now_ns) for one in batch.exporters], np.int32)
        row = 0
        while row < len(batch):
            rows = max(TABLE_ROWS, int(batch.octets.max()) // 4 + 2)
            headers, sets, counters = np.empty(rows, HEADER), np.empty(rows, SET), np.zeros(COUNTERS, np.int64)
            row, messages, count = walk(
                batch.data, batch.offset, batch.octets, batch.arrival_ns, batch.exporter, slots, row,
                headers, sets, counters,
            )  # fmt: skip
            self._count(counters)
            found += self._chunk(batch, slots, headers[:messages].copy(), sets[:count].copy())
        return found

    def _count(self, counters: NDArray[np.int64]) -> None:
        self.accounting.read += int(counters[MESSAGES_READ])
        self.accounting.used += int(counters[MESSAGES_USED])
        self.sets.read += int(counters[SETS_READ])
        for place, reason in MESSAGES_DROPPED.items():
            self.accounting.drop(reason, int(counters[place]))
        for place, reason in MESSAGES_CORRECTED.items():
            self.accounting.correct(reason, int(counters[place]))
        for place, reason in SETS_DROPPED.items():
            self.sets.drop(reason, int(counters[place]))
        for place, reason in SETS_IGNORED.items():
            self.sets.ignore(reason, int(counters[place]))

    def _chunk(
        self, batch: DatagramBatch, slots: NDArray[np.int32], headers: NDArray[np.void], sets: NDArray[np.void]
    ) -> list[Records]:
        generations = self._match(batch, slots, headers, sets)
        found = self._records(batch, headers, sets, generations)
        self.store.settle([one.template.generation for one in found])
        return found

    def _match(
        self, batch: DatagramBatch, slots: NDArray[np.int32], headers: NDArray[np.void], sets: NDArray[np.void]
    ) -> NDArray[np.int64]:
        """Generation of each set: that of the last definition of its template that stands before it."""
        generations = np.full(len(sets), TEMPLATE_SET, np.int64)
        v5 = np.flatnonzero(headers["version"][sets["message"]] == V5)
        if v5.size:
            generations[v5] = V5_FIRST - slots[headers["exporter"][sets["message"][v5]]]
        done = 0
        for row in np.flatnonzero((sets["id"] < 256) & (generations == TEMPLATE_SET)).tolist():
            number, at, octets = int(sets["id"][row]), int(sets["offset"][row]), int(sets["octets"][row])
            header = headers[sets["message"][row]]
            version, domain, exporter = int(header["version"]), int(header["domain"]), int(header["exporter"])
            slot, arrival_ns = int(slots[exporter]), int(header["arrival_ns"])
            options = number in (1, 3)
            body = batch.data[at : at + octets].tobytes()
            self.sets.used += 1
            for definition in definitions_of(body, version, options, self._settings.max_fields):
                if self.store.changes(slot, version, domain, definition, arrival_ns):
                    self.store.table.look_up(headers, slots, sets, done, row, generations)
                    done = row
                    self.store.apply(slot, batch.exporters[exporter], version, domain, definition, arrival_ns)
        self.store.table.look_up(headers, slots, sets, done, len(sets), generations)
        return generations

    def _records(
        self, batch: DatagramBatch, headers: NDArray[np.void], sets: NDArray[np.void], generations: NDArray[np.int64]
    ) -> list[Records]:
        found = []
        order = np.argsort(generations, kind="stable")
        ordered = generations[order]
        bounds = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1, append=ordered[-1:] + 1))
        message, offset, octets = (np.ascontiguousarray(sets[name][order]) for name in ("message", "offset", "octets"))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            generation = int(ordered[begin])
            if generation == TEMPLATE_SET:
                continue
            self.sets.used += 0 if generation == NO_TEMPLATE else end - begin
            if generation == NO_TEMPLATE:
                self.sets.drop("no template", end - begin)
                continue
            if generation <= V5_FIRST:
                template = v5_template(generation)
                exporter = self.store.exporter(V5_FIRST - generation)
            else:
                entry = self.store.of(generation)
                template, exporter = entry.template, entry.exporter
            one = Records(
                template, exporter, batch.exporters, batch.data, headers,
                message[begin:end], offset[begin:end], octets[begin:end],
            )  # fmt: skip
            found.append(one)
            self._count_records(one)
        return found

    def _count_records(self, one: Records) -> None:
        self.records.read += len(one) + one.broken
        self.records.drop("longer than its set", one.broken)
        if one.template.options:
            self.records.ignore("options record", len(one))
        else:
            self.records.used += len(one)
