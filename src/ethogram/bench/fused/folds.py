"""Items, flows and folds of a task on fingerprints and embeddings; in each fold one network tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.task import CountTask
from ethogram.bench.flows.split import flow_folds
from ethogram.bench.flows.task import FlowTask
from ethogram.bench.fused.items import FusedItems, fused_items
from ethogram.bench.fused.task import FusedTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.splits import by_network
from ethogram.corpora.custom_flows import CorpusFlows, load_flows
from ethogram.errors import LeakError, UsageError
from ethogram.identify.split import Split

__all__ = ["FusedData", "FusedFold"]


@dataclass(frozen=True)
class FusedFold:
    """A fold in which one network tests.

    Parameters
    ----------
    network
        Name of the test network.
    split
        Proof that nothing of the test network and its site is enrolled.
    enrol, test, strangers
        Items; ``test`` are test items with an enrolled label, ``strangers`` those without.
    labels
        Enrolled labels, sorted.
    codes, groups, units
        Of each enrolled item: code of its label, of its site, and its device.
    """

    network: str
    split: Split
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    strangers: NDArray[np.int64]
    labels: list[str]
    codes: NDArray[np.int64]
    groups: NDArray[np.int64]
    units: list[str]

    @property
    def asked(self) -> NDArray[np.int64]:
        """Items that are identified: ``test``, then ``strangers``."""
        return np.concatenate([self.test, self.strangers])

    @property
    def asked_parts(self) -> list[NDArray[np.int64]]:
        """The two parts of :attr:`asked` without empty ones; each is scored at once.

        Linear probes compute in single precision, so that the last digits of a score depend on what is scored together.
        """
        return [rows for rows in (self.test, self.strangers) if rows.size]

    @property
    def names(self) -> list[str]:
        """Label of each enrolled item."""
        return [self.labels[code] for code in self.codes]


@dataclass
class FusedData(BenchmarkOptions):
    """Items, flows and folds of tasks; those of the last task are kept in memory."""

    _flows: dict[str, CorpusFlows] = field(default_factory=dict)
    _items: dict[str, tuple[FusedItems, str]] = field(default_factory=dict)
    _folds: dict[str, list[FusedFold]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bench = CountBenchmark(self.root, self.cards, self.cache_folder)

    def corpora(self, task: FusedTask) -> dict[str, CorpusFlows]:
        """Custom flows of the corpora with captures."""
        for name in task.captures:
            if name not in self.cards:
                raise UsageError(f"task {task.name}: no corpus card {name!r}")
            if name not in self._flows:
                self.tell(f"loading {name}")
                self._flows[name] = load_flows(self.cards[name], self.root, cache_folder=self.cache_folder)
        return {name: self._flows[name] for name in task.captures}

    def items(self, task: FusedTask) -> FusedItems:
        """The items of a task; kept while tasks use the same ones."""
        return self._read(task)[0]

    def digest(self, task: FusedTask) -> str:
        """Digest of everything a task reads."""
        return self._read(task)[1]

    def _read(self, task: FusedTask) -> tuple[FusedItems, str]:
        key = orjson.dumps([task.corpora, task.captures, task.networks, task.exclude_types, task.names, task.windows,
                            task.flows, task.seed, task.counts.digest]).decode()  # fmt: skip
        if key not in self._items:
            self._items.clear()
            self._folds.clear()
            read = CountTask.of(name=task.name, title=task.title, experiment="both", corpora=task.corpora,
                           networks=task.networks, exclude_types=task.exclude_types, level=task.level,
                           names=task.names, counts=task.counts)  # fmt: skip
            data, corpora = self._bench.task_data(read), self.corpora(task)
            digest = "".join(corpus.digest for corpus in corpora.values()) + data.digest
            self._items[key] = fused_items(data, task.windows, corpora, task.flows, task.seed), digest
        return self._items[key]

    def folds(self, task: FusedTask) -> list[FusedFold]:
        """The folds of a task: one for each network that has test items of an enrolled label."""
        both = self.items(task)
        if task.digest not in self._folds:
            truth, labels = both.items.truth, both.items.labels(task.level)
            networks = truth["network"].unique().sort().to_list()
            self._folds[task.digest] = [
                fold for name in task.test if name in networks
                if (fold := _fold(task, name, networks, truth, labels)) is not None
            ]  # fmt: skip
            if not self._folds[task.digest]:
                raise UsageError(f"task {task.name}: no test item has an enrolled label")
        return self._folds[task.digest]

    def unlabelled(self, task: FusedTask, fold: FusedFold) -> dict[str, NDArray[np.int64]]:
        """Flows for encoders: early days of the other networks, as in tasks on flows, so that encoders are shared."""
        corpora = self.corpora(task)
        tested_corpora = {name for name in corpora if self.cards[name].network == fold.network}
        others = tuple(name for name in task.captures if name not in tested_corpora)
        test = next(iter(tested_corpora), None)
        if len(others) < 1:
            raise UsageError(f"task {task.name}: no network with captures other than {fold.network}")
        if test is None:
            # The test network has no captures, so none of its flows can leak into the encoder.
            test, others = task.captures[0], task.captures[1:]
        flow_task = FlowTask.of(name=task.name, title=task.title, experiment="P3", protocol="P3", level=task.level,
                                encoder=others, probe=others, test=(test,))  # fmt: skip
        unlabelled = dict(flow_folds(flow_task, corpora)[0].unlabelled)
        tested = set(self.items(task).items.truth["unit"].gather(pl.Series(fold.asked)).to_list())
        for name, rows in unlabelled.items():
            shared = tested & set(corpora[name].truth["unit"].gather(pl.Series(rows)).to_list())
            if shared:
                units = ", ".join(sorted(shared)[:3])
                raise LeakError(f"task {task.name}: an encoder would be trained on test units {units}")
        return unlabelled

    def enrolled(self, task: FusedTask, fold: FusedFold) -> list[str]:
        """Networks that enrol in a fold."""
        truth = self.items(task).items.truth["network"].gather(pl.Series(fold.enrol))
        return truth.unique().sort().to_list()


def _fold(
    task: FusedTask, name: str, networks: Sequence[str], truth: pl.DataFrame, labels: NDArray[np.str_]
) -> FusedFold | None:
    site = {network: task.sites.get(network, network) for network in networks}
    others = [network for network in networks if site[network] != site[name]]
    split = by_network(truth, others, [name], sites=task.sites)
    known = sorted(set(labels[split.enrol].tolist()))
    asked = np.isin(labels[split.test], known)
    if not asked.any():
        return None
    place = truth["network"].replace(task.sites).to_numpy()[split.enrol]
    return FusedFold(
        name, split, split.enrol, split.test[asked], split.test[~asked], known,
        np.searchsorted(known, labels[split.enrol]).astype(np.int64),
        np.unique(place, return_inverse=True)[1].astype(np.int64),
        truth["unit"].gather(pl.Series(split.enrol)).to_list(),
    )  # fmt: skip
