"""Send simulated messages over UDP, TCP or TLS to the address given by the user, or write them to an IPFIX file."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ethogram._files import atomic_write
from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.io.receive.address import Listen
from ethogram.io.wire.build import write_file
from ethogram.simulate.impairment import Message

__all__ = ["Delivery", "Pace", "TcpSender", "UdpSender", "client_context", "place_of", "send", "write"]

CONNECT_S = 10.0
BUFFER = 1 << 20  # requested send buffer, so that bursts do not block


def place_of(text: str) -> Listen:
    """Parse ``udp://HOST:PORT``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.

    >>> place_of("udp://[2001:db8::1]:2055").port
    2055
    """
    try:
        place = Listen.parse(text)
    except UsageError:
        place = None
    if place is None or not place.port:
        raise UsageError(f"Invalid destination {text!r}; expected udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
    return place


@dataclass
class Delivery:
    """What was handed to the network or the file.

    Parameters
    ----------
    messages, flows, units, octets
        Messages, flow records in them, their sequence increments, and octets.
    refused
        Messages refused because nobody listens (UDP). They count as delivered, because it is unknown which were lost.
    seconds
        Duration.
    """

    messages: int = 0
    flows: int = 0
    units: int = 0
    octets: int = 0
    refused: int = 0
    seconds: float = 0.0

    def add(self, message: Message) -> None:
        """Count one message."""
        self.messages += 1
        self.flows += message.flows
        self.units += message.units
        self.octets += len(message.octets)


class Pace:
    """Determines when the next message is sent.

    Parameters
    ----------
    rate
        Maximum flow records per second.
    speed
        Simulated seconds per second: 86,400 sends one day per second.
    """

    def __init__(self, rate: float | None = None, speed: float | None = None) -> None:
        if any(value is not None and value <= 0 for value in (rate, speed)):
            raise UsageError("rate and speed must be positive")
        self._rate, self._speed = rate, speed
        self._begin = 0.0
        self._flows = 0
        self._first_ms: int | None = None

    def wait(self, message: Message) -> None:
        """Sleep until this message is due."""
        if self._first_ms is None:
            self._begin, self._first_ms = time.monotonic(), message.time_ms
        due = self._begin
        if self._rate is not None:
            due += self._flows / self._rate
        if self._speed is not None:
            due = max(due, self._begin + (message.time_ms - self._first_ms) / 1000 / self._speed)
        ahead = due - time.monotonic()
        if ahead > 0.001:  # shorter sleeps are inaccurate
            time.sleep(ahead)
        self._flows += message.flows


class UdpSender:
    """Sends each message as one datagram.

    Raises
    ------
    InputError
        If the name is unknown or the address unreachable.
    """

    def __init__(self, place: Listen) -> None:
        self.place = place
        self.refused = 0
        try:
            family, kind, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)[0]
            self.socket = socket.socket(family, kind)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            self.socket.connect(address)
        except OSError as error:
            raise InputError(f"cannot send: {error.strerror or error}", file=str(place)) from None

    def send(self, message: Message) -> None:
        """Send one message."""
        self.send_octets(message.octets)

    def send_octets(self, octets: bytes) -> None:
        """Send one datagram."""
        while True:
            try:
                self.socket.send(octets)
                return
            except OSError as error:
                if error.errno is not None and self.refuses(error.errno):
                    continue
                reason = f"cannot send: {error.strerror or error}"
                if error.errno == errno.EMSGSIZE:
                    reason = "a message is too long for the network: use a smaller MTU"
                raise InputError(reason, file=str(self.place)) from None

    def refuses(self, number: int) -> bool:
        """Whether an error means that nobody listened for an earlier datagram; it is counted, and sending continues."""
        if number == errno.ECONNREFUSED:
            self.refused += 1
        return number in {errno.ECONNREFUSED, errno.EINTR}

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class TcpSender:
    """Sends IPFIX messages over one TCP or TLS connection; a restarted exporter opens another (RFC 7011 section 10.4).

    Raises
    ------
    InputError
        If the connection fails, or the other end cannot be authenticated.
    """

    def __init__(self, place: Listen, context: ssl.SSLContext | None = None) -> None:
        self.place = place
        self.refused = 0
        self._context = context
        self._run = 0
        self._socket = self._connect()

    def _connect(self) -> socket.socket:
        try:
            plain = socket.create_connection((self.place.host, self.place.port), CONNECT_S)
            if self._context is None:
                return plain
            return self._context.wrap_socket(plain, server_hostname=self.place.host)
        except (OSError, ValueError) as error:
            reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
            raise InputError(f"cannot connect: {reason}", file=str(self.place)) from None

    def send(self, message: Message) -> None:
        """Send one message; waits for flow control."""
        try:
            if message.run != self._run:
                self.close()
                self._socket, self._run = self._connect(), message.run
            self._socket.sendall(message.octets)
        except OSError as error:
            raise InputError(f"connection lost: {error.strerror or error}", file=str(self.place)) from None

    def close(self) -> None:
        """Close the session after everything sent has arrived."""
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket = self._socket.unwrap()
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end closed first
        finally:
            self._socket.close()


def client_context(authority: Path | None, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """TLS settings of an exporter: the authority that signed the collector's certificate, and the exporter's own.

    Raises
    ------
    ConfigurationError
        If a file is missing or invalid.
    """
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"TLS: {error.strerror or error}") from None
    return context


def send(
    messages: Iterable[Message], place: Listen, pace: Pace | None = None, context: ssl.SSLContext | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Delivery:  # fmt: skip
    """Send messages to one destination.

    Parameters
    ----------
    messages
        In order of arrival.
    place
        Destination.
    pace
        Speed; by default as fast as the network accepts.
    context
        For TLS.
    on_progress
        Called with the flow records of each message.
    """
    begin = time.monotonic()
    delivery = Delivery()
    sender = UdpSender(place) if place.transport == "udp" else TcpSender(place, context)
    pace = pace or Pace()
    try:
        for message in messages:
            pace.wait(message)
            sender.send(message)
            delivery.add(message)
            if on_progress is not None:
                on_progress(message.flows)
    finally:
        sender.close()
        delivery.refused = sender.refused
        delivery.seconds = time.monotonic() - begin
    return delivery


def write(messages: Iterable[Message], path: Path) -> Delivery:
    """Write messages to an IPFIX file (RFC 5655); the file appears when it is complete.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    begin = time.monotonic()
    delivery = Delivery()

    def counted() -> Iterator[bytes]:
        for message in messages:
            delivery.add(message)
            yield message.octets

    try:
        with atomic_write(path) as part:
            write_file(part, counted())
    except InputError as error:
        raise InputError(error.reason, file=path) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    delivery.seconds = time.monotonic() - begin
    return delivery
