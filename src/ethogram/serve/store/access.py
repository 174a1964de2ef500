"""Users, their tokens and the sessions of browsers. Tokens are stored as digests only."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from ethogram.errors import UsageError
from ethogram.schema import SessionRow, UserRow
from ethogram.serve.store.log import log_change
from ethogram.serve.store.tables import account, web_session

__all__ = ["Role", "close_session", "create_user", "delete_user", "new_token", "open_session", "session", "user_of",
           "users"]  # fmt: skip

Role = Literal["viewer", "editor"]
MAX_SESSIONS, MAX_USERS = 10_000, 1000
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _user(row: RowMapping) -> UserRow:
    return UserRow(row["name"], row["role"], row["created"])


def users(connection: Connection) -> tuple[UserRow, ...]:
    """All users by name."""
    return tuple(_user(row) for row in connection.execute(select(account).order_by(account.c.name)).mappings())


def create_user(connection: Connection, name: str, role: Role, by: str = "") -> str:
    """Create a user; returns the token, which cannot be read again.

    Parameters
    ----------
    by
        User who does it, for the audit log; empty at the first start.

    Raises
    ------
    UsageError
        If there is a user of this name, the name cannot be one, or there are too many users.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("the name of a user has 1 to 64 letters, digits, dots, hyphens, underscores and @")
    if role not in ("viewer", "editor"):
        raise UsageError(f"a role is viewer or editor, not {role!r}")
    if (connection.execute(select(func.count()).select_from(account)).scalar() or 0) >= MAX_USERS:
        raise UsageError(f"there are {MAX_USERS} users already")
    if connection.execute(select(account.c.name).where(account.c.name == name)).first() is not None:
        raise UsageError(f"there is a user {name!r} already")
    token = secrets.token_urlsafe(32)
    connection.execute(insert(account).values(
        name=name, role=role, token_digest=_digest(token), created=datetime.now(tz=UTC)
    ))  # fmt: skip
    if by:
        log_change(connection, by, "add user", "", {"name": name, "role": role}, event_too=False)
    return token


def new_token(connection: Connection, name: str, by: str = "") -> str:
    """Replace the token of a user and end its sessions.

    Raises
    ------
    UsageError
        If there is no such user.
    """
    token = secrets.token_urlsafe(32)
    statement = update(account).where(account.c.name == name).values(token_digest=_digest(token))
    if connection.execute(statement).rowcount == 0:
        raise UsageError(f"there is no user {name!r}")
    connection.execute(delete(web_session).where(web_session.c.account == name))
    if by:
        log_change(connection, by, "new token", "", {"name": name}, event_too=False)
    return token


def delete_user(connection: Connection, name: str, by: str = "") -> None:
    """Delete a user, its token and its sessions.

    Raises
    ------
    UsageError
        If there is no such user, or it is the last editor.
    """
    editors = set(connection.execute(select(account.c.name).where(account.c.role == "editor")).scalars())
    if editors == {name}:
        raise UsageError(f"{name} is the last editor and cannot be removed")
    if connection.execute(select(account.c.name).where(account.c.name == name)).first() is None:
        raise UsageError(f"there is no user {name!r}")
    if by:
        log_change(connection, by, "remove user", "", {"name": name}, event_too=False)
    connection.execute(delete(web_session).where(web_session.c.account == name))
    connection.execute(delete(account).where(account.c.name == name))


def user_of(connection: Connection, token: str) -> UserRow | None:
    """The user of a token. The digest is looked up, so that the time of the search does not depend on the token."""
    row = connection.execute(select(account).where(account.c.token_digest == _digest(token))).mappings().first()
    return None if row is None else _user(row)


def open_session(connection: Connection, name: str, lifetime: timedelta) -> tuple[str, SessionRow]:
    """Begin a session of a user; returns its secret, which cannot be read again, and the session."""
    now = datetime.now(tz=UTC)
    connection.execute(delete(web_session).where(web_session.c.expires <= now))
    row = connection.execute(select(account).where(account.c.name == name)).mappings().one()
    secret, csrf, expires = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + lifetime
    digests = select(web_session.c.digest).order_by(web_session.c.expires.desc()).offset(MAX_SESSIONS - 1)
    connection.execute(delete(web_session).where(web_session.c.digest.in_(list(connection.execute(digests).scalars()))))
    connection.execute(insert(web_session).values(digest=_digest(secret), account=name, csrf=csrf, expires=expires))
    return secret, SessionRow(_user(row), csrf, expires)


def session(connection: Connection, secret: str) -> SessionRow | None:
    """The session of a secret; None if there is none or it has expired."""
    query = select(web_session.c.csrf, web_session.c.expires, account).join(
        account, account.c.name == web_session.c.account
    ).where(web_session.c.digest == _digest(secret), web_session.c.expires > datetime.now(tz=UTC))  # fmt: skip
    row = connection.execute(query).mappings().first()
    return None if row is None else SessionRow(_user(row), row["csrf"], row["expires"])


def close_session(connection: Connection, secret: str) -> None:
    """End a session."""
    connection.execute(delete(web_session).where(web_session.c.digest == _digest(secret)))
