"""Custom flows that are drawn, not captured: talk of a few made-up devices, for tests of encoders."""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram.schema import CustomFlows

DAY_US = 86_400_000_000
TALK = (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"GET /status HTTP/1.1\r\nHost: api.example-plug.net\r\n",
        b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05cloud\x07example\x03com\x00\x00\x01\x00\x01")  # fmt: skip


def made(n: int, seed: int = 0, days: int = 10, packets: int = 10) -> CustomFlows:
    """``n`` custom flows on ``days`` days; the same seed gives the same ones."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, len(TALK), n)
    count = random.integers(1, packets + 1, n)
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    payload, stored = [], []
    for i in range(n):
        room = 3000
        for _ in range(count[i]):
            text = TALK[kinds[i]] + random.integers(0, 256, random.integers(0, 60), np.uint8).tobytes()
            text = text[: max(0, min(1000, room - 2))] if random.random() < 0.7 else b""
            room -= len(text) + 2
            payload.append(text)
            stored.append(len(text))
    octets = np.frombuffer(b"".join(payload), np.uint8)
    ends = np.concatenate([[0], np.cumsum(stored)]).astype(np.int64)
    m = int(first[-1])
    offsets = np.concatenate([np.sort(random.integers(0, 60_000_000, c)) for c in count])
    offsets[first[:-1]] = 0
    sizes = (np.array(stored) + np.where(np.repeat(kinds, count) == 2, 28, 40)).astype(np.uint32)
    return CustomFlows(
        device=pl.Series([f"device-{i % 7}" for i in range(n)], dtype=pl.String),
        start_us=np.sort(random.integers(0, days * DAY_US, n)),
        remote=random.integers(0, 1 << 32, n).astype(np.uint32),
        remote_port=np.array([443, 80, 53], np.uint16)[kinds],
        device_port=random.integers(1024, 65_536, n).astype(np.uint16),
        protocol=np.array([6, 6, 17], np.uint8)[kinds],
        octets=np.add.reduceat(sizes, first[:-1]).astype(np.uint64),
        packets=count.astype(np.uint64),
        first_packet=first,
        packet_offset_us=offsets.astype(np.uint32),
        packet_octets=sizes,
        packet_out=random.integers(0, 2, m).astype(np.uint8),
        payload_octets=np.array(stored, np.uint16),
        first_octet=ends[first],
        payload=octets,
    )
