"""Bounds of requests: length of the address, octets of the body, rate of a client, host that the request names."""

from __future__ import annotations

import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ethogram.config.web import WebSettings
from ethogram.serve.api.problem import ProblemError, problem_response

__all__ = ["Bounds", "RateLimit", "RequestBounds", "allowed_hosts", "host_of"]


def allowed_hosts(settings: WebSettings) -> frozenset[str]:
    """Host names that requests may name."""
    names = {"localhost", "127.0.0.1", "::1", settings.host.strip("[]").lower(), socket.gethostname().lower()}
    return frozenset(names | {name.lower() for name in settings.allowed_hosts})


class RateLimit:
    """Token buckets of clients; the number of clients that are remembered is bounded.

    Parameters
    ----------
    rate
        Requests per second.
    burst
        Requests at once.
    clients
        Number of clients to remember; beyond it, the one that has been idle longest is forgotten.
    clock
        Seconds, monotonic.

    Examples
    --------
    >>> limit = RateLimit(1.0, 2, 10, clock=lambda: 0.0)
    >>> [limit.wait_s("a") for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(self, rate: float, burst: int, clients: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clients, self._clock = rate, burst, clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Take one request of a client; 0 if it may go on, else the seconds to wait."""
        now = self._clock()
        level, then = self._buckets.pop(client, (float(self._burst), now))
        level = min(level + (now - then) * self._rate, float(self._burst))
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._buckets[client] = (level - 1 if level >= 1 else level, now)
        while len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return wait


@dataclass
class Bounds:
    """What requests may be.

    Parameters
    ----------
    body_octets
        Largest body, by path; the empty path is all others.
    url_octets
        Longest path and query.
    hosts
        Host names that a request may name; a page of another name that resolves to this address is refused.
    rate
        Rate of a client.
    refused
        Refused requests by reason.
    """

    body_octets: dict[str, int]
    url_octets: int
    hosts: Collection[str]
    rate: RateLimit
    refused: Counter[str] = field(default_factory=Counter)


def host_of(header: str) -> str:
    """Host name of a ``Host`` header, without port, in lower case.

    >>> host_of("LocalHost:8470"), host_of("[::1]:8470"), host_of("10.0.0.2")
    ('localhost', '::1', '10.0.0.2')
    """
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


class RequestBounds:
    """Middleware that refuses requests beyond :class:`Bounds`, before anything reads them."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app, self._bounds = app, bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounds, request = self._bounds, Request(scope)
        problem = self._refuse(request)
        if problem is not None:
            await problem_response(request, problem)(scope, receive, send)
            return
        bound = bounds.body_octets.get(scope["path"], bounds.body_octets[""])
        octets, started, too_large = 0, False, False

        async def bounded() -> Message:
            nonlocal octets, too_large
            message = await receive()
            octets += len(message.get("body", b""))
            if octets > bound:
                if not too_large:
                    bounds.refused["body too large"] += 1
                too_large = True
                raise ProblemError(413, _too_large(bound))
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if too_large and not started:
                raise ProblemError(413, _too_large(bound))  # whatever the application made of the end of the body
            started = True
            await send(message)

        try:
            await self._app(scope, bounded, noted)
        except Exception:
            if started or not too_large:
                raise
            await problem_response(request, ProblemError(413, _too_large(bound)))(scope, receive, send)

    def _refuse(self, request: Request) -> ProblemError | None:
        bounds, scope = self._bounds, request.scope
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > bounds.url_octets:
            bounds.refused["address too long"] += 1
            return ProblemError(414, f"The address has more than {bounds.url_octets} octets.")
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or host_of(hosts[0]) not in bounds.hosts:
            bounds.refused["host not allowed"] += 1
            return ProblemError(400, "The request names a host that is not in the setting allowed_hosts.")
        length = request.headers.get("content-length", "0")
        bound = bounds.body_octets.get(scope["path"], bounds.body_octets[""])
        if not (length.isascii() and length.isdigit()):
            bounds.refused["bad length"] += 1
            return ProblemError(400, "Content-Length is not a number.")
        if len(length) > 18 or int(length) > bound:
            bounds.refused["body too large"] += 1
            return ProblemError(413, _too_large(bound))
        if not scope["path"].startswith("/static/"):
            wait = bounds.rate.wait_s(scope["client"][0] if scope.get("client") else "")
            if wait:
                bounds.refused["rate"] += 1
                return ProblemError(429, "Too many requests.", {"Retry-After": str(int(wait) + 1)})
        return None


def _too_large(bound: int) -> str:
    return f"The body has more than {bound} octets."
