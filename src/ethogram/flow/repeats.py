"""Count records that equal one of an earlier input, such as a log given twice or a file with its compressed copy.

Two flows of one five-tuple cannot begin and end at the same instant with equal counts, but records with times in whole
seconds can. So only records with finer times are compared.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.flow.factorize import hash_seed
from ethogram.schema import Accounting

__all__ = ["Repeats"]

_MOST = 1 << 22
_SECOND_US = 1_000_000
_WHOLE = [
    "start", "end", "source_address", "destination_address", "source_port", "destination_port", "protocol",
    "octets", "packets", "reverse_octets", "reverse_packets",
]  # fmt: skip


class Repeats:
    """Counts records that equal one of an earlier input in five-tuple, times and counts.

    They stay in the flow table: only the user knows whether the inputs are copies. Records of one input are not
    compared with each other, because a router may legitimately send equal records.

    Parameters
    ----------
    most
        Most records remembered, eight octets each; records beyond are not compared with.

    Attributes
    ----------
    accounting
        Over the unit ``records``.
    """

    def __init__(self, most: int = _MOST) -> None:
        self.accounting = Accounting("records")
        self._most = most
        self._seed = hash_seed()
        self._known: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._new: list[NDArray[np.uint64]] = []
        self._room = most

    def next_input(self) -> None:
        """Start the next input; records of the inputs before are compared with from now on."""
        self._known = np.unique(np.concatenate([self._known, *self._new]))
        self._room, self._new = self._most - len(self._known), []

    def count(self, block: pl.DataFrame) -> int:
        """Count the records of a block that occurred in an earlier input."""
        self.accounting.read += block.height
        self.accounting.used += block.height
        fine = block.select(
            pl.any_horizontal(pl.col(name).to_physical() % _SECOND_US != 0 for name in ("start", "end"))
        ).to_series()
        hashes = block.select(_WHOLE).hash_rows(self._seed).to_numpy()
        if self._room > 0:
            self._new.append(hashes[fine.to_numpy()][: self._room])
            self._room -= len(self._new[-1])
        if not len(self._known):
            return 0
        place = np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)
        repeats = int(((self._known[place] == hashes) & fine.to_numpy()).sum())
        self.accounting.correct("equal to a record of an earlier input", repeats)
        return repeats
