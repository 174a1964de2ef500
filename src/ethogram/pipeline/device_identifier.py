"""Verdicts about devices of a running service: libraries are learnt once, and counts are judged again and again.

The verdicts are those of ``ethogram identify --no-flows`` with the same libraries: counts have no embeddings of flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ethogram.config import IdentifySettings
from ethogram.identify.library import Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.identify import IdentifyOptions, identify_by_libraries
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import Learnt, learn
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.libraries import KnownLibraries, open_libraries
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.unknown_groups import UnknownGroups, unknown_groups
from ethogram.pipeline.unread_library import file_digest
from ethogram.pipeline.verdicts import default_method, settings_for
from ethogram.pipeline.windows import ObservedWindows, settled_devices, windows_of_devices
from ethogram.schema import IDENTITY, Verdict

__all__ = ["DeviceIdentifier"]

DAY_S = 86_400


class DeviceIdentifier:
    """Judges devices as ``ethogram identify --no-flows`` does, from counts of any number of days.

    Parameters
    ----------
    library
        Known devices: a library file, or several, among them ``packaged``, the bundled one
        (:func:`ethogram.pipeline.libraries.open_libraries`); None: the bundled library.
    knowledge
        File of rows that add to the knowledge pack.
    method
        Identification method; empty: the default of each library.
    own
        A further library of devices of this network; see :meth:`add`.

    Raises
    ------
    LibraryError
        If a library is missing, damaged or empty.
    ConfigurationError
        If the file of knowledge is invalid.

    Examples
    --------
    >>> from ethogram.schema import COUNTS
    >>> DeviceIdentifier().verdicts(COUNTS.empty())
    []
    """

    def __init__(
        self, library: str | Path | Sequence[str | Path] | None = None, knowledge: Path | None = None,
        method: str = "", *, own: OpenLibrary | None = None,
    ) -> None:  # fmt: skip
        names = () if library is None else (library,) if isinstance(library, (str, Path)) else tuple(library)
        self._given = KnownLibraries.of(open_libraries(names), flows=False)
        self._knowledge_file = "" if knowledge is None else f"{knowledge.name} {file_digest(knowledge)[:12]}"
        self.knowledge = Knowledge.bundled() if knowledge is None else Knowledge.bundled().with_rows(knowledge)
        self._options = IdentifyOptions(method=method, flows=False)
        self._models: dict[bool, Learnt] = {}
        self.own: OpenLibrary | None = None
        self.add(own)

    def add(self, own: OpenLibrary | None) -> None:
        """Also compare with devices of this network; they replace those of an earlier call, None removes them.

        They are judged as one library with the user's own ones.

        Raises
        ------
        LibraryError
            If it is damaged or empty; what was known before stays.
        """
        self._use(self._given if own is None else KnownLibraries.of([*self._given_parts(), own], flows=False))
        self.own = own

    def _given_parts(self) -> list[OpenLibrary]:
        return [part for library in self._given.all for part in library.parts]

    def _use(self, known: KnownLibraries) -> None:
        """Learn libraries, and read all entries of the user's: a file that changes later changes nothing here."""
        models: dict[bool, Learnt] = {True: self._models[True]} if True in self._models else {}
        ladder = learn_ladder(known.first, self.knowledge)
        for library in known.all:
            if not library.bundled:
                len(library.entries)
            self._learnt(models, library, settings_for(self._options.method or default_method(library.bundled)))
        self._known, self._models = known, models
        self._ladder = LadderJudge(ladder.products, self.knowledge)
        self._enrolled = dict(ladder.identities)

    @staticmethod
    def _learnt(models: dict[bool, Learnt], library: Library, settings: IdentifySettings) -> Learnt:
        """What was learnt of the packaged library, or of the own ones."""
        bundled = isinstance(library, OpenLibrary) and library.bundled
        if bundled not in models:
            models[bundled] = learn(library, settings)
        return models[bundled]

    @property
    def libraries(self) -> list[OpenLibrary]:
        """The libraries, the user's own first, without added entries."""
        return self._given.all

    @property
    def name(self) -> str:
        """Names and digests of the libraries, and of a file of knowledge, as inventories have them."""
        names = [f"{library.name} {library.digest}" for library in self._given.all]
        return " + ".join([*names, self._knowledge_file] if self._knowledge_file else names)

    def verdicts(self, counts: pl.DataFrame, identity: pl.DataFrame | None = None) -> list[Verdict]:
        """One verdict for each device that has counts, in order of device.

        Parameters
        ----------
        counts
            Form :data:`ethogram.schema.COUNTS`, with other protocols counted
            (:data:`ethogram.pipeline.inputs.COUNTING`), sorted by its key.
        identity
            Identity facts (:data:`ethogram.schema.IDENTITY`) of these devices.
        """
        if not counts.height:
            return []
        observed = self._observed(counts)
        inventory, _ = identify_by_libraries(
            observed, self._known, self._options, None,
            learnt=lambda library, settings: self._learnt(self._models, library, settings),
        )  # fmt: skip
        facts = IDENTITY.empty() if identity is None else identity
        return add_ladder(inventory, observed.windows, self._ladder, facts, enrolled=self._enrolled).devices

    def groups(self, counts: pl.DataFrame) -> UnknownGroups | None:
        """Groups of the devices that have counts, all taken as unknown; None without counts."""
        if not counts.height:
            return None
        nothing = OpenLibrary()
        return unknown_groups(self._observed(counts), nothing, settings_for("evidence")).groups

    @staticmethod
    def _observed(counts: pl.DataFrame) -> ObservedWindows:
        windows = windows_of_devices(counts, DAY_S)
        settled = settled_devices(counts)
        return ObservedWindows(
            windows, ["converged" if device in settled else "open" for device in windows.items["device"]]
        )
