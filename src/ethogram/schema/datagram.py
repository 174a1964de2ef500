"""Batches of export messages, as receivers, captures and recordings pass them to the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ethogram.schema.accounting import Accounting

__all__ = ["DatagramBatch", "DatagramSource", "Exporter"]


@dataclass(frozen=True, slots=True)
class Exporter:
    """Sender of a message: a flow exporter's transport session (RFC 7011 section 2).

    Parameters
    ----------
    address
        Its address, canonical text; the file's name for an IPFIX file.
    port
        Its UDP or TCP port; 0 for a file.
    transport
        Transport of its messages.
    session
        Number of the TCP connection or file, which bounds the lifetime of its templates; 0 over UDP, where templates
        belong to the address, because an exporter may send options and data from different ports.
    """

    address: str
    port: int
    transport: Literal["udp", "tcp", "tls", "file"] = "udp"
    session: int = 0


@dataclass(frozen=True)
class DatagramBatch:
    """D export messages in order of arrival; each is the payload of a UDP datagram, or a complete IPFIX message.

    Arrays have length D, except ``data``.
    """

    data: NDArray[np.uint8]  # octets of all messages, possibly with others between them
    offset: NDArray[np.int64]  # of each message in ``data``
    octets: NDArray[np.int32]  # length of each message, as received
    arrival_ns: NDArray[np.int64]  # since 1970-01-01 UTC
    exporter: NDArray[np.int32]  # index into ``exporters``
    exporters: Sequence[Exporter]  # only grows within one source, so indexes stay valid

    def __len__(self) -> int:
        return int(self.offset.shape[0])


class DatagramSource(Protocol):
    """Source of export messages: a socket, a capture of an export, a recording, an IPFIX file."""

    name: str
    accounting: Accounting

    def datagrams(self) -> Iterator[DatagramBatch]:
        """Yield messages in bounded batches; ``accounting`` (unit ``messages``) is complete when the iterator ends."""
        ...
