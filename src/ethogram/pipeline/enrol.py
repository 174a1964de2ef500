"""The verb *enrol*: inputs of any kind and labels to a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ethogram.config import FlowSettings
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.labels import Label
from ethogram.identify.library import Library, Source
from ethogram.pipeline.embedding_inputs import EnrolmentEmbedder
from ethogram.pipeline.identify import check_encoder
from ethogram.pipeline.inputs import COUNTING, read_windows
from ethogram.pipeline.library import EnrolReport, OpenLibrary, enrol_windows
from ethogram.pipeline.pinned import labels_of_devices
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.text import join_names
from ethogram.pipeline.verdicts import digest_of

__all__ = ["EnrolOptions", "Enrolment", "enrol", "now_text"]


@dataclass(frozen=True)
class EnrolOptions:
    """How windows are enrolled.

    Parameters
    ----------
    name
        Name of the library.
    source, licence
        Provenance: what was enrolled, and who may use it. An empty source stands for the names of the inputs.
    encoder
        Encoder for single flows; None: the bundled one.
    flows
        Also enrol embeddings of single flows, where inputs are captures.
    epoch_s
        Length of the windows in seconds.
    """

    name: str = "library"
    source: str = ""
    licence: str = ""
    encoder: Path | None = None
    flows: bool = True
    epoch_s: int = 86_400


@dataclass
class Enrolment:
    """A library after enrolment, and what the run has to say.

    Parameters
    ----------
    library, store
        Fingerprints, and embedded flows where there are any.
    report
        What was enrolled, and which labels and devices did not match.
    log
        Accounting, what was embedded, and errors.
    """

    library: Library
    store: FlowStore | None
    report: EnrolReport
    log: RunLog


def enrol(
    inputs: Sequence[str | Path],
    labels: Sequence[Label],
    options: EnrolOptions | None = None,
    reading: ReadOptions | None = None,
    *,
    extend: OpenLibrary | None = None,
    on_progress: OnProgress | None = None,
) -> Enrolment:
    """Enrol labelled devices into a new library, or into one that is extended.

    Parameters
    ----------
    inputs
        Fingerprints, or anything that ``ethogram flows`` reads.
    labels
        Which device is what; see :func:`ethogram.identify.labels.read_labels`.
    options
        How windows are enrolled.
    reading
        How inputs become flows of devices.
    extend
        The library to add to.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    LibraryError
        If no window belongs to a labelled device, or the extended library was enrolled with another encoder.
    InputError
        If an input cannot be read.
    """
    options, reading = options or EnrolOptions(), reading or ReadOptions()
    check_encoder(options.encoder, flows=options.flows)
    side = None
    if options.flows:
        side = EnrolmentEmbedder(options.encoder, reading, extend=extend, stretch_s=options.epoch_s)
    read = read_windows(
        inputs, reading, window_s=options.epoch_s, on_progress=on_progress,
        listener=None if side is None else side.listener,
    )  # fmt: skip
    source = Source(
        name=options.source or join_names([Path(name).name for name in inputs]),
        enrolled=now_text(),
        settings=digest_of(reading.flow or FlowSettings(), COUNTING),
        licence=options.licence,
    )
    if reading.pseudonymiser is not None:
        labels = reading.pseudonymiser.labels(labels)
    labels = labels_of_devices(labels, read)
    library, report = enrol_windows(read.seen, labels, source=source, extend=extend, name=options.name)
    if side is not None:
        store = side.store(read.seen.windows, library, source.name)
    else:
        store = None if extend is None else extend.store
    read.log.messages += report.lines() + ([] if side is None else side.messages)
    return Enrolment(library, store, report, read.log)


def now_text() -> str:
    """The current time in UTC, as a library states when it was enrolled."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
