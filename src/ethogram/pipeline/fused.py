"""Identify by fingerprints and embedded flows together: one fused verdict for each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings, KeySettings, RepresentationSettings
from ethogram.errors import InputError, LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_verdict import FusedDecision, FusedVerdictModel
from ethogram.identify.library import LEVELS, Library
from ethogram.identify.verdict import Decision, VerdictModel, stranger_probability, verdict_scores
from ethogram.pipeline.fingerprints import service_matrix
from ethogram.pipeline.library import by_source, devices_of
from ethogram.pipeline.verdicts import FLOW_SHARES, build, default_method, time_to_converge, usual_services
from ethogram.pipeline.windows import ObservedWindows
from ethogram.schema import UNKNOWN, Fallback, Inventory, MethodShare, Verdict, Windows

__all__ = ["CoarseFallback", "fit_fused_model", "identify_with_flows", "product_folds"]

MOST_FOLDS = 100
"""Number of groups of products that are held out in turn."""


def fit_fused_model(
    library: Library, store: FlowStore, settings: IdentifySettings, key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> FusedVerdictModel:  # fmt: skip
    """Fit a fused model on a library and its embeddings, at the level of the settings.

    Raises
    ------
    LibraryError
        When the library is empty.
    """
    if not library.entries:
        raise LibraryError(f"{library.name}: the library is empty")
    windows, labels = library.windows(), library.labels(settings.level)
    groups = by_source(library) if settings.method.startswith("cross-network") else None
    return FusedVerdictModel(build(settings, key, representation), settings).fit(
        windows, labels, store.windows([entry.digest for entry in library.entries]), groups,
        devices_of(library), needed_s=time_to_converge(windows, labels),
    )  # fmt: skip


@dataclass
class CoarseFallback:
    """Labels at coarser levels for items whose label is unknown.

    Calibrated on enrolled products that were held out whole, so that the score is the probability of the coarse label
    (the type, for example) for a product that is not enrolled.

    Parameters
    ----------
    library, store
        Known devices, and their embeddings if there are any.
    settings
        Settings of the verdicts that the fallback replaces.
    """

    library: Library
    store: FlowStore | None
    settings: IdentifySettings

    def levels(self) -> list[str]:
        """Levels above the requested one at which every entry has a name and at least two names differ."""
        usable = []
        for level in LEVELS[LEVELS.index(self.settings.level) + 1 :]:
            names = {entry.identity.at(level) for entry in self.library.entries}
            if "" not in names and len(names) > 1:
                usable.append(level)
        return usable

    def predict(self, windows: Windows, flows: FlowWindows | None) -> list[Fallback | None]:
        """For each item the label at the finest level that reaches ``least_score``; None where no level does."""
        fallbacks: list[Fallback | None] = [None] * len(windows)
        products = self.library.labels(self.settings.level)
        groups = product_folds(products)
        for level in self.levels():
            remaining = [i for i, fallback in enumerate(fallbacks) if fallback is None]
            if not remaining:
                break
            general = self._general_names(level, products)
            if not general:
                continue
            labels, probabilities = self._predict_level(level, groups, windows.take(remaining),
                                                        None if flows is None else flows.take(remaining))  # fmt: skip
            # The calibration rests on as many held-out cases as there are products.
            probabilities = cap_confidence(probabilities, len(set(products)))
            for i, row in zip(remaining, probabilities, strict=True):
                best = int(row.argmax())
                if row[best] >= self.settings.least_score and labels[best] in general:
                    fallbacks[i] = Fallback(level=level, label=labels[best], score=float(row[best]))  # type: ignore[arg-type]
        return fallbacks

    def _predict_level(
        self, level: str, groups: NDArray[np.int64], windows: Windows, flows: FlowWindows | None
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Names at a level, and calibrated probabilities (n, names) of the items."""
        names = self.library.labels(level)
        settings = self.settings.model_copy(
            update={"level": level, "method": default_method(packaged=True, level=level), "window_s": None}
        )
        known = self.library.windows()
        if flows is None or self.store is None:
            decision = VerdictModel(build(settings), settings).fit(known, names, groups).decide(windows)
            return decision.labels, decision.calibrated
        known_flows = self.store.windows([entry.digest for entry in self.library.entries])
        model = FusedVerdictModel(build(settings), settings)
        model.fit(known, names, known_flows, groups, devices_of(self.library))
        fused = model.decide(windows, flows)
        return fused.labels, fused.fused.probabilities

    def _general_names(self, level: str, products: Sequence[str]) -> set[str]:
        """Names shared by at least two enrolled products; with one product, a name cannot be told from the product."""
        products_of: dict[str, set[str]] = {}
        for name, product in zip(self.library.labels(level), products, strict=True):
            products_of.setdefault(name, set()).add(product)
        return {name for name, members in products_of.items() if len(members) > 1}


def product_folds(products: Sequence[str]) -> NDArray[np.int64]:
    """Groups of items that are held out together: whole products, each alone unless there are over ``MOST_FOLDS``.

    A model is fitted for every group, so with one for each product the time would grow with the square of their number.

    >>> product_folds(["plug", "lamp", "plug"]).tolist()
    [1, 0, 1]
    """
    codes = np.unique(np.asarray(products, np.str_), return_inverse=True)[1].astype(np.int64)
    return np.asarray(codes % MOST_FOLDS, np.int64)


