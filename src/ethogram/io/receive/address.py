"""Listen addresses (``udp://HOST:PORT``) and allowed senders."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError, InputError, UsageError

__all__ = ["Listen", "Prefixes", "address_of", "key_of"]

DEFAULT_PORTS = {"udp": 4739, "tcp": 4739, "tls": 4740}
"""IANA's ports of IPFIX (RFC 7011 section 10.1); NetFlow has none, and 2055 is common."""

_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on.

    Parameters
    ----------
    transport
        ``udp``, ``tcp`` or ``tls``.
    host
        Address or name; ``0.0.0.0`` and ``::`` are all addresses of this machine, each of its own family.
    port
        0 lets the system choose.
    """

    transport: Literal["udp", "tcp", "tls"]
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Parse ``TRANSPORT://HOST:PORT``.

        >>> Listen.parse("udp://[::1]:2055")
        Listen(transport='udp', host='::1', port=2055)
        >>> str(Listen.parse("tcp://127.0.0.1"))
        'tcp://127.0.0.1:4739'
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        extra = parts.path or parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or extra:
            raise UsageError(f"Invalid listen address {text!r}; expected udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
        transport = cast(Literal["udp", "tcp", "tls"], parts.scheme)
        return cls(transport, parts.hostname, DEFAULT_PORTS[transport] if port is None else port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"

    def open(self) -> socket.socket:
        """Open a bound, non-blocking socket; TCP sockets listen.

        Raises
        ------
        InputError
            If the name is unknown, or the address is not available.
        """
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        listener: socket.socket | None = None
        try:
            candidates = socket.getaddrinfo(self.host, self.port, type=kind, flags=socket.AI_PASSIVE)
            family, _, _, _, address = candidates[0]
            listener = socket.socket(family, kind)
            if family == socket.AF_INET6:
                # Both families can then listen on one port, and IPv6 sockets receive no IPv4-mapped addresses.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.setblocking(False)
            if kind == socket.SOCK_STREAM:
                listener.listen(128)
        except OSError as error:
            if listener is not None:
                listener.close()
            raise InputError(f"cannot listen: {error.strerror or error}", file=str(self)) from None
        return listener

    def bound(self, opened: socket.socket) -> Listen:
        """This address with the port that the system chose."""
        return Listen(self.transport, self.host, int(opened.getsockname()[1]))


def key_of(address: str) -> tuple[int, int]:
    """An address as two 64-bit numbers; IPv4 as ``::ffff:a.b.c.d``.

    >>> key_of("1.2.3.4") == key_of("::ffff:1.2.3.4")
    True
    """
    parsed = ipaddress.ip_address(address.split("%", 1)[0])
    number = int(parsed) | (_MAPPED if parsed.version == 4 else 0)
    return number >> 64, number & 0xFFFFFFFFFFFFFFFF


def address_of(high: int, low: int) -> str:
    """Canonical text of the result of :func:`key_of`.

    >>> address_of(0, (0xFFFF << 32) | 0x01020304), address_of(0x20010DB8 << 32, 1)
    ('1.2.3.4', '2001:db8::1')
    """
    if high == 0 and low >> 32 == 0xFFFF:
        return str(ipaddress.IPv4Address(low & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(high << 64 | low))


class Prefixes:
    """Allowed senders; all if empty.

    Attributes
    ----------
    rows
        ``uint64[P, 4]``: high and low half of network and mask.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        rows = []
        for text in texts:
            try:
                network = ipaddress.ip_network(text, strict=False)
            except ValueError:
                reason = f"setting allow: invalid prefix {text!r}; expected one such as 192.0.2.0/24"
                raise ConfigurationError(reason) from None
            bits = network.prefixlen + (96 if network.version == 4 else 0)
            mask = ((1 << bits) - 1) << (128 - bits)
            number = int(network.network_address) | (_MAPPED if network.version == 4 else 0)
            rows.append([part for value in (number, mask) for part in (value >> 64, value & 0xFFFFFFFFFFFFFFFF)])
        self.rows: NDArray[np.uint64] = np.array(rows, np.uint64).reshape(-1, 4)

    def allow(self, address: str) -> bool:
        """Whether this address may send.

        >>> Prefixes(["10.0.0.0/8"]).allow("10.9.8.7"), Prefixes(["10.0.0.0/8"]).allow("11.0.0.1")
        (True, False)
        """
        if not len(self.rows):
            return True
        high, low = (np.uint64(part) for part in key_of(address))
        inside = (high & self.rows[:, 2] == self.rows[:, 0]) & (low & self.rows[:, 3] == self.rows[:, 1])
        return bool(inside.any())
