"""Group messages into blocks for decoding, with the same boundaries live and from a recording.

A block ends before the message that would exceed ``block_octets``, and before the first message that arrived in a later
clock segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ethogram._arrays import read_only
from ethogram.config import WireSettings
from ethogram.errors import InputError
from ethogram.io.wire.gather import copy_sets
from ethogram.schema import DatagramBatch, Exporter

__all__ = ["Blocks", "blocks_of"]


class Blocks:
    """Regroup batches of any size into blocks.

    Parameters
    ----------
    settings
        Limits of a block.
    """

    def __init__(self, settings: WireSettings) -> None:
        self._octets_at_most = settings.block_octets
        self._segment_ns = max(int(settings.segment_s * 1e9), 1)
        self._parts: list[DatagramBatch] = []
        self._octets = 0
        self._segment: int | None = None

    @property
    def segment(self) -> int | None:
        """Number of the clock segment of the last message."""
        return self._segment

    def add(self, batch: DatagramBatch) -> Iterator[DatagramBatch]:
        """Add a batch and yield the blocks that end in it. The octets are copied, so the batch can be reused."""
        if not len(batch):
            return
        ends = np.cumsum(batch.octets, dtype=np.int64)
        segments = np.maximum.accumulate(batch.arrival_ns // self._segment_ns)
        begin, taken = 0, 0
        while begin < len(batch):
            # A message from an earlier segment, delayed by a clock change, belongs to the block in which it arrived.
            segment = int(segments[begin]) if self._segment is None else max(self._segment, int(segments[begin]))
            if self._parts and self._segment is not None and segment > self._segment:
                yield self._block()
            self._segment = segment
            by_time = int(np.searchsorted(segments, segment, side="right"))
            by_size = int(np.searchsorted(ends, taken + self._octets_at_most - self._octets, side="right"))
            end = min(by_time, by_size)
            if end <= begin:
                if self._parts:
                    yield self._block()
                    continue
                end = begin + 1  # a message longer than a block gets its own block
            self._parts.append(compact(batch, begin, end))
            self._octets += int(ends[end - 1]) - taken
            begin, taken = end, int(ends[end - 1])

    def last(self) -> Iterator[DatagramBatch]:
        """Yield the last block."""
        if self._parts:
            yield self._block()

    def _block(self) -> DatagramBatch:
        parts, self._parts, self._octets = self._parts, [], 0
        if len(parts) == 1:
            return parts[0]
        shifts = np.cumsum([0, *(part.data.size for part in parts[:-1])])
        return DatagramBatch(
            data=np.concatenate([part.data for part in parts]),
            offset=np.concatenate([part.offset + shift for part, shift in zip(parts, shifts, strict=True)]),
            octets=np.concatenate([part.octets for part in parts]),
            arrival_ns=np.concatenate([part.arrival_ns for part in parts]),
            exporter=np.concatenate([part.exporter for part in parts]),
            exporters=parts[-1].exporters,
        )


def compact(batch: DatagramBatch, begin: int, end: int) -> DatagramBatch:
    """Copy a range of messages into consecutive octets of a new batch."""
    octets = np.ascontiguousarray(batch.octets[begin:end], np.int32)
    data = np.empty(int(octets.sum(dtype=np.int64)), np.uint8)
    copy_sets(read_only(batch.data), np.ascontiguousarray(batch.offset[begin:end], np.int64), octets, data)
    return DatagramBatch(
        data=data,
        offset=np.cumsum(octets, dtype=np.int64) - octets,
        octets=octets,
        arrival_ns=batch.arrival_ns[begin:end],
        exporter=batch.exporter[begin:end],
        exporters=batch.exporters,
    )


def blocks_of(batches: Iterable[DatagramBatch], settings: WireSettings) -> Iterator[DatagramBatch]:
    """Yield all messages of a source in blocks; if the input is damaged, the messages before that are yielded first."""
    blocks = Blocks(settings)
    try:
        for batch in batches:
            yield from blocks.add(batch)
    except InputError:
        yield from blocks.last()
        raise
    yield from blocks.last()


def batch_of(
    messages: list[bytes], arrival_ns: NDArray[np.int64], exporter: int, exporters: list[Exporter]
) -> DatagramBatch:
    """A batch of messages of one exporter."""
    octets = np.array([len(message) for message in messages], np.int32)
    return DatagramBatch(
        np.frombuffer(b"".join(messages), np.uint8), np.cumsum(octets, dtype=np.int64) - octets, octets, arrival_ns,
        np.full(len(messages), exporter, np.int32), exporters,
    )  # fmt: skip
