"""Own labels that the packaged library contradicts with more evidence.

A library of few devices gives a new device the label of the nearest of them. If the packaged library names another
product, both labels are compared by its log likelihood ratio of *same product*, between

    the item and the nearest enrolled window of the own label, and the item and the packaged product

The own label is contradicted if the packaged one is ahead by :data:`AHEAD`, unless the enrolled windows of the own
label are nearest to that product, too: then it is another name for the same product.
"""

from __future__ import annotations

import math

import numpy as np

from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.library import Library
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import UNKNOWN, Inventory, Windows

__all__ = ["AHEAD", "MOST_LOST", "contradicted", "limit_of"]

AHEAD = 0.2
"""Nats by which the packaged product is ahead: :func:`limit_of` of the bundled library, in tenths."""
MOST_LOST = 0.05
"""Share of right own labels that may be contradicted: as many known devices as may be called unknown."""


def limit_of(library: Library, model: VerdictModel) -> float:
    """Least limit in nats at which at most :data:`MOST_LOST` of the right own labels of a library are contradicted.

    Each of its windows stands for an item whose device is enrolled: the other windows of its product and corpus are the
    own label, and the products that remain are the packaged library.

    Parameters
    ----------
    library
        The library.
    model
        What was learnt of it, across networks.
    """
    identifier = model.identifier
    if type(identifier) is not CrossNetwork:
        raise TypeError("limits are of libraries across networks")
    windows, labels = library.windows(), np.array(library.labels("label"), np.str_)
    sources = np.array([entry.observed[0].source for entry in library.entries], np.str_)
    ratios = identifier.ratios_of(windows, windows)
    other = labels[:, None] != labels[None, :]
    among_others = np.where(other, ratios, -np.inf)
    nearest, best = labels[among_others.argmax(axis=1)], among_others.max(axis=1)
    own = ~other & (sources[:, None] == sources[None, :]) & ~np.eye(len(labels), dtype=bool)
    ahead = np.array([
        -np.inf if nearest[i] in nearest[own[i]] else best[i] - ratios[i, own[i]].max()
        for i in np.flatnonzero(own.any(axis=1))
    ])  # fmt: skip
    if not ahead.size:
        return 0.0
    return max(0.0, float(np.sort(ahead)[math.ceil((1.0 - MOST_LOST) * len(ahead)) - 1]))


def contradicted(
    windows: Windows, own: Inventory, packaged: Inventory, library: Library, model: VerdictModel, level: str = "label"
) -> set[int]:
    """Items whose own label is contradicted.

    Parameters
    ----------
    windows
        The items.
    own, packaged
        Verdicts on them by the user's own library and by the packaged one.
    library
        The user's own.
    model
        What was learnt from the packaged library; no label is contradicted by methods without such a ratio.
    level
        Level of the verdicts.
    """
    identifier = model.identifier
    items = [
        i for i, (mine, other) in enumerate(zip(own.devices, packaged.devices, strict=True))
        if UNKNOWN not in (mine.verdict, other.verdict) and mine.verdict != other.verdict and mine.flows
    ]  # fmt: skip
    if not items or type(identifier) is not CrossNetwork:
        return set()
    named = {own.devices[i].verdict for i in items}
    entries = tuple(entry for entry in library.entries if entry.identity.at(level) in named)
    enrolled, labels = Library(entries).windows(), np.array([entry.identity.at(level) for entry in entries], np.str_)
    asked = windows.take(items)
    best = identifier.decision_function(asked).max(axis=1)
    ratios = identifier.ratios_of(asked, enrolled)
    nearest = np.array(identifier.labels_)[identifier.decision_function(enrolled).argmax(axis=1)]
    result = set()
    for row, i in enumerate(items):
        mine = labels == own.devices[i].verdict
        if not mine.any() or packaged.devices[i].verdict in nearest[mine]:
            continue
        if best[row] - ratios[row, mine].max() > AHEAD:
            result.add(i)
    return result
