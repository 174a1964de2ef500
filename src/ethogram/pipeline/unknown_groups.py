"""Group the devices that a library does not know, each group one product, and enrol named groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from ethogram.config import IdentifySettings
from ethogram.errors import InputError, UsageError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.group import Grouping
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.fused import CoarseFallback, identify_with_flows
from ethogram.pipeline.learnt import identify_by_library
from ethogram.pipeline.library import enrol_windows, open_library
from ethogram.pipeline.windows import ObservedWindows, regroup
from ethogram.schema import UNKNOWN, Fallback, Inventory, Record, Verdict, Window

__all__ = ["Unknown", "UnknownGroup", "UnknownGroups", "enrol_groups", "unknown_groups"]


class UnknownGroup(Record):
    """Devices that seem to be one product."""

    group: str = Field(description="its number, the largest group first; the same input gives the same numbers")
    devices: list[str]
    likeness: float = Field(description="mean probability that two of them are one product; 1 where there is one")
    shared: list[str] = Field(description="names and services that most of them have, those that tell most first")
    nearest: str = Field(description="enrolled label that is nearest to most of them; empty without a library")
    nearest_score: float = Field(description="its mean score, 0 to 1")
    fallback: Fallback | None = Field(default=None, description="what most of them are at a coarser level")
    flows: int


class UnknownGroups(Record):
    """The object that ``ethogram unknown --format json`` prints."""

    format: Literal["ethogram.unknown/1"] = "ethogram.unknown/1"
    library: str
    encoder: str = ""
    known: int = Field(description="devices that are known")
    groups: list[UnknownGroup]

    def to_frame(self) -> pl.DataFrame:
        """One row for each group."""
        rows = [
            {
                **group.model_dump(exclude={"fallback"}),
                "fallback": None if group.fallback is None else group.fallback.label,
            }
            for group in self.groups
        ]
        return pl.DataFrame(rows, schema_overrides={"fallback": pl.String}, infer_schema_length=None)


@dataclass
class Unknown:
    """Groups, with the verdicts they come from."""

    groups: UnknownGroups
    inventory: Inventory
    devices: dict[str, list[str]] = field(default_factory=dict)


def unknown_groups(
    seen: ObservedWindows, library: Library, settings: IdentifySettings, *, store: FlowStore | None = None,
    flows: FlowWindows | None = None, inventory: Inventory | None = None,
) -> Unknown:  # fmt: skip
    """Group the devices that are unknown.

    Parameters
    ----------
    seen
        Windows as they came in; each device is one item.
    library, store
        Known devices, and their flow side where there is one. With an empty library, all devices are grouped.
    settings
        Of the verdicts.
    flows
        Embedded flows of the devices, in the order of ``regroup(seen, "device")``.
    inventory
        Verdicts on the devices, in that order, by this library and maybe others; default: by this library.
    """
    whole = regroup(seen, "device")
    if not library.entries:
        return _all_groups(whole, settings)
    if inventory is not None:
        pass
    elif store is not None and flows is not None:
        inventory = identify_with_flows(whole, library, store, flows, settings)
    else:
        inventory, _ = identify_by_library(whole, library, settings)
    items = [i for i, verdict in enumerate(inventory.devices) if verdict.verdict == UNKNOWN and verdict.flows]
    rest = [inventory.devices[i] for i in items]
    if not items:
        return Unknown(_told(inventory, []), inventory)
    windows = whole.windows.take(items)
    side = None if flows is None or store is None else flows.take(items)
    known = None if store is None else store.windows([entry.digest for entry in library.entries])
    grouping = Grouping().fit(library.windows(), library.labels(settings.level), known if side is not None else None)
    fallbacks = [verdict.fallback for verdict in rest]
    if side is None:
        fallbacks = CoarseFallback(library, None, settings).predict(windows, None)
    groups = []
    for number, group in enumerate(grouping.groups(windows, side), 1):
        mine = [rest[i] for i in group.items]
        nearest, score = _nearest(mine)
        groups.append(UnknownGroup(
            group=str(number), devices=[verdict.device for verdict in mine], likeness=group.likeness,
            shared=[name.removeprefix("name ") for name in group.shared], nearest=nearest, nearest_score=score,
            fallback=_most([fallbacks[i] for i in group.items]), flows=sum(verdict.flows for verdict in mine),
        ))  # fmt: skip
    return Unknown(_told(inventory, groups), inventory, {group.group: group.devices for group in groups})


def _all_groups(whole: ObservedWindows, settings: IdentifySettings) -> Unknown:
    """Group all devices, since none is known; what counts as alike is learnt from the bundled library."""
    bundled = open_library()
    flows = dict(whole.windows.counts.group_by("item").agg(pl.col("flows").sum()).iter_rows())
    devices = [
        Verdict(
            device=device, verdict=UNKNOWN, score=1.0 if flows.get(item) else 0.0, margin=0.0, known_types={},
            strangeness=0.0, evidence=[], window=Window(start=start, end=end), flows=flows.get(item, 0),
            converged=done, level=settings.level, reason="no library is given",
        )
        for (item, device, start, end), done in zip(
            whole.windows.items.select("item", "device", "start", "end").iter_rows(), whole.converged, strict=True
        )
    ]  # fmt: skip
    inventory = Inventory(library="", devices=devices)
    items = [i for i, verdict in enumerate(devices) if verdict.flows]
    grouping = Grouping().fit(bundled.windows(), bundled.labels())
    groups = []
    for number, group in enumerate(grouping.groups(whole.windows.take(items)), 1):
        mine = [devices[items[i]] for i in group.items]
        groups.append(UnknownGroup(
            group=str(number), devices=[verdict.device for verdict in mine], likeness=group.likeness,
            shared=[name.removeprefix("name ") for name in group.shared], nearest="", nearest_score=0.0,
            flows=sum(verdict.flows for verdict in mine),
        ))  # fmt: skip
    return Unknown(_told(inventory, groups), inventory, {group.group: group.devices for group in groups})


def _told(inventory: Inventory, groups: list[UnknownGroup]) -> UnknownGroups:
    known = sum(verdict.verdict != UNKNOWN for verdict in inventory.devices)
    return UnknownGroups(library=inventory.library, encoder=inventory.encoder, known=known, groups=groups)


def _nearest(mine: Sequence[Verdict]) -> tuple[str, float]:
    """The label nearest to most, and the mean of its scores."""
    nearest = {verdict.nearest for verdict in mine}
    names = sorted(nearest, key=lambda name: (-sum(o.nearest == name for o in mine), name))
    return names[0], float(np.mean([verdict.known_types.get(names[0], 0.0) for verdict in mine]))


def _most(fallbacks: Sequence[Fallback | None]) -> Fallback | None:
    """What more than half of them are."""
    stated = [fallback for fallback in fallbacks if fallback is not None]
    for fallback in stated:
        same = [other for other in stated if (other.level, other.label) == (fallback.level, fallback.label)]
        if 2 * len(same) > len(fallbacks):
            return fallback.model_copy(update={"score": float(np.mean([other.score for other in same]))})
    return None


def enrol_groups(
    unknown: Unknown, seen: ObservedWindows, names: Mapping[str, Identity], library: Library, *, source: Source,
    name: str,
) -> tuple[Library, list[str]]:  # fmt: skip
    """Enrol the devices of named groups, window by window.

    Parameters
    ----------
    unknown
        The groups.
    seen
        The windows they were made of.
    names
        What each named group is.
    library
        What is added to.
    source
        Provenance.
    name
        Of the library.

    Returns
    -------
    tuple
        The library, and lines for people.

    Raises
    ------
    UsageError
        When there is no such group.
    """
    labels: list[Label] = []
    for group, identity in names.items():
        if group not in unknown.devices:
            known = ", ".join(unknown.devices) or "none"
            raise UsageError(f"no group {group!r}; there are {known}")
        labels += [Label(device, identity) for device in unknown.devices[group]]
    if not labels:
        raise InputError("no group is named: --name GROUP=LABEL")
    mine = {label.device for label in labels}
    rows = [i for i, device in enumerate(seen.windows.items["device"].to_list()) if device in mine]
    merged, report = enrol_windows(seen.take(rows), labels, source=source, extend=library, name=name)
    return replace(merged, name=name), report.lines()
