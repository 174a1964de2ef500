"""Each loss against a twin of plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ethogram.representation.losses import (
    cosine_lr,
    info_nce,
    kl_divergence,
    kl_weight_at,
    mse,
    mse_balanced,
    reconstruction,
    vicreg_regularizer,
)

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
    result = kl_divergence(mean, log_variance).item()
    assert result == pytest.approx(plain_kl(mean.tolist(), log_variance.tolist()), rel=1e-5)
    assert kl_divergence(torch.zeros(N, D), torch.zeros(N, D)) == 0
    # Twice the units, twice the term; twice the flows, the same.
    assert kl_divergence(mean.repeat(1, 2), log_variance.repeat(1, 2)).item() == pytest.approx(2 * result, rel=1e-5)
    assert kl_divergence(mean.repeat(2, 1), log_variance.repeat(2, 1)).item() == pytest.approx(result, rel=1e-5)


def plain_contrast(projected: list[list[float]], device: list[int], temperature: float) -> float:
    n, total = len(projected), 0.0
    lengths = [math.sqrt(sum(a * a for a in row)) for row in projected]
    for i in range(n):
        companion = (i + n // 2) % n
        scores = {}
        for j in range(n):
            if j == companion or device[j] != device[i]:
                product = sum(a * b for a, b in zip(projected[i], projected[j], strict=True))
                scores[j] = product / (lengths[i] * lengths[j]) / temperature
        total += math.log(sum(math.exp(score) for score in scores.values())) - scores[companion]
    return total / n


def plain_spread(mean: list[list[float]], weight: float) -> float:
    n, d = len(mean), len(mean[0])
    centre = [sum(row[j] for row in mean) / n for j in range(d)]
    lack, together = 0.0, 0.0
    for j in range(d):
        for k in range(d):
            value = sum((row[j] - centre[j]) * (row[k] - centre[k]) for row in mean) / (n - 1)
            if j == k:
                lack += max(0.0, 1 - math.sqrt(value + 1e-4)) / d
            else:
                together += value * value / d
    return lack + weight * together


def test_positives_are_told_from_other_devices_alone() -> None:
    generator = torch.Generator().manual_seed(3)
    projected = torch.randn(12, D, generator=generator)
    device = torch.tensor([0, 0, 1, 1, 2, 3] * 2)
    result = info_nce(projected, device, 0.2).item()
    assert result == pytest.approx(plain_contrast(projected.tolist(), device.tolist(), 0.2), rel=1e-5)
    # Companions alike, others opposite: nothing is left; one device alone has no strangers.
    alike = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]).repeat(2, 1)
    assert info_nce(alike, torch.tensor([0, 1, 0, 1]), 0.1) < 1e-6
    assert info_nce(projected, torch.zeros(12, dtype=torch.int64), 0.2) == 0
    # How long they are does not matter.
    assert info_nce(7 * projected, device, 0.2).item() == pytest.approx(result, rel=1e-5)


def test_units_that_lack_spread_or_share_it_cost() -> None:
    generator = torch.Generator().manual_seed(4)
    mean = torch.randn(9, D, generator=generator) @ torch.tensor([[0.5, 1, 0], [0, 0.2, 0], [0, 0, 3.0]])
    assert vicreg_regularizer(mean, 0.3).item() == pytest.approx(plain_spread(mean.tolist(), 0.3), rel=1e-5)
    assert vicreg_regularizer(mean + 5, 0.3).item() == pytest.approx(vicreg_regularizer(mean, 0.3).item(), rel=1e-4)
    assert vicreg_regularizer(torch.zeros(9, D), 0.3).item() == pytest.approx(0.99, rel=1e-5)
    apart = torch.tensor([[2.0, 2], [2, -2], [-2, 2], [-2, -2]])
    assert vicreg_regularizer(apart, 1.0) == 0


@given(st.integers(0, 2000), st.integers(0, 1000))
def test_the_weight_rises_to_its_value_and_stays(step: int, warmup: int) -> None:
    weight = kl_weight_at(step, 0.5, warmup)
    assert 0 < weight <= 0.5
    assert weight <= kl_weight_at(step + 1, 0.5, warmup)
    assert step + 1 < warmup or weight == 0.5


@given(st.integers(0, 2000), st.integers(1, 1000), st.floats(0, 1))
def test_the_rate_falls_to_its_share_and_stays(step: int, steps: int, end: float) -> None:
    rate = cosine_lr(step, steps, 0.5, end)
    assert 0.5 * end - 1e-12 <= rate <= 0.5
    assert cosine_lr(step + 1, steps, 0.5, end) <= rate
    assert cosine_lr(0, steps, 0.5, end) == 0.5
    assert step < steps or rate == pytest.approx(0.5 * end)
    assert cosine_lr(step, steps, 0.5, 1.0) == 0.5
