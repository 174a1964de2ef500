"""What every route needs: store, view of the service, settings and captures; one object per application."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from fastapi import Request

from ethogram.config.web import WebSettings
from ethogram.serve.api.captures import Captures
from ethogram.serve.api.comparisons import Comparisons
from ethogram.serve.api.limits import Bounds, RateLimit
from ethogram.serve.api.service_view import ServiceView
from ethogram.serve.store import Store

__all__ = ["Context", "context_of"]


@dataclass
class Context:
    """State of one application."""

    store: Store
    service: ServiceView
    settings: WebSettings
    bounds: Bounds
    logins: RateLimit
    captures: Captures
    comparisons: Comparisons
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    streams: int = 0
    latest_event: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False
    loop: asyncio.AbstractEventLoop | None = None

    def close(self) -> None:
        """End all streams of events; called in the loop of the server."""
        self.closing = True
        self.news.set()

    def stop_streams(self) -> None:
        """The same from another thread."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.close)


def context_of(request: Request) -> Context:
    """The context of the application that a request is for."""
    return cast(Context, request.app.state.context)
