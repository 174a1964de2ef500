"""Events as messages of syslog (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425)."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import urllib.parse
from datetime import UTC

from ethogram._text import visible
from ethogram._version import __version__
from ethogram.config.sinks import SyslogSettings
from ethogram.schema import SinkEvent
from ethogram.serve.sinks.sink import Sink, SinkError, event_json, receiver_of
from ethogram.serve.sinks.webhook import tls_context

__all__ = ["Syslog", "message"]

_SEVERITY = {"critical": 2, "warning": 4, "info": 6}
_PORTS = {"udp": 514, "tcp": 514, "tls": 6514}
_MARK = "\ufeff"


class Syslog(Sink):
    """Sends messages to one receiver; a connection over TCP or TLS stays open, and its messages have octet counts.

    Syslog has no acknowledgement: what was written to a connection that breaks at that moment is lost.
    """

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        parts = urllib.parse.urlsplit(settings.url)
        self._transport = parts.scheme
        self._host, self._port = receiver_of(parts, _PORTS)
        self._tls = tls_context(settings.ca) if parts.scheme == "tls" else None
        self._name = settings.host_name or socket.gethostname()
        self._socket: socket.socket | None = None

    def send(self, event: SinkEvent) -> None:
        """Send one message."""
        settings = self._settings
        body = event.text if settings.format == "text" else event_json(event, settings.format).rstrip("\n")
        octets = message(event, body, facility=settings.facility, host=self._name)
        try:
            if self._transport == "udp":
                self._connected().send(_cut(octets, settings.max_octets))
            else:
                if self._socket is not None and _is_closed(self._socket, settings.timeout_s):
                    self.close()
                self._connected().sendall(b"%d %s" % (len(octets), octets))
        except OSError as error:
            self.close()
            raise SinkError(f"cannot be sent: {error.strerror or error}") from None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            timeout = self._settings.timeout_s
            if self._transport == "udp":
                family, kind, protocol, _, address = socket.getaddrinfo(
                    self._host, self._port, type=socket.SOCK_DGRAM
                )[0]
                opened = socket.socket(family, kind, protocol)
                opened.settimeout(timeout)
                opened.connect(address)
            else:
                opened = socket.create_connection((self._host, self._port), timeout)
                if self._tls is not None:
                    opened = self._tls.wrap_socket(opened, server_hostname=self._host)
            self._socket = opened
        return self._socket

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def _is_closed(connection: socket.socket, timeout_s: float) -> bool:
    """Whether the receiver has closed the connection; a receiver of syslog sends nothing."""
    poller = select.poll()  # select() refuses descriptors above 1023
    poller.register(connection, select.POLLIN | select.POLLHUP)
    if not poller.poll(0):
        return False
    connection.setblocking(False)
    try:
        return connection.recv(1 << 12) == b""
    except (BlockingIOError, ssl.SSLWantReadError):  # over TLS, a record of the protocol alone
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(timeout_s)


def _cut(octets: bytes, most: int) -> bytes:
    """A message of at most so many octets, cut between characters."""
    return octets if len(octets) <= most else octets[:most].decode("utf-8", "ignore").encode()


def message(event: SinkEvent, body: str, *, facility: int, host: str) -> bytes:
    """A message with the registered structured data ``origin`` and ``meta`` (RFC 5424, section 7).

    Examples
    --------
    >>> from datetime import datetime
    >>> event = SinkEvent(7, datetime(2026, 1, 1, tzinfo=UTC), "alert", "warning", "Silent device", "cam is silent")
    >>> message(event, event.text, facility=16, host="host")[:48]
    b'<132>1 2026-01-01T00:00:00.000000Z host ethogram'
    """
    priority = facility * 8 + _SEVERITY[event.severity]
    moment = event.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    kind = _printable(str(event.data.get("kind") or event.kind).replace(" ", "-"), 32)
    data = f'[origin software="ethogram" swVersion="{__version__}"][meta sequenceId="{event.id % 2147483647 or 1}"]'
    head = f"<{priority}>1 {moment} {_printable(host, 255)} ethogram {os.getpid()} {kind} {data} "
    return (head + _MARK + visible(body)).encode()


def _printable(text: str, most: int) -> str:
    """A field of the header: printable ASCII without spaces."""
    return re.sub(r"[^!-~]", "-", text)[:most] or "-"
