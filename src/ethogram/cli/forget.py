"""``ethogram forget``: remove everything about a device from the data of the live service."""

from __future__ import annotations

from typing import Annotated

import typer

from ethogram.cli.options import Json
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, service_settings
from ethogram.cli.terminal import report, write_json, write_line
from ethogram.errors import InputError, UsageError

__all__ = ["command"]


def command(
    device: Annotated[
        str | None,
        typer.Argument(metavar="DEVICE", help="Id, address, MAC or name of the device. Default: only complete an "
                       "interrupted run.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")
    ] = False,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    as_json: Json = False,
) -> int:  # fmt: skip
    """Remove everything about a device from the data of the live service, which must not run meanwhile.

    Counts, flows, fingerprints, identity facts, verdicts, history, labels, notes, alerts and events of the device are
    removed; records of other devices lose its address and names. The audit log keeps that a device was forgotten, and
    not which. A run that was interrupted is completed by the next one, or when the service starts. A device that is
    seen again is new. Backups, exports and receivers of events are not changed.
    """
    settings = service_settings(config, data, store)
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    service = Service(settings)
    with Store.open(existing_store(settings), settings.judge) as opened:
        finished = False
        if not dry_run:
            finished = bool(service.forget_apart(opened))
        if device is None:
            report("an interrupted run was completed" if finished else "no run was interrupted")
            return 0
        ids = opened.find_devices(device)
        if len(ids) > 1:
            raise UsageError(f"{device!r} is several devices: {', '.join(ids)}; give an id")
        if not ids:
            if finished:  # perhaps it was this one
                report("an interrupted run was completed")
                return 0
            raise InputError(f"there is no device {device!r}", file=opened.name)
        rows = service.forget_apart(opened, ids[0], dry_run=dry_run)
    if as_json:
        write_json({"format": "ethogram.forget-report/1", "dry_run": dry_run, "rows": rows})
        return 0
    for name, count in rows.items():
        write_line(f"{name}: {count:,}")
    report("nothing was removed" if dry_run else "the device is forgotten")
    return 0
