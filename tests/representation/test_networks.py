"""The networks: size, gradients, no collapse, zeros that need no multiplying, weights that only training changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from custom_flows_made import made
from ethogram.config import EncoderSettings, FieldSettings, TrainingSettings
from ethogram.errors import LibraryError
from ethogram.representation.autoencoder import Autoencoder, PrefixLinear
from ethogram.representation.dense import shapes
from ethogram.representation.encoder import Encoder
from ethogram.representation.field_columns import FLOW
from ethogram.representation.fields import FieldEncoder, Fields, size_bin
from ethogram.representation.network import Network
from ethogram.representation.positives import Positives
from ethogram.representation.training import InMemoryBlocks, Training
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

torch.set_num_threads(1)

TINY_FIELDS = FieldSettings(octets=4, grams=8, buckets=64, token=12, hidden=24)
TINY = {
    "ae": EncoderSettings(kind="ae", widths=(24, 12), d=6),
    "vae": EncoderSettings(kind="vae", widths=(24, 12), d=6),
    "vae, sigmoid": EncoderSettings(kind="vae", widths=(24,), d=6, output="sigmoid"),
    "vae of 40": EncoderSettings(kind="vae", widths=(24,), d=6, view="meta+packets/no-address"),
    "fields": EncoderSettings(kind="fields", d=6, fields=TINY_FIELDS),
    "fields without ports": EncoderSettings(kind="fields", d=6, view="full/no-address/no-ports", fields=TINY_FIELDS),
}
FLOWS = made(96)
ROWS = np.arange(64)


def network(settings: EncoderSettings, seed: int = 0) -> Network:
    return FieldEncoder(settings, seed) if settings.kind == "fields" else Autoencoder(settings, seed)


@pytest.fixture(params=TINY)
def net(request: pytest.FixtureRequest) -> Network:
    return network(TINY[request.param])


@pytest.mark.parametrize(
    ("kind", "size", "parameters"),
    [("ae", "base", 3_256_576), ("vae", "base", 3_256_576 + 129 * 32), ("ae", "small", None), ("ae", "large", None)],
)
def test_parameters(kind: str, size: str, parameters: int | None) -> None:
    settings = EncoderSettings.of(kind=kind, size=size)
    net = Autoencoder(settings)
    assert {name: tuple(value.shape) for name, value in net.named_parameters()} == shapes(settings)
    count = sum(value.numel() for value in net.parameters())
    widths = [3040, *settings.hidden, settings.latent]
    plain = sum(a * b + b + a * b + a for a, b in pairwise(widths))
    assert count == (parameters or plain)
    assert (settings.hidden, settings.latent) == {
        "small": ((128,), 16), "base": ((512, 128), 32), "large": ((1024, 256), 64)
    }[size]  # fmt: skip


def test_the_field_encoder_has_less_than_a_million_parameters() -> None:
    for size in ("small", "base", "large"):
        assert (
            sum(value.numel() for value in FieldEncoder(EncoderSettings.of(kind="fields", size=size)).parameters())
            < 1e6
        )


def test_it_is_an_encoder(net: Network) -> None:
    assert isinstance(net, Encoder)
    x = expand(FLOWS, net.settings.view)
    before = x.copy()
    z = net.encode(x)
    assert z.shape == (96, 6)
    assert z.dtype == np.float32
    x_hat = net.decode(z)
    assert x_hat.shape == x.shape
    assert np.isfinite(x_hat).all()
    assert np.array_equal(x, before)
    with pytest.raises(LibraryError, match=r"vectors must be \[N, "):
        net.encode(x[:, 1:])
    with pytest.raises(LibraryError, match=r"embeddings must be \[N, 6\], not \[96, 5\]"):
        net.decode(z[:, 1:])
    assert net.encode(x[:0]).shape == (0, 6)


# -- the four tests that a published re-implementation would have failed


def test_the_reconstruction_depends_on_z(net: Network) -> None:
    prepared = net.prepare(FLOWS, ROWS)
    z = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    net.errors("mse-balanced", prepared, z)["reconstruction"].backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(0) > 0).all()


def test_every_encoder_parameter_gets_a_gradient_from_the_reconstruction(net: Network) -> None:
    result = net.losses(
        net.prepare(FLOWS, ROWS), loss="mse-balanced", kl_weight=0.0, generator=torch.Generator().manual_seed(0)
    )
    result["reconstruction"].backward()
    for name, value in net.named_parameters():
        if name.startswith("project."):  # behind z, and no part of the encoder: companions are compared there
            assert value.grad is None
            continue
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_the_latent_units_do_not_collapse(net: Network) -> None:
    settings = TrainingSettings(passes=4, batch=16, threads=1, kl_weight=1e-4, arithmetic="float32")
    training = Training(net, settings)
    assert training.run(InMemoryBlocks(FLOWS), None)
    assert training.curves[-1]["train_loss"] < training.curves[0]["train_loss"]
    z = net.encode(expand(FLOWS, net.settings.view))
    assert (z.std(0) > 1e-3).sum() >= 4


def test_probing_changes_no_weight(net: Network) -> None:
    before = net.digest
    x = expand(FLOWS, net.settings.view)
    labels = FLOWS.protocol
    LogisticRegression(max_iter=50).fit(net.encode(x), labels).predict(net.encode(x))
    net.decode(net.encode(x))
    assert net.digest == before
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] += 1e-3
    assert net.digest != before


# --


def test_zeros_are_not_multiplied_and_nothing_else_changes() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(6, 20, generator=generator, dtype=torch.float64)
    cuts = ((0, 2, 7), (2, 5, 13), (5, 6, 20))
    for begin, end, used in cuts:
        x[begin:end, used:] = 0
    weight = torch.rand(4, 20, generator=generator, dtype=torch.float64).requires_grad_()
    bias = torch.rand(4, generator=generator, dtype=torch.float64).requires_grad_()
    push = torch.rand(6, 4, generator=generator, dtype=torch.float64)
    results = []
    for product in (PrefixLinear.apply(x, weight, bias, cuts), torch.nn.functional.linear(x, weight, bias)):
        weight.grad = bias.grad = None
        (product * push).sum().backward()
        assert weight.grad is not None
        assert bias.grad is not None
        results.append((product.detach(), weight.grad.clone(), bias.grad.clone()))
    for ours, plain in zip(*results, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-12)


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_a_batch_in_groups_has_the_loss_of_its_vectors(name: str) -> None:
    net = network(TINY[name])
    prepared = net.prepare(FLOWS, ROWS)
    assert len(prepared.cuts) == 4
    result = net.losses(prepared, loss="mse", kl_weight=0.0, generator=None)["loss"].item()
    x = expand(FLOWS, "full", ROWS)
    assert result == pytest.approx(float(np.mean((net.decode(net.encode(x)) - x) ** 2)), rel=1e-4)


def test_the_variational_one_differs_by_the_second_head_only() -> None:
    ae, vae = network(TINY["ae"]), network(TINY["vae"])
    extra = {"log_variance.weight", "log_variance.bias"}
    assert set(dict(vae.named_parameters())) - set(dict(ae.named_parameters())) == extra
    vae.load({**ae.tensors(), **{name: vae.tensors()[name] for name in extra}})
    x = expand(FLOWS, "full")
    assert np.array_equal(ae.encode(x), vae.encode(x))
    assert torch.all(vae.log_variance.bias == -3)


def test_nothing_is_drawn_when_embedding_and_noise_is_when_learning() -> None:
    net = network(TINY["vae"])
    prepared = net.prepare(FLOWS, ROWS)

    def loss(seed: int | None) -> float:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return net.losses(prepared, loss="mse", kl_weight=0.0, generator=generator)["loss"].item()

    assert loss(None) == loss(None)
    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_the_first_weights_are_the_seed_s_and_leave_the_program_s_generator_alone() -> None:
    state = torch.random.get_rng_state()
    assert network(TINY["vae"], 4).digest == network(TINY["vae"], 4).digest
    assert network(TINY["vae"], 4).digest != network(TINY["vae"], 5).digest
    assert torch.equal(state, torch.random.get_rng_state())


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(LibraryError, match="other names or shapes"):
        network(TINY["ae"]).load(network(TINY["vae"]).tensors())


# -- fields


def test_bins_of_sizes() -> None:
    sizes = torch.arange(0, 1501, dtype=torch.float32)
    bins = size_bin(sizes)
    assert bins.min() == 0
    assert bins.max() == 71
    assert (bins.diff() >= 0).all()
    assert bins.diff().max() == 1


def test_addresses_and_hidden_ports_change_nothing() -> None:
    net = network(TINY["fields"])
    x = expand(FLOWS, "full")
    x = x[(x[:, 1] < 224 / 255) & x[:, 1:5].any(1)]
    other = x.copy()
    other[:, 1:5] = 0.5
    assert np.array_equal(net.encode(x), net.encode(other))
    for kind in ((0, 0, 0, 0), (239 / 255, 1, 1, 250 / 255), (1, 1, 1, 1)):
        other[:, 1:5] = kind
        assert not np.array_equal(net.encode(x), net.encode(other))
    other[:, 1:5] = 0.5
    other[:, 5:7] = 0.5
    assert not np.array_equal(net.encode(x), net.encode(other))
    without = network(EncoderSettings(kind="fields", d=6, fields=TINY_FIELDS.model_copy(update={"ports": False})))
    assert np.array_equal(without.encode(x), without.encode(other))


def test_what_is_hidden_is_not_seen() -> None:
    net = network(TINY["fields"])
    assert isinstance(net, FieldEncoder)
    prepared = net.prepare(FLOWS, ROWS)
    before = prepared.columns.clone()
    hidden = net.mask(prepared, torch.Generator().manual_seed(0))
    assert torch.equal(prepared.columns, before)
    # A packet that is hidden may be anything.
    hides = hidden.packets_hidden
    assert hides is not None
    assert 0.05 < hides.float().mean() < 0.3
    changed = hidden.columns.clone()
    packets = changed[:, FLOW : net.plan.grams.start].view(-1, 10, net.plan.packet)
    packets[hides] = 1.0
    seen = Fields(changed, hidden.packets_hidden, hidden.payload_hidden)
    assert torch.equal(net.posterior(seen)[0], net.posterior(hidden)[0])


def test_positives_are_of_the_same_device_and_hour() -> None:
    flows = made(400, seed=3, days=2)
    positives = Positives(flows, 3600.0)
    rows = np.random.default_rng(0).permutation(400)[:300]
    device, hour = np.array(flows.device.to_list()), flows.start_us // 3_600_000_000
    drawn = positives.draw(rows, 0.0)
    assert (device[drawn] == device[rows]).all()
    assert (hour[drawn] == hour[rows]).all()
    alone = [np.sum((device == device[row]) & (hour == hour[row])) == 1 for row in rows]
    assert 0 < np.mean(drawn == rows) < 1
    assert (drawn[alone] == rows[alone]).all()
    assert np.array_equal(drawn, positives.draw(rows, 0.0)), "a function of the rows"
    assert not np.array_equal(drawn, positives.draw(rows[::-1].copy(), 0.0)[::-1])
    assert np.array_equal(positives.draw(rows, 1.0), rows)
    every = np.concatenate([positives.draw(np.full(64, row), 0.0) for row in range(8)])
    for row in range(8):
        others = np.flatnonzero((device == device[row]) & (hour == hour[row]))
        assert set(every[64 * row : 64 * row + 64]) == set(others), "any of them, sooner or later"


def test_without_contrast_devices_are_not_read() -> None:
    fields = TINY_FIELDS.model_copy(update={"contrast": 0.0})
    net = network(EncoderSettings(kind="fields", d=6, fields=fields))
    prepared = net.prepare(FLOWS, ROWS)
    assert prepared.positives is None
    assert prepared.device is None
    result = net.losses(prepared, loss="mse", kl_weight=0.0, generator=None)
    assert result["loss"] == result["reconstruction"]
    assert "likeness" not in result


def test_every_parameter_learns_from_companions_but_those_that_guess() -> None:
    net = network(TINY["fields"])
    result = net.losses(net.prepare(FLOWS, ROWS), loss="mse", kl_weight=0.0, generator=torch.Generator().manual_seed(0))
    own = net.settings.fields
    assert result["likeness"].item() == pytest.approx(
        own.contrast * result["contrast"].item() + own.spread * result["spread"].item(), rel=1e-5
    )
    assert result["loss"].item() == pytest.approx((result["reconstruction"] + result["likeness"]).item(), rel=1e-5)
    result["likeness"].backward()
    guessing = ("outward", "flow_head", "text", "packet_out", "packet_head", "octet_head", "octet_bias")
    for name, value in net.named_parameters():
        assert (value.grad is None) == name.startswith(guessing), name


def test_devices_are_told_apart_on_flows_not_learnt_from() -> None:
    """Made-up devices that differ by a word each: after learning, a flow's nearest is of its own device."""
    fields = TINY_FIELDS.model_copy(update={"grams": 16, "token": 16, "hidden": 48, "hide_text": 0.0})
    flows, others = (named(made(240, seed=seed, days=1)) for seed in (5, 6))

    def nearest(net: Network) -> float:
        z = net.encode(expand(others, "full"))
        z = (z - z.mean(0)) / z.std(0)
        apart = ((z[:, None] - z[None]) ** 2).sum(-1) + np.eye(len(z)) * 1e9
        device = np.array(others.device.to_list())
        return float(np.mean(device[apart.argmin(1)] == device))

    net = network(EncoderSettings(kind="fields", d=8, fields=fields), 1)
    before = nearest(net)
    settings = TrainingSettings(passes=30, batch=48, threads=1, learning_rate=5e-3, arithmetic="float32")
    assert Training(net, settings).run(InMemoryBlocks(flows), None)
    assert nearest(net) > max(before, 0.93)


