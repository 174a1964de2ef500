"""Attention of many narrow heads on a CPU, without a gradient, compiled.

The attention of torch is made for heads of 64 dimensions and more; with heads of 12, as in YaTC, most of each wide
register stays empty. Here each register holds several keys. Measured on one core, this is several times as fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ethogram._numba import Compiler, inlined

__all__ = ["attended", "looked"]

FLOAT = np.float32
LOG2_E = FLOAT(1.4426950408889634)
SMALLEST = FLOAT(-125.0)
HALF, BIAS, MANTISSA = FLOAT(0.5), np.int32(127), np.int32(23)
P0, P1, P2, P3 = FLOAT(1.0), FLOAT(0.6931471805599453), FLOAT(0.24022650695910072), FLOAT(0.05550410866482158)
P4, P5, P6 = FLOAT(0.009618129107628477), FLOAT(0.0013333558146428443), FLOAT(0.00015403530393381608)

LANES = 16  # per register; keys are padded to a multiple
SHORT = 64  # tokens
NOWHERE = FLOAT(-1e30)  # score of padding

_compiled: Any = Compiler.of(__file__).reordered("reassoc", "contract", "nsz", "nnan")


@_compiled
def _scores(asked: Any, keys: Any, tokens: int, score: Any) -> None:
    """Products of one query with all keys; padding gets a score far below."""
    score[:tokens] = FLOAT(0)
    score[tokens:] = NOWHERE
    for k in range(0, len(asked), 4):
        q0, q1, q2, q3 = asked[k], asked[k + 1], asked[k + 2], asked[k + 3]
        r0, r1, r2, r3 = keys[k], keys[k + 1], keys[k + 2], keys[k + 3]
        for j in range(len(score)):
            score[j] += q0 * r0[j] + q1 * r1[j] + q2 * r2[j] + q3 * r3[j]


@_compiled
def _weighed(power: Any, values: Any, total: Any, sums: Any) -> None:
    """Mean of all values by weights that sum to ``total``."""
    for k in range(0, len(sums), 4):
        r0, r1, r2, r3 = values[k], values[k + 1], values[k + 2], values[k + 3]
        s0 = s1 = s2 = s3 = FLOAT(0)
        for j in range(len(power)):
            s0 += power[j] * r0[j]
            s1 += power[j] * r1[j]
            s2 += power[j] * r2[j]
            s3 += power[j] * r3[j]
        sums[k], sums[k + 1], sums[k + 2], sums[k + 3] = s0 / total, s1 / total, s2 / total, s3 / total


@inlined
def _powers(score: Any, bits: Any, whole_power: Any, power: Any) -> Any:
    """2^(score - maximum), and the sum."""
    most = score[0]
    for j in range(len(score)):
        most = max(most, score[j])
    for j in range(len(score)):
        v = max(score[j] - most, SMALLEST)
        whole = np.int32(v - HALF)
        f = v - FLOAT(whole)
        bits[j] = (whole + BIAS) << MANTISSA
        power[j] = P0 + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
    total = FLOAT(0)
    for j in range(len(score)):
        power[j] *= whole_power[j]
        total += power[j]
    return total


@_compiled
def _attend(qkv: Any, out: Any) -> None:
    sequences, tokens, _, heads, width = qkv.shape
    padded, fours = (tokens + LANES - 1) // LANES * LANES, (width + 3) // 4 * 4
    keys, values = np.zeros((fours, padded), np.float32), np.zeros((fours, padded), np.float32)
    asked, sums = np.zeros(fours, np.float32), np.empty(fours, np.float32)
    score, power = np.empty(padded, np.float32), np.empty(padded, np.float32)
    bits = np.empty(padded, np.int32)
    whole_power = bits.view(np.float32)
    scale = LOG2_E / FLOAT(np.sqrt(width))
    for i in range(sequences):
        for head in range(heads):
            for t in range(tokens):
                for k in range(width):
                    keys[k, t] = qkv[i, t, 1, head, k] * scale
                    values[k, t] = qkv[i, t, 2, head, k]
            for t in range(out.shape[1]):
                for k in range(width):
                    asked[k] = qkv[i, t, 0, head, k]
                _scores(asked, keys, tokens, score)
                total = _powers(score, bits, whole_power, power)
                _weighed(power, values, total, sums)
                for k in range(width):
                    out[i, t, head * width + k] = sums[k]


def attended(qkv: Tensor, heads: int, first: int = 0) -> Tensor:
    """Self-attention of all tokens.

    Parameters
    ----------
    qkv
        Concatenated queries, keys and values of all heads, [N, L, 3 d].
    heads
        Number of heads.
    first
        Compute only that many first tokens; 0: all.

    Returns
    -------
    torch.Tensor
        float32 [N, L or first, d].

    Examples
    --------
    >>> attended(torch.ones(1, 5, 12), heads=2).shape
    torch.Size([1, 5, 4])
    """
    n, length, width = qkv.shape
    given = qkv.contiguous().numpy().reshape(n, length, 3, heads, width // (3 * heads))
    out = np.empty((n, first or length, width // 3), np.float32)
    _attend(given, out)
    return torch.from_numpy(out)


def looked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention with a gradient.

    In bfloat16 the attention of torch is slower than in float32, and for short sequences of narrow heads many times
    slower than its matrix products. Short sequences are therefore written out, and longer ones computed in float32.

    Parameters
    ----------
    query, key, value
        [N, heads, L, width].
    mask
        True where a query (L) may attend to a key (L); None: everywhere.
    """
    if query.dtype != torch.bfloat16 or key.shape[-2] > SHORT:
        with torch.autocast("cpu", enabled=False):
            full = (query.float(), key.float(), value.float())
            return functional.scaled_dot_product_attention(*full, attn_mask=mask).to(value.dtype)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(value.dtype) @ value
