"""Open TCP and TLS connections: one session per exporter, and which connection is closed to make room for another."""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ethogram.io.receive.address import key_of
from ethogram.io.receive.admit import NARROW, WIDE, group_of
from ethogram.io.receive.quota import Quota
from ethogram.schema import Exporter

__all__ = ["BUFFER", "READ_OCTETS", "Connection", "Connections", "groups_of"]

READ_OCTETS = 1 << 16  # read from one connection at a time, so that none starves the others
LONGEST = 65_535
BUFFER = READ_OCTETS + LONGEST

Group = tuple[int, int]


def groups_of(address: str) -> tuple[Group, Group]:
    """The address group and the prefix group of a connection.

    >>> groups_of("2001:db8:1:2::5")[0] == groups_of("2001:db8:1:2::6")[0]
    True
    """
    high, low = (np.uint64(part) for part in key_of(address))
    narrow, wide = (tuple(int(part) for part in group_of(high, low, kind)) for kind in (NARROW, WIDE))
    return (narrow[0], narrow[1]), (wide[0], wide[1])


@dataclass(eq=False)
class Connection:
    """Session of one exporter: its socket, and the octets of an incomplete message.

    Attributes
    ----------
    events
        Events registered with the selector; 0 if not registered.
    active_s
        Time when it was opened, completed the handshake, or last completed a message. Other octets do not keep the
        connection open.
    sound
        Whether it has sent a well-formed message.
    """

    socket: socket.socket
    exporter: Exporter
    index: int
    active_s: float
    shaken: bool
    narrow: Group
    wide: Group
    events: int = 0
    sound: bool = False
    data: NDArray[np.uint8] = field(default_factory=lambda: np.empty(BUFFER, np.uint8))
    held: int = 0
    tokens: float = 0.0
    filled_s: float = 0.0
    paused_until_s: float = 0.0

    @property
    def decrypted(self) -> int:
        """Octets that TLS has decrypted and no selector reports."""
        if not isinstance(self.socket, ssl.SSLSocket) or not self.shaken:
            return 0
        try:
            return self.socket.pending()
        except (OSError, ValueError):
            return 0

    @property
    def arrived(self) -> int:
        """Octets received by the kernel and TLS but not read."""
        try:
            waiting = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, bytes(4)))[0]
        except (OSError, ValueError):
            waiting = 0
        return int(waiting) + self.decrypted


class Connections:
    """The open connections, counted by address and prefix.

    Parameters
    ----------
    shares
        Limits.
    """

    def __init__(self, shares: Quota) -> None:
        self._shares = shares
        self._of: dict[socket.socket, Connection] = {}
        self._narrow: Counter[Group] = Counter()
        self._wide: Counter[Group] = Counter()

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over all of them; they may be removed meanwhile."""
        return iter(list(self._of.values()))

    def __contains__(self, connection: Connection) -> bool:
        return connection.socket in self._of

    def get(self, opened: socket.socket) -> Connection | None:
        """The connection of a socket, if it is still open."""
        return self._of.get(opened)

    def add(self, connection: Connection) -> None:
        """Add an open connection."""
        self._of[connection.socket] = connection
        self._narrow[connection.narrow] += 1
        self._wide[connection.wide] += 1

    def remove(self, connection: Connection) -> bool:
        """Remove a connection; False if it was removed before."""
        if self._of.pop(connection.socket, None) is None:
            return False
        for counts, group in ((self._narrow, connection.narrow), (self._wide, connection.wide)):
            counts[group] -= 1
            if not counts[group]:
                del counts[group]
        return True

    def full(self, narrow: Group, wide: Group) -> tuple[str | None, Connection | None]:
        """Why there is no room for another connection of an address, and which one to close for it.

        Returns
        -------
        reason, leaving
            None and None if there is room. ``leaving`` has never sent a well-formed message, and has the same address
            or prefix if that limit is reached; None if all have sent one.
        """
        most, address, prefix = self._shares
        if address < most and self._narrow[narrow] >= address:
            return "too many connections of its address", self.least(narrow=narrow)
        if prefix < most and self._wide[wide] >= prefix:
            return "too many connections of its prefix", self.least(wide=wide)
        if len(self._of) >= most:
            return "too many connections", self.least()
        return None, None

    def least(self, narrow: Group | None = None, wide: Group | None = None) -> Connection | None:
        """Of the largest prefix, the connection that has been without a well-formed message for longest."""
        rubbish = [
            connection
            for connection in self._of.values()
            if not connection.sound and narrow in (None, connection.narrow) and wide in (None, connection.wide)
        ]
        return min(rubbish, key=lambda connection: (-self._wide[connection.wide], connection.active_s), default=None)
