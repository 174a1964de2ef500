"""Positive pairs for contrastive learning: two flows of the same device within the same hour.

Only the key of the device (its address or name) is used, never a label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.schema import CustomFlows

__all__ = ["Positives"]


class Positives:
    """Draws positives among flows of the same device and time slot.

    Parameters
    ----------
    flows
        N flows.
    within_s
        Length of a time slot in seconds; slots begin at its multiples.

    Examples
    --------
    >>> Positives(CustomFlows.empty(), 3600).device.shape
    (0,)
    """

    def __init__(self, flows: CustomFlows, within_s: float) -> None:
        self.device: NDArray[np.int64] = flows.device.rank("dense").to_numpy().astype(np.int64)
        slot = flows.start_us // round(within_s * 1e6)
        self._order = np.lexsort((slot, self.device))
        device, slot = self.device[self._order], slot[self._order]
        begins = np.ones(len(flows), bool)
        begins[1:] = (device[1:] != device[:-1]) | (slot[1:] != slot[:-1])
        group = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        count = np.diff(np.append(first, len(flows)))
        self._first, self._count = (np.empty(len(flows), np.int64) for _ in range(2))
        self._first[self._order], self._count[self._order] = first[group], count[group]

    def draw(self, rows: NDArray[np.int64], same: float) -> NDArray[np.int64]:
        """Draw a positive for each row, as a function of the rows alone.

        Parameters
        ----------
        rows
            Row numbers, length K.
        same
            Share of rows that are their own positive: two different masks of one flow also form a pair.

        Returns
        -------
        numpy.ndarray
            int64 [K]; a row without another flow in its slot is its own positive.
        """
        random = np.random.default_rng([len(rows), *rows.tolist()])
        place = self._first[rows] + (random.random(len(rows)) * self._count[rows]).astype(np.int64)
        drawn = self._order[place]
        return np.where(random.random(len(rows)) < same, rows, drawn)
