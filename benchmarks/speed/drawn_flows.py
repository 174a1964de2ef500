"""Custom flows that are drawn, for measurements of speed: padding is 88 % of the payload block, as in real traffic."""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram.schema import CustomFlows

DAY_US = 86_400_000_000


def drawn(count: int, seed: int = 0, days: int = 20) -> CustomFlows:
    """``count`` flows of one to ten packets; some carry nothing, a few fill all 3,000 symbols."""
    random = np.random.default_rng(seed)
    packets = np.minimum(random.geometric(0.28, count), 10)
    first = np.concatenate([[0], np.cumsum(packets)]).astype(np.int64)
    m = int(first[-1])
    # At most 298 octets and two marks for each of ten packets: 3,000 symbols.
    octets = np.minimum(random.lognormal(4.4, 1.3, m), 298).astype(np.uint16)
    octets[random.random(m) < 0.2] = 0
    ends = np.concatenate([[0], np.cumsum(octets, dtype=np.int64)])
    offsets = random.integers(0, 60_000_000, m).astype(np.uint32)
    offsets[first[:-1]] = 0
    sizes = octets.astype(np.uint32) + 40
    kinds = random.integers(0, 4, count)
    return CustomFlows(
        device=pl.Series(np.char.add("device-", random.integers(0, 50, count).astype(str)), dtype=pl.String),
        start_us=np.sort(random.integers(0, days * DAY_US, count)),
        remote=random.integers(0, 1 << 32, count).astype(np.uint32),
        remote_port=np.array([443, 80, 53, 123], np.uint16)[kinds],
        device_port=random.integers(1024, 65_536, count).astype(np.uint16),
        protocol=np.array([6, 6, 17, 17], np.uint8)[kinds],
        octets=np.add.reduceat(sizes, first[:-1]).astype(np.uint64),
        packets=packets.astype(np.uint64),
        first_packet=first,
        packet_offset_us=offsets,
        packet_octets=sizes,
        packet_out=np.ones(m, np.uint8),
        payload_octets=octets,
        first_octet=ends[first],
        payload=random.integers(0, 256, int(ends[-1]), np.uint8),
    )
