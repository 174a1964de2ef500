"""Verdicts about devices of a running service: the library is learnt once, and counts are judged again and again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from ethogram.config import IdentifySettings
from ethogram.identify.joint_verdict import join_verdicts
from ethogram.identify.verdict import VerdictModel
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.fingerprints import windows_from_counts
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import learn
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.pipeline.unknown_groups import UnknownGroups, unknown_groups
from ethogram.pipeline.verdicts import default_method, identify_windows, settings_for
from ethogram.pipeline.windows import ObservedWindows, regroup, settled_devices
from ethogram.schema import IDENTITY, Verdict

__all__ = ["DeviceIdentifier"]

DAY_S = 86_400


class DeviceIdentifier:
    """Judges devices as ``ethogram identify`` does, by fingerprints, from counts of any number of days.

    Parameters
    ----------
    library
        Known devices; None: the bundled library.
    knowledge
        File of rows that add to the knowledge pack.
    method
        Identification method; empty: the default of the library.
    own
        A further library of devices of this network; see :meth:`add`.

    Raises
    ------
    LibraryError
        If the library is missing, damaged or empty.
    ConfigurationError
        If the file of knowledge is invalid.

    Examples
    --------
    >>> from ethogram.schema import COUNTS
    >>> DeviceIdentifier().verdicts(COUNTS.empty())
    []
    """

    def __init__(
        self, library: Path | None = None, knowledge: Path | None = None, method: str = "", *,
        own: OpenLibrary | None = None,
    ) -> None:  # fmt: skip
        self.library: OpenLibrary = open_library(library)
        self.knowledge = Knowledge.bundled() if knowledge is None else Knowledge.bundled().with_rows(knowledge)
        self.settings: IdentifySettings = settings_for(method or default_method(self.library.bundled))
        learnt = learn(self.library, self.settings)
        self._model, self._usual = learnt.model, learnt.usual
        ladder = learn_ladder(self.library, self.knowledge)
        self._ladder = LadderJudge(ladder.products, self.knowledge)
        self._identities = dict(ladder.identities)
        self._enrolled = self._identities
        self.own: OpenLibrary | None = None
        self._own: tuple[VerdictModel, Mapping[str, set[str]], IdentifySettings] | None = None
        self.add(own)

    def add(self, own: OpenLibrary | None) -> None:
        """Also compare with devices of this network; they replace those of an earlier call, None removes them.

        Their verdicts come first, and the other library names what they leave open
        (:mod:`ethogram.identify.joint_verdict`). The ladder takes their labels, and learns nothing else of them.

        Raises
        ------
        LibraryError
            If it is damaged or empty.
        """
        if own is None:
            self._own, self._enrolled = None, self._identities
        else:
            settings = settings_for(default_method(own.bundled))
            learnt = learn(own, settings)
            self._own = learnt.model, learnt.usual, settings
            self._enrolled = self._identities | {entry.identity.label: entry.identity for entry in own.entries}
        self.own = own

    @property
    def name(self) -> str:
        """Name and digest of the library, as inventories have them."""
        return f"{self.library.name} {self.library.digest}"

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
        observed = regroup(self._observed(counts), "device")
        inventory = identify_windows(observed, self.library, self.settings, judge=self._model, usual=self._usual)
        if self.own is not None and self._own is not None:
            model, usual, settings = self._own
            of_own = identify_windows(observed, self.own, settings, judge=model, usual=usual)
            inventory = inventory.model_copy(update={"devices": [
                join_verdicts(own, other, names=(self.own.name, self.library.name), least=self.settings.least_score)
                for own, other in zip(of_own.devices, inventory.devices, strict=True)
            ]})  # fmt: skip
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
        windows = windows_from_counts(counts, DAY_S)
        settled = settled_devices(counts)
        return ObservedWindows(
            windows, ["converged" if device in settled else "open" for device in windows.items["device"]]
        )
