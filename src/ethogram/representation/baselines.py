"""Baseline encoders: raw features, PCA and a random projection; none needs torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ethogram.config import EncoderSettings
from ethogram.errors import InputError
from ethogram.representation.dense import DenseEncoder
from ethogram.representation.encoder import Header, digest_of
from ethogram.representation.views import view_of

__all__ = ["pca", "random_projection", "raw"]


def _made(
    settings: EncoderSettings, seed: int, mean: NDArray[np.float32], components: NDArray[np.float32]
) -> DenseEncoder:
    tensors = {"mean": mean, "components": np.ascontiguousarray(components, np.float32)}
    return DenseEncoder(Header(encoder=settings, seed=seed, weights=digest_of(tensors)), tensors)


def raw(view: str = "meta+packets") -> DenseEncoder:
    """The identity: embeddings are the features of the view.

    >>> raw().header.d
    40
    """
    return DenseEncoder(Header(encoder=EncoderSettings(kind="raw", view=view), weights=digest_of({})), {})


def random_projection(settings: EncoderSettings, seed: int = 0) -> DenseEncoder:
    """A Gaussian matrix whose rows have expected length one.

    >>> random_projection(EncoderSettings(kind="random-projection", view="meta", d=3)).encode(np.eye(10)).shape
    (10, 3)
    """
    width = view_of(settings.view).width
    drawn = np.random.default_rng(seed).standard_normal((settings.latent, width)) / np.sqrt(width)
    return _made(settings, seed, np.zeros(width, np.float32), drawn.astype(np.float32))


def pca(settings: EncoderSettings, batches: Iterable[NDArray[np.float32]]) -> DenseEncoder:
    """The d directions of largest variance, from one pass over the training vectors.

    Parameters
    ----------
    settings
        View and number of directions.
    batches
        Vectors, float32 [N, W] each. Memory is bounded by one W x W matrix.

    Raises
    ------
    InputError
        When there are fewer vectors or features than directions.
    """
    from scipy.linalg import eigh

    width, d = view_of(settings.view).width, settings.latent
    if d > width:
        raise InputError(f"{d} directions of vectors with {width} features")
    count, total, products = 0, np.zeros(width), np.zeros((width, width))
    for x in batches:
        # Products of one batch in single precision, their sums in double: values lie in [0, 1].
        products += x.T @ x
        total += x.sum(0, dtype=np.float64)
        count += len(x)
    if count <= d:
        raise InputError(f"{count} flows are too few for {d} directions")
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    _, vectors = eigh(covariance, subset_by_index=[width - d, width - 1])
    components = vectors.T[::-1]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    largest = components[np.arange(d), np.abs(components).argmax(1)]
    components = components * np.where(largest < 0, -1, 1)[:, None]
    return _made(settings, 0, mean.astype(np.float32), components)
