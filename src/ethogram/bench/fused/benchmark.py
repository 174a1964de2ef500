"""Benchmark of fingerprints and embeddings together, across networks: each alone, fused, and baselines.

Each network tests in turn. Encoders, flow classifiers, calibration, weights and thresholds are fitted on the other
networks; calibration and weights use scores of each of these networks when it is held out. Encoders have seen the
flows of held-out networks without labels, so the weight of the embeddings may be slightly too high. Test flows are
never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from ethogram.bench import metrics, splits
from ethogram.bench.code_digest import CodePart
from ethogram.bench.corpora.card import Card
from ethogram.bench.corpora.load import CACHE
from ethogram.bench.counts.task import count_methods
from ethogram.bench.flows.encoders import Encoders, encoder_code, replace_seed
from ethogram.bench.flows.task import FlowMethod, flow_methods
from ethogram.bench.fused import figures, folds, items, scores
from ethogram.bench.fused.figures import ItemPredictions, figures_of
from ethogram.bench.fused.folds import FusedData, FusedFold
from ethogram.bench.fused.scores import ModalityScorer, ModalityScores
from ethogram.bench.fused.task import FusedMethod, FusedTask, asks_fused
from ethogram.bench.row import Row, identity_of
from ethogram.config import IdentifySettings
from ethogram.identify.fused_decision import FusedDecision, SideStrangeness, decide
from ethogram.identify.fusion import Fusion, balanced_case_weights, fuse_classifiers

__all__ = ["FusedBenchmark"]

@dataclass
class FusedBenchmark:
    """Benchmark of fingerprints and embeddings together over a folder of corpora.

    Parameters
    ----------
    root
        The folder that holds the corpora.
    cards
        Known corpora by name.
    cache_folder
        Cache of loaded tables, flows and encoders; None: no cache.
    threads
        Threads for numerical libraries; 0: one per core.
    on_stage
        Called with a line on the current step.
    method_files
        Folder of methods; None: the bundled ones.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, "ethogram.fingerprint", "ethogram.identify", ethogram.pipeline.fingerprints,
        ethogram.pipeline.library, ethogram.pipeline.verdicts, ethogram.pipeline.windows,
        ethogram.bench.counts.build, ethogram.bench.counts.items, metrics, splits, figures,
        folds, items, scores, ethogram.bench.flows.split,
    )  # fmt: skip
    """Code beside this module that decides a figure. Rows also have the digest of their encoder's own code."""

    root: Path
    cards: Mapping[str, Card]
    cache_folder: Path | None = CACHE
    threads: int = 0
    on_stage: Callable[[str], None] | None = None
    method_files: Path | None = None

    def __post_init__(self) -> None:
        folder = None if self.cache_folder is None else self.cache_folder.expanduser() / "flows"
        self.data = FusedData(self.root, self.cards, self.cache_folder, self.on_stage)
        self.encoders = Encoders(folder, threads=self.threads, on_stage=self.on_stage)
        self.scorer = ModalityScorer(
            self.data, self.encoders, count_methods(self.method_files), flow_methods(self.method_files)
        )

    def asks(self, task: FusedTask, method: FusedMethod) -> bool:
        """Whether the task runs the method."""
        return asks_fused(task, method)

    def identity(self, task: FusedTask, method: FusedMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        own = method.digest
        if method.fingerprints:
            own += self.scorer.of_counts(method.fingerprints).digest
        flows = [self.scorer.of_flows(name) for name in method.encoders]
        own, code = own + "".join(flow.digest for flow in flows), "".join(encoder_code(flow) for flow in flows)
        return identity_of(task, method, data=self.data.digest(task), code=type(self), own=own, encoder=code)

    def measure(self, task: FusedTask, method: FusedMethod) -> Row:
        """Figures of one method on one task."""
        flows = [self.scorer.of_flows(name) for name in method.encoders]
        folds = self.data.folds(task)
        # A method without random numbers gives the same result for every seed.
        drawn = any(replace_seed(flow, 1) == 1 for flow in flows)
        seeds = [self._predict(task, method, flows, seed) for seed in range(method.seeds if drawn else 1)]
        made = [self.scorer.embedded(task, folds[0], flow, 0)[1] for flow in flows]
        cost: dict[str, object] = {}
        if made:
            cost = {"parameters": sum(one.parameters for one in made), "embedding": sum(one.d for one in made),
                    "origin": made[0].origin, "licence": made[0].licence}  # fmt: skip
        first = flows[0].encoder if flows else None
        found = figures_of(seeds, task.seed)
        found["details"]["left_out"] = sum(fold.strangers.size for fold in folds)
        return {
            "n": len(seeds[0].truth), "n_enrol": sum(len(fold.enrol) for fold in folds),
            "labels": len(set(seeds[0].truth)), "where": "across",
            "train": sorted({name for fold in folds for name in self.data.enrolled(task, fold)}),
            "test": [fold.network for fold in folds],
            "split": {"digest": "+".join(fold.split.digest for fold in folds), "name": f"each of {len(folds)} in turn"},
            "cost": cost,
            "encoder": {} if first is None else {"kind": first.kind, "size": first.size, "view": first.view},
            **found,
        }  # fmt: skip

    def _predict(self, task: FusedTask, method: FusedMethod, flows: Sequence[FlowMethod], seed: int) -> ItemPredictions:
        """Verdicts of one seed in all folds."""
        predictions = ItemPredictions()
        truth = self.data.items(task).items.truth
        for fold in self.data.folds(task):
            found, fusion = self._decided(task, fold, method, flows, seed)
            known, rows = len(fold.test), pl.Series(fold.test)
            surest = found.fused.probabilities.max(axis=1)
            predictions.truth += truth[task.level].gather(rows).to_list()
            predictions.found += [fold.labels[b] for b in found.best[:known]]
            predictions.confidence += surest[:known].tolist()
            predictions.unknown += found.unknown[:known].tolist()
            predictions.strangers_unknown += found.unknown[known:].tolist()
            predictions.strangers_confidence += surest[known:].tolist()
            predictions.cluster += truth["cluster"].gather(rows).to_list()
            predictions.network += [fold.network] * known
            predictions.weights[fold.network] = {name: round(value, 4) for name, value in fusion.weights_.items()}
            predictions.softness[fold.network] = fusion.softness_
        return predictions

    def _decided(
        self, task: FusedTask, fold: FusedFold, method: FusedMethod, flows: Sequence[FlowMethod], seed: int
    ) -> tuple[FusedDecision, Fusion]:
        """Verdicts on test items, then on items of labels that are not enrolled; and the fitted fusion."""
        sides = self._sides(task, fold, method, flows, seed)
        fusion = Fusion(within=method.design != "pool", learn=method.design == "learnt",
                        soften=method.design == "soft")  # fmt: skip
        fusion.fit({name: side.held for name, side in sides.items()}, fold.labels, fold.names,
                   balanced_case_weights(fold.units, fold.groups), fold.units)  # fmt: skip
        asked = {name: np.concatenate([side.test, side.strangers]) for name, side in sides.items()}
        settings = IdentifySettings()
        strange = {
            name: SideStrangeness(settings).fit(side.held, fold.labels, fold.names).transform(asked[name])
            for name, side in sides.items()
        }
        return decide(fusion.transform(asked), strange, settings), fusion

    def _sides(
        self, task: FusedTask, fold: FusedFold, method: FusedMethod, flows: Sequence[FlowMethod], seed: int
    ) -> dict[str, ModalityScores]:
        """Scores of each modality that the method uses and the fold has."""
        found: dict[str, ModalityScores] = {}
        if method.fingerprints:
            found["fingerprints"] = self.scorer.fingerprints(task, fold, method.fingerprints)
        if flows and (not found or self._has_flows(task, fold)):
            experts = {(flow.name, name): self.scorer.flows(task, fold, flow, name, seed)
                       for flow in flows for name in method.experts}  # fmt: skip
            case = balanced_case_weights(fold.units, fold.groups)
            known = len(fold.test)
            held, asked = fuse_classifiers(
                {"/".join(name): side.held for name, side in experts.items()},
                {"/".join(name): np.concatenate([side.test, side.strangers]) for name, side in experts.items()},
                fold.labels, fold.names, case, fold.units,
            )  # fmt: skip
            found["embeddings"] = ModalityScores(held, asked[:known], asked[known:])
        return found

    def _has_flows(self, task: FusedTask, fold: FusedFold) -> bool:
        both, asked = self.data.items(task), np.concatenate([fold.test, fold.strangers])
        return any(np.isin(owner, asked).any() for owner in both.owner.values())
