"""Each loss against a twin of plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ethogram.representation.losses import kl_divergence, kl_weight_at, mse, mse_balanced, reconstruction

BLOCKS = {"meta": slice(0, 2), "packets": slice(2, 3), "payload": slice(3, 8)}
N, W, D = 5, 8, 3


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(N, W, generator=generator), torch.rand(N, W, generator=generator)


def plain_mse(x_hat: list[list[float]], x: list[list[float]]) -> float:
    total, count = 0.0, 0
    for row_hat, row in zip(x_hat, x, strict=True):
        for a, b in zip(row_hat, row, strict=True):
            total += (a - b) ** 2
            count += 1
    return total / count


def plain_balanced(x_hat: list[list[float]], x: list[list[float]]) -> float:
    means = [plain_mse([row[place] for row in x_hat], [row[place] for row in x]) for place in BLOCKS.values()]
    return sum(means) / len(means)


def plain_kl(mean: list[list[float]], log_variance: list[list[float]]) -> float:
    total = 0.0
    for means, logs in zip(mean, log_variance, strict=True):
        for m, s in zip(means, logs, strict=True):
            total += 0.5 * (m * m + math.exp(s) - 1 - s)
    return total / len(mean)


def test_mse_is_the_mean_over_all_entries(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_hat, x = pair
    assert mse(x_hat, x).item() == pytest.approx(plain_mse(x_hat.tolist(), x.tolist()), rel=1e-5)
    assert reconstruction("mse", x_hat, x, BLOCKS) == mse(x_hat, x)


def test_mse_balanced_is_the_mean_of_block_means(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_hat, x = pair
    assert mse_balanced(x_hat, x, BLOCKS).item() == pytest.approx(plain_balanced(x_hat.tolist(), x.tolist()), rel=1e-5)
    assert reconstruction("mse-balanced", x_hat, x, BLOCKS) == mse_balanced(x_hat, x, BLOCKS)
    assert mse_balanced(x_hat, x, BLOCKS) != mse(x_hat, x)


def test_a_wrong_packet_weighs_as_its_block() -> None:
    x = torch.zeros(1, W)
    x_hat = x.clone()
    x_hat[0, 2] = 1
    assert mse(x_hat, x).item() == pytest.approx(1 / W)
    assert mse_balanced(x_hat, x, BLOCKS).item() == pytest.approx(1 / 3)


def test_kl_is_summed_over_units_and_averaged_over_flows() -> None:
    generator = torch.Generator().manual_seed(2)
    mean, log_variance = torch.randn(N, D, generator=generator), torch.randn(N, D, generator=generator)
    found = kl_divergence(mean, log_variance).item()
    assert found == pytest.approx(plain_kl(mean.tolist(), log_variance.tolist()), rel=1e-5)
    assert kl_divergence(torch.zeros(N, D), torch.zeros(N, D)) == 0
    # Twice the units, twice the term; twice the flows, the same.
    assert kl_divergence(mean.repeat(1, 2), log_variance.repeat(1, 2)).item() == pytest.approx(2 * found, rel=1e-5)
    assert kl_divergence(mean.repeat(2, 1), log_variance.repeat(2, 1)).item() == pytest.approx(found, rel=1e-5)


@given(st.integers(0, 2000), st.integers(0, 1000))
def test_the_weight_rises_to_its_value_and_stays(step: int, warmup: int) -> None:
    weight = kl_weight_at(step, 0.5, warmup)
    assert 0 < weight <= 0.5
    assert weight <= kl_weight_at(step + 1, 0.5, warmup)
    assert step + 1 < warmup or weight == 0.5
