"""Both methods together across networks: fingerprints alone, embeddings alone, fused, and baselines, on the same items.

Each network tests in turn. All that is learnt (encoders without labels, experts, calibration, weights, thresholds) is
learnt on the other networks; calibration and weights on scores of each of those networks when it was left out. Encoders
have then seen its flows without labels, so the flows' weight may be a little high; test flows nobody has seen.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from ethogram import __version__
from ethogram.config import EncoderSettings
from ethogram.errors import EthogramError, LeakError, UsageError
from ethogram.evaluate import metrics
from ethogram.evaluate.bench import ROW_FORMAT, Bench, commit, machine, now
from ethogram.evaluate.both_items import BothItems, both_items
from ethogram.evaluate.both_linear import LINEAR, LinearFields
from ethogram.evaluate.both_task import BothMethod, BothTask, asks_both
from ethogram.evaluate.build import build
from ethogram.evaluate.corpus import Card
from ethogram.evaluate.flows.corpus import CorpusFlows, load_flows
from ethogram.evaluate.flows.encoders import Encoders, encoder_code
from ethogram.evaluate.flows.made import Made
from ethogram.evaluate.flows.split import turns
from ethogram.evaluate.flows.task import FlowMethod, FlowTask, flow_methods
from ethogram.evaluate.load import CACHE, code_digest
from ethogram.evaluate.splits import Split, by_network
from ethogram.evaluate.task import Method, Task, methods
from ethogram.identify.flow_experts import EXPERTS
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fusion import Fused, Fusion, align, even_cases, flow_side

__all__ = ["BothBench", "coverage_curve"]

FIGURING = ("schema", "fingerprint", "identify", "pipeline/fingerprints", "pipeline/identify", "evaluate/build",
            "evaluate/items", "evaluate/metrics", "evaluate/splits", "evaluate/both", "evaluate/both_items",
            "evaluate/both_linear", "evaluate/flows/split")  # fmt: skip
"""The code that decides a figure, once flows and embeddings are there; an encoder's own code comes to it."""

COVERAGES = tuple(round(0.1 * i, 1) for i in range(1, 11))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Turn:
    """One network tests."""

    network: str
    split: Split
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: list[str]
    codes: NDArray[np.int64]
    groups: NDArray[np.int64]
    left_out: int


@dataclass
class _Side:
    """Scores of one side in one turn: held-out ones of what is enrolled, and those of what is tested."""

    held: Floats
    test: Floats


@dataclass
class _Said:
    """Verdicts of all turns of one seed."""

    truth: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    cluster: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)


