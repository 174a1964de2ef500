"""Every fuzz target by its name."""

from __future__ import annotations

from . import captures, files, messages, texts
from .harness import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*captures.TARGETS, *texts.TARGETS, *files.TARGETS, *messages.TARGETS)
}  # fmt: skip
