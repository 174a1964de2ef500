"""Verdicts from fingerprints and embedded flows together, fitted on the entries of a library alone.

An item that only one modality observes takes the verdict of that modality. An item is unknown when its strangeness,
averaged over the modalities with their fusion weights, exceeds 1, or when no label is probable enough.

Shapes: n items, L labels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.flow_classifiers import FLOW_CLASSIFIERS, FlowClassifier, FlowClassifierName
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_decision import FusedDecision, SideStrangeness, decide
from ethogram.identify.fusion import Fusion, balanced_case_weights, fused_scores
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.leave_group_out import leave_one_group_out
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import Windows

__all__ = ["DEFAULT_FLOW_CLASSIFIERS", "EmbeddingModel", "EnrolledScores", "FusedDecision", "FusedVerdictModel",
           "cross_val_flows"]  # fmt: skip

DEFAULT_FLOW_CLASSIFIERS: tuple[FlowClassifierName, ...] = ("pooled", "probe", "nearest")
"""Pooled windows, single flows with a linear probe, and single flows by nearest neighbour.

All three are used because none of them was best on all held-out networks.
"""
FINGERPRINTS, EMBEDDINGS = "fingerprints", "embeddings"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EnrolledScores:
    """Scores of the n enrolled items by one method.

    Parameters
    ----------
    held
        (n, L) scores by models that were fitted without the group of the item; NaN where there is none.
    enrolled
        (n, L) scores by the model that was fitted on all items.
    """

    held: Floats
    enrolled: Floats


def cross_val_flows(
    name: str, flows: FlowWindows, codes: NDArray[np.int64], labels: int, groups: NDArray[np.int64],
    units: Sequence[str] | None = None,
) -> tuple[FlowClassifier, Floats]:  # fmt: skip
    """Fit a flow classifier on n items, and score each item by classifiers that were fitted without its group.

    Parameters
    ----------
    name
        One of :data:`ethogram.identify.flow_classifiers.FLOW_CLASSIFIERS`.
    flows, codes
        Embedded flows, and label code of each item; items without flows take no part.
    labels
        Number of labels L.
    groups, units
        As for :func:`ethogram.identify.leave_group_out.leave_one_group_out`.

    Returns
    -------
    tuple
        The classifier fitted on all items, and held-out scores (n, L), NaN where there is none.

    Raises
    ------
    UsageError
        When no item has a flow.
    """
    with_flows = np.flatnonzero(flows.flows > 0)
    if not with_flows.size:
        raise UsageError("no flow to learn from")
    held = np.full((len(flows), labels), np.nan)
    devices = None if units is None else [units[int(i)] for i in with_flows]
    for inside, outside in leave_one_group_out(groups[with_flows], devices):
        if outside.size:
            train, test = with_flows[outside], with_flows[inside]
            fitted = FLOW_CLASSIFIERS[name]().fit(flows.take(train), codes[train], labels)
            held[test] = fitted.decision_function(flows.take(test))
    return FLOW_CLASSIFIERS[name]().fit(flows.take(with_flows), codes[with_flows], labels), held


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
        names = sorted(set(labels))
        codes = np.searchsorted(names, np.asarray(labels, np.str_)).astype(np.int64)
        self.fitted_: dict[str, FlowClassifier] = {}
        scores: dict[str, EnrolledScores] = {}
        for name in self.classifiers:
            fitted, held = cross_val_flows(name, flows, codes, len(names), groups, units if separate_units else None)
            self.fitted_[name] = fitted
            scores[name] = EnrolledScores(held, fitted.decision_function(flows))
        return self.fit_scores(names, scores, labels, groups, units)

    def fit_scores(
        self, names: Sequence[str], scores: Mapping[str, EnrolledScores], labels: Sequence[str],
        groups: NDArray[np.int64], units: Sequence[str],
    ) -> Self:  # fmt: skip
        """Fit the fusion of the classifiers and the thresholds on scores alone; the classifiers are fitted already.

        Parameters
        ----------
        names
            Label of each column.
        scores
            Scores (n, L) of the enrolled items by classifier.
        labels, groups, units
            As for :meth:`fit`.
        """
        self.labels_ = list(names)
        held = {name: side.held for name, side in scores.items()}
        case = balanced_case_weights(units, groups)
        self.fusion_ = Fusion(second_weight=1.0).fit(held, self.labels_, labels, case, units)
        self.held_ = self.fuse(held)
        enrolled = self.fuse({name: side.enrolled for name, side in scores.items()})
        self.strangeness_ = SideStrangeness(self.settings).fit(self.held_, self.labels_, labels, enrolled)
        return self

    def fuse(self, scores: Mapping[str, Floats]) -> Floats:
        """Scores of the modality, (n, L), from those of the classifiers; one classifier's scores stay as they are."""
        return next(iter(scores.values())) if len(scores) == 1 else fused_scores(self.fusion_, scores)

    def decision_function(self, flows: FlowWindows) -> Floats:
        """Scores of items, (n, L); NaN for labels enrolled without flows and for items without flows."""
        return self.fuse({name: fitted.decision_function(flows) for name, fitted in self.fitted_.items()})

    def strangeness(self, scores: Floats) -> Floats:
        """Strangeness under each label, (n, L): above 1 is strange; NaN where the score is NaN."""
        return self.strangeness_.transform(scores)


