"""Tasks and methods on fingerprints and embeddings together (``kind = "both"``)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ethogram.bench.definitions import Kind, MethodDefinition, TaskDefinition
from ethogram.config import CountSettings
from ethogram.identify.flow_classifiers import FlowClassifierName
from ethogram.identify.fused_verdict import DEFAULT_FLOW_CLASSIFIERS
from ethogram.identify.fusion import Fusion

__all__ = ["FusedMethod", "FusedTask", "fused_methods", "fused_tasks"]


class FusedMethod(MethodDefinition):
    """A method on fingerprints, embeddings, or both."""

    KIND: ClassVar[Kind] = "both"

    kind: Literal["both"] = "both"
    group: Literal["alone", "both", "baseline"]
    fingerprints: str = Field(
        default="", description="name of a method on counts; none: no fingerprints"
    )
    encoder: str = Field(default="", description="name of a method on flows whose encoder embeds; none: no flows")
    beside: str = Field(default="", description="a second encoder, with the same flow classifiers")
    experts: tuple[FlowClassifierName, ...] = Field(
        default=DEFAULT_FLOW_CLASSIFIERS, description="flow classifiers, with equal weights"
    )
    design: Literal["within", "learnt", "pool", "soft"] = Field(
        default="within",
        description="within: flows redistribute probability among the labels that they know; learnt: with fitted "
        "weights; pool: one opinion pool over all labels; soft: as within, with a fitted limit of the confidence",
    )
    seeds: int = Field(default=1, ge=1, description="number of seeds; deterministic methods run once")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.fingerprints and not self.encoder:
            raise ValueError("fingerprints, an encoder, or both")
        if self.beside and not self.encoder:
            raise ValueError("a second encoder without a first")
        return self

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders."""
        return tuple(name for name in (self.encoder, self.beside) if name)

    @property
    def fusion(self) -> Fusion:
        """The unfitted fusion of the design."""
        return Fusion(within=self.design != "pool", learn=self.design == "learnt", soften=self.design == "soft")


class FusedTask(TaskDefinition):
    """A task on items that have counts of services and, in corpora with captures, custom flows.

    Each network in ``test`` tests in turn; all others enrol. Units and sites are never on both sides.
    """

    KIND: ClassVar[Kind] = "both"
    METHOD: ClassVar[type[MethodDefinition]] = FusedMethod

    experiment: Literal["both"] = "both"
    kind: Literal["both"] = "both"
    corpora: tuple[str, ...]
    captures: tuple[str, ...] = Field(description="corpora whose items also have custom flows")
    networks: tuple[str, ...] = Field(default=(), description="only these networks; none named: all")
    exclude_types: tuple[str, ...] = ()
    level: Literal["model", "family", "type", "coarse"]
    names: bool = Field(default=True, description="whether fingerprints use remote names")
    windows: dict[str, int | Literal["run", "device"]] = Field(
        default_factory=dict, description="what an item is, by corpus: seconds, a run or a device; default: a device"
    )
    test: tuple[str, ...] = Field(description="networks that test, each in turn")
    sites: dict[str, str] = Field(default_factory=dict, description="networks of one site, which are held out together")
    counts: CountSettings = CountSettings(other_protocols=True)
    flows: int = Field(
        default=60, ge=1, description="maximum number of custom flows of an item, drawn with a fixed seed"
    )
    methods: tuple[str, ...] = Field(default=(), description="methods or groups to run; none: all")
    without: tuple[str, ...] = ()
    quick: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        odd = [name for name in (*self.captures, *self.windows) if name not in self.corpora]
        if odd:
            raise ValueError(f"{odd[0]} is not among the corpora")
        return self

    def runs(self, method: FusedMethod, *, quick: bool = False) -> bool:  # noqa: ARG002 (tasks are quick or not)
        """Whether the task runs a method."""
        wanted = not self.methods or method.name in self.methods or method.group in self.methods
        return wanted and method.name not in self.without


def fused_tasks(folder: Path | None = None) -> dict[str, FusedTask]:
    """Tasks on fingerprints and embeddings by name: those of the package, or of a folder.

    >>> fused_tasks()["both-coarse-captures"].level
    'coarse'
    """
    return FusedTask.read(folder)


def fused_methods(folder: Path | None = None) -> dict[str, FusedMethod]:
    """Methods on fingerprints and embeddings by name: those of the package, or of a folder.

    >>> fused_methods()["fingerprints"].encoder
    ''
    """
    return FusedMethod.read(folder)
