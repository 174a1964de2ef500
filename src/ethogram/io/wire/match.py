"""Match sets with the template in force at their position: the last definition of their key before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ethogram.config import WireSettings
from ethogram.io.wire.pending import WAITING, HeldSets, PendingSets, key_columns
from ethogram.io.wire.template import Definition, parse_definitions
from ethogram.io.wire.templates import Key, TemplateEntry, TemplateStore
from ethogram.io.wire.walk import V5, V9
from ethogram.schema import Accounting, DatagramBatch

__all__ = ["HELD", "TEMPLATE_SET", "V5_FIRST", "MatchedSets", "boot_ms_of", "match", "release"]

# Values in place of a generation.
NO_TEMPLATE, TEMPLATE_SET, HELD = -1, -2, -3
V5_FIRST = -1_000_000  # v5 records of the exporter in slot 0; other slots follow below

FIRST_DATA_SET = 256
MOST_TAKEN_OVER = 1 << 12  # maximum missing templates at a time; more are treated as a flood
SHORT = 4096  # maximum octets of a template set that is cached, since sets are repeated

parse_again = lru_cache(1 << 9)(parse_definitions)


@dataclass
class MatchedSets:
    """Result of matching the sets of a chunk.

    Parameters
    ----------
    generations
        Generation of the template of each set; or a constant of this module.
    released
        New templates, each with the sets that had waited for it.
    """

    generations: NDArray[np.int64]
    released: list[tuple[TemplateEntry, list[HeldSets]]] = field(default_factory=list)


def definitions_of(body: bytes, version: int, options: bool, max_fields: int) -> Sequence[Definition]:
    """Parse a template set."""
    parse = parse_again if len(body) <= SHORT else parse_definitions
    return parse(body, version, options, max_fields)


def match(
    store: TemplateStore, pending: PendingSets, accounting: Accounting, settings: WireSettings, batch: DatagramBatch,
    slots: NDArray[np.int64], headers: NDArray[np.void], sets: NDArray[np.void],
) -> MatchedSets:  # fmt: skip
    """Process the template sets of a chunk in order; between two changes, all data sets are looked up at once.

    Parameters
    ----------
    store, pending, accounting
        Updated.
    settings
        Limits.
    batch, slots
        The batch, and the slot of each of its exporters.
    headers, sets
        The chunk.
    """
    matched = MatchedSets(np.full(len(sets), TEMPLATE_SET, np.int64))
    generations = matched.generations
    messages = sets["message"]
    v5 = headers["version"][messages] == V5
    if v5.any():
        generations[v5] = V5_FIRST - slots[headers["exporter"][messages[v5]]]
    done = 0

    def look_up(end: int) -> None:
        """Match or hold the sets before ``end``, all of which precede the next change."""
        if end == done:
            return
        store.table.look_up(headers, slots, sets, done, end, generations)
        missing = np.flatnonzero(generations[done:end] == NO_TEMPLATE) + done
        if missing.size and taken_over(sets[missing]):
            store.table.look_up(headers, slots, sets, done, end, generations)
            missing = np.flatnonzero(generations[done:end] == NO_TEMPLATE) + done
        if missing.size:
            generations[missing] = HELD
            pending.hold(batch.data, batch.exporters, headers, slots, sets[missing])

    def taken_over(lost: NDArray[np.void]) -> bool:
        """Whether templates for some of these sets were found at other ports of their exporters."""
        exporters = np.unique(headers["exporter"][lost["message"]])
        sharing = [int(slots[number]) for number in exporters if store.shares_address(int(slots[number]))]
        if not sharing:
            return False
        first, second = key_columns(headers, slots, lost)
        keys, rows = np.unique(np.stack([first, second], axis=1), axis=0, return_index=True)
        any_found = False
        for (high, low), row in zip(keys.tolist(), rows.tolist(), strict=True):
            header = headers[lost[row]["message"]]
            key = (high >> 8, high & 0xFF, low >> 16, low & 0xFFFF)
            if key[0] in sharing and len(keys) <= MOST_TAKEN_OVER:
                boot_ms = int(boot_ms_of(header)) if key[1] == V9 else None
                entry = store.take_over(key, boot_ms, int(header["arrival_ns"]))
                any_found |= entry is not None
                if entry is not None:
                    release(matched, pending, accounting, entry, key)
        return any_found

    rows = np.flatnonzero((sets["id"] < FIRST_DATA_SET) & ~v5)
    accounting.used += rows.size
    for row, number, at, octets, version, domain, exporter, arrival_ns, boot in template_rows(headers, sets, rows):
        slot = int(slots[exporter])
        boot_ms = boot if version == V9 else None
        body = batch.data[at : at + octets].tobytes()
        for definition in definitions_of(body, version, number in (1, 3), settings.max_fields):
            if not store.changes(slot, version, domain, definition, arrival_ns, boot_ms):
                continue
            look_up(row)
            done = row
            entry = store.apply(slot, batch.exporters[exporter], version, domain, definition, arrival_ns, boot_ms)
            if entry is not None:
                release(matched, pending, accounting, entry, (slot, version, domain, definition.id))
    look_up(len(sets))
    accounting.used += int(np.count_nonzero((generations >= 0) | (generations <= V5_FIRST)))
    return matched


def template_rows(
    headers: NDArray[np.void], sets: NDArray[np.void], rows: NDArray[np.int64]
) -> Iterator[tuple[int, ...]]:
    """Yield row, set id, offset, octets, version, domain, exporter, arrival and start time of template sets."""
    of_row = headers[sets["message"][rows]]
    columns = (
        rows, sets["id"][rows], sets["offset"][rows], sets["octets"][rows], of_row["version"], of_row["domain"],
        of_row["exporter"], of_row["arrival_ns"], boot_ms_of(of_row),
    )  # fmt: skip
    yield from zip(*(column.tolist() for column in columns), strict=True)


def release(matched: MatchedSets, pending: PendingSets, accounting: Accounting, entry: TemplateEntry, key: Key) -> None:
    """Release the sets that waited for a new template."""
    waited = pending.take(key)
    if not waited:
        return
    count = sum(len(held.octets) for held in waited)
    pending.leave(WAITING, -count)
    accounting.used += count
    accounting.correct("waited for a template", count)
    matched.released.append((entry, waited))


def boot_ms_of(headers: NDArray[np.void]) -> NDArray[np.int64]:
    """Start times of exporters, derived from message uptimes; meaningless for IPFIX."""
    exported_ms: NDArray[np.int64] = headers["export_time_s"].astype(np.int64) * 1000
    return exported_ms - headers["uptime_ms"].astype(np.int64)
