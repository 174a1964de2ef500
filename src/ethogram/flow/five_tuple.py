"""128-bit keys of five-tuples: both directions of a conversation share a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram._hashing import mix64
from ethogram.flow.compiled import compiled
from ethogram.flow.factorize import hash_texts

__all__ = ["FiveTupleKeys", "five_tuple_keys"]


@dataclass(frozen=True)
class FiveTupleKeys:
    """Keys of N records, as arrays of length N.

    Attributes
    ----------
    key_a, key_b
        Halves of a 128-bit hash of the five-tuple, equal for both directions. Collisions occur once in 10^38 pairs, so
        equal keys are treated as equal five-tuples.
    swapped
        Direction of the record, 0 or 1.
    """

    key_a: NDArray[np.uint64]
    key_b: NDArray[np.uint64]
    swapped: NDArray[np.uint8]


def five_tuple_keys(frame: pl.DataFrame, seed: int) -> FiveTupleKeys:
    """Hash the five-tuple of each biflow with a seed from :func:`~ethogram.flow.factorize.hash_seed`.

    >>> from ethogram.flow.factorize import hash_seed
    >>> ends = {"source_address": ["10.0.0.1", "10.0.0.2"], "destination_address": ["10.0.0.2", "10.0.0.1"],
    ...         "source_port": [1, 2], "destination_port": [2, 1], "protocol": [6, 6]}
    >>> keys = five_tuple_keys(pl.DataFrame(ends), hash_seed())
    >>> bool(keys.key_a[0] == keys.key_a[1]), bool(keys.swapped[0] == keys.swapped[1])
    (True, False)
    """
    ends = [(frame[f"{side}_address"], frame[f"{side}_port"]) for side in ("source", "destination")]
    key_a, key_b = (np.empty(frame.height, np.uint64) for _ in range(2))
    swapped = np.empty(frame.height, np.uint8)
    columns: list[NDArray[np.uint64]] = [half for address, _ in ends for half in hash_texts(address, seed)]
    columns += [column(port.cast(pl.UInt16)) for _, port in ends]
    fill_keys(*columns, column(frame["protocol"].cast(pl.UInt8)), key_a, key_b, swapped)  # type: ignore[call-arg]
    return FiveTupleKeys(key_a, key_b, swapped)


@compiled
def fill_keys(
    source_one: Any, source_two: Any, destination_one: Any, destination_two: Any, source_port: Any,
    destination_port: Any, protocol: Any, key_a: Any, key_b: Any, swapped: Any,
) -> None:  # fmt: skip
    """Fill in keys and directions. Address and port of an end are hashed together: a:1-b:2 and a:2-b:1 must differ."""
    for i in range(len(key_a)):
        a, b = mix64(source_one[i], source_port[i]), mix64(destination_one[i], destination_port[i])
        c, d = mix64(source_two[i], source_port[i]), mix64(destination_two[i], destination_port[i])
        turned = a > b or (a == b and c > d)
        if turned:
            a, b, c, d = b, a, d, c
        swapped[i] = np.uint8(turned)
        key_a[i] = mix64(a, mix64(b, protocol[i]))
        key_b[i] = mix64(c, mix64(d, protocol[i]))
