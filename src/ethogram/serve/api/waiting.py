"""What is answered while the store cannot be opened: health for programs, and one page that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from ethogram.config.web import WebSettings
from ethogram.schema import ServiceHealth
from ethogram.serve.api.headers import SecurityHeaders
from ethogram.serve.api.limits import Bounds, RateLimit, RequestBounds, allowed_hosts
from ethogram.serve.api.models import Readiness
from ethogram.serve.api.problem import ProblemError, problem_response
from ethogram.serve.api.server import is_loopback
from ethogram.serve.page.environment import environment
from ethogram.serve.page.routes import static_files

__all__ = ["create_waiting_app"]

_RETRY_S = 5
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class _Visits:
    """Counts requests; there are no streams to stop."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.streams = 0

    def stop_streams(self) -> None:
        """Do nothing."""


def create_waiting_app(health: Callable[[], Iterable[ServiceHealth]], settings: WebSettings) -> Starlette:
    """Build an application that needs no store.

    ``/healthz`` and ``/readyz`` answer as always; everything else is answered with 503. Nobody can sign in without the
    store, so the reason is shown on a loopback address only; otherwise the log of the service has it.

    Parameters
    ----------
    health
        State of every part.
    settings
        Address and bounds.
    """
    visits = _Visits()
    reasons_shown = is_loopback(settings.host) and not settings.behind_proxy

    def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_: Request) -> Response:
        answer = Readiness(ready=False, parts={part.part: part.state for part in health()})
        return Response(answer.model_dump_json(), 503, media_type="application/json")

    def other(request: Request) -> Response:
        visits.requests[request.method, 503] += 1
        problem = ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "The store cannot be opened.", {"Retry-After": str(_RETRY_S)}
        )
        if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return problem_response(request, problem)
        html = environment().get_template("waiting.html").render(
            parts=list(health()), reasons_shown=reasons_shown, retry_s=_RETRY_S
        )
        return HTMLResponse(html, problem.status, problem.headers)

    app = Starlette(routes=[
        Route("/healthz", healthz), Route("/readyz", readyz), Mount("/static", static_files()),
        Route("/{path:path}", other, methods=_METHODS),
    ])  # fmt: skip
    app.state.context = visits
    rate = RateLimit(settings.rate_limit, settings.burst, settings.clients)
    app.add_middleware(
        RequestBounds,
        bounds=Bounds({"": settings.request_octets}, settings.url_octets, allowed_hosts(settings), rate),
    )
    app.add_middleware(SecurityHeaders)
    return app
