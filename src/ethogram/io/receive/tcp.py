"""IPFIX over TCP and TLS (RFC 7011 sections 10.4 and 11): one thread serves all connections.

A receiver over TCP may wait: while the queue is full, or an exporter is over its rate, nothing is read, the kernel
says so to the exporter, and no message is lost. Each connection is a transport session of its own; its templates end
with it. What is no IPFIX message closes the connection, since nothing behind it can be found again (RFC 5153
section 4.4.1).
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.config import CollectSettings
from ethogram.errors import ConfigurationError
from ethogram.io.receive.address import Listen, Prefixes, address_of, key_of
from ethogram.io.receive.frames import BAD_LENGTH, BAD_VERSION, SHORTEST, frames
from ethogram.io.receive.queue import MESSAGE_OVERHEAD, Exporters, MessageQueue, SessionEnd
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["TcpReceiver", "tls_context"]

READ_OCTETS = 1 << 16  # of one connection at a time, so that none starves the others
LONGEST = 65_535
BUFFER = READ_OCTETS + LONGEST
RESERVED = BUFFER * (1 + MESSAGE_OVERHEAD // SHORTEST)
HANDSHAKE_S = 10.0
WAIT_S = 0.05
FAULTS = {BAD_VERSION: "bad version", BAD_LENGTH: "bad length"}


def tls_context(certificate: Path, key: Path | None = None, client_ca: Path | None = None) -> ssl.SSLContext:
    """Settings of TLS for a collector: 1.2 or later.

    Parameters
    ----------
    certificate, key
        Of the collector, PEM; without a key, the certificate's file holds it.
    client_ca
        Exporters must then show a certificate that these authorities signed (RFC 7011 section 11.1 asks for it).

    Raises
    ------
    ConfigurationError
        When a file cannot be read or does not fit the others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in (certificate, key, client_ca):
        if file is not None and not file.is_file():
            raise ConfigurationError(f"{file}: no such file")
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(f"{certificate}: no certificate with its key, in PEM form") from None
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError):
            raise ConfigurationError(f"{client_ca}: no certificates in PEM form") from None
    return context


@dataclass
class Connection:
    """One exporter's session: its socket, and the octets that are not yet a whole message."""

    socket: socket.socket
    exporter: Exporter
    index: int
    active_s: float
    shaken: bool
    data: NDArray[np.uint8] = field(default_factory=lambda: np.empty(BUFFER, np.uint8))
    held: int = 0
    tokens: float = 0.0
    filled_s: float = 0.0
    paused_until_s: float = 0.0


