"""Octets of the first packets of a flow, the input of YaTC (as an image) and of NetMamba (as a sequence).

The input has five packets, each with 80 octets of IP and transport header and 240 octets of payload: 1,600 octets,
padded with zeros. In rows of 40, packet ``i`` fills the rows ``8 i`` to ``8 i + 7`` of a square grey image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import Rows

__all__ = ["HEADER", "OCTETS", "PACKETS", "PAYLOAD", "SIDE", "octets_of", "scaled"]

PACKETS = 5
HEADER, PAYLOAD = 80, 240
OCTETS = PACKETS * (HEADER + PAYLOAD)
SIDE = 40  # of the image

_IP_CHECKSUM, _ADDRESSES = slice(10, 12), slice(12, 20)  # RFC 791 section 3.1
_CHECKSUM_AT = {6: 16, 17: 6}  # of the transport header: RFC 9293 section 3.1, RFC 768
_PROTOCOL = 9


def octets_of(
    flows: PacketFlows,
    rows: Rows | None = None,
    *,
    addresses: bool = True,
    ports: bool = True,
    checksums: bool = True,
) -> NDArray[np.uint8]:
    """Octets of the first five packets of both directions, as on the wire.

    Parameters
    ----------
    flows
        Packets of N flows.
    rows
        K flows to read; None: all.
    addresses, ports, checksums
        Whether they are visible; otherwise they are zero. The sum of the addresses follows from the checksum and all
        other fields.

    Returns
    -------
    numpy.ndarray
        uint8 [K, 5, 320].

    Examples
    --------
    >>> octets_of(PacketFlows.empty(2)).shape
    (2, 5, 320)
    """
    headers, _ = flows.cells(PACKETS, HEADER, part="headers", rows=rows)
    payload, _ = flows.cells(PACKETS, PAYLOAD, part="payload", rows=rows)
    if not addresses:
        headers[..., _ADDRESSES] = 0
    if not checksums:
        headers[..., _IP_CHECKSUM] = 0
    if not (ports and checksums):
        _hide_in_transport(headers, ports=ports, checksums=checksums)
    return np.concatenate([headers, payload], 2)


def _hide_in_transport(headers: NDArray[np.uint8], *, ports: bool, checksums: bool) -> None:
    """Offset of the transport header, from the length in the IP header."""
    flat = headers.reshape(-1, HEADER)
    begin = (flat[:, 0].astype(np.int64) & 15) * 4
    there = np.flatnonzero(begin)
    if not ports:
        for k in range(4):
            flat[there, begin[there] + k] = 0
    if not checksums:
        for protocol, at in _CHECKSUM_AT.items():
            of = there[flat[there, _PROTOCOL] == protocol]
            for k in range(2):
                flat[of, begin[of] + at + k] = 0


def scaled(octets: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Octets as numbers from -1 to 1: ``(x / 255 - .5) / .5``; padding is -1.

    >>> scaled(np.array([0, 255], np.uint8)).tolist()
    [-1.0, 1.0]
    """
    return _SCALED[octets]


_SCALED = ((np.arange(256) / 255 - 0.5) / 0.5).astype(np.float32)
