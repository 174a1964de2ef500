"""The web application: API and page over one store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ethogram import __version__
from ethogram.config.web import WebSettings
from ethogram.errors import EthogramError, InputError, UsageError
from ethogram.serve.api import alerts, changes, devices, events, system, uploads, users
from ethogram.serve.api.captures import Captures
from ethogram.serve.api.comparisons import Comparisons
from ethogram.serve.api.context import Context
from ethogram.serve.api.examples import add_examples
from ethogram.serve.api.headers import SecurityHeaders
from ethogram.serve.api.limits import Bounds, RateLimit, RequestBounds, allowed_hosts
from ethogram.serve.api.problem import ProblemError, problem_response
from ethogram.serve.api.service_view import ServiceView
from ethogram.serve.page import routes as page
from ethogram.serve.page.errors import error_page
from ethogram.serve.store import Store

__all__ = ["create_app"]

API = "/api/v1"
_MULTIPART_OCTETS = 1 << 16  # around the file of a form

# The framework would follow variables of the environment that send traces elsewhere.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False,
}  # fmt: skip
_TAGS = [
    {"name": "devices", "description": "The inventory, and labels, notes and feedback of users."},
    {"name": "changes", "description": "What differs from the days before."},
    {"name": "unknown devices", "description": "Groups of unknown devices that behave alike."},
    {"name": "alerts", "description": "What needs attention."},
    {"name": "library", "description": "What devices are compared with."},
    {"name": "collectors", "description": "Where flows come from, and every counter."},
    {"name": "captures", "description": "Captures that are read apart from the live inventory."},
    {"name": "events", "description": "What happens, as it happens."},
    {"name": "service", "description": "Users, changes and health."},
]


def create_app(
    store: Store, service: ServiceView, settings: WebSettings | None = None, *, folder: Path | None = None
) -> FastAPI:
    """Build the application; nothing runs before the server starts it.

    Parameters
    ----------
    store
        The store.
    service
        The running service.
    settings
        Bounds, address and times.
    folder
        Where uploaded captures lie while they are read; None: the system's folder for temporary files.
    """
    settings = settings or WebSettings()
    bounds = Bounds(
        {"": settings.request_octets, uploads.CAPTURES_PATH: settings.upload_octets,
         page.CAPTURE_PATH: settings.upload_octets + _MULTIPART_OCTETS},
        settings.url_octets, allowed_hosts(settings), RateLimit(settings.rate_limit, settings.burst, settings.clients),
    )  # fmt: skip
    context = Context(
        store, service, settings, bounds, RateLimit(settings.login_rate, 10, settings.clients),
        Captures(settings, folder, service.judged_with), Comparisons(service),
    )  # fmt: skip

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.loop = asyncio.get_running_loop()
        following = asyncio.create_task(events.follow(context))
        yield
        context.close()
        following.cancel()
        await context.captures.close()

    app = FastAPI(
        title="Ethogram", version=__version__, summary="Which devices are on a network, and why.", lifespan=lifespan,
        telemetry=_NO_TELEMETRY,
        docs_url=None, redoc_url=None, openapi_url=f"{API}/openapi.json", openapi_tags=_TAGS, redirect_slashes=False,
    )  # fmt: skip
    app.state.context = context
    for part in (devices, changes, alerts, system, users, uploads, events):
        app.include_router(part.router, prefix=API)
    app.include_router(system.health_router)
    app.include_router(page.router, include_in_schema=False)
    app.mount("/static", page.static_files(), name="static")
    _describe(app)
    _handle_errors(app)
    _count_requests(app, context)
    app.add_middleware(RequestBounds, bounds=bounds)
    app.add_middleware(SecurityHeaders)
    return app


def _describe(app: FastAPI) -> None:
    """Give every schema, parameter and answer of the description an example."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = add_examples(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _count_requests(app: FastAPI, context: Context) -> None:
    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE") else "other"
        context.requests[method, response.status_code] += 1
        return response


def _handle_errors(app: FastAPI) -> None:
    """Every error is one line: a problem for programs, a page for people."""

    async def answer(request: Request, problem: ProblemError) -> Response:
        if request.url.path.startswith(("/api/", "/metrics", "/healthz", "/readyz", "/static/")):
            return problem_response(request, problem)
        return await error_page(request, problem)

    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return await answer(request, error)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return await answer(request, ProblemError(error.status_code, str(error.detail), error.headers))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return await answer(request, ProblemError(422, f"{place}: {first['msg']}"))

    @app.exception_handler(EthogramError)
    async def on_error(request: Request, error: EthogramError) -> Response:
        if isinstance(error, UsageError):
            return await answer(request, ProblemError(422, str(error)))
        status = 503 if isinstance(error, InputError) else 500
        return await answer(request, ProblemError(status, str(error)))

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        return await answer(request, ProblemError(500, f"Internal error ({type(error).__name__}); please report it."))
