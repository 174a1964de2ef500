"""Tasks and methods on counts of services."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import ClassVar, Literal, Self

import orjson
from pydantic import Field, model_validator

from ethogram.bench.definitions import Kind, MethodDefinition, TaskDefinition
from ethogram.config import CountSettings, IdentifySettings, KeySettings, RepresentationSettings, Settings

__all__ = ["CountMethod", "CountTask", "SplitSettings", "count_methods", "count_tasks"]

KINDS = Literal["closed", "open", "early", "robust", "similarity", "convergence", "recurrence", "drift"]


class SplitSettings(Settings):
    """How enrolment and test items are separated."""

    kind: Literal["chronological", "network", "each_network"] = "chronological"
    by: Literal["day", "window", "clock"] = "day"
    share: float = Field(default=1 / 3, gt=0, lt=1, description="first part of the days or windows enrols")
    clock_s: int | None = Field(
        default=None, description="with by = clock: seconds from the start to the end of enrolment"
    )
    enrol: tuple[str, ...] = Field(default=(), description="networks that enrol")
    test: tuple[str, ...] = Field(
        default=(), description="networks that test; each_network: each of these in turn, and others only enrol"
    )
    sites: dict[str, str] = Field(
        default_factory=dict, description="networks of one site, which are held out together: network to site"
    )


class CountMethod(MethodDefinition):
    """A method on counts: the settings of an identifier."""

    KIND: ClassVar[Kind] = "counts"

    group: Literal["plain", "option", "default", "baseline"]
    key: KeySettings = KeySettings()
    representation: RepresentationSettings = RepresentationSettings()
    identify: IdentifySettings = IdentifySettings()
    learn_ports: bool = Field(default=False, description="keep only ports that enrolment uses on several days")
    calibrated: bool = Field(default=False, description="fit calibration, too, and report its error")

    @property
    def needs_statistics(self) -> bool:
        """Whether it reads flow statistics."""
        return self.identify.method in {"random-forest", "gradient-boosting"}


class CountTask(TaskDefinition):
    """A task on counts of services."""

    KIND: ClassVar[Kind] = "counts"
    METHOD: ClassVar[type[MethodDefinition]] = CountMethod

    experiment: str = Field(description="E1 to E8, or another name of the experiment")
    kind: KINDS = "closed"
    corpora: tuple[str, ...]
    networks: tuple[str, ...] = Field(default=(), description="only these networks; none named: all")
    exclude_types: tuple[str, ...] = ()
    level: Literal["id", "model", "family", "type", "coarse"] = "id"
    window: int | Literal["run", "device"] = Field(
        default=86_400, description="what one item is: a number of seconds, a run or a device"
    )
    offset_s: int = Field(default=0, ge=0, description="seconds from midnight UTC to the begin of the first window")
    min_hours: int = Field(default=1, ge=1, description="minimum number of active sub-epochs of an item, on both sides")
    min_flows: int = Field(default=0, ge=0, description="minimum number of flows of an item, on both sides")
    names: bool = Field(default=True, description="whether remote names are used")
    split: SplitSettings = SplitSettings()
    known_only: bool = Field(
        default=True, description="closed set: test items whose label is not enrolled are left out"
    )
    twins: dict[str, str] = Field(default_factory=dict, description="labels that count as one in the merged figures")
    counts: CountSettings = CountSettings()
    values: tuple[float, ...] = Field(
        default=(),
        description="the axis: seconds, thresholds, shares lost (robust), or days on which blocks begin (drift)",
    )
    harm: Literal["flows", "sampling", "days", "timeouts"] = Field(
        default="flows", description="robust: flows lost (or strayed), packets sampled, days not enrolled, timeouts"
    )
    timeouts: tuple[str, ...] = Field(
        default=(),
        description="harm = timeouts: active/idle seconds of the test side, and 'apart' not to join cut records",
    )
    epochs: tuple[int, ...] = Field(default=(86_400,), description="convergence: lengths of an epoch in seconds")
    draws: int = Field(
        default=0,
        ge=0,
        description="open set: draws of three labels beside each label alone; harm = days: draws of the days enrolled",
    )
    methods: tuple[str, ...] = Field(default=(), description="methods run by default; none named: all that apply")
    without: tuple[str, ...] = Field(default=(), description="methods left out of the quick set because they are slow")
    quick: bool = Field(default=True, description="part of the quick set")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.split.kind == "network" and not (self.split.enrol and self.split.test):
            raise ValueError("a split by network names the networks that enrol and test")
        for text in self.timeouts:
            if not re.fullmatch(r"[1-9]\d*/[1-9]\d*( apart)?", text):
                raise ValueError(f"timeouts {text!r}: write them as 300/30, or 300/30 apart")
        return self

    @property
    def digest(self) -> str:
        """Digest of the fields that decide a figure; ``quick`` is not one of them."""
        text = orjson.dumps({**self.model_dump(mode="json"), "quick": True}, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:12]

    def runs(self, method: CountMethod, *, quick: bool = False) -> bool:  # noqa: ARG002 (no method is too slow)
        """Whether the task runs a method: it may list or exclude methods, and fingerprint tasks need fingerprints."""
        if (self.methods and method.name not in self.methods) or method.name in self.without:
            return False
        if self.kind in ("similarity", "convergence", "recurrence"):
            return method.identify.method == "nearest" and method.group == "plain"
        return True


def count_tasks(folder: Path | None = None) -> dict[str, CountTask]:
    """Tasks on counts by name: those of the package, or of a folder.

    >>> count_tasks()["e4-stevens"].level
    'id'
    """
    return CountTask.read(folder)


def count_methods(folder: Path | None = None) -> dict[str, CountMethod]:
    """Methods on counts by name: those of the package, or of a folder.

    >>> count_methods()["evidence"].group
    'default'
    """
    return CountMethod.read(folder)
