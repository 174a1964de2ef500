"""``ethogram users``: users of the page of the live service, and their tokens."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, service_settings
from ethogram.cli.terminal import write_line
from ethogram.errors import UsageError

__all__ = ["command"]


def command(
    add: Annotated[
        str | None, typer.Option("--add", metavar="NAME", help="Add a user, and print its token once.")
    ] = None,
    editor: Annotated[
        bool, typer.Option("--editor", help="The new user may change things; default: only read.")
    ] = False,
    new_token: Annotated[
        str | None, typer.Option("--new-token", metavar="NAME", help="Replace the token of a user, and print it once.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Remove a user; its token and sessions end.")
    ] = None,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
) -> int:  # fmt: skip
    """List, add and remove users of the page and the API of the live service, and replace their tokens.

    Without options it lists them. The service may run meanwhile. Changes are in the audit log under the name of the
    system user.
    """
    settings = service_settings(config, data, store)
    if sum(each is not None for each in (add, new_token, remove)) > 1:
        raise UsageError("--add, --new-token and --remove do not go together")
    if editor and add is None:
        raise UsageError("--editor needs --add")
    from ethogram.serve.store import Store

    place = existing_store(settings)
    by = f"{_system_user()} (command)"[:64]
    with Store.open(place, settings.judge) as opened:
        if add is not None:
            write_line(opened.create_user(add, "editor" if editor else "viewer", by))
        elif new_token is not None:
            write_line(opened.new_token(new_token, by))
        elif remove is not None:
            opened.delete_user(remove, by)
        else:
            users = opened.users()
            width = max((len(user.name) for user in users), default=0)
            for user in users:
                write_line(f"{user.name:<{width}}  {user.role}  {user.created:%Y-%m-%d}")
    return 0


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
