"""Receive export messages over UDP: one thread reads all sockets in compiled code and waits only for datagrams.

Linux returns many datagrams per call (``recvmmsg``); elsewhere they are read one by one. The arrival time is the local
clock when a call returns, at most about a millisecond after the datagram arrived. Every datagram is counted as used, or
as dropped for a reason.
"""

from __future__ import annotations

import ctypes
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import CollectSettings
from ethogram.io.receive import admit as kernel
from ethogram.io.receive.address import Listen, Prefixes, address_of
from ethogram.io.receive.queue import MESSAGE_OVERHEAD, Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.quota import Quota
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["UdpReceiver"]

SLOTS = 512  # datagrams per call
BATCH_OCTETS, LEAST_BATCH = 1 << 22, 1 << 17  # a batch has room for the largest datagram
WAIT_MS = 50  # maximum duration of a batch, and of a stop
FORGET_EVERY_NS = 1_000_000_000
SILENT_S = 60.0  # silence after which an exporter can be forgotten to make room
SO_RCVBUFFORCE, SO_MEMINFO, MEMINFO_DROPS = 33, 55, 8  # Linux

REASONS = {
    kernel.NOT_ALLOWED: "not allowed",
    kernel.TOO_MANY: "too many exporters",
    kernel.TOO_MANY_ADDRESS: "too many exporters of its address",
    kernel.TOO_MANY_PREFIX: "too many exporters of its prefix",
    kernel.RATE_LIMIT: "rate limit",
    kernel.QUEUE: "queue",
    kernel.TRUNCATED: "truncated",
}
SOCKET = "socket"
REFUSALS = [kernel.TOO_MANY, kernel.TOO_MANY_ADDRESS, kernel.TOO_MANY_PREFIX]
RUBBISH, SILENT = "no well-formed message", "silent"


