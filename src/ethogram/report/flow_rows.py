"""Result rows of flow tasks, read and validated for tables and plots.

A row of a flow task has, beside what every row has (task, method, digests, commit, machine, n, wall time):

- ``experiment``: ``P0`` inside a network, ``P2``, ``P3``, ``P4`` across, ``grid`` (the ablation), ``others`` (the same
  small sample for networks that are slow), ``both`` (fingerprints and embeddings together);
- ``values``: ``macro_f1``, ``balanced_accuracy``, ``accuracy``; ``macro_f1@50`` with 50 labelled flows for each type;
  ``device_macro_f1@20`` of verdicts on 20 flows; ``shift_ratio_packets`` and so on, where an encoder decodes;
- ``intervals``: of some values, 95 %, device-days drawn again;
- ``details``: ``seeds`` (each value by seed), ``per_type``, ``confusion``, ``reliability``, ``coverage``; of both
  methods together ``accuracy_by_network`` (items, accuracy, macro-F1) and the ``weights`` of each side;
- ``cost``: parameters, numbers of the embedding, flows/s, memory, origin and licence of the weights;
- ``encoder``: kind, size, view and KL weight, where the method has an encoder of ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ethogram.errors import InputError

__all__ = ["DETECTORS", "EXPERIMENTS", "ORIGINS", "RAW_METHODS", "Confusion", "Cost", "FlowRow", "Origin",
           "ReportedEncoder", "blind_macro_f1", "blind_recall", "chance_of", "flow_rows", "is_flow_row"]  # fmt: skip

EXPERIMENTS: dict[str, str] = {
    "P0": "inside a network, later days",
    "P2": "encoder from elsewhere, labels from here",
    "P3": "nothing from the network that tests",
    "P4": "its unlabelled flows, no labels from it",
    "grid": "the ablation grid",
    "others": "third-party encoders, the same small sample for all",
    "both": "fingerprints and embeddings together",
}
"""Experiments of flow tasks, in the order of a report, with descriptions."""

DETECTORS: dict[str, str] = {
    "shuffled": "labels of the training flows permuted: must fall to chance",
    "shortcut": "address, ports and time alone: what a leak or a site would give",
}
"""Leak detectors: methods that show whether a task can be solved by information it should not depend on."""

RAW_METHODS = ("raw-40", "raw40", "raw")
"""Names of the baseline that every task has: 40 numbers of flow and packets, logistic regression."""

Origin = Literal["no weights", "random weights", "trained here", "pretrained here", "checkpoint"]
"""Source of the weights of an encoder."""

ORIGINS: tuple[Origin, ...] = ("no weights", "random weights", "trained here", "pretrained here", "checkpoint")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Confusion(_Part):
    """Flows by true type (rows) and predicted type (columns); both in the order of ``labels``."""

    labels: tuple[str, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()


class Cost(_Part):
    """What a method needs. None: unknown or not measured."""

    parameters: int | None = None
    embedding: int | None = None
    flows_per_s: float | None = None
    memory_mib: float | None = None
    origin: str | None = None
    licence: str | None = None
    checkpoint: str | None = None


class ReportedEncoder(_Part):
    """The settings by which encoders of the grid differ."""

    kind: str = ""
    size: str = ""
    view: str = ""
    kl_weight: float | None = None
    loss: str = ""


class Details(_Part):
    """What is beside the figures."""

    seeds: Mapping[str, tuple[float | None, ...]] = Field(default_factory=dict)
    per_type: Mapping[str, Any] = Field(default_factory=dict)
    confusion: Confusion = Confusion()
    reliability: tuple[tuple[float, float, int], ...] = ()
    coverage: tuple[tuple[float, float | None, float | None], ...] = ()
    accuracy_by_network: Mapping[str, tuple[int, float, float]] = Field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)

    @field_validator("seeds", mode="before")
    @classmethod
    def _by_figure(cls, seeds: object) -> object:
        """Seeds as one mapping for each seed are turned: a list of values for each figure."""
        if not isinstance(seeds, list):
            return {} if seeds is None else seeds
        names = dict.fromkeys(name for by_name in seeds for name in by_name if name != "seed")
        return {name: [by_name.get(name) for by_name in seeds] for name in names}

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_left_out(cls, details: object) -> object:
        if not isinstance(details, dict):
            return details
        return {name: part for name, part in details.items() if part is not None}


class FlowRow(_Part):
    """One row of a flow task."""

    task: str
    method: str
    title: str
    experiment: str
    method_title: str = ""
    group: str = ""
    level: str = ""
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    n: int = 0
    n_enrol: int = 0
    labels: int = 0
    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    details: Details = Details()
    cost: Cost = Cost()
    encoder: ReportedEncoder = ReportedEncoder()
    where: Literal["inside", "across"] = "across"
    stale: bool = False
    wall_s: float = 0.0
    cpu_s: float | None = None
    commit: str = ""
    machine: str = ""
    data_digest: str = ""
    split: str = ""

    @classmethod
    def of(cls, row: Mapping[str, object]) -> FlowRow:
        """Check one row.

        Raises
        ------
        InputError
            When it is not of the form above; says what is wrong with it.
        """
        fields = dict(row)
        split = fields.get("split")
        parts = list(split.values()) if isinstance(split, dict) else [split or ""]
        fields["split"] = " ".join(str(part) for part in parts)
        fields["where"] = _where(fields)
        for name in ("cost", "encoder", "details", "intervals", "train", "test"):
            if fields.get(name) is None:
                fields.pop(name, None)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"row of {row.get('task')}, {row.get('method')}: {place}: {first['msg']}") from None

    @property
    def detector(self) -> bool:
        """Whether the method is a leak detector."""
        return self.method in DETECTORS or self.group == "detector"

    @property
    def shuffled(self) -> bool:
        """Whether it was trained on permuted labels."""
        return self.detector and self.method.startswith("shuffled")

    @property
    def origin(self) -> Origin:
        """Source of the weights.

        >>> cost = Cost(parameters=7, origin="pretrained here, 0 steps of 32 from 9 flows, seed 0")
        >>> FlowRow(task="t", method="m", title="", experiment="others", values={}, cost=cost).origin
        'random weights'
        """
        origin = self.cost.origin or ""
        if not self.cost.parameters:
            return "no weights"
        if self.cost.checkpoint or origin.startswith("checkpoint"):
            return "checkpoint"
        untrained = ", 0 steps" in origin or self.method.endswith("-untrained")
        if untrained or origin.startswith(("random weights", "drawn")):
            return "random weights"
        return "pretrained here" if origin.startswith("pretrained here") else "trained here"

    @property
    def random_weights(self) -> bool:
        """Whether the encoder has random weights."""
        return self.origin == "random weights"

    def value(self, name: str = "macro_f1") -> float:
        """A figure; NaN if the row has none.

        >>> row = FlowRow(task="t", method="m", title="", experiment="P0", values={"macro_f1": 0.5})
        >>> row.value(), row.value("accuracy")
        (0.5, nan)
        """
        value = self.values.get(name)
        return math.nan if value is None else float(value)

    def interval(self, name: str = "macro_f1") -> tuple[float, float] | None:
        """The 95 % interval of a figure, or None."""
        low, high = self.intervals.get(name, (None, None))
        return None if low is None or high is None or math.isnan(low + high) else (low, high)

    def seeds(self, name: str = "macro_f1") -> list[float]:
        """A figure by seed; empty if the row has none by seed."""
        return [float(v) for v in self.details.seeds.get(name, ()) if v is not None and not math.isnan(v)]

    def budgets(self) -> list[tuple[float, float, tuple[float, float] | None]]:
        """Label budget per type, macro-F1 and its interval; the last budget is infinity (all labels)."""
        budgets = []
        for name in self.values:
            stem, at, number = name.partition("@")
            if stem == "macro_f1" and at and number.isdigit():
                budgets.append((float(number), self.value(name), self.interval(name)))
        whole = (math.inf, self.value(), self.interval())
        return [*sorted(budgets, key=lambda budget: budget[0]), whole] if budgets else []


def _where(row: Mapping[str, object]) -> str:
    """Whether the task is inside one network or across two: from the row, else from the experiment."""
    where = row.get("where")
    if where in ("inside", "across"):
        return str(where)
    if isinstance(row.get("inside"), bool):
        return "inside" if row["inside"] else "across"
    return "inside" if row.get("experiment") == "P0" else "across"


def blind_macro_f1(confusion: Confusion) -> float:
    """Macro-F1 of verdicts with the same label shares that are independent of the true labels: chance.

    With a share p of a type among the flows and q among the verdicts, both independent, its F1 is 2 p q / (p + q).

    >>> blind_macro_f1(Confusion(labels=("a", "b"), matrix=((5, 5), (5, 5))))
    0.5
    """
    matrix = np.asarray(confusion.matrix, np.float64)
    if not matrix.size or not matrix.sum():
        return math.nan
    true, predicted = matrix.sum(axis=1) / matrix.sum(), matrix.sum(axis=0) / matrix.sum()
    present = true > 0
    return float(np.mean(2 * true[present] * predicted[present] / (true[present] + predicted[present])))


def blind_recall(confusion: Confusion) -> float:
    """Balanced accuracy of verdicts with the same label shares that are independent of the true labels.

    It is linear in the shares, so that a confusion matrix pooled over seeds gives the mean over the seeds.

    >>> blind_recall(Confusion(labels=("a", "b", "c"), matrix=((4, 2, 4), (4, 2, 4), (0, 0, 0))))
    0.3
    """
    matrix = np.asarray(confusion.matrix, np.float64)
    if not matrix.size or not matrix.sum():
        return math.nan
    present = matrix.sum(axis=1) > 0
    return float(matrix[:, present].sum() / matrix.sum() / present.sum())


def chance_of(row: FlowRow) -> float:
    """Chance level of macro-F1: by the shares of the row's verdicts; without them, 1 / number of types."""
    chance = blind_macro_f1(row.details.confusion)
    return chance if not math.isnan(chance) or not row.labels else 1 / row.labels


def is_flow_row(row: Mapping[str, object]) -> bool:
    """Whether a result row is of a flow task."""
    return row.get("experiment") in EXPERIMENTS


def flow_rows(rows: Sequence[Mapping[str, object]]) -> dict[str, list[FlowRow]]:
    """Rows of flow tasks by task, in the order of the experiments; rows without figures are left out."""
    order = list(EXPERIMENTS)
    parsed = [FlowRow.of(row) for row in rows if is_flow_row(row) and "absent" not in row]
    by_task: dict[str, list[FlowRow]] = {}
    for row in sorted(parsed, key=lambda row: (order.index(row.experiment), row.task)):
        by_task.setdefault(row.task, []).append(row)
    return by_task
