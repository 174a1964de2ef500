"""IPFIX over TCP and TLS: framing by length, limited connections, and ends of sessions."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ethogram.config import CollectSettings
from ethogram.errors import ConfigurationError
from ethogram.io.receive import tcp
from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.tcp import TcpReceiver, tls_context
from ethogram.schema import DatagramBatch
from sending import CountingSender, needs_ipv6


def message(octets: int, fill: int = 0) -> bytes:
    return struct.pack(">HHIII", 10, octets, 0, 0, 0) + bytes([fill % 256]) * (octets - 16)


@contextmanager
def receiving(
    *places: str, tls: ssl.SSLContext | None = None, queue_octets: int = 1 << 24, **settings: object
) -> Iterator[TcpReceiver]:
    queue, exporters = MessageQueue(queue_octets), Exporters()
    receiver = TcpReceiver(
        [Listen.parse(place) for place in places or ("tcp://127.0.0.1:0",)], queue, exporters,
        CollectSettings.of(**settings), tls,
    )  # fmt: skip
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
    assert receiver.failure is None
    assert receiver.accounting.balanced
    assert receiver.connections == 0


def drain(receiver: TcpReceiver) -> tuple[list[tuple[int, bytes]], list[SessionEnd]]:
    """Messages with the index of their exporter, and ended sessions."""
    messages, ended = [], []
    while (item := receiver._queue.take(0)) is not None:
        if isinstance(item, DatagramBatch):
            for begin, length, index in zip(item.offset, item.octets, item.exporter, strict=True):
                assert item.exporters[index].transport in {"tcp", "tls"}
                messages.append((int(index), item.data[begin : begin + length].tobytes()))
        else:
            ended.append(item)
    return messages, ended


def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)


def connect(receiver: TcpReceiver, place: int = 0) -> socket.socket:
    host = "::1" if receiver.listening[place].host == "::1" else "127.0.0.1"
    return socket.create_connection((host, receiver.listening[place].port), timeout=10)


def test_messages_come_whole_however_the_stream_is_cut() -> None:
    needs_ipv6()
    sent = [message(16 + 37 * i % 1400, i) for i in range(400)] + [message(65_535, 7), message(16)]
    stream = b"".join(sent)
    with receiving("tcp://127.0.0.1:0", "tcp://[::1]:0") as receiver:
        with connect(receiver) as one, connect(receiver, 1) as two:
            for at in range(0, len(stream), 997):
                one.sendall(stream[at : at + 997])
            two.sendall(stream)
        until(lambda: receiver.closed["ended by the exporter"] == 2)
    messages, ended = drain(receiver)
    assert receiver.accounting.used == 2 * len(sent)
    for session in ended:
        assert [m for index, m in messages if index == session.index] == sent
    assert len({session.exporter.session for session in ended}) == 2
    assert {session.exporter.address for session in ended} == {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (struct.pack(">HHIII", 9, 20, 0, 0, 0), "bad version"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad version"),
        (struct.pack(">HH", 10, 15) + bytes(12), "bad length"),
        (message(100)[:60], "ended inside a message"),
        (b"", "ended by the exporter"),
    ],
)
def test_anything_but_ipfix_closes_only_its_connection(octets: bytes, reason: str) -> None:
    with receiving() as receiver, connect(receiver) as good:
        with connect(receiver) as bad:
            bad.sendall(message(50) + octets)
            if reason.startswith("bad"):
                assert bad.recv(1) == b""
        until(lambda: receiver.closed.total() > 0)
        assert receiver.closed == Counter({reason: 1})
        good.sendall(message(40))
        until(lambda: receiver.accounting.read == 2)
    assert sorted(len(m) for _, m in drain(receiver)[0]) == [40, 50]
    assert receiver.closed[reason] == 1 + (reason == "ended by the exporter")


def announced(receiver: TcpReceiver) -> socket.socket:
    """A connection that has sent a well-formed message."""
    opened, before = connect(receiver), receiver.accounting.read
    opened.sendall(CountingSender().announce())
    until(lambda: receiver.accounting.read > before)
    return opened


def test_connections_are_bounded_and_their_senders_may_be_refused() -> None:
    bounds = {"max_connections": 2, "address_share": 1, "prefix_share": 1}
    with receiving(**bounds) as receiver, announced(receiver) as one, announced(receiver) as two:
        with connect(receiver) as three:
            assert three.recv(1) == b""
        two.close()
        until(lambda: receiver.connections == 1)
        with connect(receiver) as four:
            four.sendall(message(16))
            one.sendall(message(16))
            until(lambda: receiver.accounting.read == 4)
    assert receiver.closed["too many connections"] == 1
    assert receiver.opened == 3
    with receiving("tcp://0.0.0.0:0", allow=("192.0.2.0/24",)) as receiver:
        with connect(receiver) as opened:
            assert opened.recv(1) == b""
        assert receiver.closed == Counter({"not allowed": 1})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_connections": 16}, "too many connections of its address"),
        ({"max_connections": 16, "address_share": 1, "prefix_share": 0.25}, "too many connections of its prefix"),
        ({"max_connections": 4, "address_share": 1, "prefix_share": 1}, "too many connections"),
    ],
)
def test_who_sends_nothing_makes_room_for_others_and_an_address_has_its_share(
    settings: dict[str, object], reason: str
) -> None:
    with receiving(**settings) as receiver, announced(receiver) as first:
        idle = [connect(receiver) for _ in range(12)]
        for opened in idle:
            opened.sendall(b"\0")
        good = [announced(receiver) for _ in range(3)]
        assert receiver.connections == 4
        refused = connect(receiver)
        assert refused.recv(1) == b""
        assert receiver.closed == Counter({"evicted: no well-formed message": 12, reason: 1})
        for opened in [first, *good]:
            opened.sendall(message(20))
        until(lambda: receiver.accounting.read == 8)
        for opened in [refused, *idle, *good]:
            opened.close()


def test_octets_without_a_whole_message_do_not_keep_a_connection_open() -> None:
    with receiving(idle_s=0.6) as receiver, connect(receiver) as slow, connect(receiver) as good:
        stream, begin = iter(message(1000)), time.monotonic()
        while not receiver.closed.total() and time.monotonic() < begin + 10:
            slow.sendall(bytes([next(stream)]))
            good.sendall(message(16))
            time.sleep(0.05)
        assert receiver.closed == Counter({"idle": 1})
        assert receiver.connections == 1


def test_a_silent_connection_is_closed() -> None:
    with receiving(idle_s=0.2) as receiver, connect(receiver) as opened:
        assert opened.recv(1) == b""
    assert receiver.closed == Counter({"idle": 1})


def test_a_full_queue_or_a_rate_makes_the_exporter_wait_and_loses_nothing() -> None:
    sent = 4000
    with receiving(queue_octets=1 << 20) as receiver, connect(receiver) as opened:
        opened.setblocking(False)
        stream, at, messages = memoryview(message(1000) * sent), 0, 0
        deadline = time.monotonic() + 30
        while messages < sent and time.monotonic() < deadline:
            try:
                at += opened.send(stream[at : at + 65_536]) if at < len(stream) else 0
            except BlockingIOError:
                # Only when everything between us is full is something taken from the queue.
                assert receiver._queue.highest_octets <= 1 << 20
                messages += len(drain(receiver)[0])
            if at == len(stream):
                messages += len(drain(receiver)[0])
        assert messages == sent
    with receiving(rate_limit=200, burst_s=0.1) as receiver, connect(receiver) as opened:
        begin = time.monotonic()
        for _ in range(10):
            opened.sendall(message(16) * 10)
            time.sleep(0.01)
        until(lambda: receiver.accounting.used == 100)
        # 20 at once, and 80 more at 200 a second, but for the last batch, which was read before it was weighed.
        assert time.monotonic() - begin > 0.2
    assert receiver.accounting.used == 100


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, and certificates of a collector and an exporter signed by it."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed: no certificates can be made")
    files = {
        name: folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key")
    }
    extension = folder / "san"
    extension.write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-days", 2, "-subj", "/CN=ca", "-keyout", files["ca.key"], "-out", files["ca.pem"])
    for name in ("server", "client"):
        request = folder / f"{name}.csr"
        openssl(*new, "-subj", f"/CN={name}", "-keyout", files[f"{name}.key"], "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", files["ca.pem"], "-CAkey", files["ca.key"], "-CAcreateserial",
                "-days", 2, "-extfile", extension, "-out", files[f"{name}.pem"])  # fmt: skip
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return certificates(tmp_path_factory.mktemp("tls"))


def test_messages_over_tls_from_exporters_with_a_certificate(files: dict[str, Path]) -> None:
    context = tls_context(files["server.pem"], files["server.key"], files["ca.pem"])
    client = ssl.create_default_context(cafile=str(files["ca.pem"]))
    sent = [message(16 + 53 * i % 3000, i) for i in range(300)]
    with receiving("tls://127.0.0.1:0", tls=context) as receiver:
        stranger = ssl.create_default_context(cafile=str(files["ca.pem"]))
        with pytest.raises((ssl.SSLError, OSError)), connect(receiver) as raw:  # noqa: SIM117
            with stranger.wrap_socket(raw, server_hostname="127.0.0.1") as opened:
                opened.sendall(message(16))
                if opened.recv(1) == b"":
                    raise OSError("closed")
        client.load_cert_chain(files["client.pem"], files["client.key"])
        with connect(receiver) as raw, client.wrap_socket(raw, server_hostname="127.0.0.1") as opened:
            opened.sendall(b"".join(sent))
            until(lambda: receiver.accounting.used == len(sent))
            assert opened.version() in {"TLSv1.2", "TLSv1.3"}
        until(lambda: receiver.closed.total() == 2)
    messages, ended = drain(receiver)
    assert [m for _, m in messages] == sent
    assert ended[-1].exporter.transport == "tls"
    assert receiver.closed["client certificate refused"] == 1


def tls_client(files: dict[str, Path], receiver: TcpReceiver) -> ssl.SSLSocket:
    client = ssl.create_default_context(cafile=str(files["ca.pem"]))
    return client.wrap_socket(connect(receiver), server_hostname="127.0.0.1")


def test_what_tls_has_decrypted_is_read_although_nothing_more_arrives(files: dict[str, Path]) -> None:
    """A selector only knows octets in the kernel: the rest of a partially read record is inside TLS."""
    context = tls_context(files["server.pem"], files["server.key"])
    with receiving("tls://127.0.0.1:0", tls=context) as receiver, tls_client(files, receiver) as opened:
        for _ in range(7):
            opened.sendall(message(1000) * 10)
        until(lambda: receiver.accounting.used == 70)
        assert receiver.accounting.used == 70


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_stop_reads_what_has_arrived(files: dict[str, Path], transport: str) -> None:
    context = tls_context(files["server.pem"], files["server.key"])
    # Over its rate, an exporter is not read until it no longer is; a stop does not wait for that.
    with receiving(f"{transport}://127.0.0.1:0", tls=context, rate_limit=0.001, burst_s=1) as receiver:
        opened = tls_client(files, receiver) if transport == "tls" else connect(receiver)
        opened.sendall(message(100))
        until(lambda: receiver.accounting.read == 1)
        opened.sendall(message(100))
        until(lambda: receiver.accounting.read == 2)
        opened.settimeout(1)
        for _ in range(30):
            opened.sendall(message(1000) * 10)
        opened.sendall(message(500)[:77])
        time.sleep(0.2)
    opened.close()
    assert receiver.accounting.used == 302
    assert receiver.closed == Counter({"collector stopped before all was read": 1})


def test_who_does_not_speak_tls_is_closed(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_S", 0.2)
    context = tls_context(files["server.pem"], files["server.key"])
    with receiving("tls://127.0.0.1:0", tls=context) as receiver:
        with connect(receiver) as plain, connect(receiver) as silent:
            plain.sendall(message(400))
            until(lambda: receiver.closed.total() == 2)
            assert silent.recv(1) == b""
        assert receiver.closed == Counter({"no TLS handshake": 2})
    assert drain(receiver)[0] == []


def test_wrong_certificates_are_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        tls_context(tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match=r"server\.pem: not a PEM file with a certificate"):
        tls_context(files["server.pem"], files["client.key"])
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match="empty: not a PEM file of certificates"):
        tls_context(files["server.pem"], files["server.key"], tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="needs a certificate"):
        TcpReceiver([Listen.parse("tls://127.0.0.1:0")], MessageQueue(1 << 20), Exporters())
