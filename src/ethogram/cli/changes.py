"""``ethogram changes``: what is new, silent or different since an earlier time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import (
    KnowledgeOption,
    LibraryOption,
    ReportFormat,
    ReportFormatOption,
    duration_option,
)
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.service_options import Config, Data, StorePlace, existing_store, refuse_options, service_settings
from ethogram.cli.standard_input import input_path
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import results

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.config.serve import ServeSettings
    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import NetworkChange, NetworkChanges

__all__ = ["command"]


@with_reading_options()
def command(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="IN", help="The earlier and the later input of any kind; with --since, any number; - "
                       "for standard input.", show_default=False, parser=input_path),
    ] = None,
    since: Annotated[
        int | None,
        duration_option("--since", help="Compare the last DURATION of all inputs with what was before.", whole=True),
    ] = None,
    library: LibraryOption = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts/--no-verdicts", help="Also judge the devices of both spans.")
    ] = True,
    every: Annotated[
        bool, typer.Option("--all", help="Also list differences that are probably chance.")
    ] = False,
    form: ReportFormatOption = ReportFormat.TABLE,
    knowledge: KnowledgeOption = None,
    config: Config = None,
    data: Data = None,
    store: StorePlace = None,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Say what changed on a network: devices, verdicts, services and names of other ends.

    Give an earlier and a later input, or any inputs and --since; without inputs, the stored counts of the live service
    are compared (--since: 1d). The services and names of a device are compared by the hours in which it uses them and
    by their octets; of those that are listed, one in twenty at most is expected to differ by chance. The same change of
    several devices is listed once.
    """
    span = None if since is None else timedelta(seconds=since)
    if inputs:
        from ethogram.pipeline.changes import changes
        from ethogram.pipeline.device_identifier import DeviceIdentifier

        refuse_options("belongs to the live service, which is compared when no input is given",
                {"--config": config, "--data": data, "--store": store})  # fmt: skip
        with read_progress("biflows") as advance:
            run = changes(
                inputs, since=span, reading=reading, every=every, on_progress=advance,
                identifier=(lambda: DeviceIdentifier(library, knowledge)) if verdicts else None,
            )  # fmt: skip
        show_log(run.log, summary=form is ReportFormat.TABLE)
        changed, errors = run.changes, run.log.errors
    else:
        refuse_options("belongs to inputs; the live service is compared by what it has stored",
                {"--library": library, "--knowledge": knowledge, "--no-verdicts": None if verdicts else True,
                 **dict.fromkeys(reading.given, True)})  # fmt: skip
        changed, errors = _of_service(service_settings(config, data, store), span or timedelta(days=1), every=every), []
    if form is ReportFormat.TABLE:
        _show(results(), changed)
    else:
        lines = (change.to_dict() for change in changed.changes)
        write_records(form, changed.to_dict(), lines, COLUMNS, map(_csv_row, changed.changes))
    return end_with(errors)


def _of_service(settings: ServeSettings, since: timedelta, *, every: bool) -> NetworkChanges:
    from ethogram.serve.changes import stored_changes, with_statements
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    with Store.open(existing_store(settings), settings.judge) as opened:
        changes = stored_changes(opened, Service(settings).stored_counts(), since, every=every)
        return with_statements(changes, opened).joined()


COLUMNS = ("change", "device", "subject", "service", "before", "after", "hours_before", "hours_after", "first",
           "probability", "also", "reason")  # fmt: skip


def _csv_row(change: NetworkChange) -> tuple[object, ...]:
    values = change.to_dict() | {"also": ";".join(change.also), "probability": f"{change.probability:.2g}",
                                 "before": f"{change.before:.4g}", "after": f"{change.after:.4g}"}  # fmt: skip
    return tuple("" if values[name] is None else values[name] for name in COLUMNS)


def _show(console: Console, changes: NetworkChanges) -> None:
    """Print each change with its reason below it."""
    from ethogram.cli.inventory import show_rows
    from ethogram.pipeline.text import join_names, plural

    styles = {"new device": "yellow", "verdict": "yellow", "silent device": "dim"}
    rows = [
        ([change.change, change.device, change.subject, *_volumes(change)], styles.get(change.change, ""),
         change.reason + (f"; also {join_names(change.also)}" if change.also else ""))
        for change in changes.changes
    ]  # fmt: skip
    if rows:
        show_rows(console, ["change", "device", "what", "before", "after"], rows)
    before, after = changes.before, changes.after
    console.print(
        f"{plural(len(changes.changes), 'change')}, {plural(changes.unchanged, 'device')} unchanged; "
        f"{before.start:%Y-%m-%d %H:%M} to {before.end:%Y-%m-%d %H:%M} ({plural(before.devices, 'device')}) against "
        f"{after.start:%Y-%m-%d %H:%M} to {after.end:%Y-%m-%d %H:%M} ({plural(after.devices, 'device')})"
    )


def _volumes(change: NetworkChange) -> tuple[str, str]:
    """Octets in an hour with traffic, before and after; probabilities of a verdict."""
    from ethogram.cli.inventory import volume

    if change.change == "verdict":
        return f"{change.before:.2f}", f"{change.after:.2f}"
    return tuple("" if not value else f"{volume(value)}/h" for value in (change.before, change.after))  # type: ignore[return-value]  # two
