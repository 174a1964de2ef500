"""Both methods together across networks: fingerprints alone, embeddings alone, fused, and baselines, on the same items.

Each network tests in turn. All that is learnt (encoders without labels, experts, calibration, weights, thresholds) is
learnt on the other networks; calibration and weights on scores of each of those networks when it was left out. Encoders
have then seen its flows without labels, so the flows' weight may be a little high; test flows nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

import ethogram.bench.flows.split
import ethogram.fingerprint
import ethogram.identify
import ethogram.pipeline.fingerprints
import ethogram.pipeline.identify
import ethogram.schema
from ethogram.bench import both_figures, both_items, both_sides, both_turns, build, items, metrics, splits
from ethogram.bench.both_figures import Said, figures_of
from ethogram.bench.both_sides import Side, Sides
from ethogram.bench.both_task import BothMethod, BothTask, asks_both
from ethogram.bench.both_turns import BothData, Turn
from ethogram.bench.code_digest import CodePart
from ethogram.bench.corpus import Card
from ethogram.bench.flows.encoders import Encoders, encoder_code, replace_seed
from ethogram.bench.flows.task import FlowMethod, flow_methods
from ethogram.bench.load import CACHE
from ethogram.bench.row import Row, identity_of
from ethogram.bench.task import methods
from ethogram.config import IdentifySettings
from ethogram.identify.fused_decision import FusedDecision, SideStrangeness, decide
from ethogram.identify.fusion import Fusion, balanced_case_weights, fuse_classifiers

__all__ = ["BothBench"]

@dataclass
class BothBench:
    """One benchmark of both methods over a folder of corpora.

    Parameters
    ----------
    root
        The folder that holds the corpora.
    cards
        Known corpora by name.
    cache_folder
        For loaded tables, flows and encoders; None keeps nothing.
    threads
        Of the arithmetic; 0: one for each core.
    on_stage
        Called with what is being done.
    method_files
        Folder of methods instead of the package's.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, ethogram.fingerprint, ethogram.identify, ethogram.pipeline.fingerprints,
        ethogram.pipeline.identify, build, items, metrics, splits, both_figures, both_items, both_sides, both_turns,
        ethogram.bench.flows.split,
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
        self.data = BothData(self.root, self.cards, self.cache_folder, self.on_stage)
        self.encoders = Encoders(folder, threads=self.threads, on_stage=self.on_stage)
        self.sides = Sides(self.data, self.encoders, methods(self.method_files), flow_methods(self.method_files))

    def asks(self, task: BothTask, method: BothMethod) -> bool:
        """Whether the task asks the method."""
        return asks_both(task, method)

    def identity(self, task: BothTask, method: BothMethod) -> dict[str, str]:
        """What makes a row the same row: task, method, data and code."""
        own = method.digest
        if method.fingerprints:
            own += self.sides.of_counts(method.fingerprints).digest
        flows = [self.sides.of_flows(name) for name in method.encoders]
        own, code = own + "".join(flow.digest for flow in flows), "".join(encoder_code(flow) for flow in flows)
        return identity_of(task, method, data=self.data.digest(task), code=type(self), own=own, encoder=code)

    def measure(self, task: BothTask, method: BothMethod) -> Row:
        """What one method came to on one task: the parts of a row that are figures."""
        flows = [self.sides.of_flows(name) for name in method.encoders]
        turns = self.data.turns(task)
        # What nothing is drawn in is the same for every seed.
        drawn = any(replace_seed(flow, 1) == 1 for flow in flows)
        seeds = [self._said(task, method, flows, seed) for seed in range(method.seeds if drawn else 1)]
        made = [self.sides.embedded(task, turns[0], flow, 0)[1] for flow in flows]
        cost: dict[str, object] = {}
        if made:
            cost = {"parameters": sum(one.parameters for one in made), "embedding": sum(one.d for one in made),
                    "origin": made[0].origin, "licence": made[0].licence}  # fmt: skip
        first = flows[0].encoder if flows else None
        found = figures_of(seeds, task.seed)
        found["details"]["left_out"] = sum(turn.strangers.size for turn in turns)
        return {
            "n": len(seeds[0].truth), "n_enrol": sum(len(turn.enrol) for turn in turns),
            "labels": len(set(seeds[0].truth)), "where": "across",
            "train": sorted({name for turn in turns for name in self.data.enrolled(task, turn)}),
            "test": [turn.network for turn in turns],
            "split": {"digest": "+".join(turn.split.digest for turn in turns), "name": f"each of {len(turns)} in turn"},
            "cost": cost,
            "encoder": {} if first is None else {"kind": first.kind, "size": first.size, "view": first.view},
            **found,
        }  # fmt: skip

    def _said(self, task: BothTask, method: BothMethod, flows: Sequence[FlowMethod], seed: int) -> Said:
        """Verdicts of one seed in all turns."""
        said = Said()
        truth = self.data.items(task).items.truth
        for turn in self.data.turns(task):
            found, fusion = self._decided(task, turn, method, flows, seed)
            known, rows = len(turn.test), pl.Series(turn.test)
            surest = found.fused.probabilities.max(axis=1)
            said.truth += truth[task.level].gather(rows).to_list()
            said.found += [turn.labels[b] for b in found.best[:known]]
            said.confidence += surest[:known].tolist()
            said.unknown += found.unknown[:known].tolist()
            said.strangers_unknown += found.unknown[known:].tolist()
            said.strangers_confidence += surest[known:].tolist()
            said.cluster += truth["cluster"].gather(rows).to_list()
            said.network += [turn.network] * known
            said.weights[turn.network] = {name: round(value, 4) for name, value in fusion.weights_.items()}
            said.softness[turn.network] = fusion.softness_
        return said

    def _decided(
        self, task: BothTask, turn: Turn, method: BothMethod, flows: Sequence[FlowMethod], seed: int
    ) -> tuple[FusedDecision, Fusion]:
        """Verdicts on what tests and on strangers, in this order, and how sides were fused."""
        sides = self._sides(task, turn, method, flows, seed)
        fusion = Fusion(within=method.design != "pool", learn=method.design == "learnt",
                        soften=method.design == "soft")  # fmt: skip
        fusion.fit({name: side.held for name, side in sides.items()}, turn.labels, turn.names,
                   balanced_case_weights(turn.units, turn.groups), turn.units)  # fmt: skip
        asked = {name: np.concatenate([side.test, side.strangers]) for name, side in sides.items()}
        settings = IdentifySettings()
        strange = {
            name: SideStrangeness(settings).fit(side.held, turn.labels, turn.names).transform(asked[name])
            for name, side in sides.items()
        }
        return decide(fusion.transform(asked), strange, settings), fusion

    def _sides(
        self, task: BothTask, turn: Turn, method: BothMethod, flows: Sequence[FlowMethod], seed: int
    ) -> dict[str, Side]:
        """Scores of each side that the method has and the turn asks."""
        found: dict[str, Side] = {}
        if method.fingerprints:
            found["fingerprints"] = self.sides.fingerprints(task, turn, method.fingerprints)
        if flows and (not found or self._has_flows(task, turn)):
            experts = {(flow.name, name): self.sides.flows(task, turn, flow, name, seed)
                       for flow in flows for name in method.experts}  # fmt: skip
            case = balanced_case_weights(turn.units, turn.groups)
            known = len(turn.test)
            held, asked = fuse_classifiers(
                {"/".join(name): side.held for name, side in experts.items()},
                {"/".join(name): np.concatenate([side.test, side.strangers]) for name, side in experts.items()},
                turn.labels, turn.names, case, turn.units,
            )  # fmt: skip
            found["embeddings"] = Side(held, asked[:known], asked[known:])
        return found

    def _has_flows(self, task: BothTask, turn: Turn) -> bool:
        both, asked = self.data.items(task), np.concatenate([turn.test, turn.strangers])
        return any(np.isin(owner, asked).any() for owner in both.owner.values())
