"""An encoder that is ready to embed, of the product or of a third party."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.representation.encoder import Encoder

__all__ = ["ReadyEncoder"]


@dataclass(frozen=True)
class ReadyEncoder:
    """An encoder that is ready to embed.

    Parameters
    ----------
    digest
        Digest of everything the encoder was made from.
    weights
        Digest of its weights.
    d, parameters
        Dimensions of an embedding; number of weights, learnt or random.
    origin, licence
        Source of the weights, and their licence.
    embed
        Gives the embeddings of some rows of a corpus.
    encoder
        The encoder itself, if it can decode.
    cheap
        Whether computing embeddings is faster than reading them from disk.
    training
        Seconds, passes and losses of the training, if there was one.
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
