"""Receive IPFIX over TCP and TLS (RFC 7011 sections 10.4 and 11) in one thread for all connections.

A TCP receiver can pause: while the queue is full, or an exporter exceeds its rate, nothing is read, flow control stops
the exporter, and no message is lost. Each connection is a transport session; its templates end with it. Anything other
than IPFIX closes the connection, because the next message cannot be found (RFC 5153 section 4.4.1).
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from ethogram.config import CollectSettings
from ethogram.errors import ConfigurationError
from ethogram.io.receive.address import Listen, Prefixes, address_of, key_of
from ethogram.io.receive.admit import well_formed
from ethogram.io.receive.connection import BUFFER, READ_OCTETS, Connection, Connections, groups_of
from ethogram.io.receive.framing import BAD_LENGTH, BAD_VERSION, SHORTEST, frames
from ethogram.io.receive.queue import MESSAGE_OVERHEAD, Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.quota import Quota
from ethogram.io.receive.tls import NO_HANDSHAKE, handshake_fault, tls_context
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["TcpReceiver", "tls_context"]

RESERVED = BUFFER * (1 + MESSAGE_OVERHEAD // SHORTEST)
HANDSHAKE_S = 10.0
WAIT_S = 0.05
STOP_S = 2.0  # limit of reading before a stop
ACCEPT_PAUSE_S = 0.5  # pause of a listener that cannot accept
NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
NOBODY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
EVICTED = "evicted: no well-formed message"
T = TypeVar("T")
INTERNAL = "internal error"
FAULTS = {BAD_VERSION: "bad version", BAD_LENGTH: "bad length"}


class TcpReceiver:
    """Receives IPFIX messages of several TCP and TLS listeners into a queue.

    Parameters
    ----------
    places
        Listen addresses, ``tcp`` and ``tls``.
    queue, exporters
        Destination of messages, and indices of exporters.
    settings
        Limits, prefixes and rates. The memory of a connection is limited to 128 KiB.
    tls
        TLS context for ``tls`` addresses.

    Attributes
    ----------
    listening
        Listen addresses, with ports chosen by the system.
    accounting
        Over messages.
    closed
        Connections by the reason why they ended or were refused.
    failure
        Unexpected exception that ended the thread.
    """

    def __init__(
        self, places: Sequence[Listen], queue: MessageQueue, exporters: Exporters,
        settings: CollectSettings | None = None, tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or CollectSettings()
        if tls is None and any(place.transport == "tls" for place in places):
            raise ConfigurationError("a TLS listener needs a certificate")
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
        self._resting: dict[socket.socket, float] = {}  # listeners that cannot accept, and the end of their pause
        self._connections = Connections(Quota.of(self.settings.max_connections, self.settings))
        # Connections to serve although no selector reports them: TLS has decrypted more than was read.
        self._ready: set[Connection] = set()
        self._spare_file: int | None = None
        # Sessions of an earlier run must not be confused with sessions of this one.
        self._session = time.time_ns() // 1_000_000
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Open the listeners and start to receive.

        Raises
        ------
        InputError
            If an address is not available.
        """
        if not self._places:
            return
        compile_kernels()
        self._spare_file = _open_spare()
        try:
            for place in self._places:
                opened = place.open()
                self._listeners[opened] = place
                self._selector.register(opened, selectors.EVENT_READ)
                self.listening.append(place.bound(opened))
        except BaseException:
            self._close_all()
            raise
        self._thread = threading.Thread(target=self._run_thread, name="receive tcp", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read what has arrived, and close all connections."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close_all()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    def _run_thread(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(WAIT_S)
            self._read_on()
        except BaseException as error:  # reported by whoever waits for messages
            self.failure = error

    def _read_on(self) -> None:
        """Read what has arrived before a stop, for a limited time: exporters may continue to send."""
        until_s = time.monotonic() + STOP_S
        for listener in self._listeners:
            while time.monotonic() < until_s and self._accept(listener):
                pass
        waiting = list(self._connections)
        while waiting and time.monotonic() < until_s:
            for connection in list(waiting):
                count = self._protected(connection, self._serve) if connection in self._connections else 0
                if count == 0:
                    waiting.remove(connection)

    def _turn(self, wait_s: float) -> None:
        """Serve all ready sockets once."""
        ready, self._ready = self._ready, set()
        for key, _ in self._selector.select(0.0 if ready else wait_s):
            if not isinstance(key.fileobj, socket.socket):
                continue
            if key.fileobj in self._listeners:
                self._accept(key.fileobj)
            elif (connection := self._connections.get(key.fileobj)) is not None:
                ready.add(connection)
        for connection in ready:
            if connection in self._connections and not connection.paused_until_s:
                self._protected(connection, self._serve)
        now_s = time.monotonic()
        for connection in self._connections:
            self._protected(connection, lambda checked: self._check_time(checked, now_s))
        for listener, until_s in list(self._resting.items()):
            if until_s <= now_s:
                del self._resting[listener]
                self._selector.register(listener, selectors.EVENT_READ)

    def _protected(self, connection: Connection, step: Callable[[Connection], T]) -> T | None:
        """Perform a step of a connection; any exception ends this connection only."""
        try:
            return step(connection)
        except (OSError, ValueError):
            self._end(connection, "broken off")
        except Exception:
            # No such exception is known; a peer must not end the collector, and the reason asks for a report.
            self._end(connection, INTERNAL)
        return None

    def _check_time(self, connection: Connection, now_s: float) -> None:
        """End a connection that has not completed anything for too long; resume one that had exceeded its rate."""
        if connection.paused_until_s:
            if connection.paused_until_s <= now_s:
                connection.paused_until_s, connection.active_s = 0.0, now_s
                self._watch(connection, selectors.EVENT_READ)
        elif now_s - connection.active_s > (self.settings.idle_s if connection.shaken else HANDSHAKE_S):
            self._end(connection, "idle" if connection.shaken else NO_HANDSHAKE)

    def _watch(self, connection: Connection, events: int) -> None:
        """Register the events of a connection's socket; 0 to unregister."""
        if events == connection.events:
            pass
        elif not events:
            self._selector.unregister(connection.socket)
        elif connection.events:
            self._selector.modify(connection.socket, events)
        else:
            self._selector.register(connection.socket, events)
        connection.events = events
        if events & selectors.EVENT_READ and connection.decrypted:
            self._ready.add(connection)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept one connection; False if there was none, or none can be accepted."""
        try:
            opened, name = listener.accept()
        except OSError as error:
            return self._cannot_accept(listener, error)
        try:
            self._open(listener, opened, name)
        except (OSError, ValueError) as error:
            # The peer has already disconnected; the first call that uses the socket fails.
            secured = self._listeners[listener].transport == "tls"
            self._refuse(opened, handshake_fault(error) if secured else "broken off")
        except Exception:  # see _protected
            self._refuse(opened, INTERNAL)
        return True

    def _cannot_accept(self, listener: socket.socket, error: OSError) -> bool:
        if error.errno in NOBODY:
            return False
        if error.errno not in NO_FILES:
            if error.errno in {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP}:
                raise error  # the listener itself has become unusable
            self.closed["broken off"] += 1  # it ended before it was accepted
            return True
        if (leaving := self._connections.least()) is not None:
            self._end(leaving, EVICTED)
            return True
        if self._refuse_with_spare(listener):
            return True
        # A listener stays ready while connections wait; without a pause this would be a busy loop.
        if listener not in self._resting:
            self._selector.unregister(listener)
            self._resting[listener] = time.monotonic() + ACCEPT_PAUSE_S
        return False

    def _refuse_with_spare(self, listener: socket.socket) -> bool:
        """Accept a connection by means of the spare file descriptor, and close it; returns whether there was one."""
        opened = None
        if self._spare_file is not None:
            os.close(self._spare_file)
            with suppress(OSError):
                opened, _ = listener.accept()
        if opened is not None:
            self._refuse(opened, "no file descriptor left")
        self._spare_file = _open_spare()
        return opened is not None

    def _refuse(self, opened: socket.socket, reason: str) -> None:
        self.closed[reason] += 1
        with suppress(OSError):
            opened.close()

    def _open(self, listener: socket.socket, opened: socket.socket, name: tuple[str, int]) -> None:
        """Begin the session of a connection, or refuse it."""
        address = address_of(*key_of(name[0]))
        if not self._prefixes.allow(address):
            self._refuse(opened, "not allowed")
            return
        narrow, wide = groups_of(address)
        reason, leaving = self._connections.full(narrow, wide)
        if leaving is not None:
            self._end(leaving, EVICTED)
        elif reason is not None:
            self._refuse(opened, reason)
            return
        opened.setblocking(False)
        secured = self._listeners[listener].transport == "tls"
        if secured and self._tls is not None:
            opened = self._tls.wrap_socket(opened, server_side=True, do_handshake_on_connect=False)
        self._session += 1
        exporter = Exporter(address, int(name[1]), "tls" if secured else "tcp", self._session)
        [index] = self._exporters.add([exporter])
        now_s = time.monotonic()
        connection = Connection(
            opened, exporter, index, now_s, not secured, narrow, wide, tokens=self._burst, filled_s=now_s
        )
        self._connections.add(connection)
        self.opened += 1
        self._protected(connection, lambda added: self._watch(added, selectors.EVENT_READ))

    @property
    def _burst(self) -> float:
        return max((self.settings.rate_limit or 0.0) * self.settings.burst_s, 1.0)

    def _serve(self, connection: Connection) -> int | None:
        """Read from a connection and queue its messages; returns the octets read, None if the queue is full."""
        if not connection.shaken and not self._shake(connection):
            return 0
        reserved = self._queue.reserve(RESERVED, wait_s=WAIT_S)
        if reserved < RESERVED:
            self._queue.give_back(reserved)
            self._ready.add(connection)
            time.sleep(WAIT_S / 10)  # it stays ready; others can be served meanwhile
            return None
        held = connection.held
        try:
            ended = self._read(connection)
            count = connection.held - held
            fault = self._hand_over(connection, reserved)
        except BaseException:
            self._queue.give_back(reserved)
            raise
        if fault or ended:
            if ended == "ended by the exporter" and connection.held:
                ended = "ended inside a message"
            self._end(connection, FAULTS.get(fault, ended))
        return count

    def _shake(self, connection: Connection) -> bool:
        """Continue the TLS handshake; returns whether it is complete."""
        try:
            connection.socket.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self._watch(connection, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._watch(connection, selectors.EVENT_WRITE)
        except (OSError, ValueError) as error:
            self._end(connection, handshake_fault(error))
        else:
            connection.shaken, connection.active_s = True, time.monotonic()
            self._watch(connection, selectors.EVENT_READ)
        return connection.shaken

    def _read(self, connection: Connection) -> str:
        """Read what is available, limited by the room left; returns the reason if the connection has ended."""
        room = min(READ_OCTETS, connection.data.shape[0] - connection.held)
        view = memoryview(connection.data)  # type: ignore[arg-type]
        events = selectors.EVENT_READ
        while room:
            try:
                count = connection.socket.recv_into(view[connection.held : connection.held + room])
            except ssl.SSLWantWriteError:
                # TLS must write first: until it can, the socket is readable but nothing can be read.
                events = selectors.EVENT_WRITE
                break
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except (OSError, ValueError):
                return "broken off"
            if not count:
                return "ended by the exporter"
            connection.held += count
            room -= count
        self._watch(connection, events)
        return ""

    def _hand_over(self, connection: Connection, reserved: int) -> int:
        """Queue the complete messages of a connection and keep the rest; returns the fault after them, if any."""
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
        if count:
            connection.active_s = time.monotonic()
            # Until a message is well formed, the first one of each read is checked.
            connection.sound = connection.sound or bool(well_formed(data, int(offset[0]), int(octets[0])))
        self.accounting.read += count
        self.accounting.used += count
        self._queue.put(batch, reserved)
        if not fault and not self._stopping.is_set():
            self._limit(connection, count)
        return int(fault)

    def _limit(self, connection: Connection, messages: int) -> None:
        """Pause reading from an exporter that exceeds its rate."""
        rate = self.settings.rate_limit
        if rate is None:
            return
        now_s = time.monotonic()
        connection.tokens = min(self._burst, connection.tokens + (now_s - connection.filled_s) * rate) - messages
        connection.filled_s = now_s
        if connection.tokens < 0:
            connection.paused_until_s = now_s - connection.tokens / rate
            self._watch(connection, 0)

    def _end(self, connection: Connection, reason: str) -> None:
        """End a connection in any state; its messages are kept."""
        if not self._connections.remove(connection):
            return
        self.closed[reason] += 1
        self._ready.discard(connection)
        with suppress(OSError, ValueError, KeyError):
            self._watch(connection, 0)
        with suppress(OSError, ValueError):
            connection.socket.close()
        self._exporters.leave(connection.index)
        self._queue.end(SessionEnd(connection.index, connection.exporter))

    def _close_all(self) -> None:
        for connection in self._connections:
            inside = connection.held or connection.arrived
            self._end(connection, "collector stopped before all was read" if inside else "collector stopped")
        for listener in self._listeners:
            if listener not in self._resting:
                self._selector.unregister(listener)
            listener.close()
        self._listeners, self._resting = {}, {}
        self._selector.close()
        if self._spare_file is not None:
            os.close(self._spare_file)
            self._spare_file = None


def compile_kernels() -> None:
    """Compile or load the kernels before messages arrive."""
    frames(np.zeros(1, np.uint8), 0, 0, np.zeros(1, np.int64), np.zeros(1, np.int32))
    well_formed(np.zeros(1, np.uint8), 0, 0)
    groups_of("127.0.0.1")


def _open_spare() -> int | None:
    """A spare file descriptor that is closed when no other can be opened."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
