"""``ethogram deviations``: how each device keeps to its own behaviour, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Inputs, ReportFormat, ReportFormatOption, duration_option
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import results

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import BehaviourEpoch, BehaviourReport, DeviceBehaviour

__all__ = ["command"]


@with_reading_options(identity=False)
def command(
    inputs: Inputs,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="CSV with the columns device,label: devices are also compared "
                     "with the others of their label."),
    ] = None,
    epoch: Annotated[
        int, duration_option("--epoch", help="Length of an epoch: an hour or more.", whole=True)
    ] = 86_400,
    alarms_a_month: Annotated[
        float, typer.Option(help="Deviations per device and month that limits allow if nothing changes.")
    ] = 1.0,
    form: ReportFormatOption = ReportFormat.TABLE,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Score each epoch of each device by the behaviour that it showed before.

    The fingerprint exporter exports the behaviour of a device once it is stable, and again when it has changed. Each
    later epoch is compared with what was exported before it: services with their direction and volume, names of other
    ends, and hours of the day. The score is 1 if nothing is outside; what is outside is listed with its share of the
    rest. The limit of the score is learnt from the fingerprint's own epochs. The table has the epochs below their
    limits; other formats have every epoch that has a score.
    """
    from ethogram.config import DeviationSettings
    from ethogram.pipeline.deviations import deviations

    settings = DeviationSettings.of(epoch_s=epoch, alarms_a_month=alarms_a_month)
    with read_progress("biflows") as advance:
        run = deviations(inputs, settings, labels=labels, reading=reading, on_progress=advance)
    show_log(run.log, summary=form is ReportFormat.TABLE)
    rows = [(device, each) for device in run.report.devices for each in device.epochs
            if each.score is not None or each.label_score is not None]  # fmt: skip
    if form is ReportFormat.TABLE:
        _show(results(), run.report, [row for row in rows if row[1].deviates])
    else:
        lines = ({"device": device.device, "label": device.label} | each.to_dict() for device, each in rows)
        write_records(form, run.report.to_dict(), lines, COLUMNS, (_csv_row(*row) for row in rows))
    return end_with(run.log.errors)


COLUMNS = ("device", "label", "start", "score", "limit", "deviates", "fingerprint", "label_score", "label_limit",
           "deviations", "reason")  # fmt: skip


def _csv_row(device: DeviceBehaviour, epoch: BehaviourEpoch) -> tuple[object, ...]:
    values = {"device": device.device, "label": device.label} | epoch.to_dict()
    values["deviations"] = "; ".join(f"{each.reason} ({each.share:.3f})" for each in epoch.deviations)
    return tuple("" if values[name] is None else values[name] for name in COLUMNS)


def _show(console: Console, behaviours: BehaviourReport, rows: list[tuple[DeviceBehaviour, BehaviourEpoch]]) -> None:
    """Print epochs with what is outside below them, and how many devices have stable behaviour."""
    from ethogram.cli.inventory import show_rows
    from ethogram.pipeline.text import plural

    form = "%Y-%m-%d" if behaviours.epoch_s % 86_400 == 0 else "%Y-%m-%d %H:%M"
    cells = []
    for device, epoch in rows:
        by = epoch.score if epoch.score is not None else epoch.label_score
        limit = epoch.limit if epoch.score is not None else epoch.label_limit
        against = f"its label, {device.label}" if epoch.score is None else _fingerprint(device, epoch.fingerprint)
        values = [device.device, f"{epoch.start:{form}}", "" if by is None else f"{by:.2f}",
                  "" if limit is None else f"{limit:.2f}", against]  # fmt: skip
        cells.append((values, "yellow" if epoch.deviates else "", epoch.reason))
    if cells:
        show_rows(console, ["device", "epoch", "score", "limit", "against"], cells)
    for device in behaviours.devices:
        for each in device.fingerprints:
            if each.status == "change":
                console.print(f"{device.device}: behaviour changed on {each.start:{form}}: "
                              + "; ".join(entry.reason for entry in each.deviations[:3]))  # fmt: skip
    scored = [each for device in behaviours.devices for each in device.epochs
              if each.score is not None or each.label_score is not None]  # fmt: skip
    known = sum(bool(device.fingerprints) for device in behaviours.devices)
    console.print(f"{plural(sum(each.deviates for each in scored), 'deviation')} in {plural(len(scored), 'epoch')}; "
                  f"{known:,} of {plural(len(behaviours.devices), 'device')} with a fingerprint")  # fmt: skip


def _fingerprint(device: DeviceBehaviour, number: int | None) -> str:
    """The fingerprint that an epoch is compared with, by its days."""
    if number is None:
        return ""
    own = device.fingerprints[number]
    return f"{own.start:%b %d} to {own.end:%b %d}, {own.status}"
