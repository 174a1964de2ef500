"""Tasks and methods on custom flows (``kind = "flows"``).

The days of each unit are divided into early, middle and late ones, with a gap between them, in the same way for all
tasks. Encoders learn only from early days, so that one encoder serves all tasks.
"""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import orjson
from pydantic import Field, model_validator

from ethogram.bench.definitions import Kind, MethodDefinition, TaskDefinition
from ethogram.config import EncoderSettings, ProbeSettings, Settings, TrainingSettings
from ethogram.representation.kinds import EncoderKind, kind_of
from ethogram.representation.views import view_of
from ethogram.third_party_encoders.interface import adapter_kind

__all__ = ["Caps", "FlowMethod", "FlowTask", "Part", "flow_methods", "flow_tasks"]

Part = Literal["early", "middle", "late"]

PARTS: dict[str, tuple[tuple[Part, ...], tuple[Part, ...]]] = {
    "P0": (("middle",), ("late",)),
    "P2": (("early", "middle"), ("late",)),
    "P3": (("middle", "late"), ("middle", "late")),
    "P4": (("middle", "late"), ("middle", "late")),
}
"""Days of the training and of the test networks that train and test. P3 and P4 do not test early days, since the
encoder of P4 sees them and both use the same test set."""


DEFAULT_GROUPS = ("raw", "baseline", "encoder", "detector")
"""Groups of methods that a task runs if it names none."""


class Caps(Settings):
    """Maximum number of flows per unit and day. The draw is the same for every method and task."""

    unlabelled: int = Field(default=400, ge=1, description="that train encoders")
    labelled: int = Field(default=100, ge=1, description="that train probes, and that test")


class FlowMethod(MethodDefinition):
    """A method on flows: an encoder, its training, and a probe."""

    KIND: ClassVar[Kind] = "flows"

    kind: Literal["flows"] = "flows"
    group: str
    encoder: EncoderSettings | None = Field(default=None, description="an encoder of the product")
    training: TrainingSettings = TrainingSettings(kl_warmup_steps=150)
    steps: int = Field(
        default=600, ge=1, description="training steps; the number of passes follows from the number of flows"
    )
    adapter: str = Field(default="", description="a third-party encoder")
    pretraining: dict[str, Any] = Field(
        default_factory=dict, description="settings of an adapter that is pretrained here; none: not pretrained"
    )
    probe: Literal["logistic", "knn", "mlp", "forest"] = "logistic"
    whiten: bool = False
    budgets: bool = Field(default=True, description="whether to measure it with few labels, too")
    shuffled: bool = Field(default=False, description="permute the labels of training flows, to detect leaks")
    seeds: int = Field(default=3, ge=1, description="number of seeds; deterministic methods run once")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.encoder is None) == (not self.adapter):
            raise ValueError("an encoder or an adapter, one of them")
        if self.encoder is not None:
            view_of(self.encoder.view)
        return self

    @property
    def digest(self) -> str:
        """Digest of the fields that decide a figure."""
        return _digest_without(self, {"title", "group"})

    @property
    def encoder_kind(self) -> EncoderKind:
        """The registry entry of the encoder."""
        return adapter_kind(self.adapter) if self.encoder is None else kind_of(self.encoder)

    @property
    def learns(self) -> bool:
        """Whether the encoder learns from unlabelled flows."""
        return bool(self.pretraining) if self.encoder is None else self.encoder_kind.fitted

    def encoder_seed(self, seed: int) -> int:
        """The seed that the encoder depends on: 0 for kinds without random numbers."""
        return 0 if self.encoder_kind.deterministic else seed

    @classmethod
    def expand(cls, table: dict[str, Any]) -> list[dict[str, Any]]:
        """Expand ``grid = {"encoder.size" = [...]}`` and a name with ``{size}`` to one table per combination."""
        grid = table.get("grid")
        if not grid:
            return [table]
        tables = []
        for values in product(*grid.values()):
            fields = {key: dict(field) if isinstance(field, dict) else field
                      for key, field in table.items() if key != "grid"}  # fmt: skip
            words = {}
            for place, value in zip(grid, values, strict=True):
                part, _, name = place.partition(".")
                if name:
                    fields.setdefault(part, {})[name] = value
                else:
                    fields[part] = value
                words[name or part] = f"{value:g}" if isinstance(value, float) else str(value).replace("/", "-")
            tables.append(
                fields | {"name": table["name"].format(**words), "title": table["title"].format(**words)}
            )
        return tables


