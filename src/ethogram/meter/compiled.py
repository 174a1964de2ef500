"""Compiler of this package: the functions here call one another across files and share one cache stamp."""

from __future__ import annotations

from pathlib import Path

from ethogram._numba import Compiler

__all__ = ["compiled", "inner"]

COMPILER = Compiler(
    Path(__file__).parent, ("cache", "custom_cache", "custom_packets", "fragments", "mirrored", "../_hashing")
)
compiled, inner = COMPILER.compiled, COMPILER.inner
