"""Compiled rule that decides which side of a biflow is the service, from the record alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, inner
from ethogram.flow.local import INSIDE, MULTICAST, UNSPECIFIED
from ethogram.schema import TCP, TCP_ACK, TCP_SYN, UDP

__all__ = ["BY_CLASS", "BY_HANDSHAKE", "BY_RECURRENCE", "KEEP", "TIE", "decide_sides", "remote_scope", "select_side"]

KEEP, BY_HANDSHAKE, BY_CLASS, BY_RECURRENCE, TIE = 0, 1, 2, 3, 9
"""Why a record is reversed or kept; *tie*: the record does not say, and the device's port history decides."""

WAN, LAN, GROUP = 0, 1, 2
"""Values of :data:`ethogram.schema.SCOPE`, by position."""

SYSTEM, DYNAMIC = 1024, 32768
DHCP_SERVER, DHCP_CLIENT = 67, 68
DHCP6_SERVER, DHCP6_CLIENT = 547, 546
"""The ports of DHCP are of one class, so the classes cannot decide."""

OPENING, ACCEPTING = TCP_SYN, TCP_SYN | TCP_ACK


@compiled
def decide_sides(
    protocol: Any, source: Any, destination: Any, first: Any, answer: Any, place: Any, turned: Any, why: Any
) -> None:
    """Decide for each record whether it is to be reversed, and why.

    Parameters
    ----------
    protocol, source, destination
        Protocol and ports, length N.
    first, answer
        Flags of the first TCP packet of source and destination, negative for unknown; length N, or 1 for all records.
    place
        Place of the destination (:mod:`ethogram.flow.local`).
    turned, why
        Filled in: whether to reverse the record, and one of :data:`KEEP` ... :data:`TIE`.
    """
    for i in range(len(protocol)):
        opened = first[i if len(first) > 1 else 0]
        replied = answer[i if len(answer) > 1 else 0]
        why[i] = side_reason(
            np.int64(protocol[i]), np.int64(source[i]), np.int64(destination[i]), opened, replied, place[i]
        )
        turned[i] = why[i] == BY_HANDSHAKE or why[i] == BY_CLASS


@inner
def side_reason(protocol: Any, source: Any, destination: Any, first: Any, answer: Any, place: Any) -> Any:
    """Apply the rule to one record: the handshake decides, then the class of the ports (below 1024, 32768, above)."""
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
    source_class = (source >= SYSTEM) + (source >= DYNAMIC)
    destination_class = (destination >= SYSTEM) + (destination >= DYNAMIC)
    if source_class < destination_class:
        return BY_CLASS
    if source_class > destination_class or source == destination:
        return KEEP
    return TIE


@compiled
def select_side(source: Any, destination: Any, row: Any, is_source: Any, selected: Any) -> None:
    """Fill in ``source[row]`` where ``is_source``, else ``destination[row]``."""
    for i in range(len(row)):
        selected[i] = source[row[i]] if is_source[i] else destination[row[i]]


@compiled
def remote_scope(place: Any, scope: Any) -> None:
    """Fill in the scope of the other end, as a position in :data:`ethogram.schema.SCOPE`: wan, lan, multicast."""
    for i in range(len(place)):
        if place[i] == MULTICAST:
            scope[i] = GROUP
        elif place[i] == INSIDE or place[i] == UNSPECIFIED:
            scope[i] = LAN
        else:
            scope[i] = WAN
