"""The first minute: each laboratory in turn is left out, and its devices are identified by the others.

The weights and thresholds that judge a site are fitted on the other sites, where each of these is left out of its own
library too. Nothing of the tested site is seen: no device, no unit, no weight, no threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.ladder.fit import SURE_COST, Example, fit_weights, thresholds_for
from ethogram.bench.ladder.items import CONDITIONS, Condition, LadderItems, Truth
from ethogram.identify import metrics
from ethogram.identify.ladder import LadderDecision, LadderWeights, platform_shares
from ethogram.identify.ladder_library import LadderLibrary
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import DEFAULT_THRESHOLD, LadderJudge
from ethogram.schema import KINDS, LadderEvidence, LadderVerdict

__all__ = ["LadderMeasurement", "figures", "fit_on", "platform_figures", "same_kind"]

SILENT = ("unknown", "platform")
"""Levels that state nothing that could be scored."""
LEVELS = ("vendor", "kind", "kinds", "family", "model", "stated")


def same_kind(a: str, b: str) -> bool:
    """Whether two kinds count as one: those of one coarse class, except for the class of everything else.

    >>> same_kind("doorbell", "camera"), same_kind("toy", "printer"), same_kind("phone", "tablet")
    (True, False, False)
    """
    first, second = (KINDS[kind].coarse if kind in KINDS else kind for kind in (a, b))
    return a == b or (first == second and first not in ("other", "non-iot"))


@dataclass
class LadderMeasurement:
    """Judges the devices of every site by what the other sites enrolled.

    Parameters
    ----------
    items
        Devices of all corpora.
    knowledge
        The knowledge pack.
    on_stage
        Called with a line on the current step.
    """

    items: LadderItems
    knowledge: Knowledge
    on_stage: Callable[[str], None] | None = None
    _fitted: dict[tuple[tuple[int, ...], bool], LadderLibrary] = field(default_factory=dict)
    _known: dict[Condition, dict[int, LadderEvidence]] = field(default_factory=dict)
    _weights: dict[str, LadderWeights] = field(default_factory=dict)

    def same_vendor(self, a: str, b: str) -> bool:
        """Whether two vendors count as one.

        These are the same brand; a brand and its owner; a brand and a line of it (Philips and Philips Hue); a maker and
        its own domain.
        """
        if not a or not b:
            return False
        first, second = self._vendor(a), self._vendor(b)
        line = first.startswith(f"{second}-") or second.startswith(f"{first}-")
        return line or self.knowledge.owner(first) == self.knowledge.owner(second)

    def _vendor(self, text: str) -> str:
        # A device's own domain names its maker by the first label: maker.example.
        return self.knowledge.vendor(text.partition(".")[0]) or text.partition(".")[0] if "." in text else text

    def predictions(self, *, new_vendor: bool = False) -> pl.DataFrame:
        """One row per device, condition and source left out; see :func:`figures`.

        Parameters
        ----------
        new_vendor
            Leave the vendor of the judged device out of the library, too. Sources are then not left out.
        """
        rows: list[dict[str, object]] = []
        for site in self.items.tested_sites:
            self._tell(f"ladder, without {site}")
            weights = self.weights_without(site)
            tested = self.items.tested(site)
            if not new_vendor:
                rows += self._rows(site, tested, self.items.enrolled([site], tested), weights, SOURCES)
                continue
            for vendor in sorted({self.items.truth[i].vendor for i in tested} - {""}):
                judged = [i for i in tested if self.items.truth[i].vendor == vendor]
                rows += self._rows(site, judged, self.items.enrolled([site], judged, vendor), weights, ())
        return pl.DataFrame(rows, infer_schema_length=None)

    def platform_predictions(self) -> pl.DataFrame:
        """One row per device and platform about which something is publicly known; see :func:`platform_figures`."""
        condition = next(c for c in CONDITIONS if c.names and c.mac)
        rows: list[dict[str, object]] = []
        for site in self.items.tested_sites:
            weights, public = self.weights_without(site), self.public(condition)
            least = weights.thresholds.get("platform", DEFAULT_THRESHOLD)
            sure = max(least, weights.sure.get("platform", 0.0))
            for i in self.items.tested(site):
                truth = self.items.truth[i]
                rows += [
                    {"site": site, "network": self.items.networks[i], "model": truth.model, "platform": platform,
                     "p": p, "shown": p >= least, "sure": p >= sure, "right": truth.platforms[platform]}
                    for platform, p in platform_shares(public[i], weights.platform).items()
                    if platform in truth.platforms
                ]  # fmt: skip
        return pl.DataFrame(rows)

    def weights_without(self, site: str) -> LadderWeights:
        """Weights and thresholds fitted on all other sites; they are kept."""
        if site not in self._weights:
            others = [name for name in self.items.tested_sites if name != site]
            self._weights[site] = fit_on(self, others, [site])
        return self._weights[site]

    def evidence(
        self, tested: Sequence[int], library: Sequence[int], condition: Condition, weights: LadderWeights | None = None
    ) -> tuple[LadderJudge, list[LadderEvidence]]:
        """Evidence about tested items from a library of other items, network by network."""
        windows = self.items.seen(condition)
        judge = self.judge(library, condition, weights)
        public = self.public(condition)
        evidence = [replace(public[i], terms=list(public[i].terms), owners=dict(public[i].owners),
                            vendor_kinds=dict(public[i].vendor_kinds)) for i in tested]  # fmt: skip
        judge.add_library(evidence, windows.take(list(tested)))
        return judge, evidence

    def judge(
        self, library: Sequence[int], condition: Condition, weights: LadderWeights | None = None
    ) -> LadderJudge:  # fmt: skip
        """A judge whose library is made of items."""
        return LadderJudge(self._products(tuple(library), condition), self.knowledge, weights or LadderWeights())

    def judge_without(self, site: str, condition: Condition) -> LadderJudge:
        """The judge of a site: nothing of it is in library, weights or thresholds."""
        return self.judge(self.items.enrolled([site], self.items.tested(site)), condition, self.weights_without(site))

    def _products(self, library: tuple[int, ...], condition: Condition) -> LadderLibrary:
        """A library fitted on items; the last one is kept, since conditions with the same names share it."""
        key = (library, condition.names)
        if key not in self._fitted:
            windows = self.items.seen(condition).take(list(library))
            fitted = {k: products for k, products in self._fitted.items() if k[0] == library}
            self._fitted = {**fitted, key: LadderLibrary().fit(windows, self.items.identities(library))}
        return self._fitted[key]

    def public(self, condition: Condition) -> dict[int, LadderEvidence]:
        """Public knowledge about every item, network by network, since it depends on what a network has in common."""
        if condition not in self._known:
            windows, judge = self.items.seen(condition), LadderJudge(LadderLibrary(), self.knowledge, LadderWeights())
            identity = self.items.identity if condition.mac else None
            by_item: dict[int, LadderEvidence] = {}
            for network in sorted(set(self.items.networks)):
                mine = [i for i, name in enumerate(self.items.networks) if name == network]
                by_item |= dict(zip(mine, judge.public_evidence(windows.take(mine), identity), strict=True))
            self._known[condition] = by_item
        return self._known[condition]

    def _rows(
        self, site: str, tested: Sequence[int], library: Sequence[int], weights: LadderWeights, sources: Iterable[str]
    ) -> Iterator[dict[str, object]]:
        for condition in CONDITIONS:
            judge, evidence = self.evidence(tested, library, condition, weights)
            cases = [("", evidence)]
            if condition.names and condition.mac:
                cases += [(source, [without_source(item, source) for item in evidence]) for source in sources]
            judged = (
                (source, i, item, decision)
                for source, seen in cases
                for i, item, decision in zip(tested, seen, judge.ladder.decide(seen), strict=True)
            )
            for source, i, item, decision in judged:
                truth = self.items.truth[i]
                yield {
                    "condition": condition.name, "without": source, "site": site,
                    "network": self.items.networks[i],
                    "item": i, "model": truth.model, "vendor": truth.vendor, "kind": truth.kind, "named": item.named,
                    "has_mac": item.has_mac, **_least(weights), **self._scores(decision, truth),
                    **self.stated(judge.verdict(item, decision), truth),
                }  # fmt: skip

    def scored(self, decision: LadderDecision, truth: Truth, weights: LadderWeights) -> dict[str, object]:
        """Most probable labels, whether they are right, and the probabilities from which each level is stated."""
        return {**_least(weights), **self._scores(decision, truth)}

    def _scores(self, decision: LadderDecision, truth: Truth) -> dict[str, object]:
        vendor, vendor_p = next(iter(decision.vendors.items()), ("", 0.0))
        kinds = list(decision.kinds.items())[:2]
        (of_vendor, of_kind), family_p = next(iter(decision.families.items()), (("", ""), 0.0))
        model, model_p = next(iter(decision.models.items()), ("", 0.0))
        right = self.same_vendor(vendor, truth.vendor)
        return {
            "vendor_best": vendor, "vendor_p": vendor_p, "vendor_right": right,
            "kind_best": kinds[0][0], "kind_p": kinds[0][1], "kind_right": same_kind(kinds[0][0], truth.kind),
            "kinds_best": " or ".join(label for label, _ in kinds), "kinds_p": sum(p for _, p in kinds),
            "kinds_right": any(same_kind(label, truth.kind) for label, _ in kinds),
            "family_best": f"{of_vendor}/{of_kind}", "family_p": family_p,
            "family_right": self.same_vendor(of_vendor, truth.vendor) and same_kind(of_kind, truth.kind),
            "model_best": model, "model_p": model_p, "model_right": model == truth.model,
        }  # fmt: skip

    def stated(self, verdict: LadderVerdict, truth: Truth) -> dict[str, object]:
        """Whether what the verdict states is right; a platform cannot be scored and counts as silent."""
        labels, right = verdict.labels, False
        silent = verdict.level in SILENT
        if verdict.level == "model":
            right = truth.model in labels
        elif verdict.level == "kind":
            right = any(same_kind(label, truth.kind) for label in labels)
        elif verdict.level in ("vendor", "family"):
            pairs = [label.rpartition("/") if verdict.level == "family" else (label, "", "") for label in labels]
            right = any(
                (not truth.vendor or self.same_vendor(vendor, truth.vendor))
                and (not kind or same_kind(kind, truth.kind))
                for vendor, _, kind in pairs
            )  # fmt: skip
        return {
            "statement": verdict.statement, "stated_level": verdict.level, "stated_p": 0.0 if silent else verdict.score,
            "stated_right": right,
        }  # fmt: skip

    def _tell(self, line: str) -> None:
        if self.on_stage is not None:
            self.on_stage(line)


SOURCES: dict[str, tuple[str, ...]] = {
    "names": ("name ", "own domain", "share of names", "word "), "ports": ("port ",), "multicast": ("group ",),
    "MAC": ("mac ",), "library": ("library", "ratio"), "behaviour": ("behaviour",), "breadth": ("breadth",),
    "kinds of vendors": (),
}  # fmt: skip
"""Sources of evidence, and how the names of their features begin."""


def without_source(item: LadderEvidence, source: str) -> LadderEvidence:
    """The evidence without one source; the weights stay as they are."""
    begins = SOURCES[source]
    terms = [term for term in item.terms if not (begins and term.feature.startswith(begins))]
    kinds = {} if source == "kinds of vendors" else item.vendor_kinds
    return replace(item, terms=terms, vendor_kinds=kinds)


def fit_on(measurement: LadderMeasurement, sites: Sequence[str], left_out: Sequence[str] = ()) -> LadderWeights:
    """Weights and thresholds from the devices of some sites, each judged without its own site.

    Parameters
    ----------
    measurement
        Devices and knowledge.
    sites
        Sites whose devices are examples.
    left_out
        Sites that are in no library either.
    """
    items = measurement.items
    examples: list[Example] = []
    for site in sites:
        tested = items.tested(site)
        library = items.enrolled([site, *left_out], tested)
        for condition in CONDITIONS:
            _, evidence = measurement.evidence(tested, library, condition)
            examples += [
                Example(item, items.truth[i], 1 / len(CONDITIONS), site)
                for i, item in zip(tested, evidence, strict=True)
            ]
    weights = fit_weights(examples, measurement.same_vendor)
    judge = LadderJudge(LadderLibrary(), measurement.knowledge, weights)
    decisions = judge.ladder.decide([example.evidence for example in examples])
    truth = [example.truth for example in examples]
    same = measurement.same_vendor
    return replace(
        weights,
        thresholds=thresholds_for(decisions, truth, same, same_kind),
        sure=thresholds_for(decisions, truth, same, same_kind, SURE_COST),
    )


def _least(weights: LadderWeights) -> dict[str, float]:
    """Threshold of each level; a statement is made or not."""
    thresholds = {level: weights.thresholds.get(level, DEFAULT_THRESHOLD) for level in LEVELS}
    return {f"{level}_least": value for level, value in (thresholds | {"stated": 1e-9}).items()}


def figures(predictions: pl.DataFrame) -> pl.DataFrame:
    """Right, wrong and silent shares of each condition and level, with utility and calibration error.

    Intervals are 95 % intervals of a bootstrap in which whole networks are drawn.
    """
    rows = []
    for (condition, without), table in predictions.group_by("condition", "without", maintain_order=True):
        if "names" in str(condition):
            # A network without a single name cannot be scored with names.
            with_names = table.filter(pl.col("named"))["network"].unique()
            table = table.filter(pl.col("network").is_in(with_names.implode()))  # noqa: PLW2901
        for level in LEVELS:
            scored = table.filter(pl.col("vendor") != "") if level in ("vendor", "family") else table
            stated = scored[f"{level}_p"].to_numpy() >= scored[f"{level}_least"].to_numpy()
            right = scored[f"{level}_right"].to_numpy()
            networks = scored["network"].to_list()
            right_low, right_high = _interval(stated & right, networks)
            wrong_low, wrong_high = _interval(stated & ~right, networks)
            rows.append({
                "condition": condition, "without": without, "level": level, "n": scored.height,
                "right": float((stated & right).mean()), "wrong": float((stated & ~right).mean()),
                "right_low": right_low, "right_high": right_high, "wrong_low": wrong_low, "wrong_high": wrong_high,
                "silent": float((~stated).mean()),
                "utility": float((stated & right).mean() - 2 * (stated & ~right).mean()),
                "best": float(right.mean()),
                "calibration_error": metrics.calibration_error(scored[f"{level}_p"].to_numpy(), right),
            })  # fmt: skip
    return pl.DataFrame(rows)


def platform_figures(predictions: pl.DataFrame) -> dict[str, float]:
    """Number of claims and devices, shares right and wrong of what is shown and sure, and the calibration error."""
    right = predictions["right"].to_numpy()
    result: dict[str, float] = {
        "claims": predictions.height, "products": predictions["model"].n_unique(),
        "networks": predictions["network"].n_unique(), "holds": float(right.mean()),
        "calibration_error": metrics.calibration_error(predictions["p"].to_numpy(), right),
    }  # fmt: skip
    for name in ("shown", "sure"):
        stated = predictions[name].to_numpy()
        result |= {f"{name}_right": float((stated & right).mean()), f"{name}_wrong": float((stated & ~right).mean())}
    return result


def _interval(hit: NDArray[np.bool_], networks: Sequence[str]) -> tuple[float, float]:
    return metrics.bootstrap_interval(lambda drawn: float(hit[drawn].mean()), networks)
