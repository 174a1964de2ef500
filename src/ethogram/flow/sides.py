"""Which side of a biflow serves, as far as the record itself says: the compiled rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, inner
from ethogram.flow.local import INSIDE, MULTICAST, UNSPECIFIED
from ethogram.schema import TCP, TCP_ACK, TCP_SYN, UDP

__all__ = ["BY_CLASS", "BY_HANDSHAKE", "BY_RECURRENCE", "KEEP", "TIE", "picked", "scopes", "sides"]

KEEP, BY_HANDSHAKE, BY_CLASS, BY_RECURRENCE, TIE = 0, 1, 2, 3, 9
"""Why a record was turned round; *tie*: its ports say nothing and its device must be asked."""

SYSTEM, DYNAMIC = 1024, 32768
DHCP_SERVER, DHCP_CLIENT = 67, 68
DHCP6_SERVER, DHCP6_CLIENT = 547, 546
"""DHCP: both ports are in one class."""

OPENING, ACCEPTING = TCP_SYN, TCP_SYN | TCP_ACK


@compiled
def sides(
    protocol: Any, source: Any, destination: Any, first: Any, answer: Any, place: Any, turned: Any, why: Any
) -> None:
    """Say of each record whether it is to be turned round, and why.

    Parameters
    ----------
    protocol, source, destination
        Protocol and ports, length N.
    first, answer
        Flags of the first TCP packet of either side, below 0 for unknown; length N, or 1 for all records.
    place
        Place of the destination.
    turned, why
        Filled in.
    """
    for i in range(len(protocol)):
        begun = first[i if len(first) > 1 else 0]
        replied = answer[i if len(answer) > 1 else 0]
        why[i] = reason(np.int64(protocol[i]), np.int64(source[i]), np.int64(destination[i]), begun, replied, place[i])
        turned[i] = why[i] == BY_HANDSHAKE or why[i] == BY_CLASS


@inner
def reason(protocol: Any, source: Any, destination: Any, first: Any, answer: Any, place: Any) -> Any:
    """Why one record is turned round, or is not: the handshake, then the ports' classes (below 1024, 32768, above)."""
    if protocol not in (TCP, UDP) or place == MULTICAST:
        return KEEP
    if protocol == TCP:
        if first >= 0 and first & ACCEPTING == OPENING:
            return KEEP
        if (first >= 0 and first & ACCEPTING == ACCEPTING) or (answer >= 0 and answer & ACCEPTING == OPENING):
            return BY_HANDSHAKE
        if answer >= 0 and answer & ACCEPTING == ACCEPTING:
            return KEEP
    if (source == DHCP_CLIENT and destination == DHCP_SERVER) or (
        source == DHCP6_CLIENT and destination == DHCP6_SERVER
    ):
        return KEEP
    if (source == DHCP_SERVER and destination == DHCP_CLIENT) or (
        source == DHCP6_SERVER and destination == DHCP6_CLIENT
    ):
        return BY_CLASS
    one = (source >= SYSTEM) + (source >= DYNAMIC)
    other = (destination >= SYSTEM) + (destination >= DYNAMIC)
    if one < other:
        return BY_CLASS
    if one > other or source == destination:
        return KEEP
    return TIE


@compiled
def picked(source: Any, destination: Any, row: Any, is_source: Any, found: Any) -> None:
    """Fill in the value that a side has: of the source where the flow is seen from there, else of the destination."""
    for i in range(len(row)):
        found[i] = source[row[i]] if is_source[i] else destination[row[i]]


@compiled
def scopes(place: Any, found: Any) -> None:
    """Where the other end is, as a number of :data:`ethogram.schema.SCOPE`: wan, lan, multicast."""
    for i in range(len(place)):
        if place[i] == MULTICAST:
            found[i] = 2
        elif place[i] == INSIDE or place[i] == UNSPECIFIED:
            found[i] = 1
        else:
            found[i] = 0
