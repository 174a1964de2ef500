"""Positives of a flow: others of the same device within the hour, which the field-aware encoder learns to tell.

Only the device's key is read (its address or name), never a label: what talks at the same place belongs together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.schema import CustomFlows

__all__ = ["Positives"]


class Positives:
    """Which flows of a batch in memory are of the same device and the same stretch of time.

    Parameters
    ----------
    flows
        N flows.
    within_s
        Length of a stretch of time in seconds; stretches begin at its multiples.

    Examples
    --------
    >>> Positives(CustomFlows.empty(), 3600).device.shape
    (0,)
    """

    def __init__(self, flows: CustomFlows, within_s: float) -> None:
        self.device: NDArray[np.int64] = flows.device.rank("dense").to_numpy().astype(np.int64)
        stretch = flows.start_us // round(within_s * 1e6)
        self._order = np.lexsort((stretch, self.device))
        device, stretch = self.device[self._order], stretch[self._order]
        begins = np.ones(len(flows), bool)
        begins[1:] = (device[1:] != device[:-1]) | (stretch[1:] != stretch[:-1])
        group = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        count = np.diff(np.append(first, len(flows)))
        self._first, self._count = (np.empty(len(flows), np.int64) for _ in range(2))
        self._first[self._order], self._count[self._order] = first[group], count[group]

    def draw(self, rows: NDArray[np.int64], same: float) -> NDArray[np.int64]:
        """A companion of each row, drawn as a function of the rows alone.

        Parameters
        ----------
        rows
            Row numbers, length K.
        same
            Share of the rows that are their own companion: of a flow that hides different things twice the encoder
            learns too.

        Returns
        -------
        numpy.ndarray
            int64 [K]; a row that has no other is its own.
        """
        random = np.random.default_rng([len(rows), *rows.tolist()])
        place = self._first[rows] + (random.random(len(rows)) * self._count[rows]).astype(np.int64)
        found = self._order[place]
        return np.where(random.random(len(rows)) < same, rows, found)
