"""Errors of the API as ``application/problem+json`` (RFC 9457), and errors of the page as a page."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ethogram._text import visible

__all__ = ["PROBLEM_RESPONSES", "Problem", "ProblemError", "problem_response"]

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that cannot be answered.

    Parameters
    ----------
    status
        HTTP status code.
    detail
        What is wrong, in one line.
    headers
        Further headers of the response.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, visible(detail), dict(headers or {})


class Problem(BaseModel):
    """Body of every error."""

    type: str = Field(default="about:blank", description="always `about:blank`: the status says what kind it is")
    title: str = Field(description="name of the status", examples=["Not Found"])
    status: int = Field(description="HTTP status code", examples=[404])
    detail: str = Field(description="what is wrong, in one line", examples=["No device 'k3v9'."])
    instance: str = Field(description="path of the request", examples=["/api/v1/devices/k3v9"])


def problem_response(request: Request, problem: ProblemError) -> Response:
    """The response for a problem."""
    try:
        title = HTTPStatus(problem.status).phrase
    except ValueError:
        title = "Error"
    body = Problem(title=title, status=problem.status, detail=problem.detail, instance=visible(request.url.path))
    return Response(
        orjson.dumps(body.model_dump()), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def _documented(text: str) -> dict[str, object]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": text, "content": {MEDIA_TYPE: schema}, "model": Problem}


PROBLEM_RESPONSES: dict[int | str, dict[str, object]] = {
    400: _documented("The request does not make sense."),
    401: _documented("No valid token or session."),
    403: _documented("The role does not permit it, or the CSRF token is missing."),
    404: _documented("There is no such thing."),
    413: _documented("The body is larger than the limit."),
    414: _documented("The address is longer than the limit."),
    422: _documented("A value is not valid."),
    429: _documented("More requests than the limit; `Retry-After` says when to try again."),
    503: _documented("The store does not answer."),
}
"""Documentation of the errors that any route may answer with."""
