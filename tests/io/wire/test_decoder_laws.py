"""Laws of decoding: any division into batches gives the same records, and no octets cause an exception or overread."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import ONE, TWO, data, ipfix, set_of, several, template, v5, v5_record, v9

from ethogram.config import WireSettings
from ethogram.io.wire.decoder import Decoder
from ethogram.schema import DatagramBatch, Exporter

LAYOUTS = ([(8, 4)], [(7, 2), (11, 2)], [(96, 65535)], [(96, 65535), (4, 1), (460, 65535)], [(8, 0), (1, 3)])
IDS = st.integers(256, 258)


@st.composite
def sets(draw: st.DrawFn, version: int) -> bytes:
    kind = draw(st.integers(0, 9))
    number = draw(IDS)
    if kind < 4:
        return template(number, draw(st.sampled_from(LAYOUTS)), version)
    if kind == 4 and version == 10:
        return set_of(2, number.to_bytes(2) + b"\0\0")  # withdrawn
    return set_of(number, draw(st.binary(max_size=24)))


@st.composite
def message(draw: st.DrawFn) -> tuple[Exporter, bytes]:
    version = draw(st.sampled_from([5, 9, 10, 10]))
    exporter = draw(st.sampled_from([ONE, TWO]))
    if version == 5:
        return exporter, v5([v5_record(i) for i in range(draw(st.integers(0, 3)))])
    parts = draw(st.lists(sets(version), max_size=4))
    make = v9 if version == 9 else ipfix
    return exporter, make(*parts, domain=draw(st.integers(0, 1)))


def part(batch: DatagramBatch, begin: int, end: int) -> DatagramBatch:
    return DatagramBatch(
        batch.data, batch.offset[begin:end], batch.octets[begin:end], batch.arrival_ns[begin:end],
        batch.exporter[begin:end], batch.exporters,
    )  # fmt: skip


def rows(decoder: Decoder, batch: DatagramBatch) -> list[tuple[object, ...]]:
    """Every record with its message, across all Records."""
    result = []
    for decoded in decoder.decode(batch):
        header = decoded.headers[decoded.message]
        texts = []
        for i in range(len(decoded.template.fields)):
            at, octets = decoded.spans(i)
            assert (at >= 0).all() and (octets >= 0).all() and (at + octets <= decoded.data.size).all()
            texts.append([bytes(decoded.data[a : a + n]) for a, n in zip(at.tolist(), octets.tolist(), strict=True)])
        for row in range(len(decoded)):
            result.append((  # noqa: PERF401
                int(header["arrival_ns"][row]), decoded.exporter.address, decoded.template.version,
                int(header["domain"][row]), decoded.template.id, decoded.template.fields,
                tuple(text[row] for text in texts),
            ))  # fmt: skip
    return result


@settings(max_examples=250, deadline=None)
@given(st.lists(message(), max_size=12), st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_batches_cut_anywhere_give_the_same_records(messages: list[tuple[Exporter, bytes]], cuts: list[int]) -> None:
    if not messages:
        return
    batch = several(messages, list(range(len(messages))))
    whole, pieces = Decoder(), Decoder()
    expected = rows(whole, batch)
    result = []
    at = 0
    for cut in cuts:
        result += rows(pieces, part(batch, at, min(at + cut, len(messages))))
        at += cut
    assert sorted(result, key=repr) == sorted(expected, key=repr)
    for name in ("accounting", "sets", "records"):
        assert getattr(whole, name).as_dict() == getattr(pieces, name).as_dict()
        getattr(whole, name).check()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=80), message().map(lambda one: one[1])), max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200), st.integers(0, 255)), max_size=8),
)
def test_no_octets_make_it_raise(messages: list[bytes], changes: list[tuple[int, int, int]]) -> None:
    changed = [bytearray(item) for item in messages]
    for number, place, value in changes:
        if number < len(changed) and place < len(changed[number]):
            changed[number][place] = value
    decoder = Decoder(WireSettings(max_fields=16, max_templates=4, pending_octets=6000))
    for item in decoder.decode(several([(ONE, bytes(item)) for item in changed])):
        read_all(item)
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()


def read_all(one: object) -> None:
    for i in range(len(one.template.fields)):  # type: ignore[attr-defined]
        for column in ("unsigned", "signed", "real", "address", "spans"):
            getattr(one, column)(i)


UNCOMPILED = """
import sys
import numpy as np
sys.path[:0] = {path!r}
from test_decoder_laws import read_all
from wire_messages import batch, ipfix, set_of, template, v5, v5_record, v9
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.capture_export import is_export
from ethogram.io.wire.ipfix_file import frame
import ethogram.io.wire.decoder as module
module.TABLE_ROWS = 4096

class Watched(np.ndarray):
    '''Octets that may only be read where they are: no place below zero either, which would count from the end.'''
    def __getitem__(self, at):
        if isinstance(at, (int, np.integer)) and at < 0:
            raise IndexError(at)
        return np.asarray(self)[at]

rng = np.random.default_rng(5)
rows = b"\\3dns" + b"\\0\\0\\0\\7" + b"\\xff\\1\\0" + b"x" * 256 + b"\\0\\0\\0\\7"
sound = [
    ipfix(template(256, [(8, 4), (1, 3), (27, 16)]), set_of(256, bytes(range(46)))),
    ipfix(template(257, [(96, 65535), (8, 4)]), set_of(257, rows)),
    v9(template(256, [(8, 4), (1, 3)], 9), set_of(256, bytes(range(23)))),
    v5([v5_record(1)] * 2),
]
count = 0
for turn in range({turns}):
    octets = bytearray(sound[turn % 4])
    for _ in range(rng.integers(1, 4)):
        octets[rng.integers(len(octets))] = rng.integers(256)
    if turn % 3 == 0:
        del octets[rng.integers(len(octets) // 2, len(octets) + 1):]
    given = batch([bytes(octets)])
    watched = given.data.view(Watched)
    is_export(watched, 0, len(octets))
    frame(watched, len(octets), np.empty(99, np.int64), np.empty(99, np.int32), np.empty(99, np.int64))
    decoder = Decoder()
    object.__setattr__(given, "data", watched)
    for one in decoder.decode(given):
        read_all(one)
        count += len(one)
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()
print("records", count)
"""


def test_interpreted_kernels_never_read_outside_their_arrays() -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    code = UNCOMPILED.format(path=[here], turns=4000)
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[1]) > 1000


def test_a_long_stream_of_templates_and_records_keeps_to_its_bounds() -> None:
    rng = np.random.default_rng(1)
    bounds = WireSettings(max_templates=50, max_templates_per_exporter=20, max_exporters=8, pending_octets=30_000)
    decoder = Decoder(bounds)
    for turn in range(60):
        messages = [
            (Exporter(f"192.0.2.{rng.integers(12)}", 1),
             ipfix(template(int(rng.integers(256, 400)), [(8, 4)]), data(int(rng.integers(256, 400)), 1, 2)))
            for _ in range(40)
        ]  # fmt: skip
        decoder.decode(several(messages, turn))
        assert len(decoder.store) <= 50 and decoder.pending.octets <= 30_000
        for accounting in (decoder.accounting, decoder.sets, decoder.records):
            accounting.check()
    assert decoder.store.counters["evicted"] > 100
    assert decoder.sets.dropped["evicted while waiting"] > 100
    assert decoder.accounting.dropped["too many exporters"] > 100
    assert len(decoder.store.events) == 1024
