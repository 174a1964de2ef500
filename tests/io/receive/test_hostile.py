"""Misbehaving peers in every state of a connection.

Each fault ends its own connection, is counted by reason, and does not affect other peers over UDP, TCP and TLS.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_tcp import certificates, message, until

from ethogram.config import CollectSettings
from ethogram.io.receive import tcp
from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import Exporters, MessageQueue
from ethogram.io.receive.tcp import TcpReceiver, tls_context
from ethogram.io.receive.udp import UdpReceiver
from ethogram.schema import DatagramBatch
from sending import CountingSender

HANDSHAKE = "broken off in the TLS handshake"
EVICTED = "evicted: no well-formed message"


@dataclass
class Listening:
    """Receivers of all transports on one queue, and three well-behaved peers that send throughout."""

    udp: UdpReceiver
    tcp: TcpReceiver
    files: dict[str, Path]
    stack: ExitStack
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    received: dict[str, list[bytes]] = field(default_factory=dict)
    peers: dict[str, Callable[[bytes], object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        out = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        place = ("127.0.0.1", self.udp.listening[0].port)
        self.peers["udp"] = lambda octets: out.sendto(octets, place)
        self.peers["tcp"] = self.stack.enter_context(self.connect("tcp")).sendall
        self.peers["tls"] = self.secured().sendall
        self.senders = {name: CountingSender() for name in self.peers}
        for name, send in self.peers.items():
            self.sent[name] = [self.senders[name].announce()]
            send(self.sent[name][0])

    def connect(self, transport: str) -> socket.socket:
        port = self.tcp.listening[["tcp", "tls"].index(transport)].port
        return socket.create_connection(("127.0.0.1", port), timeout=10)

    def client(self, certificate: str | None = "client") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.files["ca.pem"]))
        if certificate is not None:
            context.load_cert_chain(self.files[f"{certificate}.pem"], self.files[f"{certificate}.key"])
        return context

    def secured(self) -> ssl.SSLSocket:
        raw = self.stack.enter_context(self.connect("tls"))
        return self.stack.enter_context(self.client().wrap_socket(raw, server_hostname="127.0.0.1"))

    def good_traffic(self, messages: int = 20) -> None:
        """Check that every well-behaved peer continues."""
        for _ in range(messages):
            for name, send in self.peers.items():
                self.sent[name].append(self.senders[name].message())
                send(self.sent[name][-1])

    def drain(self) -> None:
        while (item := self.tcp._queue.take(0)) is not None:
            if isinstance(item, DatagramBatch):
                for begin, length, index in zip(item.offset, item.octets, item.exporter, strict=True):
                    octets = item.data[begin : begin + length].tobytes()
                    self.received.setdefault(item.exporters[index].transport, []).append(octets)

    def all_good_received(self) -> bool:
        self.drain()
        return all(self.sent[name] == [m for m in self.received.get(name, []) if m in set(self.sent[name])]
                   for name in self.sent)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("tls"))


def open_files() -> list[int]:
    """File descriptors of this process, if the system lists them."""
    folder = Path("/proc/self/fd")
    return [int(path.name) for path in folder.iterdir()] if folder.exists() else []


@contextmanager
def listening(files: dict[str, Path], **settings: object) -> Iterator[Listening]:
    files_before = len(open_files())
    queue, exporters = MessageQueue(1 << 26), Exporters()
    selected = CollectSettings.of(**settings)
    context = tls_context(files["server.pem"], files["server.key"], files["ca.pem"])
    udp = UdpReceiver([Listen.parse("udp://127.0.0.1:0")], queue, exporters, selected)
    places = [Listen.parse("tcp://127.0.0.1:0"), Listen.parse("tls://127.0.0.1:0")]
    receiver = TcpReceiver(places, queue, exporters, selected, context)
    udp.start()
    receiver.start()
    try:
        with ExitStack() as stack:
            on = Listening(udp, receiver, files, stack)
            until(lambda: receiver.accounting.read == 2)
            yield on
            assert receiver.failure is None
            on.good_traffic()
            until(on.all_good_received)
            assert on.all_good_received()
            assert len(receiver._connections) == 2
    finally:
        udp.stop()
        receiver.stop()
    assert receiver.failure is None
    assert udp.failure is None
    assert receiver.accounting.balanced
    assert udp.accounting.dropped == Counter()
    assert len(open_files()) <= files_before, "a socket was left open"


def reset(opened: socket.socket) -> None:
    """Close with a TCP reset."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


def reset_at_once(on: Listening, transport: str) -> None:
    reset(on.connect(transport))


def client_hello(on: Listening) -> bytes:
    out = ssl.MemoryBIO()
    engine = on.client().wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        engine.do_handshake()
    return out.read()


