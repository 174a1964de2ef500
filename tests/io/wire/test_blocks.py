"""Blocks of messages: the same boundaries however the messages arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_messages import S

from ethogram.config import WireSettings
from ethogram.io.wire.blocks import Blocks
from ethogram.io.wire.build import batch
from ethogram.schema import DatagramBatch, Exporter

Block = list[tuple[int, bytes]]


def settings_of(block_octets: int, segment_s: float = 60.0) -> WireSettings:
    # A block of a few octets is below the minimum of the setting.
    return WireSettings.model_construct(**{**WireSettings().model_dump(), "block_octets": block_octets,
                                           "segment_s": segment_s})  # fmt: skip


def plain(block: DatagramBatch) -> Block:
    return [
        (int(t), bytes(block.data[a : a + n]))
        for t, a, n in zip(block.arrival_ns, block.offset, block.octets, strict=True)
    ]


def given_in(messages: Sequence[tuple[int, bytes]], sizes: Sequence[int], bounds: WireSettings) -> list[Block]:
    """Blocks of messages that arrive in batches of these sizes in a reused buffer."""
    cutter = Blocks(bounds)
    result: list[Block] = []
    at = 0
    for size in [*sizes, len(messages)]:
        some = messages[at : at + size]
        at += size
        given = batch([octets for _, octets in some], arrival_ns=[time for time, _ in some])
        buffer = np.concatenate([np.full(3, 7, np.uint8), given.data])
        moved = DatagramBatch(buffer, given.offset + 3, given.octets, given.arrival_ns, given.exporter, given.exporters)
        result += [plain(block) for block in cutter.add(moved)]
        buffer[:] = 0
    return result + [plain(block) for block in cutter.last()]


def test_a_block_ends_before_it_is_too_long() -> None:
    messages = [(0, bytes([i]) * 4) for i in range(5)]
    assert list(map(len, given_in(messages, [], settings_of(8)))) == [2, 2, 1]
    assert list(map(len, given_in(messages, [], settings_of(9)))) == [2, 2, 1]
    assert list(map(len, given_in([*messages, (0, bytes(50)), *messages], [], settings_of(9)))) == [2, 2, 1, 1, 2, 2, 1]


def test_a_block_ends_with_its_segment_of_the_clock() -> None:
    times = [0, 59, 59.999, 60, 61, 185, 179, 186]
    messages = [(int(time * S), b"abcd") for time in times]
    # The message with an earlier clock belongs to the block in which it arrived.
    assert list(map(len, given_in(messages, [], settings_of(1000)))) == [3, 2, 3]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.binary(min_size=1, max_size=12)), min_size=1, max_size=20),
    st.lists(st.integers(0, 6), max_size=10),
    st.integers(4, 40),
)
def test_however_messages_come_the_blocks_are_the_same(
    messages: list[tuple[int, bytes]], sizes: list[int], octets: int
) -> None:
    timed = [(time * S, one) for time, one in messages]
    bounds = settings_of(octets, 3.0)
    whole = given_in(timed, [], bounds)
    assert given_in(timed, sizes, bounds) == whole
    assert [one for block in whole for one in block] == timed
    assert all(len(block) == 1 or sum(len(one) for _, one in block) <= octets for block in whole)


def test_exporters_keep_their_numbers() -> None:
    cutter = Blocks(settings_of(1000))
    exporters = [Exporter("192.0.2.1", 1)]
    for number in range(2):
        first = batch([b"abcd"])
        rows = np.array([number], np.int32)
        sent = DatagramBatch(first.data, first.offset, first.octets, first.arrival_ns, rows, exporters)
        assert not list(cutter.add(sent))
        exporters.append(Exporter("192.0.2.2", 1))
    [block] = cutter.last()
    assert [block.exporters[i].address for i in block.exporter] == ["192.0.2.1", "192.0.2.2"]
