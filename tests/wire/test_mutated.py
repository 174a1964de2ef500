"""200,000 mutated real datagrams: no exception, no hang, sums that hold, and memory that stops growing."""

from __future__ import annotations

import faulthandler
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from datagrams import logstash, mutated_batches, pmacct

from ethogram.config import WireSettings
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.sequence import Sequences
from ethogram.schema import BIFLOW

COUNT = 200_000
SETTINGS = WireSettings(
    max_templates=4096, max_templates_per_exporter=512, pending_octets=1 << 22, pending_octets_per_exporter=1 << 20
)
GROWTH_OCTETS = 96 << 20  # between the first half, when all bounds are reached, and the end
HANG_S = 300


@pytest.fixture
def stopped_when_it_hangs() -> Iterator[None]:
    """A loop without end becomes a trace and a failed run instead of a run without end."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def resident_octets() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.wire
@pytest.mark.usefixtures("stopped_when_it_hangs")
def test_200_000_mutated_real_datagrams_neither_stop_the_decoder_nor_make_it_grow(wire: Path) -> None:
    datagrams = logstash(wire) + pmacct(wire)
    decoder = Decoder(SETTINGS)
    decoder.sequence = Sequences(1 << 10)
    biflows = Biflows(SETTINGS)
    rows, half = 0, 0
    for number, batch in enumerate(mutated_batches(datagrams, COUNT, seed=20_240_501)):
        frame = biflows.batch(decoder.decode(batch))
        assert BIFLOW.matches(frame.schema)
        rows += frame.height
        if number == COUNT // 8192 // 2:
            gc.collect()
            half = resident_octets()
    gc.collect()
    grown = resident_octets() - half
    for accounting in (decoder.accounting, decoder.sets, decoder.records, biflows.accounting):
        accounting.check()
    # The messages behind the first of a datagram are counted as messages too.
    assert decoder.accounting.read >= COUNT
    assert biflows.accounting.read == decoder.records.used
    assert biflows.accounting.used == rows > COUNT // 2
    # The run reached what mutations are for.
    assert {"unknown version", "longer than what arrived", "shorter than its header"} <= set(decoder.accounting.dropped)
    assert decoder.sets.dropped["bad length"] > 0
    assert decoder.sets.dropped["longer than its message"] > 0
    assert decoder.store.counters["evicted"] > 0
    assert decoder.store.counters["changed"] > 0
    totals = decoder.sequence.totals
    assert totals.sent == totals.received + totals.gaps + totals.undecoded
    assert len(decoder.store) <= SETTINGS.max_templates
    assert decoder.pending.octets <= SETTINGS.pending_octets
    assert grown < GROWTH_OCTETS, f"{grown / 1e6:.0f} MB more than halfway"
