"""Compiler of this package: all compiled functions here share one cache stamp."""

from __future__ import annotations

from pathlib import Path

from ethogram._numba import Compiler

__all__ = ["compiled", "inner"]

COMPILER = Compiler(
    Path(__file__).parent,
    ("compiled", "five_tuple", "pair_kernel", "dedup_kernel", "join_kernel", "factorize", "service_side", "ports",
     "relays", "../_hashing"),
)  # fmt: skip
compiled, inner = COMPILER.compiled, COMPILER.inner
