"""Split a stream of octets into IPFIX messages; each states its length (RFC 7011 section 3.1)."""

from __future__ import annotations

from typing import Any

from ethogram.io.receive.admit import compiled

__all__ = ["BAD_LENGTH", "BAD_VERSION", "SHORTEST", "frames"]

SHORTEST, IPFIX = 16, 10
BAD_VERSION, BAD_LENGTH = 1, 2


@compiled
def frames(data: Any, begin: int, end: int, offset: Any, octets: Any) -> tuple[int, int, int]:
    """Find complete messages.

    Parameters
    ----------
    data, begin, end
        Octets, and the range that was received.
    offset, octets
        Output: position and length of each message.

    Returns
    -------
    count, consumed, fault
        Number of messages, the position after the last one, and :data:`BAD_VERSION` or :data:`BAD_LENGTH` if the rest
        is not a message.
    """
    count, at = 0, begin
    while end - at >= 4 and count < offset.shape[0]:
        if data[at] != 0 or data[at + 1] != IPFIX:
            return count, at, BAD_VERSION
        length = (int(data[at + 2]) << 8) | int(data[at + 3])
        if length < SHORTEST:
            return count, at, BAD_LENGTH
        if end - at < length:
            break
        offset[count], octets[count] = at, length
        count += 1
        at += length
    return count, at, 0
