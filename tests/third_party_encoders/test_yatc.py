"""YaTC: true names and shapes, a plain forward pass, slices of positions, the last norm, packets that are not there."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema import PacketFlows
from ethogram.third_party_encoders import PacketEncoder, adapter
from ethogram.third_party_encoders.images import octets_of, scaled
from ethogram.third_party_encoders.interface import expected
from ethogram.third_party_encoders.yatc import Yatc, YatcSizes, build
from packet_flows_made import Packet, drawn, packet_flows

TINY = {"d": 8, "depth": 2, "heads": 2, "mlp": 12, "decoder_d": 8, "decoder_heads": 2}


def drawn_weights(seed: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=g) * 0.4 for name, shape in expected("yatc", TINY).items()}


def test_names_and_shapes_are_those_of_the_authors_file_of_pretraining() -> None:
    block = {
        "norm1.weight": (192,), "norm1.bias": (192,), "attn.qkv.weight": (576, 192), "attn.qkv.bias": (576,),
        "attn.proj.weight": (192, 192), "attn.proj.bias": (192,), "norm2.weight": (192,), "norm2.bias": (192,),
        "mlp.fc1.weight": (768, 192), "mlp.fc1.bias": (768,), "mlp.fc2.weight": (192, 768), "mlp.fc2.bias": (192,),
    }  # fmt: skip
    names = {
        "cls_token": (1, 1, 192), "pos_embed": (1, 401, 192), "patch_embed.proj.weight": (192, 1, 2, 2),
        "patch_embed.proj.bias": (192,), "norm.weight": (192,), "norm.bias": (192,),
    }  # fmt: skip
    assert expected("yatc") == names | {f"blocks.{i}.{k}": v for i in range(4) for k, v in block.items()}
    assert sum(int(np.prod(shape)) for shape in expected("yatc").values()) == 1_857_984


def norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias


def blocks(w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """All blocks over the tokens [L, d] of one sequence, head by head."""
    erf = np.vectorize(math.erf)
    for i in range(TINY["depth"]):
        p = {k.removeprefix(f"blocks.{i}."): v for k, v in w.items() if k.startswith(f"blocks.{i}.")}
        given = norm(x, p["norm1.weight"], p["norm1.bias"]) @ p["attn.qkv.weight"].T + p["attn.qkv.bias"]
        heads = []
        for head in range(2):
            query, key, value = (given[:, k * 8 + head * 4 : k * 8 + head * 4 + 4] for k in range(3))
            scores = np.exp(query @ key.T / 2)
            heads.append(scores / scores.sum(1, keepdims=True) @ value)
        x = x + np.concatenate(heads, 1) @ p["attn.proj.weight"].T + p["attn.proj.bias"]
        inner = norm(x, p["norm2.weight"], p["norm2.bias"]) @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]
        x = x + (inner * (1 + erf(inner / math.sqrt(2))) / 2) @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]
    return x


def plain(w: dict[str, np.ndarray], images: np.ndarray, final: str = "norm") -> np.ndarray:
    """The network over images [N, 40, 40] of octets."""
    collected = []
    for image in (images / 255 - 0.5) / 0.5:
        packets = []
        for i in range(5):
            part, tokens = image[8 * i : 8 * i + 8], [w["cls_token"][0, 0] + w["pos_embed"][0, 0]]
            for row in range(4):
                for column in range(20):
                    square = part[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    token = (w["patch_embed.proj.weight"][:, 0] * square).sum((1, 2)) + w["patch_embed.proj.bias"]
                    tokens.append(token + w["pos_embed"][0, i * 80 + 1 + row * 20 + column])
            seen = blocks(w, np.array(tokens))
            packets += [seen[0], *(np.mean([seen[1 + row * 20 + c] for row in range(4)], 0) for c in range(20))]
        together = blocks(w, np.array(packets))
        collected.append(norm(together[::21].mean(0), w[f"{final}.weight"], w[f"{final}.bias"]))
    return np.array(collected)


FLOWS = [
    [Packet(payload=b"GET / HTTP/1.1"), Packet(9, out=False, payload=bytes(range(256)))],
    [Packet(protocol=17, payload=b"\0\1" * 200, ip_options=b"\1" * 4)],
    [Packet(k, tcp_options=b"\2\4\5\xb4") for k in range(7)],
]


def images(flows: list[list[Packet]]) -> np.ndarray:
    return octets_of(packet_flows(flows)).reshape(-1, 40, 40).astype(float)


@pytest.mark.parametrize("form", ["safetensors", "pretraining", "fine-tuned"])
def test_the_embedding_is_that_of_a_plain_forward_pass(tmp_path: Path, form: str) -> None:
    weights, path, final = drawn_weights(), tmp_path / "weights", "norm"
    if form == "safetensors":
        save_file(weights, path)
    elif form == "pretraining":
        torch.save({"model": weights | {"mask_token": torch.zeros(1, 1, 4), "decoder_pred.bias": torch.ones(4)}}, path)
    else:
        final = "fc_norm"
        weights = {
            name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: v for name, v in weights.items()
        }
        torch.save({"model": weights | {"head.bias": torch.zeros(3)}}, path)
    encoder = adapter("yatc", checkpoint=path, widths=TINY)
    true = plain({k: v.double().numpy() for k, v in weights.items()}, images(FLOWS), final)
    np.testing.assert_allclose(encoder.embed(packet_flows(FLOWS)), true, atol=2e-4)
    assert ("ignored" in encoder.origin) == (form != "safetensors")


def test_the_last_norm_begins_as_that_of_pretraining_and_must_be_one_of_both(tmp_path: Path) -> None:
    weights = drawn_weights()
    both = weights | {"fc_norm.weight": 2 * weights["norm.weight"], "fc_norm.bias": 2 * weights["norm.bias"]}
    save_file(weights, tmp_path / "one")
    save_file(both, tmp_path / "both")
    first, two = (
        adapter("yatc", checkpoint=tmp_path / name, widths=TINY).embed(packet_flows(FLOWS)) for name in ("one", "both")
    )
    np.testing.assert_allclose(two, 2 * first, rtol=1e-5)
    neither = {name: value for name, value in weights.items() if not name.startswith("norm.")}
    save_file(neither, tmp_path / "neither")
    with pytest.raises(LibraryError, match=r"neither fc_norm\.weight nor norm\.weight"):
        adapter("yatc", checkpoint=tmp_path / "neither", widths=TINY)


def test_each_packet_has_positions_of_its_own(tmp_path: Path) -> None:
    weights = drawn_weights()
    save_file(weights, tmp_path / "weights")
    encoder = adapter("yatc", checkpoint=tmp_path / "weights", widths=TINY)
    x = torch.from_numpy(scaled(octets_of(packet_flows(FLOWS))))
    with torch.no_grad():
        before = encoder.net.of_packets(x[0, :1].expand(5, -1), torch.arange(5))
        encoder.net.pos_embed[0, 161:241] += 1.0  # packet 2, when packets are counted from 0
        after = encoder.net.of_packets(x[0, :1].expand(5, -1), torch.arange(5))
    changed = (before - after).abs().amax((1, 2)) > 0
    assert changed.tolist() == [False, False, True, False, False]


def test_positions_are_sines_of_column_and_row() -> None:
    positions = Yatc(YatcSizes(**TINY)).pos_embed[0].numpy()
    assert (positions[0] == 0).all()
    for row, column in ((0, 0), (3, 19), (19, 4)):
        first = [np.sin(column), np.sin(column / 100), np.cos(column), np.cos(column / 100)]
        two = [np.sin(row), np.sin(row / 100), np.cos(row), np.cos(row / 100)]
        np.testing.assert_allclose(positions[1 + 20 * row + column], [*first, *two], atol=1e-5)


def test_packets_that_are_not_there_are_computed_once_and_exactly() -> None:
    encoder, flows = build(widths=TINY), drawn(30, seed=2, most=5)
    with torch.no_grad():
        whole = encoder.net.embed(torch.from_numpy(scaled(octets_of(flows))))
    np.testing.assert_allclose(encoder.embed(flows), whole, atol=1e-5)


def test_with_a_gradient_and_without_the_numbers_are_the_same() -> None:
    net, x = build(widths=TINY).net, torch.from_numpy(scaled(octets_of(packet_flows(FLOWS))))
    with torch.no_grad():
        fast = net.embed(x)
    torch.testing.assert_close(fast, net.embed(x), atol=1e-5, rtol=1e-5)


def test_batches_make_no_difference() -> None:
    encoder, flows = build(widths=TINY), drawn(37, seed=5)
    whole = encoder.embed(flows)
    rows = np.array([36, 3, 3, 11])
    np.testing.assert_allclose(encoder.embed(flows, rows), whole[rows], atol=1e-5)
    assert encoder.embed(PacketFlows.empty()).shape == (0, 8)
    assert np.isfinite(encoder.embed(PacketFlows.empty(2))).all()


def test_what_is_declared() -> None:
    encoder = adapter("yatc", seed=3)
    assert isinstance(encoder, PacketEncoder)
    assert (encoder.facts.parameters, encoder.facts.d, encoder.origin) == (1_857_984, 192, "random weights, seed 3")
    assert encoder.digest == adapter("yatc", seed=3).digest != adapter("yatc", seed=4).digest
    for wrong in ({"heads": 5}, {"patch": 3}, {"d": 0}):
        with pytest.raises(ConfigurationError):
            adapter("yatc", widths=wrong)
