"""The result of the parsers: facts that one message states, and about whom."""

from __future__ import annotations

from dataclasses import dataclass

from ethogram.schema import MAX_VALUE

__all__ = ["MAX_FACTS", "Statement", "decoded"]

MAX_FACTS = 64
"""Facts read of one message."""


@dataclass(frozen=True)
class Statement:
    """Facts that a message states about one device.

    Parameters
    ----------
    facts
        Kind of fact (:data:`ethogram.schema.FACT`) and value.
    mac, address
        MAC and address that the message itself gives the device; None: none.
    by_sender
        Whether the device is the sender: then the MAC and the address that the message does not give are those of the
        packet.
    """

    facts: tuple[tuple[str, str], ...]
    mac: str | None = None
    address: str | None = None
    by_sender: bool = True


def decoded(octets: bytes) -> str:
    r"""Octets as text: UTF-8, NULs and white space around it removed, at most :data:`ethogram.schema.MAX_VALUE` long.

    >>> decoded(b" K\xc3\xbcche\0\0")
    'Küche'
    """
    return octets[: 4 * MAX_VALUE].decode("utf-8", "replace").strip("\0 \t\r\n")[:MAX_VALUE]
