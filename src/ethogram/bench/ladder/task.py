"""Tasks and methods on devices that nobody enrolled (``kind = "ladder"``)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ethogram.bench.definitions import Kind, MethodDefinition, TaskDefinition

__all__ = ["LadderMethod", "LadderTask", "ladder_methods", "ladder_tasks"]


class LadderMethod(MethodDefinition):
    """What is at hand about the devices."""

    KIND: ClassVar[Kind] = "ladder"

    kind: Literal["ladder"] = "ladder"
    group: Literal["ladder", "ablation"] = "ladder"
    names: bool = Field(description="whether the names that a device contacts are seen")
    mac: bool = Field(description="whether its MAC is known")
    without: str = Field(default="", description="source of evidence that is left out; weights stay as they are")


class LadderTask(TaskDefinition):
    """A task in which each laboratory in turn is left out, and all of its devices are judged at every level."""

    KIND: ClassVar[Kind] = "ladder"
    METHOD: ClassVar[type[MethodDefinition]] = LadderMethod

    experiment: Literal["first minute"] = "first minute"
    kind: Literal["ladder"] = "ladder"
    level: Literal["stated"] = "stated"
    new_vendor: bool = Field(default=False, description="whether the vendor of the judged device is left out, too")
    quick: bool = False

    def runs(self, method: LadderMethod, *, quick: bool = False) -> bool:
        """Whether the task runs a method: sources are left out only where the vendor may be enrolled."""
        return not (method.without and self.new_vendor) and (self.quick or not quick)


def ladder_tasks(folder: Path | None = None) -> dict[str, LadderTask]:
    """Tasks on devices that nobody enrolled by name: those of the package, or of a folder.

    >>> ladder_tasks()["first-minute"].new_vendor
    False
    """
    return LadderTask.read(folder)


def ladder_methods(folder: Path | None = None) -> dict[str, LadderMethod]:
    """Methods on devices that nobody enrolled by name: those of the package, or of a folder.

    >>> ladder_methods()["first-minute-names"].mac
    False
    """
    return LadderMethod.read(folder)
