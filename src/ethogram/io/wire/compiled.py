"""Compilation settings of the wire kernels, and byte access shared by all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ethogram._numba import Compiler

__all__ = ["compiled", "inner", "u8", "u16", "u32"]

MODULES = ("compiled", "walk", "gather", "lookup", "ipfix_file", "fragments", "capture_export", "recording")
COMPILER = Compiler(Path(__file__).parent, (*MODULES, "../../_hashing"))
compiled, inner = COMPILER.compiled, COMPILER.inner


@inner
def u8(data: Any, at: Any) -> Any:
    """One octet, signed like all lengths and offsets here: mixing signed and unsigned integers would give floats."""
    return np.int64(data[at])


@inner
def u16(data: Any, at: Any) -> Any:
    """Two octets, big-endian."""
    return (u8(data, at) << 8) | u8(data, at + 1)


@inner
def u32(data: Any, at: Any) -> Any:
    """Four octets, big-endian."""
    return (u8(data, at) << 24) | (u8(data, at + 1) << 16) | (u8(data, at + 2) << 8) | u8(data, at + 3)