def identify_with_flows(
    seen: ObservedWindows, library: Library, store: FlowStore, flows: FlowWindows, settings: IdentifySettings, *,
    simulated: bool = False,
) -> Inventory:  # fmt: skip
    """Identify items by their fingerprints and embedded flows.

    Parameters
    ----------
    seen
        The items.
    library, store
        Known devices and their embeddings.
    flows
        Embedded flows of the same items.
    settings
        Method on counts, level and thresholds.
    simulated
        Mark the verdicts as made on simulated traffic.

    Raises
    ------
    InputError
        When there is nothing to identify.
    LibraryError
        When the flows were embedded by another encoder than the library's.
    """
    if len(seen.windows) == 0:
        raise InputError("nothing to identify: no flow of a device")
    if flows.z.shape[1] != store.d:
        raise LibraryError(f"embeddings have {flows.z.shape[1]} dimensions, but those of the library have {store.d}")
    model = fit_fused_model(library, store, settings)
    decision = model.decide(seen.windows, flows)
    shares = RepresentationSettings(kind="prevalence", weight="presence")
    verdicts = model.verdict_model.verdicts(
        seen.windows,
        converged=seen.converged,
        presence=service_matrix(seen.windows, None, shares),
        usual=usual_services(library, settings.level, service_matrix(library.windows(), None, shares)),
        flow_shares=service_matrix(seen.windows, None, FLOW_SHARES),
        simulated=simulated,
        decision=_as_decision(model, decision, seen.windows),
    )
    devices = [_with_methods(verdict, item, decision, flows) for item, verdict in enumerate(verdicts)]
    unknown = [i for i, verdict in enumerate(devices) if verdict.verdict == UNKNOWN and verdict.flows]
    if unknown:
        fallbacks = CoarseFallback(library, store, settings).predict(seen.windows.take(unknown), flows.take(unknown))
        for i, fallback in zip(unknown, fallbacks, strict=True):
            devices[i] = devices[i].model_copy(update={"fallback": fallback})
    return Inventory(library=f"{library.name} {library.digest}", devices=devices, encoder=store.encoder)


def cap_confidence(probabilities: NDArray[np.float64], held_out: float) -> NDArray[np.float64]:
    """Shrink probabilities (n, L) towards uniform so that none exceeds what ``held_out`` cases can support.

    With m held-out cases and L labels, p becomes m / (m + 2) p + (2 / (m + 2)) / L (the rule of succession).
    :meth:`ethogram.identify.calibrate.Calibration.predict_proba` does the same for a single method; without it, fused
    probabilities would exceed the bound of the methods that they come from.

    >>> cap_confidence(np.array([[1.0, 0.0]]), 8).round(2).tolist()
    [[0.9, 0.1]]
    """
    known = held_out / (held_out + 2)
    result: NDArray[np.float64] = known * probabilities + (1 - known) / max(probabilities.shape[1], 2)
    return result


def _as_decision(model: FusedVerdictModel, decision: FusedDecision, windows: Windows) -> Decision:
    calibration = model.verdict_model.calibration_
    calibrated = cap_confidence(decision.fused.probabilities, calibration.held_out_ + calibration.cases)
    best = decision.best
    none = stranger_probability(decision.strangeness)
    if not model.settings.closed:
        calibrated = calibrated * (1.0 - none)[:, None]
    stated = calibrated[np.arange(len(best)), best]
    return Decision(
        labels=decision.labels, raw=model.verdict_model.identifier.decision_function(windows), calibrated=calibrated,
        best=best, tied=decision.tied, strangeness=decision.strangeness, unknown=decision.unknown,
        score=verdict_scores(stated, decision.strangeness, decision.unknown, none),
    )  # fmt: skip


def _with_methods(verdict: Verdict, item: int, decision: FusedDecision, flows: FlowWindows) -> Verdict:
    """Add each method's own result and weight to the verdict, as data and in its reason."""
    shares, phrases = [], []
    fused = decision.fused
    total = sum(float(weight[item]) for weight in fused.weights.values())
    for side in fused.sides:
        logs, weight = fused.side_logs.get(side), fused.weights.get(side)
        if logs is None or weight is None or not np.isfinite(logs[item]).any():
            continue
        best = int(np.nanargmax(logs[item]))
        strangeness = float(decision.side_strangeness[side][item])
        shares.append(MethodShare(
            method="embeddings" if side == "embeddings" else "fingerprints", weight=float(weight[item]),
            label=decision.labels[best], score=float(np.exp(logs[item, best])),
            strangeness=strangeness if np.isfinite(strangeness) else 2.0,
            flows=int(flows.flows[item]) if side == "embeddings" else verdict.flows,
        ))  # fmt: skip
        phrases.append(f"{side} {float(weight[item]) / total:.0%}" if total else side)
    reason = f"{verdict.reason}; by {' and '.join(phrases)}" if len(phrases) > 1 else verdict.reason
    return verdict.model_copy(update={"methods": shares, "reason": reason})
