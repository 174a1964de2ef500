"""Copies of packets are counted; packets that are only similar are not."""

from __future__ import annotations

import numpy as np
import pytest

from ethogram.meter.mirrored import mirrored
from ethogram.schema import PacketBatch


def batch(*packets: tuple[int, bytes], version: int = 4) -> PacketBatch:
    """Packets as (microseconds, octets of IP)."""
    n = len(packets)
    sizes = np.array([len(content) for _, content in packets], np.int64)
    begins = np.cumsum(sizes) - sizes
    none = {name: np.zeros(n, kind) for name, kind in (
        ("source_high", np.uint64), ("source_low", np.uint64), ("destination_high", np.uint64),
        ("destination_low", np.uint64), ("source_port", np.uint16), ("destination_port", np.uint16),
        ("tcp_flags", np.uint8), ("frame_octets", np.uint32), ("vlan", np.uint16), ("source_mac", np.uint64),
        ("destination_mac", np.uint64), ("protocol", np.uint8),
    )}  # fmt: skip
    return PacketBatch(
        time_ns=np.array([time * 1000 for time, _ in packets], np.int64), version=np.full(n, version, np.uint8),
        ip_octets=sizes.astype(np.uint32), internet_offset=begins, payload_offset=begins + np.minimum(sizes, 28),
        payload_octets=(sizes - np.minimum(sizes, 28)).astype(np.int32),
        data=np.frombuffer(b"".join(content for _, content in packets), np.uint8), **none,
    )  # fmt: skip


def ip(mark: int = 0, ttl: int = 64, checksum: int = 7) -> bytes:
    return bytes([69, 0, 0, 40, mark, mark, 0, 0, ttl, 17, checksum, checksum, *range(28)])


@pytest.mark.parametrize(
    ("packets", "copies"),
    [
        ([(0, ip(1)), (3, ip(1)), (9, ip(2)), (12, ip(2))], 2),
        ([(0, ip(1)), (1, ip(2)), (2, ip(1)), (3, ip(2))], 2),
        ([(0, ip(1)), (3, ip(1, ttl=63, checksum=8))], 1),  # a router is between the ports
        ([(0, ip(1)), (3, ip(2))], 0),
        ([(0, ip(1)), (1001, ip(1))], 0),
        ([(5, ip(1)), (0, ip(1))], 0),
        ([(0, ip(1)), (3, ip(1) + b"x")], 0),
        ([(0, b""), (3, b"")], 0),
        ([], 0),
    ],
)
def test_equal_packets_shortly_after_one_another_are_copies(packets: list[tuple[int, bytes]], copies: int) -> None:
    assert mirrored(batch(*packets)) == copies


def test_the_hop_limit_of_ipv6_may_differ() -> None:
    packets = [(0, bytes([96, *range(6), 64, *range(40)])), (1, bytes([96, *range(6), 63, *range(40)]))]
    assert mirrored(batch(*packets, version=6)) == 1
    assert mirrored(batch(*packets, version=4)) == 0
