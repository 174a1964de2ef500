"""NetMamba: true names and shapes, a plain forward pass, the token of the class last, one direction only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema import PacketFlows
from ethogram.third_party_encoders import PacketEncoder, adapter
from ethogram.third_party_encoders.interface import expected
from ethogram.third_party_encoders.netmamba import NetMamba, NetMambaSizes, build
from packet_flows_made import Packet, drawn, packet_flows

TINY = {"d": 8, "depth": 2, "inner": 12, "state": 3, "conv": 4, "rank": 2}


def drawn_weights(seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=g) * 0.4 for name, shape in expected("netmamba", TINY).items()}


def test_names_and_shapes_are_those_of_the_authors_files() -> None:
    block = {
        "mixer.A_log": (512, 16), "mixer.D": (512,), "mixer.in_proj.weight": (1024, 256),
        "mixer.conv1d.weight": (512, 1, 4), "mixer.conv1d.bias": (512,), "mixer.x_proj.weight": (48, 512),
        "mixer.dt_proj.weight": (512, 16), "mixer.dt_proj.bias": (512,), "mixer.out_proj.weight": (256, 512),
        "norm.weight": (256,),
    }  # fmt: skip
    names = {
        "cls_token": (1, 1, 256), "pos_embed": (1, 401, 256), "patch_embed.proj.weight": (256, 1, 4),
        "patch_embed.proj.bias": (256,), "norm_f.weight": (256,),
    }  # fmt: skip
    assert expected("netmamba") == names | {f"blocks.{i}.{k}": v for i in range(4) for k, v in block.items()}
    assert sum(int(np.prod(shape)) for shape in expected("netmamba").values()) == 1_856_512


def plain(w: dict[str, np.ndarray], octets: np.ndarray) -> np.ndarray:
    """The network as plain loops over flows, tokens, and states, in double precision; ``octets`` is [N, 1600]."""

    def norm(x, weight):
        return x / np.sqrt((x * x).mean() + 1e-5) * weight

    def silu(x):
        return x / (1 + np.exp(-x))

    collected = []
    for flow in octets / 255 * 2 - 1:
        tokens = [
            w["patch_embed.proj.weight"][:, 0] @ flow[4 * t : 4 * t + 4] + w["patch_embed.proj.bias"]
            for t in range(400)
        ]
        tokens = np.array([*tokens, w["cls_token"][0, 0]]) + w["pos_embed"][0]
        for i in range(TINY["depth"]):
            p = {k.removeprefix(f"blocks.{i}.mixer."): v for k, v in w.items() if k.startswith(f"blocks.{i}.mixer.")}
            a = -np.exp(p["A_log"])
            h, window, after = np.zeros(a.shape), np.zeros((4, TINY["inner"])), []
            for token in tokens:
                x, z = np.split(p["in_proj.weight"] @ norm(token, w[f"blocks.{i}.norm.weight"]), 2)
                window = np.array([*window[1:], x])
                x = silu((window * p["conv1d.weight"][:, 0].T).sum(0) + p["conv1d.bias"])
                step, b, c = np.split(p["x_proj.weight"] @ x, [2, 5])
                step = np.log1p(np.exp(p["dt_proj.weight"] @ step + p["dt_proj.bias"]))
                for channel in range(TINY["inner"]):
                    h[channel] = np.exp(step[channel] * a[channel]) * h[channel] + step[channel] * x[channel] * b
                after.append(token + p["out_proj.weight"] @ ((h @ c + p["D"] * x) * silu(z)))
            tokens = np.array(after)
        collected.append(norm(tokens[-1], w["norm_f.weight"]))
    return np.array(collected)


def octets(flows: list[list[Packet]]) -> np.ndarray:
    rows = []
    for flow in flows:
        row = b""
        for k in range(5):
            packet = flow[k] if k < len(flow) else None
            header = packet.internet[:12] + bytes(8) + packet.internet[20:] + packet.transport if packet else b""
            row += header[:80].ljust(80, b"\0") + (packet.payload[:240] if packet else b"").ljust(240, b"\0")
        rows.append(list(row))
    return np.array(rows, float)


FLOWS = [
    [Packet(payload=b"GET / HTTP/1.1"), Packet(9, out=False, payload=bytes(range(256)))],
    [Packet(protocol=17, payload=b"\0\1" * 200, ip_options=b"\1" * 4)],
    [Packet(k, tcp_options=b"\2\4\5\xb4") for k in range(7)],
]


@pytest.mark.parametrize("form", ["safetensors", "torch", "pretraining"])
def test_the_embedding_is_that_of_a_plain_forward_pass(tmp_path: Path, form: str) -> None:
    weights = drawn_weights()
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(weights, path)
    else:
        extra = {"mask_token": torch.zeros(1, 1, 4), "decoder_blocks.0.norm.weight": torch.ones(4)}
        torch.save({"model": weights | (extra if form == "pretraining" else {"head.bias": torch.zeros(3)})}, path)
    encoder = adapter("netmamba", checkpoint=path, widths=TINY)
    z = encoder.embed(packet_flows(FLOWS))
    np.testing.assert_allclose(z, plain({k: v.double().numpy() for k, v in weights.items()}, octets(FLOWS)), atol=2e-4)
    assert encoder.origin.startswith("checkpoint sha256:")
    assert ("ignored" in encoder.origin) == (form != "safetensors")


def test_a_later_token_never_changes_an_earlier_one() -> None:
    net = NetMamba(NetMambaSizes(**TINY)).eval()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1600, generator=g)
    other = x.clone()
    other[:, 800:] = torch.randn(2, 800, generator=g)
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            first, two = net(net.closed(net.tokens(x))).detach(), net(net.closed(net.tokens(other))).detach()
        torch.testing.assert_close(first[:, :200], two[:, :200], atol=0, rtol=0)
        assert ((first - two)[:, 200:].abs().amax(-1) > 0).all()


def test_the_class_stands_last_and_has_seen_everything() -> None:
    net = NetMamba(NetMambaSizes(**TINY)).eval()
    x = torch.randn(3, 1600, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = net(net.closed(net.tokens(x)))
        torch.testing.assert_close(net.embed(x), whole[:, -1], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(net.embed(x), whole[:, 0])
    octet = torch.zeros(1, 1600, requires_grad=True)
    net.embed(octet).sum().backward()
    assert octet.grad is not None and (octet.grad != 0).all()


def test_with_a_gradient_and_without_the_numbers_are_the_same() -> None:
    net = NetMamba(NetMambaSizes(**TINY)).eval()
    x = torch.randn(3, 1600, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fast = net.embed(x)
    torch.testing.assert_close(fast, net.embed(x).detach(), atol=1e-5, rtol=1e-5)


def test_addresses_are_not_seen() -> None:
    encoder = build(widths=TINY)
    moved = [[Packet(device="10.0.0.1", remote="203.0.113.77")]]
    np.testing.assert_array_equal(encoder.embed(packet_flows([[Packet()]])), encoder.embed(packet_flows(moved)))
    port = [[Packet(device_port=1234)]]
    assert np.abs(encoder.embed(packet_flows([[Packet()]])) - encoder.embed(packet_flows(port))).max() > 0
    hidden = build(widths={**TINY, "ports": 0})
    np.testing.assert_array_equal(hidden.embed(packet_flows([[Packet()]])), hidden.embed(packet_flows(port)))
    assert hidden.digest != encoder.digest


def test_batches_make_no_difference() -> None:
    encoder, flows = build(widths=TINY), drawn(21, seed=5)
    whole = encoder.embed(flows)
    rows = np.array([20, 3, 3, 11])
    np.testing.assert_allclose(encoder.embed(flows, rows), whole[rows], atol=1e-5)
    seen: list[tuple[int, int]] = []
    encoder.embed(flows, on_progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (21, 21) and len(seen) == 3
    assert encoder.embed(PacketFlows.empty()).shape == (0, 8)
    assert np.isfinite(encoder.embed(PacketFlows.empty(2))).all()


def test_what_is_declared(tmp_path: Path) -> None:
    encoder = adapter("netmamba", seed=3)
    assert isinstance(encoder, PacketEncoder)
    assert (encoder.facts.parameters, encoder.facts.d, encoder.origin) == (1_856_512, 256, "random weights, seed 3")
    assert encoder.digest == adapter("netmamba", seed=3).digest != adapter("netmamba", seed=4).digest
    with pytest.raises(ConfigurationError, match="no size 'width'"):
        adapter("netmamba", widths={"width": 3})
    save_file(drawn_weights(), tmp_path / "tiny")
    with pytest.raises(LibraryError, match="weights are missing"):
        adapter("netmamba", checkpoint=tmp_path / "tiny")
