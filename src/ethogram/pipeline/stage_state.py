"""All that the flow stages hold of earlier blocks, as plain data: a live stream goes on from it after a restart.

This is the one place that looks inside the stages from outside. What they hold is data alone: records that may still
be paired or joined, the ports of the devices, the MACs of addresses, and clocks. Whatever a stage keeps in tables,
arrays and numbers is found here without being named, so that no stage can forget to say what it keeps. What has not
changed since the stages were made, such as settings and device files, is not state.
"""

from __future__ import annotations

import sys
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
_NONE = "none"


@dataclass
class StageState:
    """What stages hold, by the path of attributes that leads to it.

    Parameters
    ----------
    tables, arrays
        Each with the path.
    plain
        Numbers, texts, sets (as lists), and the class of each group of arrays.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)


class StageMemory:
    """Takes the state of stages, and puts it back into others that were made alike.

    Parameters
    ----------
    stages
        Made and not yet used.

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
        self._fresh = {path: getattr(owner, name) for path, owner, name in _places(stages)}

    def state(self) -> StageState:
        """What the stages hold now; nothing changes it later."""
        found = StageState()
        for path, owner, name in _places(self._stages):
            value = getattr(owner, name)
            fresh = self._fresh.get(path, _NONE)
            if value is fresh and not isinstance(value, np.ndarray):
                continue
            if isinstance(value, pl.DataFrame):
                found.tables[path] = value
            elif isinstance(value, pl.Series):
                found.tables[path] = value.to_frame()
                found.plain[path] = {"series": value.name}
            elif isinstance(value, np.ndarray):
                found.arrays[path] = value.copy()
            elif isinstance(value, set):
                found.plain[path] = {"set": sorted(value)}
            elif is_dataclass(value):
                found.plain[path] = {"class": [type(value).__module__, type(value).__qualname__]}
                found.arrays |= {f"{path}.{one.name}": getattr(value, one.name).copy() for one in fields(value)}
            elif value != fresh:
                found.plain[path] = {"value": value}
        return found

    def restore(self, state: StageState) -> bool:
        """Put back what :meth:`state` gave.

        Returns
        -------
        Whether it was of this form; of another, nothing is put back and the stages begin afresh.
        """
        places = {path: (owner, name) for path, owner, name in _places(self._stages)}
        try:
            values = {path: self._value(path, state) for path in {*state.tables, *state.plain, *_whole(state)}}
        except (KeyError, TypeError, AttributeError):
            return False
        if not set(values) <= set(places):
            return False
        for path, value in values.items():
            fresh = self._fresh[path]
            if isinstance(fresh, pl.DataFrame) and (
                not isinstance(value, pl.DataFrame) or fresh.schema != value.schema
            ):
                return False
            if isinstance(fresh, np.ndarray) and (not isinstance(value, np.ndarray) or fresh.dtype != value.dtype):
                return False
        for path, value in values.items():
            setattr(*places[path], value)
        return True

    def _value(self, path: str, state: StageState) -> Any:
        said = state.plain.get(path)
        if said is None:
            return state.tables[path] if path in state.tables else state.arrays[path].copy()
        if "series" in said:
            return state.tables[path].to_series()
        if "set" in said:
            return set(said["set"])
        if "class" in said:
            module, name = said["class"]
            kind: Any = getattr(sys.modules[module], name)
            if not module.startswith(_ROOM) or not hasattr(kind, "__dataclass_fields__"):
                raise TypeError(f"{module}.{name} is no group of arrays")
            names = [one.name for one in fields(kind)]
            return kind(**{each: state.arrays[f"{path}.{each}"].copy() for each in names})
        return said["value"]


def _whole(state: StageState) -> Iterator[str]:
    """Arrays that stand alone."""
    groups = tuple(f"{path}." for path, said in state.plain.items() if "class" in said)
    return (path for path in state.arrays if not path.startswith(groups))


def _places(owner: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every attribute that holds data, in the stages and what they are made of: its path, its owner and its name."""
    for name, value in vars(owner).items():
        path = f"{prefix}{name}"
        if isinstance(value, (*_PLAIN, set, pl.DataFrame, pl.Series, np.ndarray)) or is_dataclass(value):
            if type(value).__module__.startswith(_ROOM) or not is_dataclass(value):
                yield path, owner, name
        elif type(value).__module__.startswith(_ROOM):
            yield from _places(value, f"{path}.")
