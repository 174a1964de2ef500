"""Encoders that are stacks of dense layers, computed in NumPy: names and shapes of their weights, and arithmetic.

These are the autoencoders, PCA, the random projection, the untrained network and the raw features. Only training an
autoencoder needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ethogram.config import EncoderSettings
from ethogram.representation.encoder import Header, Tensors, digest_of, sized
from ethogram.representation.views import view_of

__all__ = ["DenseEncoder", "DenseLayer", "decoder_layers", "encoder_layers", "shapes"]


@dataclass(frozen=True)
class DenseLayer:
    """An affine layer x -> x W^T + b with its activation."""

    weight: NDArray[np.float32]  # [outputs, inputs]
    bias: NDArray[np.float32]  # [outputs]
    then: str = ""  # "", "relu" or "sigmoid"

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y: NDArray[np.float32] = x @ self.weight.T + self.bias
        if self.then == "relu":
            return np.maximum(y, 0)
        if self.then == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(y, -80, 80))), np.float32)
        return y


def shapes(settings: EncoderSettings) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a dense encoder, in order.

    >>> sum(int(np.prod(shape)) for shape in shapes(EncoderSettings(kind="ae")).values())
    3256576
    """
    width, d = view_of(settings.view).width, settings.latent
    if settings.kind == "raw":
        return {}
    if settings.kind in {"pca", "random-projection"}:
        return {"mean": (width,), "components": (d, width)}
    outward = (width, *settings.hidden)
    weights: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (outputs, inputs), (outputs,)

    for i, (inputs, outputs) in enumerate(pairwise(outward)):
        linear(f"encoder.{i}", inputs, outputs)
    linear("mean", outward[-1], d)
    if settings.kind == "vae":
        linear("log_variance", outward[-1], d)
    for i, (inputs, outputs) in enumerate(pairwise((d, *reversed(outward)))):
        linear(f"decoder.{i}", inputs, outputs)
    return weights


def _layer(tensors: Tensors, name: str, then: str = "") -> DenseLayer:
    return DenseLayer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], then)


def encoder_layers(settings: EncoderSettings, tensors: Tensors) -> list[DenseLayer]:
    """The layers from vectors to embeddings; for a variational encoder, to the mean."""
    if settings.kind == "raw":
        return []
    if settings.kind in {"pca", "random-projection"}:
        return [DenseLayer(tensors["components"], -(tensors["components"] @ tensors["mean"]))]
    hidden = [_layer(tensors, f"encoder.{i}", "relu") for i in range(len(settings.hidden))]
    return [*hidden, _layer(tensors, "mean")]


def decoder_layers(settings: EncoderSettings, tensors: Tensors) -> list[DenseLayer]:
    """The layers from embeddings to vectors."""
    if settings.kind == "raw":
        return []
    if settings.kind in {"pca", "random-projection"}:
        components = tensors["components"]
        # The rows of PCA are orthonormal, so the transpose inverts them; a random projection needs the pseudo-inverse.
        back = components.T if settings.kind == "pca" else np.linalg.pinv(components).astype(np.float32)
        return [DenseLayer(np.ascontiguousarray(back), tensors["mean"])]
    hidden = [_layer(tensors, f"decoder.{i}", "relu") for i in range(len(settings.hidden))]
    return [
        *hidden,
        _layer(tensors, f"decoder.{len(settings.hidden)}", "sigmoid" if settings.output == "sigmoid" else ""),
    ]


@dataclass(frozen=True)
class DenseEncoder:
    """A stack of dense layers, computed in NumPy alone.

    Examples
    --------
    >>> from ethogram.representation.baselines import raw
    >>> raw("meta").encode(np.ones((2, 10), np.float32)).shape
    (2, 10)
    """

    header: Header
    tensors: Tensors

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]."""
        x = sized(x, self.header.view.width, "vectors")
        for layer in self._inward:
            x = layer(x)
        return x

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors, float32 [N, W], of embeddings [N, D]."""
        z = sized(z, self.header.d, "embeddings")
        for layer in self._outward:
            z = layer(z)
        return z

    @cached_property
    def _inward(self) -> list[DenseLayer]:
        return encoder_layers(self.header.encoder, self.tensors)

    @cached_property
    def _outward(self) -> list[DenseLayer]:
        return decoder_layers(self.header.encoder, self.tensors)

    @property
    def digest(self) -> str:
        """Digest of the current weights."""
        return digest_of(self.tensors)