class TcpReceiver:
    """Receive IPFIX messages of several TCP and TLS listeners into a queue.

    Parameters
    ----------
    places
        Where to listen, ``tcp`` and ``tls``.
    queue, exporters
        Where messages go, and who gives exporters their index.
    settings
        Bounds, prefixes and rates. Memory of a connection is bounded: 128 KiB.
    tls
        For ``tls`` places.

    Attributes
    ----------
    listening
        Where it listens, with the ports that the system chose.
    accounting
        Over messages.
    closed
        Connections by the reason they ended or were refused.
    failure
        What ended the thread, which nothing should.
    """

    def __init__(
        self, places: Sequence[Listen], queue: MessageQueue, exporters: Exporters,
        settings: CollectSettings | None = None, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or CollectSettings()
        if tls is None and any(place.transport == "tls" for place in places):
            raise ConfigurationError("listening for TLS needs a certificate")
        self.listening: list[Listen] = []
        self.accounting = Accounting("messages")
        self.closed: Counter[str] = Counter()
        self.opened = 0
        self.failure: BaseException | None = None
        self._places, self._tls = list(places), tls
        self._queue, self._exporters = queue, exporters
        self._prefixes = Prefixes(self.settings.allow)
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._listeners: dict[socket.socket, Listen] = {}
        self._connections: dict[socket.socket, Connection] = {}
        # Sessions of an earlier run of the collector must not be taken for ones of this.
        self._session = time.time_ns() // 1_000_000
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Open the listeners and begin to receive.

        Raises
        ------
        InputError
            When an address cannot be had.
        """
        if not self._places:
            return
        frames(np.zeros(1, np.uint8), 0, 0, np.zeros(1, np.int64), np.zeros(1, np.int32))  # compiled before it counts
        try:
            for place in self._places:
                opened = place.open()
                self._listeners[opened] = place
                self._selector.register(opened, selectors.EVENT_READ)
                self.listening.append(place.bound(opened))
        except BaseException:
            self._close_all()
            raise
        self._thread = threading.Thread(target=self._guarded, name="receive tcp", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take what has already arrived, and close all connections."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close_all()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._connections)

    def _guarded(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(WAIT_S)
            self._read_on()
        except BaseException as error:  # a thread has nobody to tell: whoever waits for messages asks
            self.failure = error

    def _read_on(self) -> None:
        """Take what has arrived before a stop, for a second at most: exporters may go on sending."""
        before, until_s = -1, time.monotonic() + 1.0
        while before != self.accounting.read and time.monotonic() < until_s:
            before = self.accounting.read
            self._turn(0.0)

    def _turn(self, wait_s: float) -> None:
        """Serve everything that is ready once."""
        for key, _ in self._selector.select(wait_s):
            if not isinstance(key.fileobj, socket.socket):
                continue
            if key.fileobj in self._listeners:
                self._accept(key.fileobj)
            elif (connection := self._connections.get(key.fileobj)) is not None:
                self._serve(connection)
        now_s = time.monotonic()
        for connection in list(self._connections.values()):
            limit_s = self.settings.idle_s if connection.shaken else HANDSHAKE_S
            if connection.paused_until_s:
                if connection.paused_until_s <= now_s:
                    connection.paused_until_s, connection.active_s = 0.0, now_s
                    self._selector.register(connection.socket, selectors.EVENT_READ)
            elif now_s - connection.active_s > limit_s:
                self._end(connection, "idle" if connection.shaken else "no TLS handshake")

    def _accept(self, listener: socket.socket) -> None:
        try:
            opened, name = listener.accept()
        except OSError:  # it was gone before it was taken
            return
        address = address_of(*key_of(name[0]))
        refused = None
        if not self._prefixes.allow(address):
            refused = "not allowed"
        elif len(self._connections) >= self.settings.max_connections:
            refused = "too many connections"
        if refused is not None:
            self.closed[refused] += 1
            opened.close()
            return
        opened.setblocking(False)
        secured = self._listeners[listener].transport == "tls"
        if secured and self._tls is not None:
            opened = self._tls.wrap_socket(opened, server_side=True, do_handshake_on_connect=False)
        self._session += 1
        exporter = Exporter(address, int(name[1]), "tls" if secured else "tcp", self._session)
        [index] = self._exporters.add([exporter])
        now_s = time.monotonic()
        connection = Connection(opened, exporter, index, now_s, not secured, tokens=self._burst, filled_s=now_s)
        self._connections[opened] = connection
        self._selector.register(opened, selectors.EVENT_READ)
        self.opened += 1

    @property
    def _burst(self) -> float:
        return max((self.settings.rate_limit or 0.0) * self.settings.burst_s, 1.0)

    def _serve(self, connection: Connection) -> None:
        if not connection.shaken and not self._shake(connection):
            return
        reserved = self._queue.reserve(RESERVED, wait_s=WAIT_S)
        if reserved < RESERVED:
            self._queue.give_back(reserved)
            time.sleep(WAIT_S / 10)  # it is ready, and will be again; others may be served meanwhile
            return
        try:
            ended = self._read(connection)
            fault = self._hand_over(connection, reserved)
        except BaseException:
            self._queue.give_back(reserved)
            raise
        if fault or ended:
            if ended == "ended by the exporter" and connection.held:
                ended = "ended inside a message"
            self._end(connection, FAULTS.get(fault, ended))

    def _shake(self, connection: Connection) -> bool:
        try:
            connection.socket.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self._selector.modify(connection.socket, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(connection.socket, selectors.EVENT_WRITE)
        except (OSError, ValueError):
            self._end(connection, "no TLS handshake")
        else:
            connection.shaken = True
            self._selector.modify(connection.socket, selectors.EVENT_READ)
        return connection.shaken

    def _read(self, connection: Connection) -> str:
        """Read what is there, at most what there is room for; says why the connection has ended, if it has."""
        room = min(READ_OCTETS, connection.data.shape[0] - connection.held)
        view = memoryview(connection.data)  # type: ignore[arg-type]
        while room:
            try:
                count = connection.socket.recv_into(view[connection.held : connection.held + room])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return ""
            except OSError:
                return "broken off"
            if not count:
                return "ended by the exporter"
            connection.active_s = time.monotonic()
            connection.held += count
            room -= count
        return ""

    def _hand_over(self, connection: Connection, reserved: int) -> int:
        """Queue the whole messages of a connection and keep the rest; returns the fault behind them, if any."""
        most = connection.held // SHORTEST
        offset, octets = np.empty(most, np.int64), np.empty(most, np.int32)
        count, consumed, fault = frames(connection.data, 0, connection.held, offset, octets)
        data = connection.data[:consumed].copy()
        connection.data[: connection.held - consumed] = connection.data[consumed : connection.held].copy()
        connection.held -= consumed
        batch = DatagramBatch(
            data, offset[:count].copy(), octets[:count].copy(), np.full(count, time.time_ns(), np.int64),
            np.full(count, connection.index, np.int32), self._exporters.now,
        )  # fmt: skip
        self.accounting.read += count
        self.accounting.used += count
        self._queue.put(batch, reserved)
        self._limit(connection, count)
        return int(fault)

    def _limit(self, connection: Connection, messages: int) -> None:
        """Read no more of an exporter that is over its rate until it no longer is."""
        rate = self.settings.rate_limit
        if rate is None:
            return
        now_s = time.monotonic()
        connection.tokens = min(self._burst, connection.tokens + (now_s - connection.filled_s) * rate) - messages
        connection.filled_s = now_s
        if connection.tokens < 0:
            connection.paused_until_s = now_s - connection.tokens / rate
            self._selector.unregister(connection.socket)

    def _end(self, connection: Connection, reason: str) -> None:
        self.closed[reason] += 1
        del self._connections[connection.socket]
        if not connection.paused_until_s:
            self._selector.unregister(connection.socket)
        connection.socket.close()
        self._exporters.leave(connection.index)
        self._queue.end(SessionEnd(connection.index, connection.exporter))

    def _close_all(self) -> None:
        for connection in list(self._connections.values()):
            self._end(connection, "collector stopped")
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners = {}
        self._selector.close()
