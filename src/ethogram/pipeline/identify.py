"""The verb *identify*: inputs of any kind and a library to one verdict for each device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ethogram.config import ExporterSettings, IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.joint_verdict import join_verdicts
from ethogram.identify.labels import Label
from ethogram.identify.library import Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.contradiction import contradicted
from ethogram.pipeline.counts import OnFlows
from ethogram.pipeline.inputs import read_windows
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import Learnt, identify_by_library, learn
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.libraries import PACKAGED_NAME, KnownLibraries
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.pinned import labels_of_devices, pin_labels
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.verdicts import default_method, settings_for
from ethogram.pipeline.windows import ObservedWindows, Per, regroup
from ethogram.schema import Inventory

__all__ = ["Identification", "IdentifyOptions", "identify", "identify_by_libraries"]


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
    known: OpenLibrary | Sequence[OpenLibrary],
    options: IdentifyOptions | None = None,
    reading: ReadOptions | None = None,
    *,
    labels: Sequence[Label] = (),
    on_progress: OnProgress | None = None,
    learning: AbstractContextManager[object] | None = None,
    on_flows: OnFlows | None = None,
) -> Identification:
    """Identify the devices of inputs.

    Parameters
    ----------
    inputs
        Fingerprints, or anything that ``ethogram flows`` reads.
    known
        The library to compare with, or several (:func:`ethogram.pipeline.libraries.open_libraries`): the user's own
        are merged, and the bundled one is judged beside them by the method that holds across networks.
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
    on_flows
        Called with each batch of flows, so that what else is needed of them takes no second reading.

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
    libraries = KnownLibraries.of(known, flows=options.flows)
    if options.encoder is not None and libraries.own is None:
        raise UsageError("--encoder needs --library: the bundled library has fingerprints only")
    export = ExporterSettings() if options.per == "fingerprint" else None
    side = None
    if options.flows and libraries.own is not None:
        # Imported here: the encoder and its runtime take .2 s to load, which fingerprints alone do not need.
        from ethogram.pipeline.embedding_inputs import IdentificationEmbedder

        epoch_s = options.epoch_s if export is None else export.epoch_s
        stretch_s = None if options.per == "device" else epoch_s
        side = IdentificationEmbedder(libraries.own, options.encoder, reading, stretch_s=stretch_s)
    read = read_windows(
        inputs, reading, window_s=options.epoch_s, export=export, on_progress=on_progress,
        listener=None if side is None else side.listener, on_flows=on_flows,
    )  # fmt: skip
    observed = regroup(read.seen, options.per, options.epoch_s)
    embedded = None if side is None else side.items(observed.windows)
    with learning or nullcontext():
        inventory, messages = identify_by_libraries(observed, libraries, options, embedded)
        read.log.details += messages
        ladder = learn_ladder(libraries.first, knowledge)
        read.log.details += ladder.messages
        enrolled = dict(ladder.identities)
        if labels and reading is not None and reading.pseudonymiser is not None:
            labels = reading.pseudonymiser.labels(labels)
        if labels:
            inventory, lines = pin_labels(inventory, observed.windows, labels_of_devices(labels, read))
            read.log.messages += lines
            enrolled |= {label.identity.label: label.identity for label in labels}
        judge = LadderJudge(ladder.products, knowledge)
        inventory = add_ladder(inventory, observed.windows, judge, read.identity, enrolled=enrolled)
    read.log.messages += knowledge.notices
    if side is not None:
        read.log.messages += side.messages
    return Identification(inventory, read.log)


def identify_by_libraries(
    observed: ObservedWindows, libraries: KnownLibraries, options: IdentifyOptions, embedded: FlowWindows | None, *,
    learnt: Callable[[Library, IdentifySettings], Learnt] = learn,
) -> tuple[Inventory, list[str]]:  # fmt: skip
    """Verdicts by each library, joined where there are two; and lines for the detailed log.

    Parameters
    ----------
    observed
        Windows of devices.
    libraries
        The libraries.
    options
        Level and method.
    embedded
        Embedded flows of the windows; None: without.
    learnt
        Gives what was learnt from a library; by default it is read, or learnt and kept beside the library.
    """
    inventories: list[Inventory] = []
    messages: list[str] = []
    joined = len(libraries.all) > 1
    known: Learnt | None = None
    for library in libraries.all:
        method = options.method or default_method(library.bundled, options.level)
        settings = settings_for(method, level=options.level, closed=options.closed and not joined)
        if library.store is not None and embedded is not None:
            from ethogram.pipeline.fused import identify_with_flows

            inventory = identify_with_flows(observed, library, library.store, embedded, settings)
        else:
            known = learnt(library, settings) if len(observed.windows) else None
            inventory, lines = identify_by_library(observed, library, settings, known)
            messages += lines
        inventories.append(inventory)
    if not joined:
        return inventories[0], messages
    own, packaged = inventories  # the packaged library comes last, and has no embedded flows
    names = libraries.all[0].name, PACKAGED_NAME
    wrong: set[int] = set()
    if known is not None:
        wrong = contradicted(observed.windows, own, packaged, libraries.first, known.model, options.level)
    devices = [
        join_verdicts(of_own, of_packaged, names=names, least=settings.least_score, closed=options.closed,
                      contradicted=i in wrong)
        for i, (of_own, of_packaged) in enumerate(zip(own.devices, packaged.devices, strict=True))
    ]  # fmt: skip
    library_text = f"{own.library} + {packaged.library}"
    return own.model_copy(update={"library": library_text, "devices": devices}), messages


def check_encoder(encoder: Path | None, *, flows: bool) -> None:
    """Refuse an encoder where embeddings are switched off."""
    if encoder is not None and not flows:
        raise UsageError("--encoder and --no-flows contradict each other")
