"""``ethogram enrol``: build or extend a library of known devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.flows import time_of
from ethogram.cli.outputs import Force, check_library, save_library
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import say
from ethogram.errors import UsageError

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Fingerprints (Parquet), or anything that 'ethogram flows' reads."),
    ],
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE", help="CSV with the columns device,label[,model,vendor,type,coarse,from,to]."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Library to write: .jsonl, or .jsonl.gz.")
    ],
    extend: Annotated[Path | None, typer.Option(metavar="FILE", help="A library to add to.")] = None,
    epoch: Annotated[
        int, typer.Option(metavar="SECONDS", help="Flows are enrolled in windows of this length.")
    ] = 86_400,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Provenance: what was enrolled. Default: the inputs' names.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL", help="Encoder that embeds the single flows of captures. Default: the one that comes along."
        ),
    ] = None,
    flows: Annotated[
        bool,
        typer.Option("--flows/--no-flows", help="Enrol embeddings of single flows, too, where there are captures."),
    ] = True,
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Provenance: who may use it.")] = "",
    devices: Annotated[Path | None, typer.Option(metavar="FILE", help="Device file, as for 'ethogram flows'.")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="What is inside; again for more.")] = None,
    time_from: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time on.")] = None,
    time_to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.")] = None,
    force: Force = False,
) -> int:
    """Enrol labelled devices: what they were seen doing becomes a library to identify others by.

    Of captures, embeddings of single flows are enrolled, too: home.flows.parquet stands beside home.jsonl.gz.
    """
    from datetime import UTC, datetime

    from ethogram.config import FlowSettings
    from ethogram.identify.labels import read_labels
    from ethogram.identify.library import Source
    from ethogram.pipeline.embedding_inputs import EnrolFlows
    from ethogram.pipeline.identify import digest_of, enrol, open_library
    from ethogram.pipeline.inputs import COUNTING, read_windows
    from ethogram.pipeline.library_embeddings import load_embeddings
    from ethogram.pipeline.text import join_names

    if encoder is not None and not flows:
        raise UsageError("--encoder and --no-flows contradict each other")
    check_library(output, (*inputs, labels, encoder, devices), force=force)
    known = read_labels(labels)
    base = None if extend is None else open_library(extend)
    flow = FlowSettings.of(**({"local": tuple(local)} if local else {}))
    span = time_of(time_from, "--from"), time_of(time_to, "--to")
    side = None
    if flows:
        side = EnrolFlows(
            encoder, extend=extend, library=base, devices=devices, flow=flow, span=span, stretch_s=epoch
        )  # fmt: skip
    with read_progress("biflows") as advance:
        reading = read_windows(
            inputs, window_s=epoch, devices=devices, flow_settings=flow, time_from=span[0], time_to=span[1],
            on_progress=advance, listener=None if side is None else side.listener,
        )  # fmt: skip
    provenance = Source(
        name=source or join_names([Path(name).name for name in inputs]),
        enrolled=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        settings=digest_of(flow, COUNTING),
        licence=licence,
    )
    library, report = enrol(reading.seen, known, source=provenance, extend=base, name=output.name)
    if side is not None:
        store = side.store(reading.seen.windows, library, provenance.name)
    else:
        store = load_embeddings(extend, base)[0] if extend is not None and base is not None else None
    written = save_library(library, store, output)
    for line in (*reading.notes, *report.lines(), *(side.messages if side is not None else ()), *written):
        say(line)
    for line in reading.errors:
        say(f"ethogram: {line}")
    return 3 if reading.errors else 0
