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
        default="", description="a method on counts, by its name; none: fingerprints are not used"
    )
    encoder: str = Field(default="", description="a method on flows, by its name, whose encoder embeds; none: no flows")
    beside: str = Field(default="", description="a second encoder, whose experts stand beside those of the first")
    experts: tuple[FlowClassifierName, ...] = Field(
        default=DEFAULT_FLOW_CLASSIFIERS, description="how embedded flows are told; all weigh alike"
    )
    design: Literal["within", "learnt", "pool", "soft"] = Field(
        default="within",
        description="flows move probability among labels they know; the same with weights learnt; one opinion pool "
        "over all labels; the first made less sure where both are seen",
    )
    seeds: int = Field(default=1, ge=1, description="encoders that learn are made so often")

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
    captures: tuple[str, ...] = Field(description="corpora whose items have custom flows too")
    networks: tuple[str, ...] = Field(default=(), description="only these networks; none named: all")
    exclude_types: tuple[str, ...] = ()
    level: Literal["model", "family", "type", "coarse"]
    names: bool = Field(default=True, description="whether fingerprints see remote names")
    windows: dict[str, int | Literal["run", "device"]] = Field(
        default_factory=dict, description="what an item is, by corpus: seconds, or a word; not named: a device"
    )
    test: tuple[str, ...] = Field(description="networks that test, each in turn")
    sites: dict[str, str] = Field(default_factory=dict, description="networks of one place, which leave together")
    counts: CountSettings = CountSettings(other_protocols=True)
    flows: int = Field(default=60, ge=1, description="custom flows of an item at most, drawn evenly by a fixed seed")
    methods: tuple[str, ...] = Field(default=(), description="methods or groups asked; none named: all")
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
