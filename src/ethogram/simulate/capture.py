"""Write simulated biflows as a capture, for the examples and tests of custom flows. All data is synthetic."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ethogram._files import atomic_write
from ethogram.schema import TCP, TCP_ACK, TCP_SYN

__all__ = ["write_capture"]

GATEWAY_MAC = "02:00:5e:00:77:01"
HEADERS = {6: 40, 17: 28}
MTU = 1500
SNAP = 96  # payload octets that a packet carries in the file; its IP length states all
_COLUMNS = (
    "start", "end", "protocol", "source_address", "destination_address", "source_port", "destination_port",
    "source_mac", "destination_mac", "packets", "octets", "reverse_packets", "reverse_octets",
)  # fmt: skip


def write_capture(biflows: Iterable[pl.DataFrame], path: str | Path, *, packets: int = 12, seed: int = 1) -> int:
    """Write TCP and UDP biflows over IPv4 as packets, to a pcap file in order of time.

    The packets of a direction are evenly spaced; its octets are divided evenly between them. Payloads start with 8
    octets that are the same for all packets of a service and direction; the others are random, as encrypted payloads
    are.

    Parameters
    ----------
    biflows
        Frames of the form :data:`ethogram.schema.BIFLOW`, such as those of
        :meth:`ethogram.simulate.SimulatedHome.batches`.
    path
        File to write.
    packets
        Most packets of a flow and direction.
    seed
        Same seed, same file.

    Returns
    -------
    int
        Packets written.

    Examples
    --------
    >>> import tempfile
    >>> from ethogram.simulate import DEMO_HOME, SimulatedHome
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_capture(SimulatedHome(DEMO_HOME[2:3], days=1).batches(), f"{folder}/plug.pcap") > 100
    True
    """
    random = np.random.default_rng(seed)
    records: list[tuple[int, bytes]] = []
    for frame in biflows:
        rows = frame.with_columns(pl.col("start", "end").dt.epoch("us")).select(_COLUMNS)
        for row in rows.iter_rows(named=True):
            records += _packets(row, packets, random)
    records.sort(key=lambda record: record[0])
    with atomic_write(Path(path)) as part, part.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for at_us, octets in records:
            length = 14 + struct.unpack_from(">H", octets, 16)[0]
            file.write(struct.pack("<IIII", at_us // 1_000_000, at_us % 1_000_000, len(octets), length) + octets)
    return len(records)


_End = tuple[str, int, str]  # address, port, MAC


def _packets(row: dict[str, Any], most: int, random: np.random.Generator) -> list[tuple[int, bytes]]:
    """Time in microseconds and octets of each packet of a biflow."""
    ends: list[_End] = [
        (row[f"{end}_address"], row[f"{end}_port"], row[f"{end}_mac"] or GATEWAY_MAC)
        for end in ("source", "destination")
    ]
    start, duration = row["start"], row["end"] - row["start"]
    protocol = row["protocol"]
    result = []
    for direction, prefix in enumerate(("", "reverse_")):
        octets, count = row[f"{prefix}octets"], row[f"{prefix}packets"]
        count = min(count, most)
        source, destination = ends[direction], ends[1 - direction]
        service = hashlib.sha256(f"{protocol} {row['destination_port']} {direction}".encode()).digest()[:8]
        for k in range(count):
            size = min(max(octets // count, HEADERS[protocol] + 1), MTU)
            if protocol == TCP and k == 0:
                size = HEADERS[TCP]
            flags = TCP_ACK if k or direction else 0
            flags |= 0 if k else TCP_SYN
            payload = (service + random.bytes(SNAP))[: min(size - HEADERS[protocol], SNAP)]
            at_us = start + 2_000 * direction + duration * k // count
            result.append((at_us, _frame(protocol, source, destination, size, payload, flags)))
    return result


@lru_cache(maxsize=1024)
def _packed(address: str) -> bytes:
    return ip_address(address).packed


def _frame(protocol: int, source: _End, destination: _End, size: int, payload: bytes, flags: int) -> bytes:
    """An Ethernet frame, with the first octets of its payload."""
    ports = struct.pack(">HH", source[1], destination[1])
    if protocol == TCP:
        transport = ports + struct.pack(">IIBBHHH", 1, 1, 0x50, flags, 8192, 0, 0)
    else:
        transport = ports + struct.pack(">HH", size - 20, 0)
    macs = bytes.fromhex((destination[2] + source[2]).replace(":", ""))
    addresses = _packed(source[0]) + _packed(destination[0])
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0x4000, 64, protocol, 0)
    return macs + b"\x08\x00" + header + addresses + transport + payload
