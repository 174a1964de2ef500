"""Losses as pure functions. The tests compare each with a plain-loop implementation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "cosine_lr",
    "info_nce",
    "kl_divergence",
    "kl_weight_at",
    "mse",
    "mse_balanced",
    "reconstruction",
    "vicreg_regularizer",
]  # fmt: skip


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean of squared differences over all entries of [N, W].

    The 40 features before the payload have a share of only 40 in 3,040 here, so a model mostly learns where padding
    starts.
    """
    return functional.mse_loss(x_hat, x)


def mse_balanced(x_hat: Tensor, x: Tensor, blocks: Mapping[str, slice]) -> Tensor:
    """Mean over blocks (meta, packets, payload) of the mean squared difference inside each.

    Parameters
    ----------
    x_hat, x
        [N, W].
    blocks
        Columns of the blocks by name.
    """
    return torch.stack([mse(x_hat[:, place], x[:, place]) for place in blocks.values()]).mean()


def reconstruction(name: str, x_hat: Tensor, x: Tensor, blocks: Mapping[str, slice]) -> Tensor:
    """The reconstruction loss by name: ``mse`` or ``mse-balanced``."""
    return mse(x_hat, x) if name == "mse" else mse_balanced(x_hat, x, blocks)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), summed over D latent units, averaged over N flows.

    Parameters
    ----------
    mean, log_variance
        [N, D].

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", appendix B.
    """
    each = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return each.sum(1).mean()


def kl_weight_at(step: int, weight: float, warmup_steps: int) -> float:
    """KL weight at a step counted from 0, with a linear warm-up over ``warmup_steps``.

    >>> [kl_weight_at(step, 1.0, 4) for step in (0, 1, 3, 4, 100)]
    [0.25, 0.5, 1.0, 1.0, 1.0]
    """
    return weight if warmup_steps <= 0 else weight * min(1.0, (step + 1) / warmup_steps)


def info_nce(projected: Tensor, device: Tensor, temperature: float) -> Tensor:
    """InfoNCE: cross entropy of identifying the positive of each flow among flows of other devices.

    Logits are cosines of the projections over the temperature. Other flows of the same device are excluded, as they are
    neither positives nor negatives.

    Parameters
    ----------
    projected
        [2 N, P]: N flows, followed by the positive of each.
    device
        [2 N] device of each.
    temperature
        Divisor of the cosines.

    References
    ----------
    A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding".
    """
    n = len(projected)
    unit = functional.normalize(projected, dim=1)
    logits = unit @ unit.T / temperature
    positive = (torch.arange(n) + n // 2) % n
    excluded = device[:, None] == device[None, :]
    excluded[torch.arange(n), positive] = False
    return functional.cross_entropy(logits.masked_fill(excluded, -1e4), positive)


def vicreg_regularizer(mean: Tensor, weight: float) -> Tensor:
    """Variance and covariance terms of VICReg.

    The mean over latent units of max(0, 1 - standard deviation), plus ``weight`` times the sum of squared off-diagonal
    covariances divided by D.

    Parameters
    ----------
    mean
        [N, D], N > 1.
    weight
        Weight of the covariance term.

    References
    ----------
    A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization".
    """
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / (len(mean) - 1)
    variance = covariance.diagonal()
    off_diagonal = covariance.square().sum() - variance.square().sum()
    return functional.relu(1 - (variance + 1e-4).sqrt()).mean() + weight * off_diagonal / mean.shape[1]


def cosine_lr(step: int, steps: int, rate: float, end: float) -> float:
    """Learning rate at a step counted from 0: half a cosine from ``rate`` to ``end * rate``.

    >>> [round(cosine_lr(step, 4, 1.0, 0.0), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    return rate * (end + (1 - end) * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2)
