"""``ethogram restore``: a store of the live service from a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.service_options import Config, Data, StorePlace, service_settings, store_place
from ethogram.cli.terminal import report

__all__ = ["command"]


def command(
    backup: Annotated[Path, typer.Argument(metavar="FILE", help="Written by 'ethogram backup'.")],
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
) -> int:
    """Make a store of the live service from a backup; the place must not hold one yet.

    Backups of earlier versions are brought up to date. Counts that are already in the data folder are not counted
    again.
    """
    settings = service_settings(config, data, store)
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    service = Service(settings)
    service.make_folder()
    with Store.restore(backup, store_place(settings), settings.judge) as restored:
        report(f"{restored.name}: {restored.devices(limit=0).total:,} devices restored")
    return 0
