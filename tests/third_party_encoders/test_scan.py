"""The compiled kernels against the formula as it is written: scan, its gradient, convolution, attention, products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from ethogram.third_party_encoders.attention import attended, looked
from ethogram.third_party_encoders.linear import multiplied
from ethogram.third_party_encoders.scan import convolved, gated_scan, selective_scan


def plain_scan(step, x, b, c, a, d):
    """Loops over flows, tokens, channels and states."""
    y = np.zeros(x.shape)
    for i in range(x.shape[0]):
        h = np.zeros(a.shape)
        for t in range(x.shape[1]):
            for k in range(x.shape[2]):
                h[k] = np.exp(step[i, t, k] * a[k]) * h[k] + step[i, t, k] * x[i, t, k] * b[i, t]
                y[i, t, k] = c[i, t] @ h[k] + d[k] * x[i, t, k]
    return y


def given(n=2, tokens=7, channels=70, states=5, seed=0):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    step = functional.softplus(2 * draw(n, tokens, channels) - 2)
    rates = -torch.rand(channels, states, generator=g, dtype=torch.float64) * 5 - 0.01
    return step, draw(n, tokens, channels), draw(n, tokens, states), draw(n, tokens, states), rates, draw(channels)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels", [1, 64, 70])
def test_the_scan_is_the_recurrence(threads: int, channels: int) -> None:
    arrays = given(n=3, channels=channels)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = selective_scan(*(value.float() for value in arrays))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(result, plain_scan(*(value.numpy() for value in arrays)), atol=2e-5)


def test_what_fades_at_once_or_never() -> None:
    step, x, b, c, a, d = given(channels=3)
    for rate, kept in ((-1e12, 0.0), (-1e-30, 1.0)):
        y = selective_scan(*(value.float() for value in (step, x, b, c, torch.full_like(a, rate), d))).double()
        into = (step * x)[..., None] * b[:, :, None]
        h = into.cumsum(1) if kept else into
        torch.testing.assert_close(y, (h * c[:, :, None]).sum(-1) + d * x, atol=1e-4, rtol=1e-4)


def torch_scan(step, x, b, c, a, d):
    h, gradient = torch.zeros(len(x), *a.shape, dtype=x.dtype), []
    for t in range(x.shape[1]):
        h = torch.exp(step[:, t, :, None] * a) * h + (step * x)[:, t, :, None] * b[:, t, None]
        gradient.append((h * c[:, t, None]).sum(-1))
    return torch.stack(gradient, 1) + d * x


def test_the_gradient_is_that_of_the_recurrence() -> None:
    arrays = given()
    weight = torch.randn(arrays[1].shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ours = [value.float().requires_grad_() for value in arrays]
    theirs = [value.clone().requires_grad_() for value in arrays]
    (selective_scan(*ours) * weight.float()).sum().backward()
    (torch_scan(*theirs) * weight).sum().backward()
    for mine, true in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad, true.grad, atol=1e-5 * float(true.grad.abs().max()))


def test_the_gate_and_the_last_token_alone() -> None:
    arrays = [value.float() for value in given(tokens=11)]
    z = 30 * torch.randn(2, 11, 70, generator=torch.Generator().manual_seed(1))
    whole = selective_scan(*arrays) * functional.silu(z)
    torch.testing.assert_close(gated_scan(*arrays, z), whole, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(gated_scan(*arrays, z[:, -1:], last=True), whole[:, -1:], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 4])
def test_the_convolution_looks_back_only(length: int) -> None:
    g = torch.Generator().manual_seed(2)
    x, weight, bias = (
        torch.randn(2, 6, 70, generator=g),
        torch.randn(70, length, generator=g),
        torch.randn(70, generator=g),
    )
    expected = np.zeros(x.shape)
    for t in range(6):
        total = bias.numpy().astype(float)
        for k in range(length):
            if t - k >= 0:
                total = total + x[:, t - k].numpy() * weight[:, length - 1 - k].numpy()
        expected[:, t] = total / (1 + np.exp(-total))
    np.testing.assert_allclose(convolved(x, weight, bias), expected, atol=1e-5)


@pytest.mark.parametrize(("tokens", "heads", "width"), [(81, 4, 12), (16, 1, 16), (1, 2, 3), (33, 3, 5)])
def test_attention_is_the_softmax_of_products(tokens: int, heads: int, width: int) -> None:
    qkv = 3 * torch.randn(2, tokens, 3 * heads * width, generator=torch.Generator().manual_seed(4))
    query, key, value = qkv.double().numpy().reshape(2, tokens, 3, heads, width).transpose(2, 0, 3, 1, 4)
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(width)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = (weights / weights.sum(-1, keepdims=True) @ value).transpose(0, 2, 1, 3).reshape(2, tokens, -1)
    np.testing.assert_allclose(attended(qkv, heads), expected, atol=2e-5)
    np.testing.assert_allclose(attended(qkv, heads, first=1), expected[:, :1], atol=2e-5)


@pytest.mark.parametrize("gelu", [False, True])
def test_products_with_and_without_a_gradient_are_the_same(gelu: bool) -> None:
    g = torch.Generator().manual_seed(6)
    x, weight, bias = torch.randn(2, 5, 33, generator=g), torch.randn(17, 33, generator=g), torch.randn(17, generator=g)
    with torch.no_grad():
        fast = multiplied(x, weight, bias, gelu=gelu)
    torch.testing.assert_close(fast, multiplied(x, weight, bias, gelu=gelu), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert multiplied(x[:0], weight, bias).shape == (0, 5, 17)


@pytest.mark.parametrize("length", [9, 70])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_attention_with_a_gradient_looks_where_it_may(length: int, kind: torch.dtype) -> None:
    g = torch.Generator().manual_seed(8)
    query, key, value = (torch.randn(2, 3, length, 4, generator=g).to(kind) for _ in range(3))
    mask = (torch.rand(2, 1, 1, length, generator=g) < 0.5) | torch.eye(length, dtype=torch.bool)
    scores = (query.double() @ key.double().transpose(2, 3) / 2).masked_fill(~mask, -torch.inf)
    expected = scores.softmax(-1) @ value.double()
    result = looked(query, key, value, mask)
    assert result.dtype == kind
    torch.testing.assert_close(result.double(), expected, atol=1e-5 if kind == torch.float32 else 0.05, rtol=0)
