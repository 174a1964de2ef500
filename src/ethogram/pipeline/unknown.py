"""The verb *unknown*: group the devices that a library does not know, and enrol the groups that are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ethogram.errors import UsageError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.embedding_inputs import IdentificationEmbedder
from ethogram.pipeline.enrol import now_text
from ethogram.pipeline.identify import IdentifyOptions, check_encoder, identify_by_libraries
from ethogram.pipeline.inputs import WindowsRead, read_windows
from ethogram.pipeline.libraries import KnownLibraries
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.text import join_names
from ethogram.pipeline.unknown_groups import Unknown, UnknownGroups, enrol_groups, unknown_groups
from ethogram.pipeline.verdicts import default_method, settings_for
from ethogram.pipeline.windows import regroup

__all__ = ["NamedGroups", "UnknownDevices", "unknown"]


@dataclass(frozen=True)
class NamedGroups:
    """A library after groups were named and enrolled, and log lines."""

    library: Library
    store: FlowStore | None
    lines: list[str]


@dataclass
class UnknownDevices:
    """Groups of unknown devices, the largest first, which can be named and enrolled.

    Parameters
    ----------
    inputs
        Names of the inputs.
    known
        The user's own library, to which named groups are added; empty without one.
    read
        What was read.
    grouped
        The groups, and the verdicts they come from.
    embedder
        Embeds the flows of the devices; None without embeddings.
    """

    inputs: tuple[str, ...]
    known: OpenLibrary
    read: WindowsRead
    grouped: Unknown
    embedder: IdentificationEmbedder | None

    @property
    def groups(self) -> UnknownGroups:
        """The groups as data."""
        return self.grouped.groups

    @property
    def log(self) -> RunLog:
        """What the run has to say."""
        return self.read.log

    def enrol(self, names: Mapping[str, Identity], library_name: str) -> NamedGroups:
        """Enrol the devices of named groups.

        Parameters
        ----------
        names
            What each group is, by the group's number.
        library_name
            Name of the library that results.

        Raises
        ------
        UsageError
            If there is no such group.
        """
        source = Source(name=f"named: {join_names(list(self.inputs))}", enrolled=now_text())
        merged, lines = enrol_groups(
            self.grouped, self.read.seen, names, self.known, source=source, name=library_name
        )
        store = self.known.store
        if self.embedder is not None:
            store = self.embedder.extended(self.read.seen.windows, merged, source.name)
        return NamedGroups(merged, store, lines)


def unknown(
    inputs: Sequence[str | Path],
    known: OpenLibrary | Sequence[OpenLibrary] | None = None,
    options: IdentifyOptions | None = None,
    reading: ReadOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    learning: AbstractContextManager[object] | None = None,
) -> UnknownDevices:
    """Group the unknown devices of inputs; devices of one group behave alike.

    Parameters
    ----------
    inputs, options, reading, on_progress, learning
        As for :func:`ethogram.pipeline.identify.identify`; verdicts are per device.
    known
        The library to compare with, or several, as for :func:`ethogram.pipeline.identify.identify`; named groups are
        added to the user's own ones. None: no device is known, and all are grouped.

    Raises
    ------
    UsageError
        If an encoder is given without a library.
    """
    options = options or IdentifyOptions()
    check_encoder(options.encoder, flows=options.flows)
    libraries = None if known is None else KnownLibraries.of(known)
    own = None if libraries is None else libraries.own
    if own is None and options.encoder is not None:
        raise UsageError("--encoder needs --library FILE: without one, devices are grouped by fingerprints")
    side = None
    if own is not None and options.flows:
        side = IdentificationEmbedder(own, options.encoder, reading, stretch_s=options.epoch_s)
    read = read_windows(
        inputs, reading, window_s=options.epoch_s, on_progress=on_progress,
        listener=None if side is None else side.listener,
    )  # fmt: skip
    observed = regroup(read.seen, "device")
    embedded = None if side is None else side.items(observed.windows)
    store = None if embedded is None or own is None else own.store
    with learning or nullcontext():
        if libraries is None:
            first, inventory = OpenLibrary(), None
        else:
            first = libraries.first
            inventory, messages = identify_by_libraries(observed, libraries, options, embedded)
            read.log.details += messages
        settings = settings_for(options.method or default_method(first.bundled, options.level), level=options.level)
        grouped = unknown_groups(read.seen, first, settings, store=store, flows=embedded, inventory=inventory)
    if side is not None:
        read.log.messages += side.messages
    return UnknownDevices(tuple(Path(name).name for name in inputs), own or OpenLibrary(), read, grouped, side)
