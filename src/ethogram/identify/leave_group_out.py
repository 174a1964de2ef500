"""Leave-one-group-out cross-validation that also excludes the devices of the held-out group from all other groups.

A device may appear in several networks (moved between laboratories, or seen through a tunnel to another country). If
its other networks stayed in the training set, held-out scores would be too high and calibration overconfident.

Shapes: n items, L labels.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.identifier import Identifier
from ethogram.schema import Windows

__all__ = ["MAC", "connected_groups", "device_units", "grouped_cross_val", "leave_one_group_out"]

Indices = NDArray[np.int64]
MAC = re.compile(r"(?i)^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$")
"""A device name that identifies the same device in every network."""


def device_units(devices: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Identify the device of each item: a MAC address is global, any other name is local to its source.

    Examples
    --------
    >>> device_units(["02:00:00:00:00:01", "10.0.0.2"], ["home", "home"])
    ['02:00:00:00:00:01', 'home/10.0.0.2']
    """
    return [device.lower() if MAC.match(device) else f"{source}/{device}"
            for device, source in zip(devices, sources, strict=True)]  # fmt: skip


def leave_one_group_out(
    groups: Sequence[object] | NDArray[np.int64], units: Sequence[str] | None = None
) -> Iterator[tuple[Indices, Indices]]:
    """Yield test and training items for each group: its items, and those that share neither group nor device with it.

    Parameters
    ----------
    groups
        Group of each item, such as its network.
    units
        Device of each item; if None, only groups are separated.

    Examples
    --------
    >>> [(i.tolist(), o.tolist()) for i, o in leave_one_group_out(["a", "b", "c"], ["lamp", "lamp", "plug"])]
    [([0], [2]), ([1], [2]), ([2], [0, 1])]
    """
    group = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)[1]
    unit = None if units is None else np.unique(np.asarray(list(units), np.str_), return_inverse=True)[1]
    for code in range(int(group.max(initial=-1)) + 1):
        inside = group == code
        excluded = inside if unit is None else inside | np.isin(unit, unit[inside])
        yield np.flatnonzero(inside), np.flatnonzero(~excluded)


def connected_groups(groups: Sequence[object] | NDArray[np.int64], units: Sequence[str]) -> Indices:
    """Merge groups that share a device, directly or through other groups; return the merged group of each item, (n).

    Examples
    --------
    >>> connected_groups(["a", "b", "b", "c"], ["lamp", "lamp", "hub", "plug"]).tolist()
    [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)[1]
    unit = np.unique(np.asarray([str(u) for u in units]), return_inverse=True)[1]
    if not group.size:
        return np.zeros(0, np.int64)
    first = int(group.max()) + 1
    size = first + int(unit.max()) + 1
    graph = coo_array((np.ones(group.size, np.int8), (group, first + unit)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][group]
    return np.unique(component, return_inverse=True)[1].astype(np.int64)


def grouped_cross_val(
    identifier: Identifier, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    """:meth:`ethogram.identify.identifier.Identifier.cross_val`, excluding the held-out devices from all groups.

    Parameters
    ----------
    identifier
        Any method; this function may fit it.
    windows, labels, groups
        As for ``cross_val``.
    units
        Device of each item.

    Returns
    -------
    tuple
        Labels of the columns, and scores (n, L); NaN where a label has no training item.
    """
    unfitted = copy.deepcopy(identifier)
    names, scores = identifier.cross_val(windows, labels, groups)
    column = {name: j for j, name in enumerate(names)}
    for inside, outside in leave_one_group_out(groups, units):
        if inside.size + outside.size == len(windows):
            continue
        scores[inside] = np.nan
        if outside.size:
            twin = copy.deepcopy(unfitted).fit(windows.take(outside.tolist()), [labels[int(i)] for i in outside])
            columns = np.array([column[name] for name in twin.labels_], dtype=np.int64)
            scores[np.ix_(inside, columns)] = twin.decision_function(windows.take(inside.tolist()))
    return names, scores
