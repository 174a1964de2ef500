"""Compiler of this package: all compiled functions here share one cache stamp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ethogram.schema.compiled import Compiler

__all__ = ["compiled", "inner", "mixed"]

COMPILER = Compiler(
    Path(__file__).parent,
    ("compiled", "five_tuple", "pair_kernel", "dedup_kernel", "join_kernel", "factorize", "service_side", "ports",
     "relays"),
)  # fmt: skip
compiled, inner = COMPILER.compiled, COMPILER.inner


@inner
def mixed(one: Any, other: Any) -> Any:
    """Two 64-bit numbers to one: the finaliser of splitmix64 over both."""
    value = np.uint64(one) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(other)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
