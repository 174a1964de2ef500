"""Receivers of sinks: a web server, servers of syslog, and Debian's broker of MQTT."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class WebReceiver:
    """What was posted, and the status that is answered next."""

    port: int = 0
    status: int = 204
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    receiver = WebReceiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield receiver
        server.shutdown()


@dataclass
class StreamReceiver:
    """A server of syslog over TCP or TLS; messages are read by their octet counts (RFC 6587)."""

    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)


@contextmanager
def stream_receiver(certificate: Path | None = None) -> Iterator[StreamReceiver]:
    receiver = StreamReceiver()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    receiver.port = listener.getsockname()[1]

    def read(connection: socket.socket) -> None:
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            receiver.connections.append(connection)
            with connection.makefile("rb") as stream:
                while True:
                    count = b""
                    while (octet := stream.read(1)) != b" ":
                        if not octet:
                            return
                        count += octet
                    receiver.messages.append(stream.read(int(count)))
        except (OSError, ValueError):
            return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield receiver
    finally:
        listener.close()


@contextmanager
def broker(folder: Path, *, user: str = "", password: str = "") -> Iterator[int]:
    """Mosquitto on a free port of loopback."""
    assert MOSQUITTO is not None
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    lines = [f"listener {port} 127.0.0.1", "persistence false", "log_dest none"]
    if os.getuid() == 0:  # else it becomes a user who may not read the files of a test
        lines.append("user root")
    if user:
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, user, password], check=True, timeout=30)
        lines += ["allow_anonymous false", f"password_file {passwords}"]
    else:
        lines.append("allow_anonymous true")
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip

    def answers() -> bool:
        assert process.poll() is None, "mosquitto has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers)
        yield port
    finally:
        process.kill()
        process.wait(30)
