"""Runs the application in a thread of its own."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette

from ethogram.config.web import WebSettings
from ethogram.errors import ConfigurationError, InputError

__all__ = ["Application", "Visits", "WebServer", "check_bind", "is_loopback"]

_START_S, _STOP_S = 20.0, 5.0
_BACKLOG = 256

Application = Starlette
"""What can be served."""


def check_bind(settings: WebSettings, certificate: Path | None) -> None:
    """Refuse an address that others can reach without TLS.

    Raises
    ------
    ConfigurationError
        If the address is not loopback, there is no certificate, and no proxy is in front.
    """
    if not is_loopback(settings.host) and certificate is None and not settings.behind_proxy:
        raise ConfigurationError(
            f"{settings.host}: an address other than loopback needs --cert and --key, or --behind-proxy if a proxy "
            "provides TLS"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("[::1]"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Visits(Protocol):
    """What the server asks of its application, at ``app.state.context``."""

    requests: Counter[tuple[str, int]]
    streams: int

    def stop_streams(self) -> None:
        """End open streams of events."""


class WebServer:
    """The page and the API at one address; construction starts nothing.

    Parameters
    ----------
    app
        Built by :func:`ethogram.serve.api.app.create_app` or
        :func:`ethogram.serve.api.waiting.create_waiting_app`.
    settings
        Address and port.
    certificate, key
        PEM files for TLS.

    Attributes
    ----------
    url
        Address of the page; with port 0, known after :meth:`start`.
    """

    def __init__(
        self, app: Application, settings: WebSettings, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        check_bind(settings, certificate)
        self._app, self._settings, self._tls = app, settings, (certificate, key)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self.url = ""
        self.failure = ""

    def start(self) -> None:
        """Listen and serve; returns when requests are answered.

        Raises
        ------
        InputError
            If the port is in use, or the address or certificate cannot be used.
        """
        settings = self._settings
        self._socket = _listen(settings.host.strip("[]"), settings.port)
        port = self._socket.getsockname()[1]
        certificate, key = self._tls
        host = f"[{settings.host.strip('[]')}]" if ":" in settings.host else settings.host
        self.url = f"{'https' if certificate else 'http'}://{host}:{port}/"
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, server_header=False, date_header=True, lifespan="on",
            timeout_graceful_shutdown=2, timeout_keep_alive=30, limit_concurrency=1000,
            h11_max_incomplete_event_size=32768,
            proxy_headers=settings.behind_proxy, forwarded_allow_ips="*" if settings.behind_proxy else "127.0.0.1",
            ssl_certfile=certificate, ssl_keyfile=key, ws="none", http="h11", loop="asyncio",
        )  # fmt: skip
        try:
            config.load()
        except OSError as error:
            self._socket.close()
            raise InputError(f"the certificate cannot be used: {error}", file=certificate) from None
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="ethogram web", daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(_START_S / 0.02)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.02)
        if not self._server.started:
            raise InputError(self.failure or "the page did not start")

    @property
    def alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread is not None and self._thread.is_alive()

    def visits(self) -> tuple[int, int]:
        """Requests answered, and open streams of events."""
        context: Visits = self._app.state.context
        return sum(list(context.requests.values())), context.streams

    def stop(self) -> None:
        """End open streams, answer requests that have begun, and stop."""
        context: Visits = self._app.state.context
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            context.stop_streams()
            self._thread.join(_STOP_S)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        assert self._server is not None
        try:
            self._server.run([self._socket] if self._socket is not None else None)
        except (Exception, SystemExit) as error:
            self.failure = f"the page ended: {type(error).__name__}: {error}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # The protocol is named so that asyncio switches Nagle's algorithm off, which costs 40 ms an answer.
        place = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise InputError(f"{host}: cannot be listened at: {error.strerror or error}") from None
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
        place.listen(_BACKLOG)
    except OSError as error:
        place.close()
        raise InputError(f"{host}:{port}: the page cannot listen there: {error.strerror or error}") from None
    return place
