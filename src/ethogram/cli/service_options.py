"""Options of commands that work on the data of the live service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethogram.cli.serve import require_extra
from ethogram.errors import InputError, UsageError

if TYPE_CHECKING:
    from ethogram.config.serve import ServeSettings

__all__ = ["Config", "Data", "StorePlace", "existing_store", "refuse_options", "service_settings", "store_place"]

Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings of the service (TOML).")
]  # fmt: skip
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Data folder of the service. Default: as 'ethogram serve'.")
]  # fmt: skip
StorePlace = Annotated[
    str | None, typer.Option("--store", metavar="PLACE", help="Database: a file of SQLite, or postgresql://USER@HOST/"
                             "NAME. Default: store.db in --data.")
]  # fmt: skip


def refuse_options(why: str, options: Mapping[str, object]) -> None:
    """Refuse options that are given but have no effect; None is not given.

    Raises
    ------
    UsageError
        With the first option and the reason.
    """
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name}: {why}")


def service_settings(config: Path | None, data: Path | None, store: str | None, **more: Any) -> ServeSettings:
    """Settings as ``ethogram serve`` has them."""
    require_extra()
    from ethogram.config.serve import read_serve_settings

    given = {"data": None if data is None else str(data), "store": store}
    return read_serve_settings(config, os.environ, given | more)


def store_place(settings: ServeSettings) -> str:
    """Where the store is."""
    from ethogram.serve.service import data_folder

    return settings.store or str(data_folder(settings) / "store.db")


def existing_store(settings: ServeSettings) -> str:
    """Where the store is; a file of SQLite must be there already.

    Raises
    ------
    InputError
        If it is not: the service has not run with this folder.
    """
    place = store_place(settings)
    if "://" not in place and not Path(place).exists():
        raise InputError("there is no such store: 'ethogram serve' has not run with this folder", file=place)
    return place
