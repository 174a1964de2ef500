"""Benchmark of groups of unknown items: purity, completeness, and the number of labels a user must give.

Each round leaves some labels out of enrolment. The first items of the other labels are enrolled; the first items of
the left-out labels are unknown, each without the name of its device, and are grouped by a similarity fitted on the
enrolled items. Groups are then labelled in order of size with the true label of their most typical item; for
comparison, items are labelled one at a time in random order. The later items of all labels are the test items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import ethogram.bench.counts.items
import ethogram.bench.fused.items
import ethogram.schema
from ethogram._code_digest import CodePart
from ethogram.bench import splits
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.task import CountTask
from ethogram.bench.flows.encoders import Encoders, encoder_code
from ethogram.bench.flows.split import drawn
from ethogram.bench.flows.task import Caps, flow_methods
from ethogram.bench.fused.items import FusedItems, fused_items
from ethogram.bench.groups.task import GroupMethod, GroupTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, identity_of
from ethogram.bench.splits import chronological
from ethogram.corpora.custom_flows import CorpusFlows, load_flows
from ethogram.errors import UsageError
from ethogram.identify import metrics
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.group import Grouping, SamePair, clustered, pairwise
from ethogram.schema import Windows

__all__ = ["GroupBenchmark", "names_needed"]

Strings = NDArray[np.str_]
Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


def names_needed(scores: Sequence[float], wanted: float, most: int) -> int:
    """Number of labels after which a score stays at or above ``wanted``; ``most`` + 1 if it never does.

    >>> names_needed([0.2, 0.9, 0.5, 0.9, 0.95], 0.9, 4)
    3
    """
    needed = most + 1
    for at in range(len(scores) - 1, -1, -1):
        if scores[at] < wanted:
            break
        needed = at
    return needed


@dataclass
class _Round:
    """One draw of the labels left out, as item indices."""

    known: Codes
    strangers: Codes
    test: Codes


@dataclass
class GroupBenchmark(BenchmarkOptions):
    """Benchmark of groups over a folder of corpora.

    Parameters
    ----------
    quick
        Run only the methods of the quick set.
    method_files
        Folder of methods; None: the bundled ones.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, "ethogram.fingerprint", "ethogram.identify", splits, ethogram.bench.counts.items,
        ethogram.bench.fused.items,
    )  # fmt: skip
    """Other code that the figures depend on once the data is loaded."""

    quick: bool = False
    method_files: Path | None = None
    _items: dict[str, tuple[FusedItems, CorpusFlows | None]] = field(default_factory=dict)
    _data: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.encoders = Encoders(self.flow_cache, threads=self.threads, on_stage=self.on_stage)
        self._bench = CountBenchmark(self.root, self.cards, self.cache_folder)
        self._of_flows = flow_methods(self.method_files)

    def items(self, task: GroupTask) -> tuple[FusedItems, CorpusFlows | None]:
        """The items of a task, and its custom flows if it has any."""
        if task.digest not in self._items:
            read = CountTask.of(name=task.name, title=task.title, experiment="groups", corpora=[task.corpus],
                           exclude_types=task.exclude_types, level=task.level, names=task.names,
                           counts=task.counts)  # fmt: skip
            data = self._bench.task_data(read)
            loaded = None
            if task.captures:
                loaded = load_flows(self.cards[task.corpus], self.root, cache_folder=self.cache_folder)
            flows = {} if loaded is None else {task.corpus: loaded}
            self._data[task.digest] = data.digest + "".join(corpus.digest for corpus in flows.values())
            self._items[task.digest] = fused_items(data, {task.corpus: task.window}, flows, task.flows), loaded
        return self._items[task.digest]

    def asks(self, task: GroupTask, method: GroupMethod) -> bool:
        """Whether the task runs the method."""
        return task.runs(method, quick=self.quick)

    def identity(self, task: GroupTask, method: GroupMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        self.items(task)
        flow = self._of_flows.get(method.encoder)
        return identity_of(
            task, method, data=self._data[task.digest], code=type(self),
            encoder="" if flow is None else flow.digest + encoder_code(flow),
        )  # fmt: skip

    def _rounds(self, task: GroupTask, labels: Strings, both: FusedItems) -> list[_Round]:
        split = chronological(both.items.truth, by=task.by, share=task.share)
        names = sorted(set(labels[split.enrol].tolist()) & set(labels[split.test].tolist()))
        if len(names) < 4:
            raise UsageError(f"task {task.name}: groups need four labels with items on both sides")
        random = np.random.default_rng(task.seed)
        count = max(2, round(task.left_out * len(names)))
        rounds = []
        for _ in range(task.draws):
            out = set(random.choice(names, count, replace=False).tolist())
            first = split.enrol[np.isin(labels[split.enrol], names)]
            away = np.isin(labels[first], list(out))
            rounds.append(_Round(first[~away], first[away], split.test[np.isin(labels[split.test], names)]))
        return rounds

    def _flows(self, task: GroupTask, method: GroupMethod, known: Codes) -> FlowWindows | None:
        """Flows of all items, embedded by an encoder trained without labels on the flows of enrolled items."""
        both, loaded = self.items(task)
        if not method.encoder:
            return None
        if loaded is None:
            raise UsageError(f"task {task.name} has no custom flows")
        if method.encoder not in self._of_flows:
            raise UsageError(f"no method {method.encoder!r} on flows")
        enrolled = np.isin(both.owner[task.corpus], known)
        place = drawn(loaded)[both.rows[task.corpus]]
        rows = both.rows[task.corpus][enrolled & (place < Caps().unlabelled)]
        encoder = self.encoders.get(self._of_flows[method.encoder], {task.corpus: rows}, {task.corpus: loaded}, 0)
        z = encoder.embed(loaded, both.rows[task.corpus]).astype(np.float32)
        return FlowWindows(z, both.owner[task.corpus], len(both))

    def measure(self, task: GroupTask, method: GroupMethod) -> Row:
        """Purity, completeness and number of labels needed: means over the rounds."""
        both, _ = self.items(task)
        labels = metrics.merge(both.items.labels(task.level), task.twins)
        rounds = self._rounds(task, labels, both)
        by_round = [self._round(task, method, drawn_round, labels, both.items.windows, i)
                    for i, drawn_round in enumerate(rounds)]  # fmt: skip
        by_name = {name: [figures[name] for figures in by_round] for name in by_round[0]}
        values = {name: float(np.nanmean(figures)) for name, figures in by_name.items()}
        spread = {name: (float(np.nanmin(by_name[name])), float(np.nanmax(by_name[name])))
                  for name in ("purity", "completeness", "names_groups", "names_random")}  # fmt: skip
        first = rounds[0]
        return {
            "n": len(first.strangers), "n_enrol": len(first.known), "labels": len(set(labels.tolist())),
            "split": {"digest": "", "name": f"{len(rounds)} draws of labels left out"},
            "values": values, "intervals": {}, "details": {
                "rounds": by_name, "spread": spread},
        }  # fmt: skip

    def _round(
        self, task: GroupTask, method: GroupMethod, drawn_round: _Round, labels: Strings, windows: Windows, draw: int
    ) -> dict[str, float]:
        p, codes = self._grouped(task, method, drawn_round, labels, windows)
        m, n = len(drawn_round.known), len(drawn_round.strangers)
        among, asked = p[m : m + n, m : m + n], p[m + n :]
        truth = labels[drawn_round.strangers]
        test = labels[drawn_round.test]
        known = labels[drawn_round.known]

        def score(given: Strings) -> float:
            """Macro-F1 of the test items, each labelled like its most probable partner among labelled items."""
            given_labels = np.concatenate([known, given])
            usable = np.flatnonzero(given_labels != "")
            return metrics.macro_f1(test, given_labels[usable[asked[:, usable].argmax(axis=1)]])

        full = score(truth)
        wanted = task.reach * full
        order = sorted(np.unique(codes).tolist(), key=lambda code: (-int((codes == code).sum()), code))
        given = np.full(n, "", dtype=labels.dtype)
        by_groups = [score(given)]
        for code in order:
            mine = np.flatnonzero(codes == code)
            typical = mine[among[np.ix_(mine, mine)].sum(axis=1).argmax()]
            given[mine] = truth[typical]
            by_groups.append(score(given))
        needed = []
        for k in range(task.random):
            random = np.random.default_rng([task.seed, draw, k])
            given = np.full(n, "", dtype=labels.dtype)
            by_items = [score(given)]
            for i in random.permutation(n):
                given[i] = truth[i]
                by_items.append(score(given))
            needed.append(names_needed(by_items, wanted, n))
        return {
            "purity": metrics.purity(truth, codes), "completeness": metrics.completeness(truth, codes),
            "groups": float(len(order)), "left_out_labels": float(len(set(truth.tolist()))), "items": float(n),
            "names_groups": float(names_needed(by_groups, wanted, len(order))),
            "names_random": float(np.median(needed)),
            "macro_f1_full": full, "macro_f1_none": by_groups[0], "macro_f1_groups": by_groups[-1],
            "macro_f1_per_label": by_groups[min(len(by_groups) - 1, len(set(truth.tolist())))],
        }  # fmt: skip

    def _grouped(
        self, task: GroupTask, method: GroupMethod, drawn_round: _Round, labels: Strings, windows: Windows
    ) -> tuple[Floats, Codes]:
        """Probability that two items are of one label, for all pairs, and the group of each unknown item."""
        every = np.concatenate([drawn_round.known, drawn_round.strangers, drawn_round.test])
        flows = self._flows(task, method, drawn_round.known)
        ratio, alike = pairwise(windows.take(every.tolist()), None if flows is None else flows.take(every))
        if method.by == "embeddings":
            ratio = np.zeros_like(ratio)
        m, n = len(drawn_round.known), len(drawn_round.strangers)
        names = labels[drawn_round.known].tolist()
        pair = SamePair().fit(ratio[:m, :m], alike[:m, :m], names)
        p = pair.predict_proba(ratio, alike)
        if method.by == "device-apart":
            return p, np.arange(n, dtype=np.int64)
        apart = Grouping().threshold(p[:m, :m], names)
        return p, clustered(p[m : m + n, m : m + n].copy(), apart)