class FusedVerdictModel:
    """An identifier on counts fused with flow classifiers on embeddings.

    :meth:`fit` and :meth:`decide` take windows and flows. :meth:`fit_scores` and :meth:`decide_scores` take scores
    that were computed before, of both modalities or of one.

    Parameters
    ----------
    identifier
        Any method on counts; None for :meth:`fit_scores` without fingerprints.
    settings
        Level, quantile, folds and so on.
    classifiers
        Names of the flow classifiers.
    fusion
        How the modalities are fused; default: ``Fusion()``.
    """

    def __init__(
        self, identifier: Identifier | None, settings: IdentifySettings | None = None,
        classifiers: Sequence[str] = DEFAULT_FLOW_CLASSIFIERS, fusion: Fusion | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or IdentifySettings()
        self.count_model = None if identifier is None else VerdictModel(identifier, self.settings)
        self.embedding_model = EmbeddingModel(classifiers, self.settings)
        self.fusion = fusion or Fusion()

    @property
    def verdict_model(self) -> VerdictModel:
        """The model on counts.

        Raises
        ------
        UsageError
            When there is no identifier on counts.
        """
        if self.count_model is None:
            raise UsageError("this model has no identifier on counts")
        return self.count_model

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
        self.verdict_model.fit(windows, labels, folds, needed_s, units=devices if separate else None)
        self.embedding_model.fit(flows, labels, folds, devices, separate_units=separate)
        return self._fit_fusion(sorted(set(labels)), labels, folds, devices, (FINGERPRINTS, EMBEDDINGS))

    def fit_scores(
        self, names: Sequence[str], labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str], *,
        fingerprints: EnrolledScores | None = None, embeddings: Mapping[str, EnrolledScores] | None = None,
    ) -> Self:  # fmt: skip
        """Fit calibration, thresholds and fusion on scores alone; identifier and classifiers are fitted already.

        Parameters
        ----------
        names
            Label of each column: the distinct labels, sorted.
        labels, groups, units
            Label, group and device of each enrolled item.
        fingerprints
            Scores (n, L) of the enrolled items by the identifier; None: no fingerprints.
        embeddings
            Scores (n, L) of the enrolled items by flow classifier; None: no embeddings.

        Raises
        ------
        UsageError
            When no scores are given, or those of fingerprints without an identifier.
        """
        sides = []
        if fingerprints is not None:
            self.verdict_model.fit_scores(names, fingerprints.held, labels, fingerprints.enrolled)
            sides.append(FINGERPRINTS)
        if embeddings:
            self.embedding_model.fit_scores(names, embeddings, labels, groups, units)
            sides.append(EMBEDDINGS)
        if not sides:
            raise UsageError("no scores to fit on")
        return self._fit_fusion(names, labels, groups, units, sides)

    def _fit_fusion(
        self, names: Sequence[str], labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str],
        sides: Sequence[str],
    ) -> Self:  # fmt: skip
        self.labels_ = list(names)
        held = {side: self.verdict_model.held_ if side == FINGERPRINTS else self.embedding_model.held_
                for side in sides}  # fmt: skip
        self.fusion_ = copy.deepcopy(self.fusion)
        self.fusion_.fit(held, self.labels_, labels, balanced_case_weights(units, groups), units)
        return self

    def decide(self, windows: Windows, flows: FlowWindows | None = None) -> FusedDecision:
        """Decide on n items, each by the modalities that observe it."""
        silent = ~np.isin(np.arange(len(windows)), windows.counts["item"].unique().to_numpy())
        raw = self.verdict_model.identifier.decision_function(windows)
        return self.decide_scores(raw, None if flows is None else self.embedding_model.decision_function(flows), silent)

    def decide_scores(
        self, raw: Floats | None, embedded: Floats | None = None, silent: NDArray[np.bool_] | None = None
    ) -> FusedDecision:
        """Decide on n items by their scores.

        Parameters
        ----------
        raw
            Scores (n, L) of the identifier on counts; None: no fingerprints.
        embedded
            Scores (n, L) of the embeddings, as :meth:`EmbeddingModel.fuse` gives them; None: no embeddings.
        silent
            (n) whether no count of the item was observed; default: none is silent.
        """
        scores: dict[str, Floats] = {}
        strangeness: dict[str, Floats] = {}
        count_strangeness = None
        unseen: NDArray[np.bool_] = np.zeros(1, bool) if silent is None else silent[:, None]
        if raw is not None:
            count_strangeness = self.verdict_model.strangeness(raw)
            scores[FINGERPRINTS] = np.where(unseen, np.nan, raw)
            strangeness[FINGERPRINTS] = np.where(unseen, np.nan, count_strangeness)
        if embedded is not None:
            embeddings = self.embedding_model
            scores[EMBEDDINGS] = embedded
            strangeness[EMBEDDINGS] = embeddings.strangeness(embedded)
            if raw is not None and embeddings.strangeness_.calibration_.held_out_ < self.settings.few:
                # Thresholds from few held-out windows decide only where the counts observe nothing.
                strangeness[EMBEDDINGS] = np.where(unseen, strangeness[EMBEDDINGS], np.nan)
        # An item that no modality observes keeps the strangeness of its counts, as in a verdict without flows.
        return decide(self.fusion_.transform(scores), strangeness, self.settings, count_strangeness)
