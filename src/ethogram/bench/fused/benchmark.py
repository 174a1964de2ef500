"""Benchmark of fingerprints and embeddings together, across networks: each alone, fused, and baselines.

Verdicts are those of :class:`~ethogram.identify.fused_verdict.FusedVerdictModel`; a method names its identifier, flow
classifiers and fusion. Scores are computed once and shared by methods.

Each network tests in turn. Encoders, flow classifiers, calibration, weights and thresholds are fitted on the other
networks; calibration and weights use scores of each of these networks when it is held out. Encoders have seen the
flows of held-out networks without labels, so the weight of the embeddings may be slightly too high. Test flows are
never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

import ethogram.bench.counts.build
import ethogram.bench.counts.items
import ethogram.bench.flows.split
import ethogram.pipeline.fingerprints
import ethogram.pipeline.library
import ethogram.pipeline.verdicts
import ethogram.pipeline.windows
import ethogram.schema
from ethogram._code_digest import CodePart
from ethogram.bench import splits
from ethogram.bench.counts.task import count_methods
from ethogram.bench.flows.encoders import Encoders, encoder_code
from ethogram.bench.flows.task import FlowMethod, flow_methods
from ethogram.bench.fused import figures, folds, items, scores
from ethogram.bench.fused.figures import ItemPredictions, figures_of
from ethogram.bench.fused.folds import FusedData, FusedFold
from ethogram.bench.fused.scores import FlowScores, Scorer
from ethogram.bench.fused.task import FusedMethod, FusedTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, identity_of
from ethogram.config import IdentifySettings
from ethogram.identify.fused_decision import FusedDecision
from ethogram.identify.fused_verdict import FusedVerdictModel
from ethogram.identify.fusion import Fusion

__all__ = ["FusedBenchmark"]


@dataclass
class FusedBenchmark(BenchmarkOptions):
    """Benchmark of fingerprints and embeddings together over a folder of corpora.

    Parameters
    ----------
    method_files
        Folder of methods; None: the bundled ones.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, "ethogram.fingerprint", "ethogram.identify", ethogram.pipeline.fingerprints,
        ethogram.pipeline.library, ethogram.pipeline.verdicts, ethogram.pipeline.windows,
        ethogram.bench.counts.build, ethogram.bench.counts.items, splits, figures, folds, items, scores,
        ethogram.bench.flows.split,
    )  # fmt: skip
    """Other code that the figures depend on. Rows also have the digest of their encoder's own code."""

    method_files: Path | None = None

    def __post_init__(self) -> None:
        self.data = FusedData(self.root, self.cards, self.cache_folder, on_stage=self.on_stage)
        self.encoders = Encoders(self.flow_cache, threads=self.threads, on_stage=self.on_stage)
        self.scorer = Scorer(
            self.data, self.encoders, count_methods(self.method_files), flow_methods(self.method_files)
        )

    def asks(self, task: FusedTask, method: FusedMethod) -> bool:
        """Whether the task runs the method."""
        return task.runs(method)

    def identity(self, task: FusedTask, method: FusedMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        flows = [self.scorer.of_flows(name) for name in method.encoders]
        digests = [method.digest]
        if method.fingerprints:
            digests.append(self.scorer.of_counts(method.fingerprints).digest)
        digests += [flow.digest for flow in flows]
        code = "".join(encoder_code(flow) for flow in flows)
        return identity_of(
            task, method, data=self.data.digest(task), code=type(self), method_text="".join(digests), encoder=code
        )

    def measure(self, task: FusedTask, method: FusedMethod) -> Row:
        """Figures of one method on one task."""
        flows = [self.scorer.of_flows(name) for name in method.encoders]
        folds = self.data.folds(task)
        # A method without random numbers gives the same result for every seed.
        drawn = any(not flow.encoder_kind.deterministic for flow in flows)
        seeds = [self._predict(task, method, flows, seed) for seed in range(method.seeds if drawn else 1)]
        encoders = [self.scorer.embedded(task, folds[0], flow, 0)[1] for flow in flows]
        cost: dict[str, object] = {}
        if encoders:
            cost = {"parameters": sum(encoder.parameters for encoder in encoders),
                    "embedding": sum(encoder.d for encoder in encoders),
                    "origin": encoders[0].origin, "licence": encoders[0].licence}  # fmt: skip
        first = flows[0].encoder if flows else None
        figures = figures_of(seeds, task.seed)
        figures["details"]["left_out"] = sum(fold.strangers.size for fold in folds)
        return {
            "n": len(seeds[0].truth), "n_enrol": sum(len(fold.enrol) for fold in folds),
            "labels": len(set(seeds[0].truth)), "where": "across",
            "train": sorted({name for fold in folds for name in self.data.enrolled(task, fold)}),
            "test": [fold.network for fold in folds],
            "split": {"digest": "+".join(fold.split.digest for fold in folds), "name": f"each of {len(folds)} in turn"},
            "cost": cost,
            "encoder": {} if first is None else {"kind": first.kind, "size": first.size, "view": first.view},
            **figures,
        }  # fmt: skip

    def _predict(self, task: FusedTask, method: FusedMethod, flows: Sequence[FlowMethod], seed: int) -> ItemPredictions:
        """Verdicts of one seed in all folds."""
        predictions = ItemPredictions()
        truth = self.data.items(task).items.truth
        for fold in self.data.folds(task):
            decision, fusion = self._decide(task, fold, method, flows, seed)
            known, rows = len(fold.test), pl.Series(fold.test)
            confidence = decision.fused.probabilities.max(axis=1)
            predictions.truth += truth[task.level].gather(rows).to_list()
            predictions.best += [fold.labels[b] for b in decision.best[:known]]
            predictions.confidence += confidence[:known].tolist()
            predictions.unknown += decision.unknown[:known].tolist()
            predictions.strangers_unknown += decision.unknown[known:].tolist()
            predictions.strangers_confidence += confidence[known:].tolist()
            predictions.cluster += truth["cluster"].gather(rows).to_list()
            predictions.network += [fold.network] * known
            predictions.weights[fold.network] = {name: round(value, 4) for name, value in fusion.weights_.items()}
            predictions.softness[fold.network] = fusion.softness_
        return predictions

    def _decide(
        self, task: FusedTask, fold: FusedFold, method: FusedMethod, flows: Sequence[FlowMethod], seed: int
    ) -> tuple[FusedDecision, Fusion]:
        """The product's verdicts on the items of :attr:`FusedFold.asked`, and its fitted fusion."""
        counts = self.scorer.fingerprints(task, fold, method.fingerprints) if method.fingerprints else None
        embeddings: dict[str, FlowScores] = {}
        if counts is None or self._has_flows(task, fold):
            embeddings = {f"{flow.name}/{name}": self.scorer.flows(task, fold, flow, name, seed)
                          for flow in flows for name in method.experts}  # fmt: skip
        model = FusedVerdictModel(None if counts is None else counts.identifier, IdentifySettings(),
                                  fusion=method.fusion)  # fmt: skip
        model.fit_scores(
            fold.labels, fold.names, fold.groups, fold.units,
            fingerprints=None if counts is None else counts.enrolled,
            embeddings={name: scores.enrolled for name, scores in embeddings.items()},
        )  # fmt: skip
        embedded = {name: scores.asked for name, scores in embeddings.items()}
        decision = model.decide_scores(
            None if counts is None else counts.asked, model.embedding_model.fuse(embedded) if embedded else None
        )
        return decision, model.fusion_

    def _has_flows(self, task: FusedTask, fold: FusedFold) -> bool:
        owners = self.data.items(task).owner.values()
        return any(np.isin(owner, fold.asked).any() for owner in owners)
