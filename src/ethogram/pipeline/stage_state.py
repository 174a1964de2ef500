"""State of the flow stages as plain data, so that a live stream continues after a restart.

This is the only module that looks inside the stages from outside. A stage keeps records that may still be paired or
joined, the ports of the devices, the MACs of addresses, and clocks. Attributes that are tables, arrays, numbers or
groups of arrays are found by walking the stages, so that none can be forgotten. Attributes that have not changed since
the stages were made, such as settings and device files, are not state.

State is stored under the path of attributes that leads to it. :data:`_SAVED_AS` gives the stored path of attributes
that were renamed since, so that states written by earlier versions stay readable; names of classes and modules are not
stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.pipeline.stages import FlowStages

__all__ = ["StageMemory", "StageState"]

_ROOM = "ethogram.flow."
_PLAIN = (int, float, str, bool, type(None))
_MISSING = object()
_SAVED_AS = {"_deduplicator": "_twins", "_twins._emitted": "_twins._seen"}
"""Stored path of renamed attributes; the key is the stored path of the owner and the attribute's name today."""


@dataclass
class StageState:
    """State of the stages, by stored path.

    Parameters
    ----------
    tables, arrays
        An array of a group is stored under the path of the group and the name of its field.
    plain
        Numbers, texts, sets (as lists), names of series, and the field names of each group of arrays. In older states
        a group has the name of its class instead, which is not used.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)


class StageMemory:
    """Takes the state of stages, and restores it into others with the same settings.

    Parameters
    ----------
    stages
        New and unused.

    Examples
    --------
    >>> from ethogram.config import FlowSettings
    >>> from ethogram.flow.devices import LocalDevices
    >>> memory = StageMemory(FlowStages(FlowSettings(), LocalDevices(), 1800.0))
    >>> memory.restore(memory.state())
    True
    """

    def __init__(self, stages: FlowStages) -> None:
        self._stages = stages
        self._initial = {path: getattr(owner, name) for path, owner, name in _places(stages)}

    def state(self) -> StageState:
        """Return the current state; later changes of the stages do not affect it."""
        state = StageState()
        for path, owner, name in _places(self._stages):
            value = getattr(owner, name)
            initial = self._initial.get(path, _MISSING)
            if value is initial and not isinstance(value, np.ndarray):
                continue
            if isinstance(value, pl.DataFrame):
                state.tables[path] = value
            elif isinstance(value, pl.Series):
                state.tables[path] = value.to_frame()
                state.plain[path] = {"series": value.name}
            elif isinstance(value, np.ndarray):
                state.arrays[path] = value.copy()
            elif isinstance(value, set):
                state.plain[path] = {"set": sorted(value)}
            elif is_dataclass(value):
                names = [each.name for each in fields(value)]
                state.plain[path] = {"group": names}
                state.arrays |= {f"{path}.{each}": getattr(value, each).copy() for each in names}
            elif value != initial:
                state.plain[path] = {"value": value}
        return state

    def restore(self, state: StageState) -> bool:
        """Restore what :meth:`state` returned.

        Returns
        -------
        Whether the state fits these stages; if not, nothing is changed.
        """
        places = {path: (owner, name) for path, owner, name in _places(self._stages)}
        try:
            values = {path: self._value(path, state) for path in {*state.tables, *state.plain, *_single(state)}}
        except (KeyError, TypeError, AttributeError):
            return False
        if not set(values) <= set(places):
            return False
        if not all(_same_form(value, self._initial[path]) for path, value in values.items()):
            return False
        for path, value in values.items():
            setattr(*places[path], value)
        return True

    def _value(self, path: str, state: StageState) -> Any:
        stored = state.plain.get(path)
        if stored is None:
            return state.tables[path] if path in state.tables else state.arrays[path].copy()
        if "series" in stored:
            return state.tables[path].to_series()
        if "set" in stored:
            return set(stored["set"])
        if _is_group(stored):
            initial = self._initial[path]
            if not is_dataclass(initial):
                raise TypeError(f"{path} is not a group of arrays")
            arrays = {each.name: state.arrays[f"{path}.{each.name}"].copy() for each in fields(initial)}
            return type(initial)(**arrays)  # type: ignore[misc]
        return stored["value"]


def _is_group(stored: dict[str, Any]) -> bool:
    return "group" in stored or "class" in stored


def _same_form(value: Any, initial: Any) -> bool:
    """Whether a table has the schema, and an array or group of arrays the dtypes, of the value it replaces."""
    if isinstance(initial, pl.DataFrame):
        return isinstance(value, pl.DataFrame) and initial.schema == value.schema
    if isinstance(initial, np.ndarray):
        return isinstance(value, np.ndarray) and initial.dtype == value.dtype
    if is_dataclass(initial):
        return type(value) is type(initial) and all(
            getattr(value, each.name).dtype == getattr(initial, each.name).dtype for each in fields(initial)
        )
    return True


def _single(state: StageState) -> Iterator[str]:
    """Paths of arrays that belong to no group."""
    groups = tuple(f"{path}." for path, stored in state.plain.items() if _is_group(stored))
    return (path for path in state.arrays if not path.startswith(groups))


def _places(owner: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Stored path, owner and name of every attribute that holds data, in the stages and the objects they consist of."""
    for name, value in vars(owner).items():
        path = _SAVED_AS.get(f"{prefix}{name}", f"{prefix}{name}")
        if isinstance(value, (*_PLAIN, set, pl.DataFrame, pl.Series, np.ndarray)) or is_dataclass(value):
            if type(value).__module__.startswith(_ROOM) or not is_dataclass(value):
                yield path, owner, name
        elif type(value).__module__.startswith(_ROOM):
            yield from _places(value, f"{path}.")
