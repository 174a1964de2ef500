"""Who makes a request, and what the role permits: bearer tokens for programs, sessions for browsers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ethogram.serve.api.context import Context, context_of
from ethogram.serve.api.problem import ProblemError
from ethogram.serve.api.secrets import same

__all__ = [
    "COOKIE", "Access", "Editor", "Viewer", "check_same_site", "editor", "end_session", "find_access",
    "start_session", "viewer",
]  # fmt: skip

COOKIE = "ethogram_session"
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf"
_LONGEST_SECRET = 256
_SAFE = ("GET", "HEAD", "OPTIONS")

_bearer = HTTPBearer(auto_error=False, description="A token; the first one is in the file `token` of the data folder.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="Session of a browser; writes need `X-CSRF-Token`.")


@dataclass(frozen=True)
class Access:
    """A user, as a request proves it.

    Parameters
    ----------
    user
        Name of the user.
    role
        ``viewer`` may read; ``editor`` may change labels, notes, groups and devices.
    csrf
        CSRF token of the session; empty for a bearer token, which no other page can make a browser send.
    """

    user: str
    role: Literal["viewer", "editor"]
    csrf: str = ""


async def find_access(request: Request) -> Access | None:
    """The user of a request, or None without a valid token or session."""
    context = context_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST_SECRET:
            return None
        user = await run_in_threadpool(context.store.user_of, token.strip())
        return None if user is None else Access(user.name, user.role)
    cookie = request.cookies.get(COOKIE, "")
    if not 0 < len(cookie) <= _LONGEST_SECRET:
        return None
    session = await run_in_threadpool(context.store.session, cookie)
    return None if session is None else Access(session.user.name, session.user.role, session.csrf)


async def viewer(
    request: Request,
    _token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    _session: Annotated[str | None, Security(_cookie)] = None,
) -> Access:
    """Any user; a request that changes something also proves that it comes from this page.

    Raises
    ------
    ProblemError
        401 without a valid token or session; 403 if a session changes something without its CSRF token.
    """
    access = await find_access(request)
    if access is None:
        raise ProblemError(401, "No valid token or session.", {"WWW-Authenticate": 'Bearer realm="ethogram"'})
    if access.csrf and request.method not in _SAFE:
        check_same_site(request)
        sent = request.headers.get(CSRF_HEADER, "")
        if not sent and request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            field = (await request.form()).get(CSRF_FIELD)
            sent = field if isinstance(field, str) else ""
        if not same(sent, access.csrf):
            raise ProblemError(403, "The CSRF token is missing or wrong.")
    return access


async def editor(access: Annotated[Access, Depends(viewer)]) -> Access:
    """A user that may change things.

    Raises
    ------
    ProblemError
        403 for a viewer.
    """
    if access.role != "editor":
        raise ProblemError(403, "The role viewer may not change anything.")
    return access


Viewer = Annotated[Access, Depends(viewer)]
Editor = Annotated[Access, Depends(editor)]


def check_same_site(request: Request) -> None:
    """Refuse a request that a page of another site made a browser send.

    Raises
    ------
    ProblemError
        403 if the browser says that it comes from elsewhere.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.headers.get("host")):
        raise ProblemError(403, "The request comes from another site.")


async def start_session(context: Context, response: Response, user: str, *, secure: bool) -> None:
    """Begin a session of a browser, and set its cookie."""
    seconds = context.settings.session_s
    cookie, _ = await run_in_threadpool(context.store.open_session, user, timedelta(seconds=seconds))
    response.set_cookie(COOKIE, cookie, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")


async def end_session(context: Context, request: Request, response: Response) -> None:
    """End the session of a browser, and remove its cookie."""
    await run_in_threadpool(context.store.close_session, request.cookies.get(COOKIE, "")[:_LONGEST_SECRET])
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
