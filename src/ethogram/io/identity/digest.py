"""Hash the payloads of packets, so that a message that a device repeats is parsed only once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import finalize64
from ethogram._numba import Compiler

__all__ = ["hash_payloads"]

COMPILER = Compiler.of(__file__, "../../_hashing")


@COMPILER.compiled
def hash_payloads(data: Any, offsets: Any, sizes: Any, skip: Any, seed: Any, out: Any) -> None:
    """Fill in the hash of each payload.

    Parameters
    ----------
    data
        Octets.
    offsets, sizes, skip
        Where each of N payloads begins, its length, and how many of its first octets are not hashed, such as the id of
        a transaction.
    seed
        Secret number, so that nobody outside can make two payloads collide.
    out
        Hashes, N.
    """
    for row in range(offsets.shape[0]):
        value = finalize64(seed ^ np.uint64(sizes[row]))
        word = np.uint64(0)
        for i in range(skip[row], sizes[row]):
            word = (word << np.uint64(8)) | np.uint64(data[offsets[row] + i])
            if i & 7 == 7:
                value = finalize64((value ^ word) + seed)
                word = np.uint64(0)
        out[row] = finalize64((value ^ word) + seed)