def reset_after(on: Listening, transport: str, octets: bytes, wait: bool) -> None:
    opened = on.connect(transport)
    opened.sendall(octets)
    if wait:
        opened.recv(1)
    reset(opened)


def reset_after_handshake(on: Listening, _: str) -> None:
    opened = on.client().wrap_socket(on.connect("tls"), server_hostname="127.0.0.1")
    opened.sendall(CountingSender(domain=9).announce())
    on_index = on.tcp.accounting.read
    until(lambda: on.tcp.accounting.read > on_index or on.tcp.accounting.read > 2)
    reset(opened)


def closed_inside(on: Listening, transport: str) -> None:
    with on.connect(transport) as opened:
        opened.sendall(message(200)[:90])


def closed_in_handshake(on: Listening, _: str) -> None:
    with on.connect("tls") as opened:
        opened.sendall(client_hello(on)[:40])


def sends(octets: bytes) -> Callable[[Listening, str], None]:
    def act(on: Listening, transport: str) -> None:
        with on.connect(transport) as opened, suppress(OSError):
            opened.sendall(octets)
            while opened.recv(4096):
                pass

    return act


def half_message_in_tls(on: Listening, _: str) -> None:
    with on.client().wrap_socket(on.connect("tls"), server_hostname="127.0.0.1") as opened:
        opened.sendall(message(200)[:90])


def garbage_in_tls(on: Listening, _: str) -> None:
    with on.client().wrap_socket(on.connect("tls"), server_hostname="127.0.0.1") as opened, suppress(OSError):
        opened.sendall(os.urandom(8) + b"\xff" * 4000)
        opened.recv(1)


def garbage_records_after_handshake(on: Listening, _: str) -> None:
    opened = on.client().wrap_socket(on.connect("tls"), server_hostname="127.0.0.1")
    raw = socket.socket(fileno=opened.detach())
    raw.settimeout(10)
    with raw, suppress(OSError):
        raw.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
        while raw.recv(4096):
            pass


def without_certificate(on: Listening, _: str) -> None:
    with suppress(OSError), on.connect("tls") as raw:  # noqa: SIM117
        with on.client(None).wrap_socket(raw, server_hostname="127.0.0.1") as opened:
            opened.sendall(message(100))
            opened.recv(1)


BAD: dict[str, tuple[str, Callable[[Listening, str], None], str]] = {
    "reset before the handshake": ("tls", reset_at_once, HANDSHAKE),
    "reset before a message": ("tcp", reset_at_once, "broken off"),
    "reset in the handshake": ("tls", lambda on, t: reset_after(on, t, client_hello(on), wait=True), HANDSHAKE),
    "reset inside the hello": ("tls", lambda on, t: reset_after(on, t, client_hello(on)[:50], wait=False), HANDSHAKE),
    "closed in the handshake": ("tls", closed_in_handshake, HANDSHAKE),
    "reset after the handshake": ("tls", reset_after_handshake, "broken off"),
    "reset inside a message": ("tcp", lambda on, t: reset_after(on, t, message(90)[:50], wait=False), "broken off"),
    "plain text to TLS": ("tls", sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "no TLS handshake"),
    "a message to TLS": ("tls", sends(message(400)), "no TLS handshake"),
    "garbage to TLS": ("tls", sends(bytes(range(256)) * 40), "no TLS handshake"),
    "garbage records after the handshake": ("tls", garbage_records_after_handshake, "broken off"),
    "no client certificate": ("tls", without_certificate, "client certificate refused"),
    "half a message": ("tcp", closed_inside, "ended inside a message"),
    "half a message in TLS": ("tls", half_message_in_tls, "ended inside a message"),
    "garbage": ("tcp", sends(b"\xff" * 100_000), "bad version"),
    "garbage in TLS": ("tls", garbage_in_tls, "bad version"),
    "a message of no length": ("tcp", sends(struct.pack(">HH", 10, 3) + bytes(20)), "bad length"),
    "nothing": ("tcp", lambda on, t: on.connect(t).close(), "ended by the exporter"),
}


def alike(reason: str) -> str:
    """Reasons that TLS cannot always distinguish: the effect of a reset depends on its moment."""
    ways = {"broken off": "ended", "ended by the exporter": "ended", "no TLS handshake": HANDSHAKE}
    return ways.get(reason, reason)


@pytest.mark.parametrize("state", list(BAD))
def test_a_bad_peer_ends_its_own_connection_alone(state: str, files: dict[str, Path]) -> None:
    transport, act, reason = BAD[state]
    with listening(files) as on:
        for turn in range(1, 6):
            act(on, transport)
            on.good_traffic(2)
            until(lambda turn=turn: on.tcp.closed.total() == turn)  # type: ignore[misc]
        same = alike if "reset" in state else str
        assert Counter(same(reason) for reason in on.tcp.closed.elements()) == Counter({same(reason): 5})


