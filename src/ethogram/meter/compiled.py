"""How the custom meter's functions are compiled: they call one another across files, and what is kept knows that."""

from __future__ import annotations

from pathlib import Path

from ethogram.schema.compiled import Compiler

__all__ = ["compiled", "inner"]

COMPILER = Compiler(Path(__file__).parent, ("cache", "custom_cache", "custom_packets", "fragments", "mirrored"))
compiled, inner = COMPILER.compiled, COMPILER.inner
