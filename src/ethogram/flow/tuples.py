"""Five-tuples as numbers: one key for both directions of a conversation, and which of them a record is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.compiled import compiled, mixed
from ethogram.flow.numbers import hashed

__all__ = ["Tuples", "tuples_of"]


@dataclass(frozen=True)
class Tuples:
    """Keys of N records.

    Attributes
    ----------
    one, two
        128 bits over the five-tuple, the same for both directions. Different five-tuples share them once in 10^38
        pairs, so that equal keys are taken for equal five-tuples.
    swapped
        Which of the two directions the record is: 0 or 1.
    """

    one: NDArray[np.uint64]
    two: NDArray[np.uint64]
    swapped: NDArray[np.uint8]


def tuples_of(frame: pl.DataFrame, seed: int) -> Tuples:
    """Keys of the records of a biflow table, under a :func:`~ethogram.flow.numbers.secret`.

    >>> from ethogram.flow.numbers import secret
    >>> ends = {"source_address": ["10.0.0.1", "10.0.0.2"], "destination_address": ["10.0.0.2", "10.0.0.1"],
    ...         "source_port": [1, 2], "destination_port": [2, 1], "protocol": [6, 6]}
    >>> found = tuples_of(pl.DataFrame(ends), secret())
    >>> bool(found.one[0] == found.one[1]), bool(found.swapped[0] == found.swapped[1])
    (True, False)
    """
    ends = [(frame[f"{side}_address"], frame[f"{side}_port"]) for side in ("source", "destination")]
    one, two = (np.empty(frame.height, np.uint64) for _ in range(2))
    swapped = np.empty(frame.height, np.uint8)
    columns: list[NDArray[np.uint64]] = [each for address, _ in ends for each in hashed(address, seed)]
    columns += [column(port.cast(pl.UInt16)) for _, port in ends]
    keys(*columns, column(frame["protocol"].cast(pl.UInt8)), one, two, swapped)  # type: ignore[call-arg]
    return Tuples(one, two, swapped)


@compiled
def keys(
    source_one: Any, source_two: Any, destination_one: Any, destination_two: Any, source_port: Any,
    destination_port: Any, protocol: Any, one: Any, two: Any, swapped: Any,
) -> None:  # fmt: skip
    """Fill in keys and directions; each end is hashed as a whole, which keeps a:1 to b:2 apart from a:2 to b:1."""
    for i in range(len(one)):
        a, b = mixed(source_one[i], source_port[i]), mixed(destination_one[i], destination_port[i])
        c, d = mixed(source_two[i], source_port[i]), mixed(destination_two[i], destination_port[i])
        turned = a > b or (a == b and c > d)
        if turned:
            a, b, c, d = b, a, d, c
        swapped[i] = np.uint8(turned)
        one[i] = mixed(a, mixed(b, protocol[i]))
        two[i] = mixed(c, mixed(d, protocol[i]))
