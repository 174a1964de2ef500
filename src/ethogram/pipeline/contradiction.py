"""Own labels that the packaged library contradicts with more evidence.

A library of few devices gives a new device the label of the nearest of them. If the packaged library names another
product, both labels are compared by its log likelihood ratio of *same product*, between

    the item and the nearest enrolled window of the own label, and the item and the packaged product

The own label is contradicted if the packaged one is ahead by :data:`AHEAD`, unless the enrolled windows of the own
label are nearest to that product, too: then it is another name for the same product.
"""

from __future__ import annotations

import numpy as np

from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.library import Library
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import UNKNOWN, Inventory, Windows

__all__ = ["AHEAD", "contradicted"]

AHEAD = 2.0
"""Nats by which the packaged product is ahead: the least at which at most 1 % of right own labels are contradicted on
each of the three networks of ``docs/results/own-beside-packaged.md``."""


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
