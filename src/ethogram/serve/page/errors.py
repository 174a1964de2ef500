"""Errors as a page."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ethogram.serve.api.problem import ProblemError
from ethogram.serve.page.environment import environment

__all__ = ["error_page"]

_TITLES = {
    403: "Not permitted", 404: "Not found", 413: "Too large", 422: "This does not fit", 429: "Too many requests",
    503: "Not available now",
}  # fmt: skip


async def error_page(request: Request, problem: ProblemError) -> Response:
    """The page of an error; without a session, the page to log in. A part of a page gets the error as a notice."""
    fragment = request.headers.get("hx-request") == "true"
    if problem.status == 401:
        if fragment:
            return Response(status_code=200, headers={"HX-Redirect": "/login"})
        return RedirectResponse("/login", 303)
    title = _TITLES.get(problem.status, "Error")
    detail = "There is no such page." if problem.detail == "Not Found" else problem.detail
    if fragment:
        html = environment().get_template("error_part.html").render(title=title, detail=detail)
        headers = {"HX-Retarget": "#messages", "HX-Reswap": "innerHTML", "HX-Push-Url": "false"}
        return HTMLResponse(html, 200, {**problem.headers, **headers})
    html = environment().get_template("error.html").render(title=title, detail=detail)
    return HTMLResponse(html, problem.status, problem.headers)