class FlowTask(TaskDefinition):
    """A task on embeddings of single flows."""

    KIND: ClassVar[Kind] = "flows"
    METHOD: ClassVar[type[MethodDefinition]] = FlowMethod

    experiment: Literal["P0", "P2", "P3", "P4", "grid", "others"]
    kind: Literal["flows"] = "flows"
    protocol: Literal["P0", "P2", "P3", "P4"]
    level: Literal["id", "model", "family", "type", "coarse"]
    encoder: tuple[str, ...] = Field(default=(), description="corpora whose early days train encoders")
    probe: tuple[str, ...] = Field(default=(), description="corpora whose labels train the probe")
    test: tuple[str, ...] = Field(default=(), description="corpora that test")
    each: tuple[str, ...] = Field(
        default=(),
        description="instead: corpora that test in turn, while the others train encoder and probe; verdicts are pooled",
    )
    train_parts: tuple[Part, ...] = Field(default=(), description="days that train the probe; none: by the protocol")
    test_parts: tuple[Part, ...] = Field(default=(), description="days that test; none: by the protocol")
    early: float = Field(default=0.4, gt=0, lt=1, description="share of a unit's days that are early")
    late: float = Field(default=0.25, gt=0, lt=1, description="share that are late, at least one day")
    caps: Caps = Caps()
    settings: ProbeSettings = Field(
        default=ProbeSettings(budgets=(10, 50, 200, 1000, None)),
        description="settings of the probe, its grid and its verdicts",
    )
    packets: bool = Field(default=False, description="whether methods need the packets of both directions")
    shift: bool = Field(
        default=True, description="whether to compare reconstruction errors on the training and the test network"
    )
    methods: tuple[str, ...] = Field(default=(), description="methods or groups to run; none: the default groups")
    without: tuple[str, ...] = Field(default=(), description="methods left out")
    quick_methods: tuple[str, ...] = Field(default=(), description="methods of the quick set; none: not in it")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.each) == bool(self.test):
            raise ValueError("name the corpora that test, or those that test each in turn")
        if not self.each and not self.encoder:
            raise ValueError("name the corpora that encoders learn from")
        if self.each and self.protocol in ("P0", "P2"):
            raise ValueError(f"{self.protocol} names its networks: each in turn is for P3 and P4")
        return self

    @property
    def quick(self) -> bool:
        """Whether the task is in the quick set."""
        return bool(self.quick_methods)

    @property
    def digest(self) -> str:
        """Digest of the fields that decide a figure; the title and the list of methods are not among them."""
        return _digest_without(self, {"title", "methods", "without", "quick_methods"})

    @property
    def corpora(self) -> tuple[str, ...]:
        """All corpora that the task reads."""
        return tuple(dict.fromkeys((*self.encoder, *self.probe, *self.test, *self.each)))

    @property
    def parts(self) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """Parts of the days that train, and that test."""
        train, test = PARTS[self.protocol]
        return self.train_parts or train, self.test_parts or test

    def runs(self, method: FlowMethod, *, quick: bool = False) -> bool:
        """Whether the task runs a method; ``quick``: in the quick set."""
        if quick and method.name not in self.quick_methods:
            return False
        if method.name in self.without or (method.adapter and not self.packets):
            return False
        wanted = self.methods or DEFAULT_GROUPS
        return method.name in wanted or method.group in wanted


def _digest_without(settings: Settings, prose: set[str]) -> str:
    text = orjson.dumps(settings.model_dump(mode="json", exclude=prose), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:12]


def flow_tasks(folder: Path | None = None) -> dict[str, FlowTask]:
    """Tasks on flows by name: those of the package, or of a folder.

    >>> flow_tasks()["p0-stevens"].level
    'model'
    """
    return FlowTask.read(folder)


def flow_methods(folder: Path | None = None) -> dict[str, FlowMethod]:
    """Methods on flows by name; a table with ``grid`` stands for one method per combination of its values.

    >>> flow_methods()["raw-40"].encoder.kind
    'raw'
    """
    return FlowMethod.read(folder)
