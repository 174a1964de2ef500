"""Every fuzz target by its name."""

from __future__ import annotations

from . import captures, files, texts
from .harness import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*captures.TARGETS, *texts.TARGETS, *files.TARGETS)
}  # fmt: skip
