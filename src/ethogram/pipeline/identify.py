"""The verb *identify*: inputs of any kind and a library to one verdict for each device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ethogram.config import ExporterSettings
from ethogram.errors import UsageError
from ethogram.identify.labels import Label
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.inputs import read_windows
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import identify_by_library
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.pinned import labels_of_devices, pin_labels
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.verdicts import default_method, settings_for
from ethogram.pipeline.windows import Per, regroup
from ethogram.schema import Inventory

__all__ = ["Identification", "IdentifyOptions", "identify"]


@dataclass(frozen=True)
class IdentifyOptions:
    """What a verdict is about, and how it is reached.

    Parameters
    ----------
    per
        One verdict per device, per exported fingerprint, or per epoch.
    level
        Level at which devices are told apart.
    closed
        Always give a label, never ``unknown``.
    method
        Identification method; empty: :func:`ethogram.pipeline.verdicts.default_method`.
    encoder
        Encoder that the library was enrolled with; None: the bundled one.
    flows
        Also use embeddings of single flows, if library and input have any.
    epoch_s
        Length of an epoch in seconds.
    knowledge
        File of rows that add to the knowledge pack or replace rows of it (``ethogram knowledge``).
    """

    per: Per = "device"
    level: str = "label"
    closed: bool = False
    method: str = ""
    encoder: Path | None = None
    flows: bool = True
    epoch_s: int = 86_400
    knowledge: Path | None = None


@dataclass
class Identification:
    """An inventory, and what the run has to say."""

    inventory: Inventory
    log: RunLog


def identify(
    inputs: Sequence[str | Path],
    known: OpenLibrary,
    options: IdentifyOptions | None = None,
    reading: ReadOptions | None = None,
    *,
    labels: Sequence[Label] = (),
    on_progress: OnProgress | None = None,
    learning: AbstractContextManager[object] | None = None,
) -> Identification:
    """Identify the devices of inputs.

    Parameters
    ----------
    inputs
        Fingerprints, or anything that ``ethogram flows`` reads.
    known
        The library to compare with; see :func:`ethogram.pipeline.library.open_library`.
    options
        What a verdict is about, and how it is reached.
    reading
        How inputs become flows of devices.
    labels
        Labels that you give for devices: a device is called that, and reported if it does not behave so.
    on_progress
        Called with the number of records of each batch.
    learning
        Entered while the library is learnt, which takes seconds.

    Raises
    ------
    UsageError
        If options contradict each other.
    InputError
        If an input cannot be read, or has no flow of a device.
    LibraryError
        If the library is empty, or was enrolled with another encoder.
    """
    options = options or IdentifyOptions()
    check_encoder(options.encoder, flows=options.flows)
    knowledge = Knowledge.bundled()
    if options.knowledge is not None:
        knowledge = knowledge.with_rows(options.knowledge)
    if options.encoder is not None and known.bundled:
        raise UsageError("--encoder needs --library: the bundled library has fingerprints only")
    export = ExporterSettings() if options.per == "fingerprint" else None
    side = None
    if options.flows and not known.bundled:
        # Imported here: the encoder and its runtime take .2 s to load, which fingerprints alone do not need.
        from ethogram.pipeline.embedding_inputs import IdentificationEmbedder

        epoch_s = options.epoch_s if export is None else export.epoch_s
        stretch_s = None if options.per == "device" else epoch_s
        side = IdentificationEmbedder(known, options.encoder, reading, stretch_s=stretch_s)
    read = read_windows(
        inputs, reading, window_s=options.epoch_s, export=export, on_progress=on_progress,
        listener=None if side is None else side.listener,
    )  # fmt: skip
    observed = regroup(read.seen, options.per, options.epoch_s)
    method = options.method or default_method(known.bundled, options.level)
    settings = settings_for(method, level=options.level, closed=options.closed)
    embedded = None if side is None else side.items(observed.windows)
    with learning or nullcontext():
        if known.store is not None and embedded is not None:
            from ethogram.pipeline.fused import identify_with_flows

            inventory = identify_with_flows(observed, known, known.store, embedded, settings)
        else:
            inventory, messages = identify_by_library(observed, known, settings)
            read.log.details += messages
        ladder = learn_ladder(known, knowledge)
        read.log.details += ladder.messages
        enrolled = dict(ladder.identities)
        if labels:
            inventory, lines = pin_labels(inventory, observed.windows, labels_of_devices(labels, read))
            read.log.messages += lines
            enrolled |= {label.identity.label: label.identity for label in labels}
        judge = LadderJudge(ladder.products, knowledge)
        inventory = add_ladder(inventory, observed.windows, judge, read.identity, enrolled=enrolled)
    read.log.messages += knowledge.messages
    if side is not None:
        read.log.messages += side.messages
    return Identification(inventory, read.log)


def check_encoder(encoder: Path | None, *, flows: bool) -> None:
    """Refuse an encoder where embeddings are switched off."""
    if encoder is not None and not flows:
        raise UsageError("--encoder and --no-flows contradict each other")
