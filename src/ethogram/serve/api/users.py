"""``/api/v1/users``: users and their tokens. For editors only; a token is shown once."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from ethogram.serve.api.access import Editor, editor
from ethogram.serve.api.context import Context
from ethogram.serve.api.devices import Service
from ethogram.serve.api.models import USER_NAME, UserList, UserRequest, UserToken
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.replies import json_reply

__all__ = ["UserName", "known_user", "router"]

router = APIRouter(prefix="/users", tags=["service"], dependencies=[Depends(editor)], responses=PROBLEM_RESPONSES)
UserName = Annotated[
    str, Path(pattern=USER_NAME, description="Name of a user.", examples=["grafana"])
]  # fmt: skip
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: PROBLEM_RESPONSES[422] | {"description": "There is such a user, or it is the last editor."}
}


def known_user(context: Context, name: str) -> str:
    """The name of a user; 404 if there is none."""
    if all(user.name != name for user in context.store.users()):
        raise ProblemError(404, f"There is no user {name!r}.")
    return name


@router.get("", response_model=UserList, summary="All users")
def users(request: Request, context: Service) -> Response:
    """Tokens are stored as digests, and cannot be read."""
    return json_reply(request, UserList.model_validate({"rows": context.store.users()}))


@router.post("", response_model=UserToken, responses=_CONFLICT, summary="Add a user")
def add_user(request: Request, context: Service, access: Editor, body: UserRequest) -> Response:
    """The answer contains the token; it is not shown again."""
    if any(user.name == body.name for user in context.store.users()):
        raise ProblemError(409, f"There is a user {body.name!r} already.")
    return json_reply(request, UserToken(name=body.name, token=context.store.create_user(
        body.name, body.role, access.user
    )))  # fmt: skip


@router.post("/{user}/token", response_model=UserToken, summary="Replace the token of a user")
def new_token(request: Request, context: Service, access: Editor, user: UserName) -> Response:
    """The old token and all sessions of the user end. The new one is not shown again."""
    token = context.store.new_token(known_user(context, user), access.user)
    return json_reply(request, UserToken(name=user, token=token))


@router.delete("/{user}", response_model=UserList, responses=_CONFLICT, summary="Remove a user")
def remove_user(request: Request, context: Service, access: Editor, user: UserName) -> Response:
    """Its token and sessions end. The last editor cannot be removed. The answer lists the users that remain."""
    known_user(context, user)
    if {each.name for each in context.store.users() if each.role == "editor"} == {user}:
        raise ProblemError(409, f"{user!r} is the last editor and cannot be removed.")
    context.store.delete_user(user, access.user)
    return json_reply(request, UserList.model_validate({"rows": context.store.users()}))
