"""Real export datagrams of the wire material, and mutations of them, many at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.capture_export import CaptureExport
from ethogram.schema import DatagramBatch, Exporter

EXPORTERS = [Exporter(f"192.0.2.{i}", 2055) for i in range(8)]
WORDS = np.array([0, 1, 2, 3, 4, 5, 9, 10, 255, 256, 257, 1024, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF], np.uint16)
SPARE = 64  # octets behind each datagram that it may grow into


def logstash(wire: Path) -> list[bytes]:
    """The datagrams of logstash's codec, one a file."""
    folder = wire / "logstash-codec-netflow" / "spec" / "codecs" / "netflow"
    files = sorted(folder.parent.rglob("*.dat"))
    return [file.read_bytes() for file in files]


def pmacct(wire: Path) -> list[bytes]:
    """The export datagrams in pmacct's captures."""
    return [datagram for file in sorted((wire / "pmacct").rglob("*.pcap")) for datagram in datagrams_of(file)]


def datagrams_of(file: Path) -> list[bytes]:
    """The export datagrams in a capture."""
    return [
        batch.data[at : at + octets].tobytes()
        for batch in CaptureExport(file).datagrams()
        for at, octets in zip(batch.offset.tolist(), batch.octets.tolist(), strict=True)
    ]


def mutated_batches(datagrams: list[bytes], count: int, seed: int, together: int = 8192) -> Iterator[DatagramBatch]:
    """Datagrams by chance with one to four changes each: octets, bits, 16-bit words, cut or longer.

    Parameters
    ----------
    datagrams
        What is changed.
    count
        How many are made, in batches of ``together``.
    """
    chance = np.random.default_rng(seed)
    lengths = np.array([len(datagram) for datagram in datagrams])
    starts = np.cumsum(lengths) - lengths
    pool = np.frombuffer(b"".join(datagrams), np.uint8)
    now = 1_700_000_000_000_000_000
    for first in range(0, count, together):
        number = min(together, count - first)
        selected = chance.integers(len(datagrams), size=number)
        octets = lengths[selected]
        room = octets + SPARE
        offset = np.cumsum(room) - room
        data = np.zeros(int(room.sum()), np.uint8)
        inside = np.arange(int(octets.sum())) - np.repeat(np.cumsum(octets) - octets, octets)
        data[np.repeat(offset, octets) + inside] = pool[np.repeat(starts[selected], octets) + inside]
        for change in range(4):
            rows = np.flatnonzero(chance.random(number) < (1.0, 0.6, 0.3, 0.15)[change])
            octets[rows] = changed(data, offset[rows], octets[rows], chance)
        yield DatagramBatch(
            data, offset.astype(np.int64), octets.astype(np.int32), np.full(number, now + first * 1_000_000, np.int64),
            chance.integers(len(EXPORTERS), size=number).astype(np.int32), EXPORTERS,
        )  # fmt: skip


def changed(
    data: NDArray[np.uint8], offset: NDArray[np.int64], octets: NDArray[np.int64], chance: np.random.Generator
) -> NDArray[np.int64]:
    """One change to each datagram, in place; gives the new lengths. Headers are changed as often as all the rest."""
    octets = octets.copy()
    kind = chance.integers(6, size=len(offset))
    reach = np.where(chance.random(len(offset)) < 0.5, np.minimum(octets, 40), octets)
    at = offset + (chance.random(len(offset)) * np.maximum(reach - 1, 1)).astype(np.int64)
    some = kind == 0
    data[at[some]] = chance.integers(256, size=int(some.sum()))
    some = kind == 1
    data[at[some]] ^= (1 << chance.integers(8, size=int(some.sum()))).astype(np.uint8)
    some = (kind == 2) | (kind == 3)
    words = chance.choice(WORDS, size=int(some.sum()))
    even = at[some] - (at[some] - offset[some]) % 2
    data[even], data[even + 1] = words >> 8, words & 0xFF
    some = kind == 4
    octets[some] = (at - offset)[some]
    some = kind == 5
    octets[some] = np.minimum(octets[some] + chance.integers(1, SPARE, size=int(some.sum())), 65_507)
    return octets
