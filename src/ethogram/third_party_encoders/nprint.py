"""nPrint: the bits of the headers in a fixed order; there is no network, and there are no weights.

A packet is 1,088 numbers: 60 octets of IPv4 header, 60 of TCP header, 8 of UDP header and 8 of ICMP header, each bit 1
or 0, and -1 where a packet has no such octet. Addresses, ports, and TCP sequence and acknowledgement numbers are masked
(0) by default, since they identify hosts. Absent packets are masked, too.

Reference: J. Holland et al., "New Directions in Automated Traffic Analysis", CCS 2021, arXiv 2008.02695. RFC 791
section 3.1, RFC 9293 section 3.1, RFC 768.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import Facts, OnProgress, Rows, asked_rows

__all__ = ["BITS", "NPrint", "NPrintSizes", "bits_of", "build", "expected"]

IPV4, TCP, UDP, ICMP = 60, 60, 8, 8  # octets
BITS = 8 * (IPV4 + TCP + UDP + ICMP)
"""Number of bits of one packet."""

ABSENT = -1
_BATCH = 512  # flows: about 25 MB at once


@dataclass(frozen=True)
class NPrintSizes:
    """Visible part of a flow.

    Parameters
    ----------
    packets
        Number of first packets.
    addresses, ports, sequence
        Whether addresses, ports, and sequence and acknowledgement numbers are visible (1) or masked (0).
    """

    packets: int = 5
    addresses: int = 0
    ports: int = 0
    sequence: int = 0

    @classmethod
    def of(cls, widths: Mapping[str, int] | None) -> NPrintSizes:
        """Sizes with some values replaced.

        Raises
        ------
        ConfigurationError
            When there is no such size, or it is out of range.
        """
        known = asdict(cls())
        for name, value in (widths or {}).items():
            if name not in known:
                raise ConfigurationError(f"nprint has no size {name!r}; there are {', '.join(known)}")
            least, most = (1, 72) if name == "packets" else (0, 1)
            if not least <= value <= most:
                raise ConfigurationError(f"nprint: {name} must be {least} to {most}, not {value}")
        return cls(**dict(widths or {}))

    @property
    def masked(self) -> list[slice]:
        """Masked bits of a packet."""
        tcp, udp = 8 * IPV4, 8 * (IPV4 + TCP)
        hidden = []
        if not self.addresses:
            hidden.append(slice(8 * 12, 8 * 20))
        if not self.ports:
            hidden += [slice(tcp, tcp + 8 * 4), slice(udp, udp + 8 * 4)]
        if not self.sequence:
            hidden.append(slice(tcp + 8 * 4, tcp + 8 * 12))
        return hidden


def bits_of(flows: PacketFlows, rows: NDArray[np.integer[Any]], sizes: NPrintSizes | None = None) -> NDArray[np.int8]:
    """Bits of the first packets of some flows.

    Parameters
    ----------
    flows
        Packets of N flows.
    rows
        K flows to read.
    sizes
        Number of packets, and masking.

    Returns
    -------
    array
        int8 [K, packets, 1088] of 1, 0 and -1.

    Examples
    --------
    >>> bits_of(PacketFlows.empty(2), np.arange(2)).shape
    (2, 5, 1088)
    """
    sizes = sizes or NPrintSizes()
    ip, ip_octets = flows.cells(sizes.packets, IPV4, part="ip", rows=rows)
    transport, octets = flows.cells(sizes.packets, TCP, part="transport", rows=rows)
    protocol = np.where(ip_octets > 9, ip[:, :, 9], 0)
    bits = np.full((len(rows), sizes.packets, BITS), ABSENT, np.int8)
    at = 0
    for cells, there, most in (
        (ip, ip_octets, IPV4),
        (transport, np.where(protocol == 6, octets, 0), TCP),
        (transport[:, :, :UDP], np.where(protocol == 17, octets, 0), UDP),
    ):
        part = np.unpackbits(cells, axis=2).view(np.int8)
        has = np.repeat(np.arange(most) < there[:, :, None], 8, axis=2)
        bits[:, :, at : at + 8 * most] = np.where(has, part, np.int8(ABSENT))
        at += 8 * most
    for hidden in sizes.masked:
        bits[:, :, hidden] = 0
    bits[np.arange(sizes.packets) >= flows.packets[rows][:, None]] = 0
    return bits


class NPrint:
    """Bits of headers as an encoder.

    Parameters
    ----------
    sizes
        Number of packets, and masking.
    """

    def __init__(self, sizes: NPrintSizes) -> None:
        self.sizes = sizes
        self.facts = Facts(
            name="nprint", parameters=0, d=sizes.packets * BITS, packets=sizes.packets, licence="Apache-2.0",
            source="CCS 2021, arXiv 2008.02695",
        )  # fmt: skip
        self.digest = hashlib.sha256(f"nprint/1 {sizes}".encode()).hexdigest()[:16]
        self.origin = "no weights"

    def embed(
        self, flows: PacketFlows, rows: Rows | None = None, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Bits of flows, float32 [K, packets x 1088]; parameters as of :class:`.interface.PacketEncoder`."""
        asked = asked_rows(flows, rows)
        out = np.empty((len(asked), self.facts.d), np.float32)
        for begin in range(0, len(asked), _BATCH):
            some = asked[begin : begin + _BATCH]
            out[begin : begin + len(some)] = bits_of(flows, some, self.sizes).reshape(len(some), -1)
            if on_progress is not None:
                on_progress(begin + len(some), len(asked))
        return out


def expected(widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights: there are none."""
    NPrintSizes.of(widths)
    return {}


def build(
    *,
    checkpoint: Path | None = None,
    seed: int = 0,  # noqa: ARG001 (every adapter takes one)
    widths: Mapping[str, int] | None = None,
) -> NPrint:
    """Bits of headers; ``seed`` has no effect.

    Raises
    ------
    ConfigurationError
        When a checkpoint is given, since there are no weights.
    """
    if checkpoint is not None:
        raise ConfigurationError("nprint has no weights, so it takes no checkpoint")
    return NPrint(NPrintSizes.of(widths))
