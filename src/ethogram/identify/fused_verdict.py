"""Verdicts from fingerprints and embedded flows together, fitted on the entries of a library alone.

An item that only one modality observes takes the verdict of that modality. An item is unknown when its strangeness,
averaged over the modalities with their fusion weights, exceeds 1, or when no label is probable enough.

Shapes: n items, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.flow_classifiers import FLOW_CLASSIFIERS, FlowClassifier, FlowClassifierName
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_decision import FusedDecision, SideStrangeness, decide
from ethogram.identify.fusion import Fusion, align, balanced_case_weights, fused_scores
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.leave_group_out import leave_one_group_out
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import Windows

__all__ = ["DEFAULT_FLOW_CLASSIFIERS", "EmbeddingModel", "FusedDecision", "FusedVerdictModel"]

DEFAULT_FLOW_CLASSIFIERS: tuple[FlowClassifierName, ...] = ("pooled", "probe", "nearest")
"""Pooled windows, single flows with a linear probe, and single flows by nearest neighbour.

All three are used because none of them was best on all held-out networks.
"""
FINGERPRINTS, EMBEDDINGS = "fingerprints", "embeddings"
Floats = NDArray[np.float64]


class EmbeddingModel:
    """Flow classifiers on embedded flows, fused into one modality with its own thresholds.

    Parameters
    ----------
    classifiers
        Names from :data:`ethogram.identify.flow_classifiers.FLOW_CLASSIFIERS`.
    settings
        Quantile and minimum counts of the thresholds.
    """

    def __init__(
        self, classifiers: Sequence[str] = DEFAULT_FLOW_CLASSIFIERS, settings: IdentifySettings | None = None
    ) -> None:
        self.classifiers = tuple(classifiers)
        self.settings = settings or IdentifySettings()

    def fit(
        self, flows: FlowWindows, labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str],
        *, separate_units: bool = False,
    ) -> Self:  # fmt: skip
        """Fit on n items, some of which may have no flow.

        Parameters
        ----------
        flows, labels
            Embedded flows and label of each item.
        groups
            Items of one group are held out together.
        units
            Device of each item.
        separate_units
            Also exclude items of the held-out devices in other groups from the training items.

        Raises
        ------
        UsageError
            When no item has a flow.
        """
        self.labels_ = sorted(set(labels))
        codes = np.searchsorted(self.labels_, np.asarray(labels, np.str_)).astype(np.int64)
        count = len(self.labels_)
        with_flows = np.flatnonzero(flows.flows > 0)
        if not with_flows.size:
            raise UsageError("no flow to learn from")
        self.seen_ = np.unique(codes[with_flows])
        separated = [units[int(i)] for i in with_flows] if separate_units else None
        held = {name: np.full((len(flows), count), np.nan) for name in self.classifiers}
        for inside, outside in leave_one_group_out(groups[with_flows], separated):
            if outside.size:
                train, test = with_flows[outside], with_flows[inside]
                for name in self.classifiers:
                    fitted = FLOW_CLASSIFIERS[name]().fit(flows.take(train), codes[train], count)
                    held[name][test] = fitted.decision_function(flows.take(test))
        self.fitted_: dict[str, FlowClassifier] = {
            name: FLOW_CLASSIFIERS[name]().fit(flows.take(with_flows), codes[with_flows], count)
            for name in self.classifiers
        }
        case = balanced_case_weights(units, groups)
        self.fusion_ = Fusion(second_weight=1.0).fit(held, self.labels_, labels, case, units)
        self.held_ = self._fuse(held)
        enrolled = self.decision_function(flows)
        self.strangeness_ = SideStrangeness(self.settings).fit(self.held_, self.labels_, labels, enrolled)
        return self

    def _fuse(self, scores: Mapping[str, Floats]) -> Floats:
        return scores[self.classifiers[0]] if len(self.classifiers) == 1 else fused_scores(self.fusion_, scores)

    def decision_function(self, flows: FlowWindows) -> Floats:
        """Scores of items, (n, L); NaN for labels enrolled without flows and for items without flows."""
        return self._fuse({name: fitted.decision_function(flows) for name, fitted in self.fitted_.items()})

    def strangeness(self, scores: Floats) -> Floats:
        """Strangeness under each label, (n, L): above 1 is strange; NaN where the score is NaN."""
        return self.strangeness_.transform(scores)


class FusedVerdictModel:
    """An identifier on counts fused with flow classifiers on embeddings.

    Parameters
    ----------
    identifier
        Any method on counts.
    settings
        Level, quantile, folds and so on.
    classifiers
        Names of the flow classifiers.
    """

    def __init__(
        self, identifier: Identifier, settings: IdentifySettings | None = None,
        classifiers: Sequence[str] = DEFAULT_FLOW_CLASSIFIERS,
    ) -> None:  # fmt: skip
        self.verdict_model = VerdictModel(identifier, settings)
        self.settings = self.verdict_model.settings
        self.embedding_model = EmbeddingModel(classifiers, self.settings)

    def fit(
        self, windows: Windows, labels: Sequence[str], flows: FlowWindows, groups: NDArray[np.int64] | None = None,
        units: Sequence[str] | None = None, needed_s: Mapping[str, float] | None = None,
    ) -> Self:  # fmt: skip
        """Fit on labelled items; see :meth:`ethogram.identify.verdict.VerdictModel.fit`.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        flows
            Embedded flows of the same items.
        groups
            Items held out together, such as those of one network; items of the same devices in other groups are then
            excluded as well. Default: blocks of time within each device.
        units
            Device of each item; default: the device name of its window.
        needed_s
            As for :class:`~ethogram.identify.verdict.VerdictModel`.
        """
        folds = folds_by_time(windows, self.settings.folds) if groups is None else groups
        devices = windows.items["device"].to_list() if units is None else list(units)
        separate = groups is not None
        counts, embeddings = self.verdict_model, self.embedding_model
        counts.fit(windows, labels, folds, needed_s, units=devices if separate else None)
        self.labels_ = list(counts.identifier.labels_)
        embeddings.fit(flows, labels, folds, devices, separate_units=separate)
        held = {
            FINGERPRINTS: align(self.labels_, sorted(set(labels)), counts.held_),
            EMBEDDINGS: align(self.labels_, embeddings.labels_, embeddings.held_),
        }
        self.fusion_ = Fusion().fit(held, self.labels_, labels, balanced_case_weights(devices, folds), devices)
        return self

    def decide(self, windows: Windows, flows: FlowWindows | None = None) -> FusedDecision:
        """Decide on n items, each by the modalities that observe it."""
        raw = self.verdict_model.identifier.decision_function(windows)
        count_strangeness = self.verdict_model.strangeness(raw)
        silent = ~np.isin(np.arange(len(windows)), windows.counts["item"].unique().to_numpy())
        scores = {FINGERPRINTS: np.where(silent[:, None], np.nan, raw)}
        strangeness = {FINGERPRINTS: np.where(silent[:, None], np.nan, count_strangeness)}
        if flows is not None:
            embeddings = self.embedding_model
            embedded = embeddings.decision_function(flows)
            scores[EMBEDDINGS] = align(self.labels_, embeddings.labels_, embedded)
            strangeness[EMBEDDINGS] = align(self.labels_, embeddings.labels_, embeddings.strangeness(embedded))
            if embeddings.strangeness_.calibration_.held_out_ < self.settings.few:
                # Thresholds from few held-out windows decide only where the counts observe nothing.
                strangeness[EMBEDDINGS][~silent] = np.nan
        # An item that no modality observes keeps the strangeness of its counts, as in a verdict without flows.
        return decide(self.fusion_.transform(scores), strangeness, self.settings, count_strangeness)
