"""Every fuzz target by its name."""

from __future__ import annotations

from . import beside, captures, exports, files, messages, texts
from .harness import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (captures, beside, texts, files, messages, exports)
    for target in room.TARGETS
}  # fmt: skip
