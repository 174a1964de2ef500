"""``ethogram identify``: the identity of each device, or unknown, and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.inventory import show_inventory
from ethogram.cli.options import (
    DAY_S,
    Encoder,
    Epoch,
    Inputs,
    KnowledgeOption,
    Level,
    LevelOption,
    LibraryOption,
    Method,
    PinFile,
    ReportFormat,
    ReportFormatOption,
    UseFlows,
)
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import progress, read_progress
from ethogram.cli.terminal import results, write_text

if TYPE_CHECKING:
    from ethogram.pipeline.read_options import ReadOptions

__all__ = ["command"]


class Per(StrEnum):
    """The subject of a verdict."""

    DEVICE = "device"
    FINGERPRINT = "fingerprint"
    EPOCH = "epoch"


@with_reading_options()
def command(
    inputs: Inputs,
    library: LibraryOption = None,
    labels: Annotated[Path | None, PinFile] = None,
    per: Annotated[
        Per, typer.Option(help="One verdict per device, per exported fingerprint, or per epoch.")
    ] = Per.DEVICE,
    level: LevelOption = Level.LABEL,
    closed: Annotated[bool, typer.Option("--closed", help="Always give a label, never 'unknown'.")] = False,
    form: ReportFormatOption = ReportFormat.TABLE,
    all_labels: Annotated[
        bool, typer.Option("--all", help="In JSON, the scores of all labels, not only of the five likeliest.")
    ] = False,
    method: Method = "",
    encoder: Encoder = None,
    flows: UseFlows = True,
    epoch: Epoch = DAY_S,
    knowledge: KnowledgeOption = None,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Identify the device behind each address, with a score and the reason.

    Each device gets the deepest level that is sure enough: the device that you enrolled, a model, a vendor and kind, a
    vendor, or a kind. The score is calibrated: of statements with a score of 0.9, nine in ten are right. A device about
    which no level is sure is unknown. A device with a label of yours keeps it, and is reported if its traffic no longer
    fits.
    """
    from ethogram.identify.labels import read_labels
    from ethogram.identify.render import likeliest_labels, to_csv, to_json, to_jsonl
    from ethogram.pipeline.identify import IdentifyOptions, identify
    from ethogram.pipeline.libraries import open_libraries

    options = IdentifyOptions(
        per=per.value, level=level.value, closed=closed, method=method, encoder=encoder, flows=flows, epoch_s=epoch,
        knowledge=knowledge,
    )  # fmt: skip
    given = read_labels(labels) if labels is not None else []
    known, learning = open_libraries(library or []), progress("learning the library")
    with read_progress("biflows") as advance:
        run = identify(inputs, known, options, reading, labels=given, on_progress=advance, learning=learning)
    show_log(run.log, summary=form is ReportFormat.TABLE)
    if form is ReportFormat.TABLE:
        show_inventory(results(), run.inventory, by_verdict=closed or level is not Level.LABEL)
    else:
        render = {ReportFormat.JSON: to_json, ReportFormat.JSONL: to_jsonl, ReportFormat.CSV: to_csv}[form]
        write_text(render(run.inventory if all_labels else likeliest_labels(run.inventory)))
    return end_with(run.log.errors)