def test_many_bad_peers_of_all_kinds_at_once(files: dict[str, Path]) -> None:
    expected: Counter[str] = Counter()
    with listening(files) as on:
        out = on.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for _ in range(6):
            for transport, act, reason in BAD.values():
                act(on, transport)
                expected[reason] += 1
            out.sendto(os.urandom(900), ("127.0.0.1", on.udp.listening[0].port))
            on.good_traffic(5)
        until(lambda: on.tcp.closed.total() == expected.total())
        alike_closed = Counter(alike(reason) for reason in on.tcp.closed.elements())
        assert alike_closed == Counter(alike(reason) for reason in expected.elements())


def test_a_fault_while_the_socket_is_wrapped_is_that_of_the_peer(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions after a reset, which depend on its moment and the Python version."""
    with listening(files) as on:
        faults = iter([ConnectionResetError(errno.ECONNRESET, "reset"), ssl.SSLError("wrong"), ValueError("no"),
                       MemoryError()])  # fmt: skip

        def wrap_socket(*_: object, **__: object) -> ssl.SSLSocket:
            raise next(faults)

        monkeypatch.setattr(on.tcp, "_tls", type("Context", (), {"wrap_socket": staticmethod(wrap_socket)}))
        for _ in range(4):
            with on.connect("tls") as opened, suppress(OSError):
                opened.recv(1)
        until(lambda: on.tcp.closed.total() == 4)
        assert on.tcp.closed == Counter({HANDSHAKE: 1, "no TLS handshake": 2, "internal error": 1})


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), ValueError("x"), ZeroDivisionError()], ids=repr)
def test_any_fault_while_a_connection_is_served_ends_it_alone(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    read = TcpReceiver._read
    with listening(files) as on:

        def fails(receiver: TcpReceiver, connection: tcp.Connection) -> str:
            if connection.exporter.port == bad.getsockname()[1]:
                raise error
            return read(receiver, connection)

        bad = on.stack.enter_context(on.connect("tcp"))
        monkeypatch.setattr(TcpReceiver, "_read", fails)
        bad.sendall(b"x")
        until(lambda: on.tcp.closed.total() == 1)
        assert on.tcp.closed == Counter({"internal error" if isinstance(error, ZeroDivisionError) else "broken off": 1})


@contextmanager
def no_more_files() -> Iterator[None]:
    """Prevent further files from being opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fill = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files()) + 1, hard))
    with suppress(OSError):
        while True:
            fill.append(os.dup(0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in fill:
            os.close(number)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc/self/fd")


@needs_proc
def test_without_file_descriptors_connections_are_refused_and_those_that_are_open_go_on(files: dict[str, Path]) -> None:
    with listening(files) as on:
        bad = [on.stack.enter_context(socket.socket()) for _ in range(10)]
        with no_more_files():
            for opened in bad:
                opened.connect(("127.0.0.1", on.tcp.listening[0].port))
                on.good_traffic(2)
            until(lambda: on.tcp.closed.total() == 10)
            until(on.all_good_received)
            assert on.all_good_received()
        assert on.tcp.closed == Counter({"no file descriptor left": 10})
        late = on.stack.enter_context(on.connect("tcp"))
        late.sendall(CountingSender(domain=9).announce())
        until(lambda: on.tcp.connections == 3)
        late.close()
        until(lambda: on.tcp.connections == 2)


def test_a_listener_that_cannot_accept_rests_instead_of_turning_without_end(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "ACCEPT_PAUSE_S", 0.2)
    accept, attempts = socket.socket.accept, Counter[str]()
    failing = [errno.EMFILE]

    def fails(opened: socket.socket) -> tuple[socket.socket, object]:
        if failing:
            attempts["accept"] += 1
            raise OSError(failing[0], "cannot accept")
        return accept(opened)

    with listening(files) as on:
        monkeypatch.setattr(socket.socket, "accept", fails)
        late = on.stack.enter_context(on.connect("tcp"))
        late.sendall(CountingSender(domain=9).announce())
        time.sleep(0.5)
        on.good_traffic()
        assert 1 <= attempts["accept"] <= 12
        failing.clear()
        until(lambda: on.tcp.connections == 3)
        assert on.tcp.closed == Counter()
        failing.append(errno.ECONNABORTED)
        with on.connect("tcp"):
            until(lambda: on.tcp.closed["broken off"] > 0)
            failing.clear()
        late.close()
        until(lambda: on.tcp.connections == 2)
        until(lambda: on.tcp.closed["ended by the exporter"] >= 2)
