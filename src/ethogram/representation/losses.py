"""Losses as pure functions. Each has a twin of plain loops in the tests."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["kl_divergence", "kl_weight_at", "mse", "mse_balanced", "reconstruction"]


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
