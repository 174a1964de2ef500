"""``ethogram backup``: the store of the live service as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.options import Force
from ethogram.cli.outputs import BACKUP, check_output
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, service_settings, store_place
from ethogram.cli.terminal import report

__all__ = ["command"]


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Backup to write (JSON lines, gzip).")
    ],
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    force: Force = False,
) -> int:
    """Write the store of the live service to one file: devices, labels, notes, statements, history, users, events.

    The service may run meanwhile; the file holds one moment. Counts and flows are files of the data folder, and are not
    in it. The file can be restored into SQLite or PostgreSQL. Only its owner may read it.
    """
    settings = service_settings(config, data, store)
    from ethogram.pipeline.text import plural
    from ethogram.serve.store import Store

    check_output(output, BACKUP, [store_place(settings)], force=force)
    place = existing_store(settings)
    with Store.open(place, settings.judge) as opened:
        rows = opened.save(output)
    report(f"{output}: {plural(rows, 'row')} written")
    return 0
