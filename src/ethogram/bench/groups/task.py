"""Tasks and methods on groups of unknown devices (``kind = "groups"``)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ethogram.bench.definitions import Kind, MethodDefinition, TaskDefinition
from ethogram.config import CountSettings

__all__ = ["GroupMethod", "GroupTask", "group_methods", "group_tasks"]


class GroupMethod(MethodDefinition):
    """A method that measures similarity of unknown devices."""

    KIND: ClassVar[Kind] = "groups"

    kind: Literal["groups"] = "groups"
    group: Literal["alone", "both", "baseline"]
    by: Literal["fingerprints", "embeddings", "both", "device-apart"]
    encoder: str = Field(default="", description="a method on flows whose encoder embeds")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.by in ("embeddings", "both")) != bool(self.encoder):
            raise ValueError("embeddings, and only they, need an encoder")
        return self


class GroupTask(TaskDefinition):
    """A task in which some labels are not enrolled, and their items are grouped without device names.

    The first items of each unit are enrolled or grouped; the rest are test items.
    """

    KIND: ClassVar[Kind] = "groups"
    METHOD: ClassVar[type[MethodDefinition]] = GroupMethod

    experiment: Literal["groups"] = "groups"
    kind: Literal["groups"] = "groups"
    corpus: str
    exclude_types: tuple[str, ...] = ()
    level: Literal["id", "model"] = "id"
    window: int | Literal["run", "device"] = 86_400
    by: Literal["day", "window"] = Field(default="day", description="where the period is divided")
    share: float = Field(default=0.5, gt=0, lt=1, description="share of a unit's items that are enrolled or grouped")
    names: bool = True
    twins: dict[str, str] = Field(default_factory=dict, description="labels that count as one")
    counts: CountSettings = CountSettings(other_protocols=True)
    left_out: float = Field(default=0.5, gt=0, lt=1, description="share of the labels that are not enrolled")
    draws: int = Field(default=5, ge=1, description="number of draws of those labels")
    random: int = Field(default=20, ge=1, description="number of random orders of labelling, for comparison")
    reach: float = Field(default=0.95, gt=0, le=1, description="target, as a share of the macro-F1 with all labels")
    captures: bool = Field(default=False, description="whether the corpus has custom flows")
    flows: int = Field(default=60, ge=1, description="maximum number of custom flows of an item")
    quick: bool = True

    def runs(self, method: GroupMethod, *, quick: bool = False) -> bool:
        """Whether the task runs a method: embeddings need captures, and are too slow for the quick set."""
        return not method.encoder or (self.captures and not quick)


def group_tasks(folder: Path | None = None) -> dict[str, GroupTask]:
    """Tasks on groups of unknown devices by name: those of the package, or of a folder.

    >>> group_tasks()["groups-stevens"].corpus
    'stevens_lsif_2019'
    """
    return GroupTask.read(folder)


def group_methods(folder: Path | None = None) -> dict[str, GroupMethod]:
    """Methods on groups of unknown devices by name: those of the package, or of a folder.

    >>> group_methods()["groups-none"].by
    'device-apart'
    """
    return GroupMethod.read(folder)
