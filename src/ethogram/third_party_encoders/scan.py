"""The selective scan of Mamba on a CPU: the compiled recurrence, in blocks that fit the cache.

For each flow, channel c and state k, over the tokens t::

    h[c, k] = exp(step[t, c] A[c, k]) h[c, k] + step[t, c] x[t, c] B[t, k]
    y[t, c] = sum_k C[t, k] h[c, k] + D[c] x[t, c]

No array of size tokens x channels x states is allocated; the gradient recomputes the states of one block at a time.
Measured on one core, it is several times as fast as the same operations in torch.

Reference: A. Gu and T. Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752,
section 3.2.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ethogram._numba import Compiler, inlined

__all__ = ["convolved", "gated_scan", "selective_scan"]

BLOCK = 64  # channels: states, decays and one row of each input of a block fit the first cache
FLOAT = np.float32
# exp(v) = 2^n 2^f with f in [-1/2, 1/2], and 2^f by its series: within two units in the last place.
LOG2_E = FLOAT(1.4426950408889634)
SMALLEST, LARGEST = FLOAT(-125.0), FLOAT(125.0)  # exponents are clipped here
SHIFT, WHOLE_SHIFT = FLOAT(128.5), np.int32(128)  # what is cut off above 0 is rounded
HALF, BIAS, MANTISSA = FLOAT(0.5), np.int32(127), np.int32(23)
P0, P1, P2, P3 = FLOAT(1.0), FLOAT(0.6931471805599453), FLOAT(0.24022650695910072), FLOAT(0.05550410866482158)
P4, P5, P6 = FLOAT(0.009618129107628477), FLOAT(0.0013333558146428443), FLOAT(0.00015403530393381608)

# Reassociation of sums over channels lets the compiler vectorise them.
_compiled: Any = Compiler.of(__file__).reordered("reassoc", "contract", "nsz")


@inlined
def _decay(step: Any, rate: Any, width: int, bits: Any, whole_power: Any, out: Any) -> None:
    """``out`` = 2^(step rate), for exponents up to 0; ``bits`` are those of ``whole_power``."""
    for j in range(width):
        v = max(step[j] * rate[j], SMALLEST)
        whole = np.int32(v - HALF)
        f = v - FLOAT(whole)
        bits[j] = (whole + BIAS) << MANTISSA
        out[j] = P0 + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
    for j in range(width):
        out[j] *= whole_power[j]


@inlined
def _silu(x: Any, width: int, bits: Any, whole_power: Any, out: Any) -> None:
    """``out`` = x / (1 + 2^(-x log2 e))."""
    for j in range(width):
        v = min(max(-x[j] * LOG2_E, SMALLEST), LARGEST)
        whole = np.int32(v + SHIFT) - WHOLE_SHIFT
        f = v - FLOAT(whole)
        bits[j] = (whole + BIAS) << MANTISSA
        out[j] = P0 + f * (P1 + f * (P2 + f * (P3 + f * (P4 + f * (P5 + f * P6)))))
    for j in range(width):
        out[j] = x[j] / (P0 + out[j] * whole_power[j])


@_compiled
def _convolve(x: Any, weight: Any, bias: Any, first: int, last: int, y: Any) -> None:
    tokens, channels, length = x.shape[1], x.shape[2], weight.shape[0]
    bits = np.empty(BLOCK, np.int32)
    whole_power = bits.view(np.float32)
    total = np.empty(BLOCK, np.float32)
    for i in range(first, last):
        for t in range(tokens):
            for begin in range(0, channels, BLOCK):
                width = min(BLOCK, channels - begin)
                for j in range(width):
                    total[j] = bias[begin + j]
                for k in range(max(0, length - 1 - t), length):
                    xs, ws = x[i, t - length + 1 + k, begin : begin + width], weight[k, begin : begin + width]
                    for j in range(width):
                        total[j] += xs[j] * ws[j]
                _silu(total, width, bits, whole_power, y[i, t, begin : begin + width])


@_compiled
def _rates(a: Any, begin: int, width: int, factor: Any, out: Any) -> None:
    for k in range(a.shape[1]):
        for j in range(width):
            out[k, j] = a[begin + j, k] * factor


@_compiled
def _forward(
    step: Any, x: Any, b: Any, c: Any, a: Any, d: Any, z: Any, first: int, last: int, only_last: bool, y: Any
) -> None:
    """The scan, multiplied by the SiLU of a gate ``z`` if there is one."""
    tokens, channels, states = step.shape[1], step.shape[2], b.shape[2]
    bits = np.empty(BLOCK, np.int32)
    whole_power = bits.view(np.float32)
    decay = np.empty(BLOCK, np.float32)
    h = np.empty((states, BLOCK), np.float32)
    rate = np.empty((states, BLOCK), np.float32)
    for i in range(first, last):
        for begin in range(0, channels, BLOCK):
            width = min(BLOCK, channels - begin)
            _rates(a, begin, width, LOG2_E, rate)
            h[:] = FLOAT(0)
            for t in range(tokens):
                steps, xs = step[i, t, begin : begin + width], x[i, t, begin : begin + width]
                if only_last and t < tokens - 1:
                    for k in range(states):
                        _decay(steps, rate[k], width, bits, whole_power, decay)
                        hk, into = h[k], b[i, t, k]
                        for j in range(width):
                            hk[j] = hk[j] * decay[j] + steps[j] * xs[j] * into
                    continue
                at = 0 if only_last else t
                ys = y[i, at, begin : begin + width]
                for j in range(width):
                    ys[j] = d[begin + j] * xs[j]
                for k in range(states):
                    _decay(steps, rate[k], width, bits, whole_power, decay)
                    hk, into, out = h[k], b[i, t, k], c[i, t, k]
                    for j in range(width):
                        value = hk[j] * decay[j] + steps[j] * xs[j] * into
                        hk[j] = value
                        ys[j] += value * out
                if len(z):
                    _silu(z[i, at, begin : begin + width], width, bits, whole_power, decay)
                    for j in range(width):
                        ys[j] *= decay[j]


@_compiled
def _backward(
    step: Any, x: Any, b: Any, c: Any, a: Any, d: Any, gy: Any, first: int, last: int,
    g_step: Any, gx: Any, gb: Any, gc: Any, ga: Any, gd: Any,
) -> None:  # fmt: skip
    """Gradients: those of token inputs are written in place, those of ``a`` and ``d`` are added."""
    tokens, channels, states = step.shape[1], step.shape[2], b.shape[2]
    bits = np.empty(BLOCK, np.int32)
    whole_power = bits.view(np.float32)
    decay = np.empty(BLOCK, np.float32)
    rate = np.empty((states, BLOCK), np.float32)
    # State before each token, and its decay.
    before = np.empty((tokens + 1, states, BLOCK), np.float32)
    fade = np.empty((tokens, states, BLOCK), np.float32)
    g = np.empty((states, BLOCK), np.float32)
    rates, g_rates = np.empty((states, BLOCK), np.float32), np.empty((states, BLOCK), np.float32)
    gu = np.empty(BLOCK, np.float32)
    for i in range(first, last):
        gb[i] = FLOAT(0)
        gc[i] = FLOAT(0)
        for begin in range(0, channels, BLOCK):
            width = min(BLOCK, channels - begin)
            _rates(a, begin, width, LOG2_E, rate)
            _rates(a, begin, width, FLOAT(1), rates)
            before[0] = FLOAT(0)
            g_rates[:] = FLOAT(0)
            for t in range(tokens):
                steps, xs = step[i, t, begin : begin + width], x[i, t, begin : begin + width]
                for k in range(states):
                    _decay(steps, rate[k], width, bits, whole_power, decay)
                    into, old, new, decays = b[i, t, k], before[t, k], before[t + 1, k], fade[t, k]
                    for j in range(width):
                        decays[j] = decay[j]
                        new[j] = old[j] * decay[j] + steps[j] * xs[j] * into
            g[:] = FLOAT(0)
            for back in range(tokens):
                t = tokens - 1 - back
                steps, xs = step[i, t, begin : begin + width], x[i, t, begin : begin + width]
                gys, gs = gy[i, t, begin : begin + width], g_step[i, t, begin : begin + width]
                gu[:] = FLOAT(0)
                gs[:] = FLOAT(0)
                for k in range(states):
                    into, out, gk, a_k, ga_k = b[i, t, k], c[i, t, k], g[k], rates[k], g_rates[k]
                    old, new, decays = before[t, k], before[t + 1, k], fade[t, k]
                    sum_b = sum_c = FLOAT(0)
                    for j in range(width):
                        at = gk[j] + gys[j] * out
                        sum_c += gys[j] * new[j]
                        sum_b += at * steps[j] * xs[j]
                        gu[j] += at * into
                        faded = at * decays[j]
                        grown = faded * old[j]
                        gs[j] += grown * a_k[j]
                        ga_k[j] += grown * steps[j]
                        gk[j] = faded
                    gb[i, t, k] += sum_b
                    gc[i, t, k] += sum_c
                gxs = gx[i, t, begin : begin + width]
                for j in range(width):
                    gs[j] += gu[j] * xs[j]
                    gxs[j] = gu[j] * steps[j] + d[begin + j] * gys[j]
                    gd[begin + j] += gys[j] * xs[j]
            for k in range(states):
                for j in range(width):
                    ga[begin + j, k] += g_rates[k, j]


_NO_GATE = np.zeros((0, 0, 0), np.float32)


def _spread(count: int, work: Any) -> None:
    """Run ``work(first, last)`` over ``count`` flows with the number of threads of torch."""
    threads = min(torch.get_num_threads(), count)
    if threads < 2:
        work(0, count)
        return
    cuts = [count * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts[:-1], cuts[1:]))


def _arrays(*given: Tensor) -> list[Any]:
    return [value.detach().to(torch.float32).contiguous().numpy() for value in given]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        ctx.save_for_backward(*given)
        arrays = _arrays(*given)
        y = torch.empty_like(given[1], dtype=torch.float32, memory_format=torch.contiguous_format)
        _spread(len(given[0]), lambda first, last: _forward(*arrays, _NO_GATE, first, last, False, y.numpy()))
        return y

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, ...]:
        arrays, (gy,) = _arrays(*ctx.saved_tensors), _arrays(above[0])
        step, x, b, c, a, d = arrays
        gradients = [np.empty_like(value) for value in (step, x, b, c)]
        parts: list[tuple[Any, Any]] = []

        def some(first: int, last: int) -> None:
            parts.append((np.zeros_like(a), np.zeros_like(d)))
            _backward(*arrays, gy, first, last, *gradients, *parts[-1])

        # Sequential, so that sums over flows have a fixed order.
        some(0, len(step))
        return tuple(torch.from_numpy(value) for value in (*gradients, *parts[0]))


def selective_scan(step: Tensor, x: Tensor, b: Tensor, c: Tensor, a: Tensor, d: Tensor) -> Tensor:
    """Output of the recurrence at every token, with a gradient.

    Parameters
    ----------
    step
        Step sizes, positive, [N, L, C] for N flows, L tokens, C channels.
    x
        Input of the channels, [N, L, C].
    b, c
        Weights into and out of the states, [N, L, S].
    a
        Rates of decay, negative, [C, S].
    d
        Weight of the direct input, [C].

    Returns
    -------
    torch.Tensor
        float32 [N, L, C].

    Examples
    --------
    >>> one = torch.ones(1, 3, 1)
    >>> selective_scan(one, one, one, one, torch.full((1, 1), -1e9), torch.zeros(1)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    return cast(Tensor, _Scan.apply(step, x, b, c, a, d))


def gated_scan(
    step: Tensor, x: Tensor, b: Tensor, c: Tensor, a: Tensor, d: Tensor, z: Tensor, *, last: bool = False
) -> Tensor:
    """Output of the recurrence times the SiLU of a gate, without a gradient.

    Parameters
    ----------
    step, x, b, c, a, d
        As for :func:`selective_scan`.
    z
        The gate, [N, L, C]; [N, 1, C] for the last token alone.
    last
        Compute only the last token.

    Returns
    -------
    torch.Tensor
        float32, with the shape of the gate.
    """
    arrays = _arrays(step, x, b, c, a, d, z)
    y = np.empty(tuple(z.shape), np.float32)
    _spread(len(step), lambda first, end: _forward(*arrays, first, end, last, y))
    return torch.from_numpy(y)


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """SiLU of the depthwise convolution over tokens, without a gradient.

    Parameters
    ----------
    x
        [N, L, C].
    weight
        [C, K]; the last of K applies to the token itself, the others to those before it.
    bias
        [C].
    """
    given, weights, biases = _arrays(x, weight.T, bias)
    y = np.empty_like(given)
    _spread(len(given), lambda first, last: _convolve(given, weights, biases, first, last, y))
    return torch.from_numpy(y)
