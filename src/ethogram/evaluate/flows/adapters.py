"""Encoders of others behind the interface of a benchmark: with the user's weights, or random ones, and said so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.evaluate.flows.corpus import CorpusFlows
from ethogram.evaluate.flows.made import Made
from ethogram.evaluate.flows.task import FlowMethod
from ethogram.representation.pretrained.interface import adapter

__all__ = ["made_of_adapter"]


def made_of_adapter(method: FlowMethod, digest: str, checkpoints: Mapping[str, Path], seed: int) -> Made:
    """The adapter of a method.

    Raises
    ------
    LibraryError
        When the user's weights cannot be used.
    """
    encoder = adapter(method.adapter, checkpoint=checkpoints.get(method.adapter), seed=seed)

    def embed(loaded: CorpusFlows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if loaded.packets is None:
            raise UsageError(f"{method.name}: reads packets, and the task gives none")
        return encoder.embed(loaded.packets, rows)

    facts = encoder.facts
    return Made(digest, encoder.digest, facts.d, facts.parameters, encoder.origin, facts.licence, embed,
                checkpoint=encoder.digest if "checkpoint" in encoder.origin else "")  # fmt: skip
