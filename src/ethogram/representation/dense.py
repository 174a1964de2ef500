"""Encoders that are stacks of matrices: names and shapes of their weights, and the plain arithmetic in NumPy.

The autoencoders, PCA, the random projection, the untrained network and the raw numbers all are; only learning the
first needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ethogram.config import EncoderSettings
from ethogram.representation.encoder import Header, Tensors, digest_of, sized
from ethogram.representation.views import view_of

__all__ = ["DenseEncoder", "Layer", "shapes", "stack"]


@dataclass(frozen=True)
class Layer:
    """x -> x W^T + b, and what comes behind it."""

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
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, inputs: int, outputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    for i, (inputs, outputs) in enumerate(pairwise(outward)):
        linear(f"encoder.{i}", inputs, outputs)
    linear("mean", outward[-1], d)
    if settings.kind == "vae":
        linear("log_variance", outward[-1], d)
    for i, (inputs, outputs) in enumerate(pairwise((d, *reversed(outward)))):
        linear(f"decoder.{i}", inputs, outputs)
    return found


def stack(settings: EncoderSettings, tensors: Tensors) -> tuple[list[Layer], list[Layer]]:
    """The layers of the encoder and those of the decoder; the mean is the embedding of a variational one."""

    def layer(name: str, then: str = "") -> Layer:
        return Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], then)

    if settings.kind == "raw":
        return [], []
    if settings.kind in {"pca", "random-projection"}:
        mean, components = tensors["mean"], tensors["components"]
        # Rows of PCA are orthonormal: the transpose leads back. Those of a random projection nearly are.
        back = components.T if settings.kind == "pca" else np.linalg.pinv(components).astype(np.float32)
        return [Layer(components, -(components @ mean))], [Layer(np.ascontiguousarray(back), mean)]
    encoder = [layer(f"encoder.{i}", "relu") for i in range(len(settings.hidden))]
    inner = [layer(f"decoder.{i}", "relu") for i in range(len(settings.hidden))]
    last = layer(f"decoder.{len(settings.hidden)}", "sigmoid" if settings.output == "sigmoid" else "")
    return [*encoder, layer("mean")], [*inner, last]


@dataclass(frozen=True)
class DenseEncoder:
    """An encoder of matrices, computed in NumPy; no other library is needed.

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
        for layer in stack(self.header.encoder, self.tensors)[0]:
            x = layer(x)
        return x

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors, float32 [N, W], of embeddings [N, D]."""
        z = sized(z, self.header.d, "embeddings")
        for layer in stack(self.header.encoder, self.tensors)[1]:
            z = layer(z)
        return z

    @property
    def digest(self) -> str:
        """Of the weights as they are now."""
        return digest_of(self.tensors)
