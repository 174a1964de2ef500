"""Options that all benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ethogram.corpora.card import Card
from ethogram.corpora.load import CACHE

__all__ = ["BenchmarkOptions"]


@dataclass
class BenchmarkOptions:
    """Where the corpora are, and how they are measured.

    Parameters
    ----------
    root
        Folder of the corpora.
    cards
        Known corpora by name.
    cache_folder
        Cache of loaded tables, flows, encoders and embeddings; None: no cache.
    threads
        Threads for numerical libraries; 0: one per core.
    on_stage
        Called with a line on the current step.
    """

    root: Path
    cards: Mapping[str, Card]
    cache_folder: Path | None = CACHE
    threads: int = 0
    on_stage: Callable[[str], None] | None = None

    @property
    def flow_cache(self) -> Path | None:
        """Folder of cached flows, encoders and embeddings; None: no cache."""
        return None if self.cache_folder is None else self.cache_folder.expanduser() / "flows"

    def tell(self, step: str) -> None:
        """Report the current step."""
        if self.on_stage is not None:
            self.on_stage(step)
