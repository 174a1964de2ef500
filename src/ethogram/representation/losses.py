"""Losses as pure functions. Each has a twin of plain loops in the tests."""

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

    Forty informative numbers weigh 40 in 3,040 here: with it a model mostly learns where the padding starts.
    """
    return functional.mse_loss(x_hat, x)


def mse_balanced(x_hat: Tensor, x: Tensor, blocks: Mapping[str, slice]) -> Tensor:
    """Mean over blocks (meta, packets, payload) of the mean squared difference inside each.

    Parameters
    ----------
    x_hat, x
        [N, W].
    blocks
        The blocks' columns, by name.
    """
    return torch.stack([mse(x_hat[:, place], x[:, place]) for place in blocks.values()]).mean()


def reconstruction(name: str, x_hat: Tensor, x: Tensor, blocks: Mapping[str, slice]) -> Tensor:
    """The loss of that name, ``mse`` or ``mse-balanced``."""
    return mse(x_hat, x) if name == "mse" else mse_balanced(x_hat, x, blocks)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of N(mean, exp(log_variance)) from N(0, 1): summed over D latent units, averaged over N flows.

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
    """The weight at a step counted from 0: it rises evenly over the first ``warmup_steps``.

    >>> [kl_weight_at(step, 1.0, 4) for step in (0, 1, 3, 4, 100)]
    [0.25, 0.5, 1.0, 1.0, 1.0]
    """
    return weight if warmup_steps <= 0 else weight * min(1.0, (step + 1) / warmup_steps)


def info_nce(projected: Tensor, device: Tensor, temperature: float) -> Tensor:
    """How badly each flow tells its companion from flows of other devices, by the cosine of the projections.

    Cross entropy over the companion and all flows of other devices, averaged over the flows; other flows of the same
    device are left out: they are neither companions nor strangers.

    Parameters
    ----------
    projected
        [2 N, P]: N flows, then the companion of each.
    device
        [2 N]: whose they are.
    temperature
        Cosines are divided by it.

    References
    ----------
    A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding".
    """
    n = len(projected)
    unit = functional.normalize(projected, dim=1)
    scores = unit @ unit.T / temperature
    companion = (torch.arange(n) + n // 2) % n
    left_out = device[:, None] == device[None, :]
    left_out[torch.arange(n), companion] = False
    return functional.cross_entropy(scores.masked_fill(left_out, -1e4), companion)


def vicreg_regularizer(mean: Tensor, weight: float) -> Tensor:
    """What it costs that latent units vary little over a batch, or together.

    The mean over units of what their deviation lacks of one, and ``weight`` times the sum of squared covariances of
    different units for each unit.

    Parameters
    ----------
    mean
        [N, D], N > 1.
    weight
        Of the covariances.

    References
    ----------
    A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization".
    """
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / (len(mean) - 1)
    variance = covariance.diagonal()
    together = covariance.square().sum() - variance.square().sum()
    return functional.relu(1 - (variance + 1e-4).sqrt()).mean() + weight * together / mean.shape[1]


def cosine_lr(step: int, steps: int, rate: float, end: float) -> float:
    """The learning rate at a step counted from 0: it falls as half a cosine to a share of itself.

    >>> [round(cosine_lr(step, 4, 1.0, 0.0), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    return rate * (end + (1 - end) * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2)
