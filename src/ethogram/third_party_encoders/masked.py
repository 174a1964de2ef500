"""Masking of tokens and reconstruction error, shared by the masked autoencoders."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["HIDDEN", "error_of_hidden", "insert_mask_tokens", "random_mask"]

HIDDEN = 0.9
"""Share of masked tokens of YaTC and NetMamba."""


def random_mask(n: int, tokens: int, hidden: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose the tokens of each flow that are shown.

    Parameters
    ----------
    n, tokens
        Number of flows, and of tokens per flow.
    hidden
        Share of masked tokens; at least one token is shown.
    generator
        Source of random numbers.

    Returns
    -------
    shown, absent
        Indices of the shown tokens [n, K], ascending; and 1 for masked tokens, float32 [n, tokens].
    """
    count = max(1, round(tokens * (1 - hidden)))
    shown = torch.rand(n, tokens, generator=generator).argsort(1)[:, :count].sort(1).values
    return shown, torch.ones(n, tokens).scatter(1, shown, 0.0)


def insert_mask_tokens(seen: Tensor, shown: Tensor, hidden: Tensor, tokens: int) -> Tensor:
    """All tokens [N, L, d]: those seen [N, K, d] at the positions ``shown``, and the token ``hidden`` elsewhere."""
    whole = hidden.to(seen.dtype).expand(len(seen), tokens, -1)
    return whole.scatter(1, shown[..., None].expand_as(seen), seen)


def error_of_hidden(predicted: Tensor, true: Tensor, absent: Tensor) -> Tensor:
    """Mean squared error of predictions [N, L, O] over masked tokens."""
    each = (predicted.float() - true).square().mean(-1)
    return (each * absent).sum() / absent.sum().clamp(min=1)
