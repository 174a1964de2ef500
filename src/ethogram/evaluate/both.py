"""Both methods together across networks: fingerprints alone, embeddings alone, fused, and baselines, on the same items.

Each network tests in turn. All that is learnt (encoders without labels, experts, calibration, weights, thresholds) is
learnt on the other networks; calibration and weights on scores of each of those networks when it was left out. Encoders
have then seen its flows without labels, so the flows' weight may be a little high; test flows nobody has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.evaluate.both_figures import Said, figures_of
from ethogram.evaluate.both_sides import Floats, Sides
from ethogram.evaluate.both_task import BothMethod, BothTask, asks_both
from ethogram.evaluate.both_turns import BothData, Turn
from ethogram.evaluate.corpus import Card
from ethogram.evaluate.flows.encoders import Encoders, encoder_code, replace_seed
from ethogram.evaluate.flows.task import FlowMethod, flow_methods
from ethogram.evaluate.load import CACHE
from ethogram.evaluate.row import Row, identity_of
from ethogram.evaluate.task import methods
from ethogram.identify.fusion import Fused, Fusion, even_cases, flow_side

__all__ = ["BothBench"]

FIGURING = ("schema", "fingerprint", "identify", "pipeline/fingerprints", "pipeline/identify", "evaluate/build",
            "evaluate/items", "evaluate/metrics", "evaluate/splits", "evaluate/both", "evaluate/both_items",
            "evaluate/both_turns", "evaluate/both_sides", "evaluate/both_figures",
            "evaluate/flows/split")  # fmt: skip
"""The code that decides a figure, once flows and embeddings are there; an encoder's own code comes to it."""


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
        own, code = method.digest, ""
        if method.fingerprints:
            own += self.sides.of_counts(method.fingerprints).digest
        if method.encoder:
            flow = self.sides.of_flows(method.encoder)
            own, code = own + flow.digest, encoder_code(flow)
        return identity_of(task, method, data=self.data.digest(task), figuring=FIGURING, own=own, encoder=code)

    def measure(self, task: BothTask, method: BothMethod) -> Row:
        """What one method came to on one task: the parts of a row that are figures."""
        flow = self.sides.of_flows(method.encoder) if method.encoder else None
        turns = self.data.turns(task)
        # What nothing is drawn in is the same for every seed.
        drawn = flow is not None and replace_seed(flow, 1) == 1
        seeds = [self._said(task, method, flow, seed) for seed in range(method.seeds if drawn else 1)]
        cost: dict[str, object] = {}
        if flow is not None:
            made = self.sides.embedded(task, turns[0], flow, 0)[1]
            cost = {"parameters": made.parameters, "embedding": made.d, "origin": made.origin, "licence": made.licence}
        found = figures_of(seeds, task.seed)
        found["details"]["left_out"] = sum(turn.left_out for turn in turns)
        return {
            "n": len(seeds[0].truth), "n_enrol": sum(len(turn.enrol) for turn in turns),
            "labels": len(set(seeds[0].truth)), "where": "across",
            "train": sorted({name for turn in turns for name in self.data.enrolled(task, turn)}),
            "test": [turn.network for turn in turns],
            "split": {"digest": "+".join(turn.split.digest for turn in turns), "name": f"each of {len(turns)} in turn"},
            "cost": cost,
            "encoder": {} if flow is None or flow.encoder is None else {
                "kind": flow.encoder.kind, "size": flow.encoder.size, "view": flow.encoder.view},
            **found,
        }  # fmt: skip

    def _said(self, task: BothTask, method: BothMethod, flow: FlowMethod | None, seed: int) -> Said:
        """Verdicts of one seed in all turns."""
        said = Said()
        truth = self.data.items(task).items.truth
        for turn in self.data.turns(task):
            fused, fusion = self._fused(task, turn, method, flow, seed)
            best = fused.logs.argmax(axis=1)
            rows = pl.Series(turn.test)
            said.truth += truth[task.level].gather(rows).to_list()
            said.found += [turn.labels[b] for b in best]
            said.confidence += fused.probabilities.max(axis=1).tolist()
            said.cluster += truth["cluster"].gather(rows).to_list()
            said.network += [turn.network] * len(best)
            said.weights[turn.network] = {name: round(value, 4) for name, value in fusion.weights_.items()}
        return said

    def _fused(
        self, task: BothTask, turn: Turn, method: BothMethod, flow: FlowMethod | None, seed: int
    ) -> tuple[Fused, Fusion]:
        truth = self.data.items(task).items.truth
        units = truth["unit"].gather(pl.Series(turn.enrol)).to_list()
        names = [turn.labels[code] for code in turn.codes]
        case = even_cases(units, turn.groups)
        held: dict[str, Floats] = {}
        test: dict[str, Floats] = {}
        if method.fingerprints:
            side = self.sides.fingerprints(task, turn, method.fingerprints)
            held["fingerprints"], test["fingerprints"] = side.held, side.test
        if flow is not None and (not held or self._has_flows(task, turn)):
            experts = {name: self.sides.flows(task, turn, flow, name, seed) for name in method.experts}
            held["embeddings"], test["embeddings"] = flow_side(
                {name: side.held for name, side in experts.items()},
                {name: side.test for name, side in experts.items()},
                turn.labels,
                names,
                case,
                units,
            )
        fusion = Fusion(within=method.design != "pool", learn=method.design != "product",
                        by_confidence=method.design == "confidence")  # fmt: skip
        fusion.fit(held, turn.labels, names, case, units)
        return fusion.apply(test), fusion

    def _has_flows(self, task: BothTask, turn: Turn) -> bool:
        both = self.data.items(task)
        return any(np.isin(owner, turn.test).any() for owner in both.owner.values())
