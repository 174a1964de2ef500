"""When a block of records arrived: the bound of every clock that is read from the records themselves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BEGINNING", "UNKNOWN", "Arrival"]

BEGINNING = -(1 << 62)
"""Clock of a stage before its first record: earlier than any time, with room to add spans to it."""


@dataclass(frozen=True)
class Arrival:
    """When a block had arrived.

    How long records wait for others is told by a clock, the latest start so far, so that files of any age are read
    as they were live. A record dated after its own arrival says nothing about the time and does not move that clock;
    it waits as long as a record dated now. Otherwise one wrong exporter, or one forged datagram, would hold up the
    records of all others.

    Parameters
    ----------
    at_us
        Microseconds since 1970. Records that begin later do not move the clock.
    passed_us
        Time since the block before arrived. The clock advances by at least so much, so that nothing waits for ever
        behind exporters that are all ahead.
    """

    at_us: int
    passed_us: int = 0


UNKNOWN = Arrival(1 << 62)
"""Nothing is known about the arrival: every record moves the clock."""