def named(flows: CustomFlows) -> CustomFlows:
    """The same flows, but each device has a word of its own in all it sends."""
    payload, at = flows.payload.copy(), flows.first_octet
    for i, name in enumerate(flows.device.to_list()):
        word = f" vendor{name[-1]}x{name[-1]}y ".encode()
        if at[i + 1] - at[i] >= len(word):
            payload[at[i] : at[i] + len(word)] = np.frombuffer(word, np.uint8)
    return replace(flows, payload=payload)


def test_numbers_of_a_flow_come_back_after_learning() -> None:
    fields = TINY_FIELDS.model_copy(update={"token": 16, "hidden": 64, "contrast": 0.0})
    net = network(EncoderSettings(kind="fields", d=8, fields=fields), 1)
    flows = made(300, seed=1)
    settings = TrainingSettings(
        passes=25, batch=32, threads=1, kl_weight=1e-5, learning_rate=1e-2, arithmetic="float32"
    )
    assert Training(net, settings, seed=1).run(InMemoryBlocks(flows), None)
    x = expand(flows, "full")
    x_hat = net.decode(net.encode(x))
    assert np.mean(np.abs(x_hat[:, 7] - x[:, 7])) < 0.2 * np.std(x[:, 7])  # protocol
    assert np.corrcoef(x_hat[:, 9], x[:, 9])[0, 1] > 0.7  # packets
    assert (x_hat[:, 1:5] == 0).all()
