"""Laws of conversion to biflows: any template and record gives a valid table, and each row counts."""

from __future__ import annotations

import struct

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.io.wire import element_precedence as precedence
from ethogram.io.wire import record_times
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.rows import rows_of
from ethogram.schema import BIFLOW, DatagramBatch, Exporter

KEYS = sorted({
    *(key for _, source, destination in precedence.ADDRESSES for key in (source, destination)),
    *(key for _, key in precedence.NAT_ADDRESSES), *precedence.PORTS[0], *precedence.PORTS[1], *precedence.NAT_PORTS,
    *precedence.PROTOCOL,
    *(key for one in precedence.COUNT_TIERS for key in (one.octets, one.packets)),
    *(key for one in precedence.COUNT_TIERS[:2] for key in (one.reverse_octets, one.reverse_packets) if key),
    *(key for keys in (*precedence.FLAGS, *precedence.INITIAL_FLAGS, *precedence.UNION_FLAGS)
      for key in keys),
    *(key for keys in precedence.MACS for key in keys),
    *precedence.END_REASON, *precedence.DIRECTION, *precedence.BIFLOW_DIRECTION, *precedence.FIREWALL_EVENT,
    *precedence.NAT_EVENT,
    *precedence.IP_VERSION, *precedence.VLAN, *precedence.FLOW_ID, *(key for key, _ in precedence.NAMES),
    *((0, number, False) for number, _ in (*record_times.START_FORMS, *record_times.END_FORMS)),
    *((0, number, False) for number, _ in record_times.MOMENT_FORMS),
    *((0, number, False) for number in (34, 48, 50, 160, 161, 162, 302, 305, 306, 309, 310, 311)),
    (0, 231, False), (0, 232, False), (0, 298, False), (0, 299, False),
})  # fmt: skip
NEEDED = [(0, 8, False), (0, 12, False), (0, 4, False), (0, 1, False)]
"""Fields of half of the templates, so that flows occur at all."""

field = st.tuples(st.sampled_from(KEYS), st.sampled_from([0, 1, 2, 3, 4, 6, 8, 9, 16, 20]))
templates = st.tuples(st.lists(field, min_size=1, max_size=12), st.booleans())


def message(version: int, fields: list[tuple[precedence.Key, int]], octets: bytes, uptime: int) -> bytes:
    """A template and a data set of arbitrary octets."""
    definition = b""
    for (enterprise, number, reverse), length in fields:
        pen = 29305 if reverse and not enterprise else enterprise
        coded = number | 0x4000 if reverse and enterprise else number
        if version == 9 or not pen:
            definition += struct.pack(">HH", coded & 0x7FFF if version == 10 else coded, length)
        else:
            definition += struct.pack(">HHI", coded | 0x8000, length, pen)
    sets = struct.pack(">HHHH", 2 if version == 10 else 0, 8 + len(definition), 256, len(fields)) + definition
    sets += struct.pack(">HH", 256, 4 + len(octets)) + octets
    if version == 10:
        return struct.pack(">HHIII", 10, 16 + len(sets), 1_700_000_000, 0, 1) + sets
    return struct.pack(">HHIIII", 9, 2, uptime, 1_700_000_000, 0, 1) + sets


def batch_of(messages: list[bytes]) -> DatagramBatch:
    lengths = np.array([len(item) for item in messages], np.int32)
    return DatagramBatch(
        np.frombuffer(b"".join(messages), np.uint8), np.cumsum(lengths, dtype=np.int64) - lengths, lengths,
        np.full(lengths.size, 1, np.int64), np.zeros(lengths.size, np.int32), [Exporter("192.0.2.1", 2055)],
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([9, 10]), templates, st.binary(max_size=600), st.integers(0, 2**32 - 1))
def test_any_record_of_any_template_gives_a_sound_table(
    version: int, template: tuple[list[tuple[precedence.Key, int]], bool], octets: bytes, uptime: int
) -> None:
    fields, usual = template
    if usual:
        fields = [*((key, 4 if key[1] in {8, 12} else 1) for key in NEEDED), *fields]
    decoder, biflows = Decoder(), Biflows()
    records = decoder.decode(batch_of([message(version, fields, octets, uptime)]))
    table = biflows.batch(records)
    biflows.accounting.check()
    assert biflows.accounting.read == decoder.records.used
    assert biflows.accounting.used == table.height
    assert BIFLOW.matches(table.schema)
    for column in BIFLOW.columns:
        assert column.nullable or table[column.name].null_count() == 0
    assert (table["end"] >= table["start"]).all()
    assert (table["start"].dt.year() >= 1900).all()
    ported = table.filter(~pl.col("protocol").is_in([6, 17, 33, 132, 136]))
    assert (ported.select(pl.max_horizontal("source_port", "destination_port")).to_series() == 0).all()
    for decoded in records:
        assert len(list(rows_of(decoded))) == len(decoded)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=17, max_size=51), min_size=1, max_size=6), st.integers(1, 6))
def test_batches_cut_anywhere_give_the_same_flows(parts: list[bytes], cut: int) -> None:
    fields = [((0, 8, False), 4), ((0, 12, False), 4), ((0, 4, False), 1), ((0, 1, False), 4), ((0, 7, False), 2),
              ((0, 11, False), 2)]  # fmt: skip
    messages = [message(10, fields, part, 0) for part in parts]
    tables = []
    for size in (len(messages), cut):
        decoder, biflows = Decoder(), Biflows()
        frames = [
            biflows.batch(decoder.decode(batch_of(messages[at : at + size]))) for at in range(0, len(messages), size)
        ]
        tables.append(pl.concat(frames))
    assert tables[0].equals(tables[1])
