"""An encoder that is ready to embed, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.bench.flows.corpus import CorpusFlows
from ethogram.representation.encoder import Encoder

__all__ = ["ReadyEncoder"]


@dataclass(frozen=True)
class ReadyEncoder:
    """An encoder that is ready.

    Parameters
    ----------
    digest
        Of what it was made of.
    weights
        Of its weights.
    d, parameters
        Numbers of an embedding; numbers that were learnt or drawn.
    origin, licence
        Where its weights are from, and who may use them.
    embed
        Embeddings of some rows of a corpus.
    encoder
        Where it decodes.
    cheap
        Whether embeddings are made faster than they are read from disk.
    training
        Seconds, passes and losses of the training, where there was one.
    """

    digest: str
    weights: str
    d: int
    parameters: int
    origin: str
    licence: str
    embed: Callable[[CorpusFlows, NDArray[np.int64]], NDArray[np.float32]]
    encoder: Encoder | None = None
    cheap: bool = False
    training: Mapping[str, Any] | None = None
    checkpoint: str = ""
