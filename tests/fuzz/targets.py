"""All fuzz targets by name."""

from __future__ import annotations

from . import captures, exports, files, identity, messages, names, packets, text_records
from .harness import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (captures, packets, text_records, files, messages, exports, identity, names)
    for target in room.TARGETS
}  # fmt: skip
