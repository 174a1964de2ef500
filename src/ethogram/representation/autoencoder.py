"""The autoencoder and the variational autoencoder, which adds a log-variance head and a KL term.

Reference: D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes"; widths, activations and initial values are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.representation.losses import mse, reconstruction
from ethogram.representation.network import Network
from ethogram.representation.payload_length import header_width, payload_symbols
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

__all__ = ["Autoencoder", "PrefixBatch", "PrefixLinear"]

GROUPS = 4  # groups of similar payload length in a batch, multiplied separately
STEP = 64  # the number of columns is a multiple of this, to keep matrix rows aligned


@dataclass(frozen=True)
class PrefixBatch:
    """A batch sorted by payload length."""

    x: Tensor  # float32 [N, W]
    cuts: tuple[tuple[int, int, int], ...]  # first row, end, number of leading columns that are not all zero


class PrefixLinear(torch.autograd.Function):
    """x W^T + b, where each run of rows multiplies only its leading columns, as the others are zero."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, cuts: tuple[tuple[int, int, int], ...]
    ) -> Tensor:
        """Multiply each run of rows with the leading columns of the weights."""
        context.save_for_backward(x)
        context.cuts = cuts
        out = torch.empty((x.shape[0], weight.shape[0]), dtype=weight.dtype)
        for begin, end, used in cuts:
            torch.addmm(bias, x[begin:end, :used], weight[:, :used].T, out=out[begin:end])
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor, None]:
        """Gradients of weights and bias; the input needs none."""
        (x,) = context.saved_tensors
        gradient = gradients[0].contiguous()
        weight = torch.zeros((gradient.shape[1], x.shape[1]), dtype=gradient.dtype)
        for begin, end, used in context.cuts:
            weight[:, :used].addmm_(gradient[begin:end].T, x[begin:end, :used])
        return None, weight, gradient.sum(0), None


class Autoencoder(Network):
    """Dense layers W-512-128-d with ReLU, a linear latent layer, and the mirrored decoder.

    It is variational if ``kind`` of the settings is ``vae``, and not for ``ae`` and ``untrained``.

    Examples
    --------
    >>> from ethogram.config import EncoderSettings
    >>> sum(p.numel() for p in Autoencoder(EncoderSettings(kind="ae")).parameters())
    3256576
    """

    def build(self) -> None:
        """Create the layers of :func:`ethogram.representation.dense.shapes`, with the same names."""
        widths = (self.view.width, *self.settings.hidden)
        self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.mean = nn.Linear(widths[-1], self.settings.latent)
        self.log_variance = None
        if self.settings.kind == "vae":
            self.log_variance = nn.Linear(widths[-1], self.settings.latent)
            nn.init.constant_(self.log_variance.bias, self.settings.log_variance_start)
        self.decoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((self.settings.latent, *reversed(widths))))

    def prepare(self, flows: CustomFlows, rows: NDArray[np.int64]) -> PrefixBatch:
        """Expand flows sorted by payload length, with the number of columns that each group of rows uses."""
        before = header_width(self.view)
        if before == self.view.width:
            return PrefixBatch(torch.from_numpy(expand(flows, self.view, rows)), ())
        used = payload_symbols(flows)[rows]
        order = np.argsort(used, kind="stable")
        used = used[order]
        edges = np.unique(np.linspace(0, len(rows), GROUPS + 1).astype(int))
        ends = [min(self.view.width, -(-(before + int(used[end - 1])) // STEP) * STEP) for end in edges[1:]]
        cuts = tuple((int(a), int(b), end) for (a, b), end in zip(pairwise(edges), ends, strict=True))
        return PrefixBatch(torch.from_numpy(expand(flows, self.view, rows[order])), cuts)

    def mask(self, prepared: PrefixBatch, generator: torch.Generator) -> PrefixBatch:
        """Return the batch unchanged; autoencoders mask nothing."""
        del generator
        return prepared

    def posterior(self, prepared: PrefixBatch) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance [N, D] of the latent units."""
        h = self._first(prepared)
        for layer in list(self.encoder)[1:]:
            h = functional.relu(layer(h))
        return self.mean(h), None if self.log_variance is None else self.log_variance(h)

    def _first(self, prepared: PrefixBatch) -> Tensor:
        if not len(self.encoder):
            return prepared.x
        first = self.encoder[0]
        if not prepared.cuts:
            return functional.relu(first(prepared.x))
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        x, weight, bias = prepared.x.to(kind), first.weight.to(kind), first.bias.to(kind)
        return functional.relu(PrefixLinear.apply(x, weight, bias, prepared.cuts))

    def vectors(self, z: Tensor) -> Tensor:
        """Vectors [N, W] of embeddings [N, D]."""
        *inner, last = self.decoder
        for layer in inner:
            z = functional.relu(layer(z))
        x_hat = last(z)
        return torch.sigmoid(x_hat) if self.settings.output == "sigmoid" else x_hat

    def errors(self, loss: str, prepared: PrefixBatch, z: Tensor) -> dict[str, Tensor]:
        """``reconstruction`` by the named loss, and (without gradients) the mean squared error of each block."""
        x_hat = self.vectors(z).float()
        blocks = self.view.blocks()
        errors = {"reconstruction": reconstruction(loss, x_hat, prepared.x, blocks)}
        if not torch.is_grad_enabled():
            errors |= {name: mse(x_hat[:, place], prepared.x[:, place]) for name, place in blocks.items()}
        return errors

    def embed_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Mean of the posterior [N, D] of vectors [N, W]."""
        return self.posterior(PrefixBatch(torch.from_numpy(np.ascontiguousarray(x)), ()))[0]
