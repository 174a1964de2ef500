"""Time of arrival of a block of records, which bounds the clocks of the stages."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BEGINNING", "UNKNOWN", "Arrival"]

BEGINNING = -(1 << 62)
"""Clock of a stage before its first record: earlier than any time, but spans can be added without overflow."""


@dataclass(frozen=True)
class Arrival:
    """When a block arrived.

    Stages measure waiting by a clock, the latest start of a record so far, so that a file is processed as it would have
    been live. A record dated after its own arrival does not advance the clock, and waits as long as a record dated now.
    Otherwise one wrong exporter, or one forged datagram, would delay the records of all others.

    Parameters
    ----------
    at_us
        Microseconds since 1970. Records that begin later do not advance the clock.
    passed_us
        Time since the previous block arrived. The clock advances by at least this much, so that records do not wait
        forever if all exporters are ahead.
    """

    at_us: int
    passed_us: int = 0


UNKNOWN = Arrival(1 << 62)
"""Unknown arrival: every record advances the clock."""
