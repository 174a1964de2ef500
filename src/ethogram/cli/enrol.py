"""``ethogram enrol``: build or extend a library of known devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import (
    DAY_S,
    Encoder,
    Epoch,
    Force,
    Inputs,
    LabelFile,
    Licence,
    UseFlows,
)
from ethogram.cli.outputs import check_library, is_standard_output, save_library
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import progress, read_progress
from ethogram.cli.terminal import report

if TYPE_CHECKING:
    from ethogram.pipeline.read_options import ReadOptions

__all__ = ["command"]


@with_reading_options(identity=False)
def command(
    inputs: Inputs,
    labels: Annotated[Path, LabelFile],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Library to write: .jsonl, or .jsonl.gz.")
    ],
    extend: Annotated[Path | None, typer.Option(metavar="FILE", help="Library to extend.")] = None,
    epoch: Epoch = DAY_S,
    source: Annotated[
        str, typer.Option(metavar="NAME", help="Provenance: name of the data. Default: the names of the inputs.")
    ] = "",
    encoder: Encoder = None,
    flows: UseFlows = True,
    licence: Licence = "",
    force: Force = False,
    *,
    reading: ReadOptions,
) -> int:
    """Enrol labelled devices: their windows become a library to identify other devices by.

    For captures, embeddings of single flows are enrolled too: home.flows.parquet is written beside home.jsonl.gz.
    """
    from ethogram.identify.labels import read_labels
    from ethogram.pipeline.enrol import EnrolOptions, enrol
    from ethogram.pipeline.identify import check_encoder
    from ethogram.pipeline.learnt import learn_enrolled
    from ethogram.pipeline.library import open_library

    check_encoder(encoder, flows=flows)
    check_library(output, (*inputs, labels, encoder, *reading.files), force=force)
    options = EnrolOptions(output.name, source, licence, encoder, flows, epoch)
    known = None if extend is None else open_library(extend)
    named = read_labels(labels)
    with read_progress("biflows") as advance:
        run = enrol(inputs, named, options, reading, extend=known, on_progress=advance)
    written = save_library(run.library, run.store, output)
    if not is_standard_output(output) and (run.store is None or not run.store.z):
        # With embedded flows, identify learns from both together.
        with progress("learning the library"):
            run.log.details += learn_enrolled(run.library, output, known)
    show_log(run.log)
    report(*written)
    return end_with(run.log.errors)
