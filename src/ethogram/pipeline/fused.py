"""Both methods together, for users: a library and its flow side, captures, and one verdict for each item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings, KeySettings, RepresentationSettings
from ethogram.errors import InputError, LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_judge import FusedDecision, FusedJudge
from ethogram.identify.judge import Decision, Judge
from ethogram.identify.library import LEVELS, Library
from ethogram.pipeline.fingerprints import service_matrix
from ethogram.pipeline.identify import (
    ObservedWindows,
    build,
    by_source,
    default_method,
    devices_of,
    time_to_converge,
    usual_services,
)
from ethogram.schema import UNKNOWN, Fallback, Inventory, MethodShare, Verdict, Windows

__all__ = ["CoarseFallback", "fused_judge_of", "identify_with_flows"]


def fused_judge_of(
    library: Library, store: FlowStore, settings: IdentifySettings, key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> FusedJudge:  # fmt: skip
    """Learn a library and its flow side at the level that the settings name."""
    if not library.entries:
        raise LibraryError(f"{library.name}: the library is empty")
    windows, labels = library.windows(), library.labels(settings.level)
    groups = by_source(library) if settings.method.startswith("cross-network") else None
    return FusedJudge(build(settings, key, representation), settings).fit(
        windows, labels, store.windows([entry.digest for entry in library.entries]), groups,
        devices_of(library), needed_s=time_to_converge(windows, labels),
    )  # fmt: skip


@dataclass
class CoarseFallback:
    """What is said at coarser levels of devices whose label is unknown.

    It is calibrated on enrolled products that were left out whole: so sure can one be of the type of a new product.

    Parameters
    ----------
    library, store
        Known devices, and their flow side where there is one.
    settings
        Of the verdicts that it stands in for.
    """

    library: Library
    store: FlowStore | None
    settings: IdentifySettings

    def levels(self) -> list[str]:
        """Levels above the one asked at which every entry has a name and there are two names at least."""
        found = []
        for level in LEVELS[LEVELS.index(self.settings.level) + 1 :]:
            names = {entry.identity.at(level) for entry in self.library.entries}
            if "" not in names and len(names) > 1:
                found.append(level)
        return found

    def say(self, windows: Windows, flows: FlowWindows | None) -> list[Fallback | None]:
        """For each item the finest level that is sure enough."""
        found: list[Fallback | None] = [None] * len(windows)
        products = self.library.labels(self.settings.level)
        groups = np.unique(np.asarray(products, np.str_), return_inverse=True)[1].astype(np.int64)
        for level in self.levels():
            left = [i for i, one in enumerate(found) if one is None]
            if not left:
                break
            several = self._several(level, products)
            if not several:
                continue
            labels, probabilities = self._judged(level, groups, windows.take(left),
                                                 None if flows is None else flows.take(left))  # fmt: skip
            # As many products as were left out whole are what this sureness rests on.
            probabilities = cap_confidence(probabilities, len(set(products)))
            for i, row in zip(left, probabilities, strict=True):
                best = int(row.argmax())
                if row[best] >= self.settings.least_score and labels[best] in several:
                    found[i] = Fallback(level=level, label=labels[best], score=float(row[best]))  # type: ignore[arg-type]
        return found

    def _judged(
        self, level: str, groups: NDArray[np.int64], windows: Windows, flows: FlowWindows | None
    ) -> tuple[list[str], NDArray[np.float64]]:
        names = self.library.labels(level)
        settings = self.settings.model_copy(
            update={"level": level, "method": default_method(packaged=True, level=level), "window_s": None}
        )
        known = self.library.windows()
        if flows is None or self.store is None:
            judge = Judge(build(settings), settings).fit(known, names, groups)
            decision = judge.decide(windows)
            return decision.labels, decision.calibrated
        side = self.store.windows([entry.digest for entry in self.library.entries])
        units = devices_of(self.library)
        fused = FusedJudge(build(settings), settings).fit(known, names, side, groups, units).decide(windows, flows)
        return fused.labels, fused.fused.probabilities

    def _several(self, level: str, products: Sequence[str]) -> set[str]:
        """Names of which two products are enrolled: what only one product shows is that product, and no kind."""
        known: dict[str, set[str]] = {}
        for name, product in zip(self.library.labels(level), products, strict=True):
            known.setdefault(name, set()).add(product)
        return {name for name, mine in known.items() if len(mine) > 1}


def identify_with_flows(
    seen: ObservedWindows, library: Library, store: FlowStore, flows: FlowWindows, settings: IdentifySettings, *,
    simulated: bool = False,
) -> Inventory:  # fmt: skip
    """Say what every item is, by fingerprints and embedded flows.

    Parameters
    ----------
    seen
        The items.
    library, store
        Known devices, and their flow side.
    flows
        Embedded flows of the same items.
    settings
        The method on counts, level and thresholds.
    simulated
        Whether the traffic was made up.

    Raises
    ------
    InputError
        When there is nothing to identify.
    LibraryError
        When the flow side is of another encoder than the flows.
    """
    if len(seen.windows) == 0:
        raise InputError("nothing to identify: no flow of a device")
    if flows.z.shape[1] != store.d:
        raise LibraryError(f"flows of {flows.z.shape[1]} numbers, but the library's flow side has {store.d}")
    fused = fused_judge_of(library, store, settings)
    decision = fused.decide(seen.windows, flows)
    shares = RepresentationSettings(kind="prevalence", weight="presence")
    verdicts = fused.judge.verdicts(
        seen.windows,
        converged=seen.converged,
        presence=service_matrix(seen.windows, None, shares),
        usual=usual_services(library, settings.level, service_matrix(library.windows(), None, shares)),
        simulated=simulated,
        decision=_as_decision(fused, decision, seen.windows),
    )
    found = [_with_methods(one, item, decision, flows) for item, one in enumerate(verdicts)]
    unsaid = [i for i, one in enumerate(found) if one.verdict == UNKNOWN and one.flows]
    if unsaid:
        said = CoarseFallback(library, store, settings).say(seen.windows.take(unsaid), flows.take(unsaid))
        for i, fallback in zip(unsaid, said, strict=True):
            found[i] = found[i].model_copy(update={"fallback": fallback})
    return Inventory(library=f"{library.name} {library.digest}", devices=found, encoder=store.encoder)


def cap_confidence(probabilities: NDArray[np.float64], held_out: int) -> NDArray[np.float64]:
    """Probabilities (n, L) that are no surer than so many held-out cases allow: (m + 1) of (m + 2), with L labels.

    As :meth:`ethogram.identify.calibrate.Calibration.apply` does it for each method; what is fused would be surer.

    >>> cap_confidence(np.array([[1.0, 0.0]]), 8).round(2).tolist()
    [[0.9, 0.1]]
    """
    known = held_out / (held_out + 2)
    result: NDArray[np.float64] = known * probabilities + (1 - known) / max(probabilities.shape[1], 2)
    return result


def _as_decision(fused: FusedJudge, found: FusedDecision, windows: Windows) -> Decision:
    calibrated = cap_confidence(found.fused.probabilities, fused.judge.calibration_.held_out_)
    return Decision(
        labels=found.labels, raw=fused.judge.identifier.scores(windows), calibrated=calibrated,
        best=found.best, tied=np.zeros(len(found.best), bool), strangeness=found.strangeness, unknown=found.unknown,
    )  # fmt: skip


def _with_methods(verdict: Verdict, item: int, found: FusedDecision, flows: FlowWindows) -> Verdict:
    """The verdict with what each method said, and how much it weighed, in data and in words."""
    shares, words = [], []
    total = sum(float(weight[item]) for weight in found.fused.weights.values())
    for side in found.fused.sides:
        logs, weight = found.fused.side_logs.get(side), found.fused.weights.get(side)
        if logs is None or weight is None or not np.isfinite(logs[item]).any():
            continue
        best = int(np.nanargmax(logs[item]))
        strange = float(found.side_strangeness[side][item])
        looked = int(flows.flows[item]) if side == "embeddings" else verdict.flows
        shares.append(MethodShare(
            method="embeddings" if side == "embeddings" else "fingerprints", weight=float(weight[item]),
            label=found.labels[best], score=float(np.exp(logs[item, best])),
            strangeness=strange if np.isfinite(strange) else 2.0, flows=looked,
        ))  # fmt: skip
        words.append(f"{side} {float(weight[item]) / total:.0%}" if total else side)
    reason = f"{verdict.reason}; by {' and '.join(words)}" if len(words) > 1 else verdict.reason
    return verdict.model_copy(update={"methods": shares, "reason": reason})