class UdpReceiver:
    """Receives datagrams of several sockets into a queue.

    Parameters
    ----------
    places
        Listen addresses.
    queue, exporters
        Destination of messages, and indices of exporters.
    settings
        Limits, prefixes and rates.
    max_exporters
        Maximum number of known exporters (address and port); each address and prefix is limited to a share
        (``settings.address_share``, ``settings.prefix_share``). Datagrams of further exporters are refused and counted.
        If room runs out, exporters without a well-formed message are forgotten first, then those silent for a minute.
        Forged addresses cannot increase memory.
    largest
        Maximum octets of a datagram; a longer one is counted as truncated.

    Attributes
    ----------
    listening
        Listen addresses, with ports chosen by the system.
    evicted
        Exporters forgotten to make room, by reason.
    failure
        Unexpected exception that ended the receiving thread.

    Notes
    -----
    Messages of a refused or rate-limited exporter are dropped before they are parsed. The rate applies to an address,
    whatever the port.
    """

    def __init__(
        self, places: Sequence[Listen], queue: MessageQueue, exporters: Exporters,
        settings: CollectSettings | None = None, *, max_exporters: int = 4096, largest: int = 65_535,
    ) -> None:  # fmt: skip
        self.settings = settings or CollectSettings()
        self.listening: list[Listen] = []
        self._places = list(places)
        self._queue, self._exporters = queue, exporters
        self._prefixes = Prefixes(self.settings.allow).rows
        self._largest, self._shares = largest, Quota.of(max_exporters, self.settings)
        self.evicted: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._lost: list[int] = []
        self._lost_before = 0
        self.failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._counters = np.zeros(kernel.COUNTERS, np.int64)
        self._forgotten_ns = self._refused_before = 0
        self._batch_octets = max(LEAST_BATCH, min(BATCH_OCTETS, queue.bound // 8))

    def start(self) -> None:
        """Open the sockets and start to receive.

        Raises
        ------
        InputError
            If an address is not available.
        """
        if not self._places:
            return
        try:
            for place in self._places:
                opened = place.open()
                self._sockets.append(opened)
                self._enlarge(opened)
                self.listening.append(place.bound(opened))
        except BaseException:
            self._close()
            raise
        self._lost = [0] * len(self._sockets)
        self._make_tables()
        run = self._run_many if has_recvmmsg() else self._run_single
        self._compile()
        self._thread = threading.Thread(target=self._run_thread, args=(run,), name="receive udp", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read what has arrived, and close the sockets."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._close()

    @property
    def buffer_octets(self) -> list[int]:
        """Receive buffer of each socket, as granted by the kernel."""
        return [opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for opened in self._sockets]

    @property
    def accounting(self) -> Accounting:
        """Over datagrams, including those that the kernel dropped because the socket buffer was full."""
        counts = self._counters.copy()
        accounting = Accounting("datagrams", used=int(counts[kernel.ACCEPTED]))
        for place, reason in REASONS.items():
            accounting.drop(reason, int(counts[place]))
        accounting.drop(SOCKET, self._socket_drops())
        # The counters are read while another thread writes them; messages read equal the sum of outcomes.
        accounting.read = accounting.used + accounting.dropped.total()
        return accounting

    def _enlarge(self, opened: socket.socket) -> None:
        """Request a large buffer, above the system limit if permitted."""
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                opened.setsockopt(socket.SOL_SOCKET, option, self.settings.socket_octets)
                return
            except OSError:
                continue

    def _socket_drops(self) -> int:
        for place, opened in enumerate(self._sockets):
            try:
                drops = struct.unpack("9I", opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[MEMINFO_DROPS]
            except (OSError, struct.error):
                continue
            # The kernel counts in 32 bits.
            self._lost[place] += (drops - self._lost[place]) % (1 << 32)
        return self._lost_before + sum(self._lost)

    def _close(self) -> None:
        self._lost_before = self._socket_drops() if self._lost else 0
        self._lost = []
        for opened in self._sockets:
            opened.close()
        self._sockets = []

    def _make_tables(self) -> None:
        self._state = np.zeros(1, kernel.STATE)
        self._state[0]["seed"] = np.random.default_rng().integers(1, 1 << 63)
        rows = self._shares.most
        places = 1 << (2 * rows).bit_length()
        self._tables = (
            np.full(places, -1, np.int64), np.zeros(rows, kernel.EXPORTER),
            np.full(places, -1, np.int64), np.zeros(rows, kernel.ADDRESS),
            np.full(2 * places, -1, np.int64), np.zeros(2 * rows, kernel.GROUP),
        )  # fmt: skip
        self._headers = np.zeros(SLOTS, kernel.MESSAGE_HEADER)
        self._names = np.zeros((SLOTS, 28), np.uint8)
        self._slots = np.empty((SLOTS, self._largest), np.uint8)
        self._vectors = np.zeros((SLOTS, 2), np.uint64)
        numbers = np.arange(SLOTS, dtype=np.uint64)
        self._vectors[:, 0] = self._slots.ctypes.data + numbers * np.uint64(self._largest)
        self._vectors[:, 1] = self._largest
        self._headers["name"] = self._names.ctypes.data + numbers * np.uint64(self._names.shape[1])
        self._headers["vector"] = self._vectors.ctypes.data + numbers * np.uint64(16)
        self._headers["vectors"] = 1
        messages = self._batch_octets // 128
        self._out: tuple[Any, ...] = (
            np.empty(self._batch_octets, np.uint8), np.empty(messages, np.int64), np.empty(messages, np.int32),
            np.empty(messages, np.int64), np.empty(messages, np.int32),
        )  # fmt: skip
        rate = self.settings.rate_limit or 0.0
        self._limits = (np.array(self._shares, np.int64), rate, max(rate * self.settings.burst_s, 1.0))
        self._full = self._batch_octets + MESSAGE_OVERHEAD * messages

    def _compile(self) -> None:
        """Compile or load the kernels before datagrams arrive."""
        filled = np.zeros(3, np.int64)
        if has_recvmmsg():
            self._call_receive(np.zeros(0, kernel.POLL), filled, 0, 0)
        self._admit(filled, 0)
        kernel.rebuild(self._state[0], self._tables, self._tables[1][:0].copy(), self._tables[3].copy())

    def _run_thread(self, run: Callable[[NDArray[np.int64], int], None]) -> None:
        try:
            self._loop(run)
        except BaseException as error:  # reported by whoever waits for messages
            self.failure = error

    def _loop(self, run: Callable[[NDArray[np.int64], int], None]) -> None:
        """Read batches until stopped, then the rest in the sockets."""
        last = False
        while not last:
            last = self._stopping.is_set()
            reserved = self._queue.reserve(self._full)
            filled = np.zeros(3, np.int64)
            run(filled, reserved)
            self._queue.put(self._batch(filled), reserved)
            self._forget()
            # A full batch can leave datagrams in the slots; after a stop, they are read without waiting.
            last = last and self._state[0]["next"] == self._state[0]["count"]

    def _run_many(self, filled: NDArray[np.int64], room: int) -> None:
        polled = np.zeros(len(self._sockets), kernel.POLL)
        polled["fd"], polled["events"] = [each.fileno() for each in self._sockets], 1
        self._call_receive(polled, filled, room, WAIT_MS)

    def _call_receive(self, polled: NDArray[np.void], filled: NDArray[np.int64], room: int, wait_ms: int) -> None:
        kernel.receive(
            polled, self._state[0], self._headers, self._names, self._slots, self._prefixes, self._tables,
            *self._limits, self._out, filled, room, self._counters, np.zeros(2, np.int64), wait_ms,
        )  # fmt: skip

    def _run_single(self, filled: NDArray[np.int64], room: int) -> None:
        """Like :meth:`_run_many`, without ``recvmmsg``."""
        until = time.monotonic() + WAIT_MS / 1000
        with selectors.DefaultSelector() as selector:
            for opened in self._sockets:
                selector.register(opened, selectors.EVENT_READ)
            while self._admit(filled, room) and (left := until - time.monotonic()) > 0:
                count = 0
                for key, _ in selector.select(left):
                    count = self._read_singly(self._sockets[self._sockets.index(key.fileobj)], count)  # type: ignore[arg-type]
                self._state[0]["count"], self._state[0]["next"] = count, 0
                self._state[0]["arrival_ns"] = time.time_ns()

    def _read_singly(self, opened: socket.socket, count: int) -> int:
        """Read datagrams into the slots from ``count`` on; returns the new number."""
        while count < SLOTS:
            try:
                octets, _, flags, name = opened.recvmsg_into([memoryview(self._slots[count])])
            except OSError:
                # No more datagrams, or an ICMP error of an earlier datagram, which this read has cleared.
                break
            self._headers[count]["octets"], self._headers[count]["flags"] = octets, flags
            self._names[count] = np.frombuffer(_sockaddr(opened.family, name), np.uint8)
            count += 1
        return count

    def _admit(self, filled: NDArray[np.int64], room: int) -> bool:
        return bool(
            kernel.admit(
                self._state[0], self._headers, self._names, self._slots, self._prefixes, self._tables,
                *self._limits, self._out, filled, room, self._counters,
            )
        )  # fmt: skip

    def _batch(self, filled: NDArray[np.int64]) -> DatagramBatch:
        data, offset, octets, arrival, sender = self._out
        messages, length = int(filled[0]), int(filled[2])
        rows = self._tables[1]
        fresh = np.flatnonzero(rows["index"][: int(self._state[0]["exporters"])] < 0)
        if fresh.size:
            rows["index"][fresh] = self._exporters.add([_exporter(rows[row]) for row in fresh])
        return DatagramBatch(
            data[:length].copy(), offset[:messages].copy(), octets[:messages].copy(), arrival[:messages].copy(),
            rows["index"][sender[:messages]], self._exporters.now,
        )  # fmt: skip

    def _forget(self) -> None:
        """Forget exporters to make room: those with invalid data first, then silent ones."""
        now_ns = time.time_ns()
        # A clock that was set back must not prevent this.
        if 0 <= now_ns - self._forgotten_ns < FORGET_EVERY_NS:
            return
        self._forgotten_ns = now_ns
        exporters = self._tables[1][: int(self._state[0]["exporters"])]
        leave = self._leaving(exporters, now_ns)
        if not leave.any():
            return
        for row in exporters[leave]:
            self.evicted[SILENT if row["sound"] else RUBBISH] += 1
            self._exporters.leave(int(row["index"]))
            self._queue.end(SessionEnd(int(row["index"]), _exporter(row)))
        kernel.rebuild(self._state[0], self._tables, exporters[~leave].copy(), self._tables[3].copy())

    def _leaving(self, exporters: NDArray[np.void], now_ns: int) -> NDArray[np.bool_]:
        """Exporters to forget where a limit is nearly reached: an eighth at a time."""
        leave = np.zeros(len(exporters), bool)
        may = exporters["sound"] == 0
        refused = int(self._counters[REFUSALS].sum())
        if refused != self._refused_before:
            self._refused_before = refused
            may |= exporters["seen_ns"] < now_ns - int(min(SILENT_S, self.settings.idle_s) * 1e9)
        counts = self._tables[5]["count"]
        for name, most in (("narrow", self._shares.address), ("wide", self._shares.prefix), (None, self._shares.most)):
            group = exporters[name] if name else np.zeros(len(exporters), np.int64)
            # Those in the largest prefix are forgotten first.
            crowd = np.zeros(len(exporters), np.int64) if name else -counts[exporters["wide"]]
            present = np.bincount(group[~leave], minlength=1)
            for number in np.flatnonzero(present > most - max(1, most // 4)):
                rows = np.flatnonzero((group == number) & may & ~leave)
                order = np.lexsort((exporters["seen_ns"][rows], crowd[rows], exporters["sound"][rows]))
                leave[rows[order][: max(1, most // 8)]] = True
        return leave


def has_recvmmsg() -> bool:
    """Whether the C library has ``recvmmsg`` in the form used here."""
    return hasattr(ctypes.CDLL(None), "recvmmsg") and ctypes.sizeof(ctypes.c_void_p) == 8


def _exporter(row: NDArray[np.void]) -> Exporter:
    return Exporter(address_of(int(row["high"]), int(row["low"])), int(row["port"]), "udp")


def _sockaddr(family: int, name: tuple[Any, ...]) -> bytes:
    """Format a socket address like ``recvmmsg``, for systems without it."""
    head = struct.pack("<H", 10 if family == socket.AF_INET6 else 2) + struct.pack(">H", name[1])
    if family == socket.AF_INET6:
        return head + bytes(4) + socket.inet_pton(family, name[0].split("%", 1)[0]) + bytes(4)
    return head + socket.inet_aton(name[0]) + bytes(20)
