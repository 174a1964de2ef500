"""Reconstruction errors, latent units and agreement, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from custom_flows_made import made
from ethogram.config import EncoderSettings
from ethogram.representation.baselines import pca, random_projection, raw
from ethogram.representation.dense import DenseEncoder
from ethogram.representation.encoder import Encoder
from ethogram.representation.reconstruction import (
    Octets,
    Reconstruction,
    error_summary,
    linear_cka,
    posterior_of,
    reconstruct,
)
from ethogram.representation.vector import OCTET, expand

FLOWS = made(60, seed=4)
PROJECTION = random_projection(EncoderSettings(kind="random-projection", d=8))


def test_errors_match_plain_loops() -> None:
    result = reconstruct(PROJECTION, FLOWS, first_symbols=50)
    x = expand(FLOWS).astype(float)
    x_hat = PROJECTION.decode(PROJECTION.encode(expand(FLOWS))).astype(float)
    places = {"overall": (0, 3040), "meta": (0, 10), "packets": (10, 40), "payload": (40, 3040)}
    seen = hits = 0
    for i in range(len(FLOWS)):
        for part, (begin, end) in places.items():
            expected = sum((x_hat[i, j] - x[i, j]) ** 2 for j in range(begin, end)) / (end - begin)
            assert result.errors[part][i] == pytest.approx(expected, rel=1e-4)
        used = [j for j in range(40, 3040) if x[i, j] > 0]  # padding alone is 0
        expected = sum((x_hat[i, j] - x[i, j]) ** 2 for j in used) / len(used)
        assert result.errors["non-padding"][i] == pytest.approx(expected, rel=1e-4)
        for j in range(40, 90):
            code = round(x[i, j] * 258)
            if code >= OCTET:
                seen += 1
                hits += round(x_hat[i, j] * 258) == code
    assert result.octets is not None
    assert (result.octets.seen.sum(), result.octets.hits.sum()) == (seen, hits)
    assert np.allclose(result.z, PROJECTION.encode(expand(FLOWS)), atol=1e-5)


def test_raw_features_have_no_error() -> None:
    whole = reconstruct(raw("full"), FLOWS)
    assert all(np.nanmax(values) == 0 for values in whole.errors.values())
    assert whole.octets is not None
    assert whole.octets.accuracy == 1
    assert set(reconstruct(raw("meta+packets"), FLOWS).errors) == {"overall", "meta", "packets"}
    assert reconstruct(raw("meta+packets"), FLOWS).octets is None
    assert set(reconstruct(raw("payload"), FLOWS).errors) == {"overall", "payload", "non-padding"}


def test_more_latent_units_err_less() -> None:
    errors = []
    for d in (2, 8, 32):
        encoder = pca(EncoderSettings(kind="pca", d=d, view="meta+packets"), [expand(FLOWS, "meta+packets")])
        errors.append(reconstruct(encoder, FLOWS).errors["overall"].mean())
    assert errors[0] > errors[1] > errors[2]


def test_a_constant_guess_is_the_commonest_octet_of_each_place() -> None:
    codes = np.zeros((2, 259), np.int64)
    codes[0, [OCTET + 1, OCTET + 9, 0]] = 3, 1, 50  # padding is not an octet
    codes[1, OCTET + 5] = 4
    octets = Octets(np.array([4, 4]), np.array([1, 0]), codes)
    assert octets.constant(octets) == pytest.approx((3 + 4) / 8)
    assert octets.accuracy == pytest.approx(1 / 8)


def test_error_summary_ignores_nan() -> None:
    assert error_summary(np.array([1.0, 2.0, 3.0, np.nan])) == pytest.approx({"mean": 2.0, "median": 2.0, "p95": 2.9})
    assert all(math.isnan(value) for value in error_summary(np.full(3, np.nan)).values())


@pytest.fixture(scope="module")
def nets() -> dict[str, Encoder]:
    pytest.importorskip("torch")
    from ethogram.representation.build import build_network

    return {kind: build_network(EncoderSettings(kind=kind, widths=(16,), d=4), 1) for kind in ("vae", "ae", "fields")}


class TestLatentUnits:
    def test_divergence_of_each_unit(self, nets: dict[str, Encoder]) -> None:
        mean, log_variance = posterior_of(nets["vae"], FLOWS, np.arange(60)) or (None, None)
        assert mean is not None
        assert log_variance is not None
        expected = [
            sum(0.5 * (m * m + math.exp(v) - 1 - v) for m, v in zip(mean[:, i], log_variance[:, i], strict=True)) / 60
            for i in range(4)
        ]
        assert reconstruct(nets["vae"], FLOWS).kl == pytest.approx(expected, rel=1e-4)
        assert reconstruct(nets["fields"], FLOWS).kl is None
        assert reconstruct(nets["ae"], FLOWS).kl is None
        assert reconstruct(PROJECTION, FLOWS).kl is None

    def test_numpy_and_torch_agree(self, nets: dict[str, Encoder]) -> None:
        net = nets["vae"]
        dense = DenseEncoder(net.header, net.tensors())  # type: ignore[attr-defined]
        first, second = reconstruct(net, FLOWS), reconstruct(dense, FLOWS)
        assert first.kl == pytest.approx(second.kl, rel=1e-3, abs=1e-5)
        assert np.allclose(first.errors["packets"], second.errors["packets"], rtol=1e-3)

    def test_a_unit_is_active_when_its_mean_moves(self) -> None:
        z = np.zeros((10, 3), np.float32)
        z[:, 1] = np.arange(10)
        z[:, 2] = 5 + 0.01 * (np.arange(10) % 2)
        assert Reconstruction({}, z).active(0.01).tolist() == [False, True, False]


class TestAgreement:
    def test_cka_matches_its_definition(self) -> None:
        random = np.random.default_rng(0)
        a, b = random.standard_normal((30, 4)), random.standard_normal((30, 6))
        k, m = a @ a.T, b @ b.T
        centre = np.eye(30) - 1 / 30
        k, m = centre @ k @ centre, centre @ m @ centre
        assert linear_cka(a, b) == pytest.approx((k * m).sum() / math.sqrt((k * k).sum() * (m * m).sum()))

    def test_cka_ignores_rotation_and_scale(self) -> None:
        random = np.random.default_rng(0)
        z = random.standard_normal((500, 8)) * np.arange(1, 9)
        turn = np.linalg.qr(random.standard_normal((8, 8)))[0]
        assert linear_cka(z, 3 * z @ turn + 7) == pytest.approx(1)
        assert linear_cka(z, random.standard_normal((500, 8))) < 0.1
        assert math.isnan(linear_cka(z, np.zeros((500, 2))))