def coverage_curve(
    truth: NDArray[np.str_], found: NDArray[np.str_], confidence: Floats
) -> list[tuple[float, float, float]]:
    """Coverage, macro-F1 and accuracy of the share of items that are surest, for each of ten shares.

    Items that are equally sure stand in the order given.

    >>> two = np.array(["a", "b"])
    >>> coverage_curve(two, np.array(["a", "a"]), np.array([0.9, 0.2]))[4]
    (0.5, 1.0, 1.0)
    """
    order = np.argsort(-confidence, kind="stable")
    rows = []
    for share in COVERAGES:
        kept = order[: max(1, int(np.ceil(share * len(order) - 1e-9)))]
        rows.append((share, metrics.macro_f1(truth[kept], found[kept]), metrics.accuracy(truth[kept], found[kept])))
    return rows


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
    """

    root: Path
    cards: Mapping[str, Card]
    cache_folder: Path | None = CACHE
    threads: int = 0
    on_stage: Callable[[str], None] | None = None
    method_files: Path | None = None
    _flows: dict[str, CorpusFlows] = field(default_factory=dict)
    _items: dict[str, BothItems] = field(default_factory=dict)
    _turns: dict[str, list[_Turn]] = field(default_factory=dict)
    _sides: dict[tuple[str, ...], _Side] = field(default_factory=dict)
    _embedded: dict[tuple[str, ...], tuple[FlowWindows, Made]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = None if self.cache_folder is None else self.cache_folder.expanduser() / "flows"
        self.encoders = Encoders(folder, threads=self.threads, on_stage=self.on_stage)
        self._bench = Bench(self.root, dict(self.cards), self.cache_folder)
        self._of_counts: dict[str, Method] = methods(self.method_files)
        self._of_flows: dict[str, FlowMethod] = flow_methods(self.method_files)
        # Its settings are in its own module; what is named here only says what it is like.
        self._of_flows[LINEAR] = FlowMethod(name=LINEAR, title=LINEAR, group="encoder",
                                            encoder=EncoderSettings(kind="pca", view="full", d=48))  # fmt: skip

    # -- what is read

    def corpora(self, task: BothTask) -> dict[str, CorpusFlows]:
        """Custom flows of the corpora with captures."""
        for name in task.captures:
            if name not in self.cards:
                raise UsageError(f"task {task.name}: no corpus card {name!r}")
            if name not in self._flows:
                self._tell(f"loading {name}")
                self._flows[name] = load_flows(self.cards[name], self.root, cache_folder=self.cache_folder)
        return {name: self._flows[name] for name in task.captures}

    def items(self, task: BothTask) -> BothItems:
        """The items of a task; kept while tasks read the same."""
        key = orjson.dumps([task.corpora, task.captures, task.networks, task.exclude_types, task.names, task.windows,
                            task.flows, task.seed, task.counts.digest]).decode()  # fmt: skip
        if key not in self._items:
            self._items.clear()
            self._sides.clear()
            self._embedded.clear()
            self._turns.clear()
            read = Task.of(name=task.name, title=task.title, experiment="both", corpora=task.corpora,
                           networks=task.networks, exclude_types=task.exclude_types, level=task.level,
                           names=task.names, counts=task.counts)  # fmt: skip
            material = self._bench.material(read)
            self._items[key] = both_items(material, task.windows, self.corpora(task), task.flows, task.seed)
        return self._items[key]

    def turns(self, task: BothTask) -> list[_Turn]:
        """The proved turns of a task: those networks in which some enrolled label is tested."""
        if task.digest not in self._turns:
            both = self.items(task)
            truth, labels = both.items.truth, both.items.labels(task.level)
            networks = truth["network"].unique().sort().to_list()
            self._turns[task.digest] = [
                turn for name in task.test if name in networks
                if (turn := self._turn(task, name, networks, truth, labels)) is not None
            ]  # fmt: skip
            if not self._turns[task.digest]:
                raise UsageError(f"task {task.name}: no test item has an enrolled label")
        return self._turns[task.digest]

    @staticmethod
    def _turn(
        task: BothTask, name: str, networks: Sequence[str], truth: pl.DataFrame, labels: NDArray[np.str_]
    ) -> _Turn | None:
        site = {network: task.sites.get(network, network) for network in networks}
        others = [network for network in networks if site[network] != site[name]]
        split = by_network(truth, others, [name], sites=task.sites)
        known = sorted(set(labels[split.enrol].tolist()))
        asked = np.isin(labels[split.test], known)
        if not asked.any():
            return None
        place = truth["network"].replace(task.sites).to_numpy()[split.enrol]
        return _Turn(
            name, split, split.enrol, split.test[asked], known,
            np.searchsorted(known, labels[split.enrol]).astype(np.int64),
            np.unique(place, return_inverse=True)[1].astype(np.int64), int((~asked).sum()),
        )  # fmt: skip

    # -- one side

    def fingerprints(self, task: BothTask, turn: _Turn, name: str) -> _Side:
        """Scores by counts of services."""
        key = ("counts", task.digest, turn.network, name)
        if key not in self._sides:
            if name not in self._of_counts:
                raise UsageError(f"no method {name!r} on counts")
            method, items = self._of_counts[name], self.items(task).items
            if method.needs_statistics:
                raise UsageError(f"{name} reads flow statistics, which sources that only count do not have")
            learn, ask = items.take(turn.enrol), items.take(turn.test)
            names = [turn.labels[code] for code in turn.codes]
            columns, held = build(method).held_out(learn.windows, names, turn.groups)
            fitted = build(method).fit(learn.windows, names)
            test = align(turn.labels, fitted.labels_, fitted.scores(ask.windows))
            # Silent items have no evidence on either side.
            self._sides[key] = _Side(align(turn.labels, columns, held), test)
        return self._sides[key]

    def flows(self, task: BothTask, turn: _Turn, method: FlowMethod, expert: str, seed: int) -> _Side:
        """Scores by embedded flows, by one expert."""
        key = ("flows", task.digest, turn.network, method.digest, expert, str(seed))
        if key not in self._sides:
            windows, _ = self.embedded(task, turn, method, seed)
            learn, ask = windows.take(turn.enrol), windows.take(turn.test)
            count = len(turn.labels)
            self._tell(f"{turn.network}: {expert}")
            held = np.full((len(learn), count), np.nan)
            have = learn.flows > 0
            for group in np.unique(turn.groups[have]):
                inside, outside = (np.flatnonzero(where & have) for where in (turn.groups == group,
                                                                              turn.groups != group))  # fmt: skip
                if outside.size:
                    fitted = EXPERTS[expert]().fit(learn.take(outside), turn.codes[outside], count)
                    held[inside] = fitted.scores(learn.take(inside))
            test = np.full((len(ask), count), np.nan)
            some = np.flatnonzero(have)
            if some.size and len(ask.z):
                test = EXPERTS[expert]().fit(learn.take(some), turn.codes[some], count).scores(ask)
            self._sides[key] = _Side(held, test)
        return self._sides[key]

    def embedded(self, task: BothTask, turn: _Turn, method: FlowMethod, seed: int) -> tuple[FlowWindows, Made]:
        """The flows of all items, embedded by an encoder that never saw the network that tests."""
        both, corpora = self.items(task), self.corpora(task)
        unlabelled = self._unlabelled(task, turn)
        if method.name == LINEAR:
            made = self._linear(unlabelled, corpora)
        else:
            made = self.encoders.get(method, unlabelled, corpora, seed)
        key = (task.digest, made.digest)
        if key not in self._embedded:
            parts, owners = [], []
            for name, loaded in corpora.items():
                self._tell(f"{method.name}: embedding {len(both.rows[name]):,} flows of {name}")
                parts.append(made.embed(loaded, both.rows[name]))
                owners.append(both.owner[name])
            z = np.concatenate(parts).astype(np.float32)
            self._embedded[key] = FlowWindows(z, np.concatenate(owners), len(both)), made
        return self._embedded[key]

    @staticmethod
    def _linear(unlabelled: Mapping[str, NDArray[np.int64]], corpora: Mapping[str, CorpusFlows]) -> Made:
        """The linear encoder of fields: made in seconds, so it is kept by nobody."""
        learnt = LinearFields().fit(unlabelled, corpora)
        text = hashlib.sha256(LINEAR.encode())
        for name, rows in sorted(unlabelled.items()):
            text.update(f"{name} {corpora[name].digest}".encode() + rows.tobytes())
        return Made(text.hexdigest()[:16], text.hexdigest()[:16], learnt.d, learnt.parameters,
                    "directions of the unlabelled flows", "Apache-2.0", learnt.embed)  # fmt: skip

    def _unlabelled(self, task: BothTask, turn: _Turn) -> dict[str, NDArray[np.int64]]:
        """Early days of the other networks, as tasks on flows have them, so encoders are shared; no unit that tests."""
        corpora = self.corpora(task)
        own = {name for name in corpora if self.cards[name].network == turn.network}
        others = tuple(name for name in task.captures if name not in own)
        test = next(iter(own), None)
        if len(others) < 1:
            raise UsageError(f"task {task.name}: no other network with captures than {turn.network}")
        if test is None:
            # A network without captures: nothing of it can leak into an encoder of all captures.
            test, others = task.captures[0], task.captures[1:]
        flow_task = FlowTask.of(name=task.name, title=task.title, experiment="P3", protocol="P3", level=task.level,
                                encoder=others, probe=others, test=(test,))  # fmt: skip
        found = dict(turns(flow_task, corpora)[0].unlabelled)
        tested = set(self.items(task).items.truth["unit"].gather(pl.Series(turn.test)).to_list())
        for name, rows in found.items():
            shared = tested & set(corpora[name].truth["unit"].gather(pl.Series(rows)).to_list())
            if shared:
                raise LeakError(f"task {task.name}: an encoder would learn from {', '.join(sorted(shared)[:3])}, "
                                "which test")  # fmt: skip
        return found

    # -- rows

    def identity(self, task: BothTask, method: BothMethod) -> dict[str, str]:
        """What makes a row the same row: task, method, data and code."""
        self.items(task)
        material = "".join(c.digest for c in self.corpora(task).values()) + "".join(
            sorted(m.digest for m in self._bench._materials.values())
        )
        own = method.digest
        if method.fingerprints:
            own += self._method_of_counts(method.fingerprints).digest
        code = ""
        if method.encoder:
            flow = self._method_of_flows(method.encoder)
            own, code = own + flow.digest, encoder_code(flow)
        parts = {
            "task": task.name, "method": method.name, "task_digest": task.digest,
            "method_digest": hashlib.sha256(own.encode()).hexdigest()[:12],
            "data_digest": hashlib.sha256(material.encode()).hexdigest()[:12],
            "code_digest": code_digest(*FIGURING),
        }  # fmt: skip
        key = {**parts, "encoder_code": code}
        return parts | {"key": hashlib.sha256(orjson.dumps(key, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]}

    def _method_of_counts(self, name: str) -> Method:
        if name not in self._of_counts:
            raise UsageError(f"no method {name!r} on counts")
        return self._of_counts[name]

    def _method_of_flows(self, name: str) -> FlowMethod:
        if name not in self._of_flows:
            raise UsageError(f"no method {name!r} on flows")
        return self._of_flows[name]

    def run(
        self, tasks: Sequence[BothTask], methods: Sequence[BothMethod], *,
        known: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Iterator[tuple[dict[str, object], bool]]:  # fmt: skip
        """Give every row, and whether it was made now; those in ``known`` (by key) are given as they are."""
        for task in tasks:
            for method in methods:
                if not asks_both(task, method):
                    continue
                identity = self.identity(task, method)
                held = (known or {}).get(identity["key"])
                if held is not None and not held.get("failed"):
                    yield dict(held), False
                    continue
                yield self._row(task, method, identity), True

    def _row(self, task: BothTask, method: BothMethod, identity: Mapping[str, str]) -> dict[str, object]:
        began = time.perf_counter()
        head: dict[str, object] = {
            **identity, "format": ROW_FORMAT, "version": __version__, "commit": commit(), "made": now(),
            "machine": machine(), "experiment": task.experiment, "kind": task.kind, "title": task.title,
            "seed": task.seed, "level": task.level, "method_title": method.title, "group": method.group,
        }  # fmt: skip
        try:
            found = self.measure(task, method)
        except (EthogramError, MemoryError, ArithmeticError, ValueError, RuntimeError, ImportError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return {**head, "absent": reason, "failed": not isinstance(error, UsageError)}
        return {**head, **found, "wall_s": round(time.perf_counter() - began, 3)}

    def measure(self, task: BothTask, method: BothMethod) -> dict[str, Any]:
        """What one method came to on one task: the parts of a row that are figures."""
        flow = self._method_of_flows(method.encoder) if method.encoder else None
        own = self.turns(task)
        seeds = [self._seed(task, method, flow, seed) for seed in range(method.seeds if flow else 1)]
        values = [self._values(said) for said in seeds]
        first = seeds[0]
        truth, found = np.array(first.truth, np.str_), np.array(first.found, np.str_)
        confidence = np.array(first.confidence)
        right = truth == found
        labels, matrix = _confusion(truth, found)
        intervals = {
            name: metrics.bootstrap_interval(_over(of, truth, found), first.cluster, seed=task.seed, draws=500)
            for name, of in (("macro_f1", metrics.macro_f1), ("accuracy", metrics.accuracy))
        }
        cost: dict[str, object] = {}
        if flow is not None:
            made = self.embedded(task, own[0], flow, 0)[1]
            cost = {"parameters": made.parameters, "embedding": made.d, "origin": made.origin, "licence": made.licence}
        nets = sorted(set(first.network))
        where = {net: np.array([one == net for one in first.network]) for net in nets}
        return {
            "n": len(truth), "n_enrol": sum(len(turn.enrol) for turn in own),
            "labels": len(np.unique(truth)), "where": "across",
            "train": sorted({name for turn in own for name in self._networks(task, turn)}),
            "test": [turn.network for turn in own],
            "split": {"digest": "+".join(turn.split.digest for turn in own), "name": f"each of {len(own)} in turn"},
            "values": {name: float(np.mean([one[name] for one in values])) for name in values[0]},
            "intervals": intervals, "cost": cost,
            "encoder": {} if flow is None or flow.encoder is None else {
                "kind": flow.encoder.kind, "size": flow.encoder.size, "view": flow.encoder.view},
            "details": {
                "seeds": {name: [one[name] for one in values] for name in values[0]},
                "coverage": coverage_curve(truth, found, confidence),
                "reliability": metrics.reliability(confidence, right),
                "confusion": {"labels": labels, "matrix": matrix},
                "accuracy_by_network": {
                    net: [int(where[net].sum()), metrics.accuracy(truth[where[net]], found[where[net]]),
                          metrics.macro_f1(truth[where[net]], found[where[net]])] for net in nets
                },
                "weights": first.weights,
                "left_out": sum(turn.left_out for turn in own),
            },
        }  # fmt: skip

    def _networks(self, task: BothTask, turn: _Turn) -> list[str]:
        truth = self.items(task).items.truth["network"].gather(pl.Series(turn.enrol))
        return truth.unique().sort().to_list()

    @staticmethod
    def _values(said: _Said) -> dict[str, float]:
        truth, found = np.array(said.truth, np.str_), np.array(said.found, np.str_)
        confidence = np.array(said.confidence)
        curve = coverage_curve(truth, found, confidence)
        recall = [float(np.mean(found[truth == label] == label)) for label in np.unique(truth)]
        return {
            "macro_f1": metrics.macro_f1(truth, found), "accuracy": metrics.accuracy(truth, found),
            "balanced_accuracy": float(np.mean(recall)),
            "calibration_error": metrics.calibration_error(confidence, truth == found),
            "coverage_macro_f1": float(np.mean([f1 for share, f1, _ in curve if share >= 0.5])),
            "coverage_accuracy": float(np.mean([right for share, _, right in curve if share >= 0.5])),
        }  # fmt: skip

    def _seed(self, task: BothTask, method: BothMethod, flow: FlowMethod | None, seed: int) -> _Said:
        said = _Said()
        both = self.items(task)
        truth = both.items.truth
        for turn in self.turns(task):
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
        self, task: BothTask, turn: _Turn, method: BothMethod, flow: FlowMethod | None, seed: int
    ) -> tuple[Fused, Fusion]:
        truth = self.items(task).items.truth
        units = truth["unit"].gather(pl.Series(turn.enrol)).to_list()
        names = [turn.labels[code] for code in turn.codes]
        case = even_cases(units, turn.groups)
        held: dict[str, Floats] = {}
        test: dict[str, Floats] = {}
        if method.fingerprints:
            side = self.fingerprints(task, turn, method.fingerprints)
            held["fingerprints"], test["fingerprints"] = side.held, side.test
        if flow is not None and (not held or self._has_flows(task, turn)):
            experts = {name: self.flows(task, turn, flow, name, seed) for name in method.experts}
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

    def _has_flows(self, task: BothTask, turn: _Turn) -> bool:
        both = self.items(task)
        return any(np.isin(owner, turn.test).any() for owner in both.owner.values())

    def _tell(self, what: str) -> None:
        if self.on_stage is not None:
            self.on_stage(what)


def _over(
    figure: Callable[[NDArray[np.str_], NDArray[np.str_]], float], truth: NDArray[np.str_], found: NDArray[np.str_]
) -> Callable[[NDArray[np.int64]], float]:
    return lambda rows: figure(truth[rows], found[rows])


def _confusion(truth: NDArray[np.str_], found: NDArray[np.str_]) -> tuple[list[str], list[list[int]]]:
    names, codes = np.unique(np.concatenate([truth, found]), return_inverse=True)
    count = len(names)
    matrix = np.bincount(codes[: len(truth)] * count + codes[len(truth) :], minlength=count * count)
    return names.tolist(), matrix.reshape(count, count).tolist()
