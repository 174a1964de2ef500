"""What masked autoencoders over tokens share: which tokens are shown, and the error at those that were not."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["HIDDEN", "error_of_hidden", "insert_mask_tokens", "random_mask"]

HIDDEN = 0.9
"""Share of tokens that YaTC and NetMamba hide from themselves."""


def random_mask(n: int, tokens: int, hidden: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which tokens of each flow are shown.

    Parameters
    ----------
    n, tokens
        Flows, and tokens of each.
    hidden
        Share that is not shown; at least one is.
    generator
        What the choice comes from.

    Returns
    -------
    shown, absent
        Their numbers [n, kept], ascending; and whether each of all tokens is hidden, float32 [n, tokens].
    """
    count = max(1, round(tokens * (1 - hidden)))
    shown = torch.rand(n, tokens, generator=generator).argsort(1)[:, :count].sort(1).values
    return shown, torch.ones(n, tokens).scatter(1, shown, 0.0)


def insert_mask_tokens(seen: Tensor, shown: Tensor, hidden: Tensor, tokens: int) -> Tensor:
    """All tokens [N, L, d]: those seen [N, K, d] in their places ``shown``, in all others the token ``hidden``."""
    whole = hidden.to(seen.dtype).expand(len(seen), tokens, -1)
    return whole.scatter(1, shown[..., None].expand_as(seen), seen)


def error_of_hidden(predicted: Tensor, true: Tensor, absent: Tensor) -> Tensor:
    """Mean squared error of what was said [N, L, O], over hidden tokens alone."""
    each = (predicted.float() - true).square().mean(-1)
    return (each * absent).sum() / absent.sum().clamp(min=1)
