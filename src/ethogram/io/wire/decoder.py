"""Decode export messages: walk, match sets with templates, and return the records of each template as columns."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ethogram._arrays import read_only
from ethogram.config import WireSettings
from ethogram.io.wire.match import HELD, TEMPLATE_SET, V5_FIRST, MatchedSets, boot_ms_of, match, release
from ethogram.io.wire.pending import HeldSets, PendingSets
from ethogram.io.wire.records import Records
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.template import Template, v5_template
from ethogram.io.wire.templates import TemplateEntry, TemplateEvent, TemplateStore
from ethogram.io.wire.walk import (
    COUNTERS,
    FOUND_VERSION,
    HEADER,
    IPFIX,
    MESSAGES_CORRECTED,
    MESSAGES_DROPPED,
    MESSAGES_READ,
    MESSAGES_USED,
    SET,
    SETS_DROPPED,
    SETS_IGNORED,
    SETS_READ,
    V9,
    walk,
)
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["Decoder"]

TABLE_ROWS = 1 << 18  # messages, and sets, processed together
MOST_VERSIONS = 16  # maximum unknown versions counted separately
MOVED_EVERY_NS = 10_000_000_000  # interval between checks for exporters that changed their port
SHORT, SHORT_RECORDS = 16, 1 << 16
"""Minimum octets of a flow record. Shorter records are decoded up to a limit, because each row of the biflow table
takes about 200 octets however short the record is.
"""

Member = tuple[Template, Exporter, NDArray[np.int64]]
"""A template, its exporter, and the rows of its sets."""


class Decoder:
    """Decodes batches of export messages to :class:`~ethogram.io.wire.records.Records`.

    Parameters
    ----------
    settings
        Limits.
    store
        Templates, if they outlive the decoder.

    Attributes
    ----------
    accounting
        Over messages.
    sets
        Over sets: used, waiting for a template, and the outcome of those that waited.
    unknown_versions
        Unknown message versions, with the number of batches in which each was the last one seen.
    records
        Over records: data records are used, options records ignored (they describe the exporter, not flows).
    sequence
        If set, tracks the sequence numbers of all messages.
    """

    def __init__(self, settings: WireSettings | None = None, store: TemplateStore | None = None) -> None:
        self._settings = settings or WireSettings()
        self.store = TemplateStore(self._settings) if store is None else store
        self.accounting = Accounting("messages")
        self.sets = Accounting("sets")
        self.records = Accounting("records")
        self.pending = PendingSets(self._settings, self._leave)
        self.unknown_versions: Counter[int] = Counter()
        self.sequence: Sequences | None = None
        self.clock_errors: dict[int, float] = {}
        self._moved_ns = 0

    def _leave(self, reason: str, count: int) -> None:
        """Count sets that begin to wait or remain undecoded; a negative count means that they no longer wait."""
        self.sets.drop(reason, count)
        if not self.sets.dropped[reason]:
            del self.sets.dropped[reason]

    @property
    def events(self) -> deque[TemplateEvent]:
        """The latest template events."""
        return self.store.events

    def decode(self, batch: DatagramBatch) -> list[Records]:
        """Decode the messages of a batch.

        Returns
        -------
        The records of each template, with data and options separate (``template.options``). Sets that waited for a
        template precede those that arrived with it.
        """
        decoded: list[Records] = []
        if not len(batch):
            return decoded
        batch = replace(batch, data=read_only(batch.data))
        now_ns = int(batch.arrival_ns.max())
        self.store.expire(now_ns)
        self.pending.expire(now_ns)
        slots = self._slots_of(batch)
        decoded += self._moved(now_ns)
        row = 0
        rows = max(TABLE_ROWS, int(batch.octets.max()) // 4 + 2)
        headers, sets = np.empty(rows, HEADER), np.empty(rows, SET)
        while row < len(batch):
            counters = np.zeros(COUNTERS, np.int64)
            row, messages, count = walk(
                batch.data, batch.offset, batch.octets, batch.arrival_ns, batch.exporter, slots, row,
                headers, sets, counters,
            )  # fmt: skip
            self._count(counters)
            chunk = headers[:messages].copy(), sets[:count].copy()
            self._note_clocks(chunk[0])
            matched = match(self.store, self.pending, self.sets, self._settings, batch, slots, *chunk)
            released = [self._released(entry, waited) for entry, waited in matched.released]
            fresh, wholes = self._records(batch, *chunk, matched.generations)
            for records in (*released, *wholes):
                self._count_records(records)
            if self.sequence is not None:
                self._follow(self.sequence, chunk[0], chunk[1], matched.generations, wholes, released)
            self.store.settle([records.template.generation for records in fresh])
            decoded += released
            decoded += fresh
        return decoded

    def finish(self) -> list[Records]:
        """Decode waiting sets whose template came from another port of their exporter.

        To be called when no more messages will arrive.
        """
        return self._moved(self._moved_ns, last=True)

    def _note_clocks(self, headers: NDArray[np.void]) -> None:
        """Keep the export time of the latest message of each exporter, relative to its arrival."""
        numbers, place = np.unique(headers["exporter"][::-1], return_index=True)
        latest = headers[::-1][place]
        delay_ns = latest["arrival_ns"] - latest["residual_ns"] - latest["export_time_s"] * 1_000_000_000
        self.clock_errors |= dict(zip(numbers.tolist(), (-delay_ns / 1e9).tolist(), strict=True))

    def _slots_of(self, batch: DatagramBatch) -> NDArray[np.int64]:
        """Slot of each exporter in the template store; -1 if it is refused or has sent nothing."""
        count = len(batch.exporters)
        slots = np.full(count, -1, np.int64)
        first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
        # The last of several values for one index is kept: messages are in order of arrival.
        last[batch.exporter] = batch.arrival_ns
        first[batch.exporter[::-1]] = batch.arrival_ns[::-1]
        self.store.begin_batch()
        for number in np.unique(batch.exporter).tolist():
            slots[number] = self.store.slot(batch.exporters[number], int(last[number]), int(first[number]))
        return slots

    def _moved(self, now_ns: int, *, last: bool = False) -> list[Records]:
        """Decode waiting sets whose exporter has been found to have changed its port."""
        if not last and 0 <= now_ns - self._moved_ns < MOVED_EVERY_NS:
            return []
        self._moved_ns = now_ns
        matched = MatchedSets(np.zeros(0, np.int64))
        for key, held in self.pending.missing():
            boot_ms = int(boot_ms_of(held.headers[:1])[0]) if key[1] == V9 else None
            entry = self.store.take_over(key, boot_ms, now_ns, last=last)
            if entry is not None:
                release(matched, self.pending, self.sets, entry, key)
        decoded = [self._released(entry, waited) for entry, waited in matched.released]
        for records in decoded:
            self._count_records(records)
            self._settle(records)
        return decoded

    def end_session(self, exporter: Exporter, now_ns: int = 0) -> None:
        """Forget the templates of a closed TCP connection or file, and the sets that waited for one."""
        slot = self.store.end_session(exporter, now_ns)
        if slot is not None:
            self.pending.end_session(slot)

    def _count(self, counters: NDArray[np.int64]) -> None:
        self.accounting.read += int(counters[MESSAGES_READ])
        self.accounting.used += int(counters[MESSAGES_USED])
        self.sets.read += int(counters[SETS_READ])
        version = int(counters[FOUND_VERSION]) - 1
        if version >= 0 and (version in self.unknown_versions or len(self.unknown_versions) < MOST_VERSIONS):
            self.unknown_versions[version] += 1
        for place, reason in MESSAGES_DROPPED.items():
            self.accounting.drop(reason, int(counters[place]))
        for place, reason in MESSAGES_CORRECTED.items():
            self.accounting.correct(reason, int(counters[place]))
        for place, reason in SETS_DROPPED.items():
            self.sets.drop(reason, int(counters[place]))
        for place, reason in SETS_IGNORED.items():
            self.sets.ignore(reason, int(counters[place]))

    def _released(self, entry: TemplateEntry, waited: list[HeldSets]) -> Records:
        """Records of sets that waited, oldest first."""
        sizes = [held.data.size for held in waited]
        shifts = np.cumsum([0, *sizes[:-1]])
        octets = np.concatenate([held.octets for held in waited])
        offset = np.concatenate([held.offset + shift for held, shift in zip(waited, shifts, strict=True)])
        message = np.arange(len(octets), dtype=np.int32)
        data, headers = (np.concatenate([getattr(held, name) for held in waited]) for name in ("data", "headers"))
        records = Records(entry.template, entry.exporter, waited[-1].exporters, data, headers, message, offset, octets)
        mask = self._select_short(records, SHORT_RECORDS)
        if mask is None:
            return records
        return Records(
            entry.template, entry.exporter, records.exporters, data, headers, message[mask], offset[mask], octets[mask]
        )

    def _select_short(self, records: Records, more: int) -> NDArray[np.bool_] | None:
        """Select sets of records so short that they would need many times their octets in memory.

        Parameters
        ----------
        records
            Records of one or several templates.
        more
            Allowed records beyond one per :data:`SHORT` octets.

        Returns
        -------
        Whether to keep each set; None if all are kept.
        """
        most = int(records.set_octets.sum(dtype=np.int64)) // SHORT + more
        if len(records) <= most:
            return None
        mask: NDArray[np.bool_] = np.cumsum(records.set_records) <= most
        lost = int(np.count_nonzero(~mask))
        self.sets.used -= lost
        self.sets.drop("too many short records", lost)
        return mask

    def _records(
        self, batch: DatagramBatch, headers: NDArray[np.void], sets: NDArray[np.void], generations: NDArray[np.int64]
    ) -> tuple[list[Records], list[Records]]:
        """Records of each template in order of its first set; templates with equal fields are decoded together."""
        order = np.argsort(generations, kind="stable")
        ordered = generations[order]
        bounds = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(order)]
        alike: dict[tuple[int, int], list[Member]] = {}
        for begin, end in pairwise(bounds):
            generation = int(ordered[begin]) if begin < end else TEMPLATE_SET
            if generation in (TEMPLATE_SET, HELD):
                continue
            if generation <= V5_FIRST:
                slot = V5_FIRST - generation
                template, exporter = v5_template(generation), self.store.exporter(slot)
                self.store.prove(slot)
            else:
                entry = self.store.of(generation)
                template, exporter = entry.template, entry.exporter
            # Scope fields have other meanings in v9, and options are counted separately.
            key = id(template.fields), template.version if template.options else 0
            alike.setdefault(key, []).append((template, exporter, order[begin:end]))
        positioned: list[tuple[int, Records]] = []
        wholes: list[Records] = []
        more = SHORT_RECORDS
        for members in sorted(alike.values(), key=lambda part: -part[0][0].shortest):
            whole = concat_sets(batch, headers, sets, members)
            mask = self._select_short(whole, more)
            if mask is not None:
                every = np.concatenate([rows for _, _, rows in members])
                generations[every[~mask]] = HELD
                left = [(template, exporter, rows[generations[rows] != HELD]) for template, exporter, rows in members]
                members = [member for member in left if member[2].size]  # noqa: PLW2901
                if not members:
                    continue
                whole = concat_sets(batch, headers, sets, members)
            more -= max(len(whole) - int(whole.set_octets.sum(dtype=np.int64)) // SHORT, 0)
            wholes.append(whole)
            templates, exporters, rows = zip(*members, strict=True)
            ends = np.cumsum([0, *map(len, rows)])
            parts = [whole] if len(members) == 1 else whole.parts(templates, exporters, ends)
            positioned += [(int(places[0]), part) for places, part in zip(rows, parts, strict=True)]
        return [part for _, part in sorted(positioned, key=lambda pair: pair[0])], wholes

    def _count_records(self, records: Records) -> None:
        self.records.read += len(records) + records.broken
        self.records.drop("longer than its set", records.broken)
        if records.template.options:
            self.records.ignore("options record", len(records))
        else:
            self.records.used += len(records)

    def _follow(
        self, sequence: Sequences, headers: NDArray[np.void], sets: NDArray[np.void], generations: NDArray[np.int64],
        fresh: list[Records], released: list[Records],
    ) -> None:  # fmt: skip
        """Report to the sequence tracker how many records each message had, and which are still unknown."""
        empty = np.zeros(0, np.int64)
        messages = np.concatenate([empty, *(part.set_message for part in fresh)])
        records = np.concatenate([empty, *(part.set_records for part in fresh)])
        units = np.bincount(messages, records, len(headers)).astype(np.int64)
        units[headers["version"] == V9] = 1
        held = sets[generations == HELD]
        unknown = np.bincount(held["message"], held["octets"], len(headers)).astype(np.int64) + headers["unread"]
        sequence.add(headers, units, unknown)
        for part in released:
            self._settle(part)

    def _settle(self, decoded: Records) -> None:
        """Report to the sequence tracker the records of sets that had waited."""
        if self.sequence is None or decoded.template.version != IPFIX:
            return
        columns = (decoded.headers["exporter"], decoded.headers["domain"], decoded.headers["sequence"])
        for row in zip(
            *(c.tolist() for c in columns), decoded.set_records.tolist(), decoded.set_octets.tolist(), strict=True
        ):
            self.sequence.settle(*row)


def concat_sets(
    batch: DatagramBatch, headers: NDArray[np.void], sets: NDArray[np.void], members: list[Member]
) -> Records:
    """Combine the records of templates with the same fields."""
    template, exporter, _ = members[0]
    rows_of_sets = sets[np.concatenate([rows for _, _, rows in members])]
    message, offset, octets = (np.ascontiguousarray(rows_of_sets[name]) for name in ("message", "offset", "octets"))
    return Records(template, exporter, batch.exporters, batch.data, headers, message, offset, octets)
