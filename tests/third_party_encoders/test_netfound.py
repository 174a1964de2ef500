"""netFound: names, shapes, its native input by a plain twin, an independent forward pass, traps and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.bursts import bursts_of
from ethogram.third_party_encoders.interface import PacketEncoder, adapter, expected
from ethogram.third_party_encoders.netfound import LARGE, NetFoundEncoder
from packet_flows_made import Packet, drawn, drawn_packets, packet_flows

torch.set_num_threads(1)

TINY = {"hidden": 12, "layers": 2, "heads": 3, "mlp": 20, "meta": 7}


def tiny(**options) -> NetFoundEncoder:
    built = adapter("netfound", widths=TINY, **options)
    assert isinstance(built, NetFoundEncoder)
    return built


# -- names and shapes


def listed(hidden: int, layers: int, heads: int, mlp: int, meta: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes, written out."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, given: int, to: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (to, given), (to,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (hidden,), (hidden,)

    at = "base_transformer.embeddings"
    shapes[f"{at}.word_embeddings.weight"] = (65_539, hidden)
    shapes[f"{at}.position_embeddings.weight"] = (109, hidden)
    shapes[f"{at}.token_type_embeddings.weight"] = (2, hidden)
    norm(f"{at}.LayerNorm")
    layer(f"{at}.metaEmbeddingLayer1", 4, meta)
    layer(f"{at}.metaEmbeddingLayer2", meta, hidden)
    shapes[f"{at}.protoEmbedding.weight"] = (65_536, hidden)
    layer(f"{at}.compressEmbeddings", 3 * hidden, hidden)
    shapes["base_transformer.seg_embeddings.weight"] = (3, hidden)
    shapes["base_transformer.encoder.burst_positions.weight"] = (109, hidden // heads)
    shapes["base_transformer.encoder.flow_positions.weight"] = (13, hidden // heads)
    for i in range(layers):
        at = f"base_transformer.encoder.layer.{i}"
        shapes[f"{at}.position_embeddings.weight"] = (13, hidden)
        for part in ("burst_encoder", "flow_encoder"):
            for name in ("query", "key", "value"):
                layer(f"{at}.{part}.attention.self.{name}", hidden, hidden)
            layer(f"{at}.{part}.attention.output.dense", hidden, hidden)
            norm(f"{at}.{part}.attention.output.LayerNorm")
            layer(f"{at}.{part}.intermediate.dense", hidden, mlp)
            layer(f"{at}.{part}.output.dense", mlp, hidden)
            norm(f"{at}.{part}.output.LayerNorm")
    return shapes


def test_the_full_networks_have_the_published_names_and_shapes() -> None:
    base, large = expected("netfound"), expected("netfound", {"large": 1})
    assert base == listed(768, 12, 12, 3072, 1024)
    assert large == listed(1024, 24, 16, 3072, 1024)
    assert sum(math.prod(shape) for shape in large.values()) == 642_774_656
    assert sum(math.prod(shape) for shape in base.values()) == 273_553_792
    assert expected("netfound", TINY) == listed(**TINY)


def test_the_full_list_is_made_without_allocating() -> None:
    wide = expected("netfound", {"hidden": 12_288, "layers": 60})  # 400 GB, if they were made
    assert len(wide) == 15 + 60 * 33


def test_what_is_declared() -> None:
    facts = tiny().facts
    assert (facts.name, facts.d, facts.packets, facts.licence) == ("netfound (2 layers, 12 wide)", 12, 72, "MIT")
    assert facts.parameters == sum(math.prod(shape) for shape in listed(**TINY).values())
    assert LARGE.name == "netfound (large)"
    assert isinstance(tiny(), PacketEncoder)


# -- native input


def plain_tokens(packet: Packet, kept: bytes, begin: int, back: int, *, first: bool) -> list[int]:
    """Fields of a packet as numbers of 16 bits, plus one."""
    items = [20 + len(packet.ip_options), packet.tos, packet.octets, packet.flags, packet.ttl]
    if packet.protocol == 17:
        items.append(0 if packet.fragment else 8 + len(packet.payload))
    elif packet.fragment:
        items += [0] * 7
    else:
        sequence = packet.sequence - (begin if packet.out else back)
        acknowledgement = packet.acknowledgement - (back if packet.out else begin)
        if first or (packet.out and back == 0):
            acknowledgement = 0
        items += [packet.tcp_flags, packet.window]
        items += [n % 65_536 for number in (sequence, acknowledgement) for n in ((number % 2**32) // 65_536, number)]
        items.append(packet.urgent)
    text = kept[:12].ljust(12, b"\0")
    items += [256 * text[i] + text[i + 1] for i in range(0, 12, 2)]
    return [number + 1 for number in items]


def plain_bursts(flow: list[Packet]) -> list[tuple[list[int], list[float]]]:
    """Tokens and what is told of each burst of a flow, one direction after the other."""
    begin = flow[0].sequence
    back = flow[0].acknowledgement or (flow[1].sequence if len(flow) > 1 and not flow[1].fragment else 0)
    if flow[0].protocol == 17:
        begin = back = 0
    numbered = [(p, p.payload[: 240 if k < 5 else 12], k == 0) for k, p in enumerate(flow[:72])]
    numbered.sort(key=lambda item: item[0].offset_us)
    bursts = []
    for out in (True, False):
        mine: list[list[tuple[Packet, bytes, bool]]] = []
        for item in (item for item in numbered if item[0].out == out):
            if not mine or item[0].offset_us - mine[-1][-1][0].offset_us > 10_000:
                mine.append([])
            mine[-1].append(item)
        for i, burst in enumerate(mine):
            gap = burst[0][0].offset_us - mine[i - 1][0][0].offset_us if i else 0
            bursts.append((burst[0][0].offset_us, burst[:6], gap))
    bursts.sort(key=lambda burst: burst[0])
    collected = []
    for _, burst, gap in bursts[:12]:
        tokens = [t for p, stored, first in burst for t in plain_tokens(p, stored, begin, back, first=first)]
        items = [1.0 if burst[0][0].out else -1.0, sum(p.octets for p, _, _ in burst) / 1000, len(burst), gap / 1000]
        collected.append(([65_537, *tokens], items))
    return collected


def odd_flows() -> list[list[Packet]]:
    """Flows that try the edges."""
    p = Packet(sequence=2**32 - 2, acknowledgement=0, payload=b"odd")
    answer = replace(p, out=False, sequence=7, acknowledgement=2**32 - 1)
    return [
        [p],
        [p, replace(p, offset_us=3), replace(answer, offset_us=5), replace(p, offset_us=9, sequence=1, urgent=9)],
        [p, replace(answer, offset_us=0), replace(answer, offset_us=10_000), replace(answer, offset_us=20_001)],
        [replace(p, offset_us=50), replace(answer, offset_us=20), replace(p, offset_us=30_000)],
        [replace(p, offset_us=k * 100, sequence=k) for k in range(80)],
        [replace(p, offset_us=k * 20_000, out=k % 3 == 0) for k in range(80)],
        [p, replace(p, fragment=5, offset_us=1), replace(p, offset_us=2, ip_options=b"\7\4\0\0", tos=9)],
        [replace(p, protocol=17), replace(p, protocol=17, fragment=5, offset_us=1)],
    ]  # fmt: skip


@pytest.mark.parametrize("flows", [odd_flows(), drawn_packets(120, seed=6, most=40)], ids=["odd", "drawn"])
def test_bursts_are_those_of_a_plain_twin(flows: list[list[Packet]]) -> None:
    bursts = bursts_of(packet_flows(flows))
    assert bursts.protocol.tolist() == [flow[0].protocol for flow in flows]
    for i, flow in enumerate(flows):
        theirs = plain_bursts(flow)
        ours = np.flatnonzero(bursts.flow == i)
        assert [bursts.tokens[j, : bursts.lengths[j]].tolist() for j in ours] == [tokens for tokens, _ in theirs]
        np.testing.assert_allclose(bursts.meta[ours], [told for _, told in theirs], rtol=1e-6)
        assert all((bursts.tokens[j, bursts.lengths[j] :] == 0).all() for j in ours)


def test_neither_addresses_nor_ports_are_read() -> None:
    first = drawn_packets(20, seed=3)
    other = [
        [replace(p, device="10.1.1.1", remote="203.0.113.9", device_port=9, remote_port=8) for p in f] for f in first
    ]
    a, b = bursts_of(packet_flows(first)), bursts_of(packet_flows(other))
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.meta, b.meta)


# -- forward pass


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


class Plain:
    """The network again, in float64 and loops, with all padding that the paper's input has."""

    def __init__(self, weights: dict[str, torch.Tensor], heads: int) -> None:
        self.w = {name.removeprefix("base_transformer."): value.double().numpy() for name, value in weights.items()}
        self.heads = heads

    def layer(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-12) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def block(self, name: str, x: np.ndarray, there: np.ndarray) -> np.ndarray:
        """One sequence [L, H]; nothing looks at what is not there."""
        wide = x.shape[1] // self.heads
        query, key, value = (self.layer(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        taken = np.zeros_like(x)
        for head in range(self.heads):
            at = slice(head * wide, (head + 1) * wide)
            scores = query[:, at] @ key[:, at].T / math.sqrt(wide)
            scores[:, ~there] = -1e30
            weights = np.exp(scores - scores.max(1, keepdims=True))
            taken[:, at] = weights / weights.sum(1, keepdims=True) @ value[:, at]
        seen = self.norm(f"{name}.attention.output.LayerNorm", self.layer(f"{name}.attention.output.dense", taken) + x)
        inner = gelu(self.layer(f"{name}.intermediate.dense", seen))
        return self.norm(f"{name}.output.LayerNorm", self.layer(f"{name}.output.dense", inner) + seen)

    def __call__(self, flow: list[Packet], layers: int) -> np.ndarray:
        bursts = plain_bursts(flow)
        ids, values = np.zeros((12, 109), int), np.zeros((12, 109, 4))
        for i, (tokens, meta) in enumerate(bursts):
            ids[i, : len(tokens)] = tokens
            values[i, : len(tokens)] = meta
        there = ids > 0
        place = np.where(there, np.arange(109), 0)
        words = self.w["embeddings.word_embeddings.weight"][ids]
        words = words + self.w["embeddings.position_embeddings.weight"][place]
        meta = self.layer("embeddings.metaEmbeddingLayer2", self.layer("embeddings.metaEmbeddingLayer1", values))
        protocol = np.broadcast_to(self.w["embeddings.protoEmbedding.weight"][flow[0].protocol], words.shape)
        mixed = self.layer("embeddings.compressEmbeddings", np.concatenate([words, meta, protocol], -1))
        x = self.norm("embeddings.LayerNorm", mixed)
        for i in range(layers):
            at = f"encoder.layer.{i}"
            x = np.stack([self.block(f"{at}.burst_encoder", x[j], there[j]) for j in range(12)])
            x[:, 0] = self.block(f"{at}.flow_encoder", x[:, 0].copy(), there[:, 0])
        return x[there].mean(0)


def weights_of(encoder: NetFoundEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.net.state_dict().items()}


def strong(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that make every part count."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=random) * 0.5 + float(name.endswith("LayerNorm.weight"))
        for name, shape in listed(**TINY).items()
    }


def test_the_network_gives_what_a_plain_forward_pass_gives(tmp_path: Path) -> None:
    save_file(strong(), tmp_path / "w.safetensors")
    encoder = tiny(checkpoint=tmp_path / "w.safetensors")
    flows = odd_flows() + drawn_packets(12, seed=9, most=30)
    z = encoder.embed(packet_flows(flows))
    plain = Plain(weights_of(encoder), TINY["heads"])
    expected_z = np.array([plain(flow, TINY["layers"]) for flow in flows])
    assert z.dtype == np.float32 and z.shape == (len(flows), 12)
    assert np.abs(expected_z).max() > 0.1 and expected_z.std(0).min() > 0.01
    np.testing.assert_allclose(z, expected_z, atol=2e-5)


def test_batches_and_their_order_decide_nothing() -> None:
    encoder, flows = tiny(), drawn(90, seed=2, most=30)
    z, embeddings = encoder.embed(flows), []
    encoder.tokens, encoder.batch = 300, 7
    rows = np.array([80, 3, 3, 11, 0, 89, 50, 51])
    again = encoder.embed(flows, rows, lambda done, of: embeddings.append((done, of)))
    np.testing.assert_allclose(again, z[rows], atol=1e-6)
    assert embeddings[-1] == (8, 8) and len(embeddings) > 3 and sorted(set(embeddings)) == embeddings
    empty = PacketFlows.concat([flows.take(slice(0, 2)), PacketFlows.empty(1), flows.take(slice(2, 3))])
    np.testing.assert_allclose(encoder.embed(empty)[[0, 1, 3]], z[:3], atol=1e-6)
    assert (encoder.embed(empty)[2] == 0).all()
    assert encoder.embed(PacketFlows.empty()).shape == (0, 12)


def test_flows_that_read_the_same_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = drawn_packets(6, seed=8)
    moved = [[replace(p, remote="203.0.113.9", device_port=7, identification=9) for p in flow] for flow in made[:3]]
    flows = packet_flows([*made, *moved, made[5], [replace(made[4][0], ttl=9), *made[4][1:]]])
    encoder, computed = tiny(), []
    run = encoder.run_bursts
    monkeypatch.setattr(encoder, "run_bursts", lambda bursts: computed.append(len(bursts.protocol)) or run(bursts))
    z = encoder.embed(flows)
    assert bursts_of(flows).alike().tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 5, 10]
    assert sum(computed) == 7
    np.testing.assert_array_equal(z[[6, 7, 8, 9]], z[[0, 1, 2, 5]])
    assert not np.array_equal(z[10], z[4])


def test_random_weights_are_those_of_their_seed() -> None:
    flows = drawn(5)
    assert tiny(seed=4).digest == tiny(seed=4).digest != tiny(seed=5).digest
    np.testing.assert_array_equal(tiny(seed=4).embed(flows), tiny(seed=4).embed(flows))
    assert tiny(seed=4).origin == "random weights, seed 4"
    words = weights_of(tiny())["base_transformer.embeddings.word_embeddings.weight"]
    assert (words[0] == 0).all() and 0.019 < float(words[1:].std()) < 0.021


# -- what a user brings


def test_what_decides_nothing_may_be_absent_and_heads_are_said(tmp_path: Path) -> None:
    whole = strong()
    save_file(whole, tmp_path / "whole.safetensors")
    z = tiny(checkpoint=tmp_path / "whole.safetensors").embed(drawn(6))
    part = {
        name: value for name, value in whole.items()
        if not name.endswith("positions.weight") and "seg_" not in name and "layer.1.position_emb" not in name
    }  # fmt: skip
    assert len(part) == len(whole) - 4
    heads = {"lm_head.dense.weight": torch.zeros(2), "dirPred.bias": torch.zeros(2)}
    ids = {"base_transformer.embeddings.position_ids": torch.arange(109)[None]}
    torch.save({f"module.{name}": value for name, value in {**part, **heads, **ids}.items()}, tmp_path / "part.bin")
    encoder = tiny(checkpoint=tmp_path / "part.bin")
    assert encoder.origin.startswith("checkpoint sha256:") and encoder.origin.endswith("3 weights of heads ignored")
    np.testing.assert_array_equal(encoder.embed(drawn(6)), z)


@pytest.mark.parametrize("name", ["embeddings.position_embeddings.weight", "encoder.layer.1.output.dense.bias"])
def test_what_decides_must_be_there(tmp_path: Path, name: str) -> None:
    whole = strong()
    del whole["base_transformer." + name.replace("layer.1.", "layer.1.flow_encoder.")]
    save_file(whole, tmp_path / "w.safetensors")
    with pytest.raises(LibraryError, match="1 of 81 weights are missing"):
        tiny(checkpoint=tmp_path / "w.safetensors")


def test_wrong_files_and_sizes_are_said_in_one_line(tmp_path: Path) -> None:
    whole = strong()
    whole["base_transformer.seg_embeddings.weight"] = torch.zeros(3, 13)
    save_file(whole, tmp_path / "shape.safetensors")
    with pytest.raises(LibraryError, match=r"seg_embeddings.weight is \[3, 13\], not \[3, 12\]"):
        tiny(checkpoint=tmp_path / "shape.safetensors")
    with pytest.raises(LibraryError, match=r"weights are missing|is \["):
        adapter("netfound", checkpoint=tmp_path / "shape.safetensors")  # of neither published size
    for wrong, reason in (
        ({"hidden": 10}, "does not divide"),
        ({"width": 3}, "no size 'width'"),
        ({"mlp": 0}, "at least"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            adapter("netfound", widths=wrong)


def test_positions_of_bursts_decide_nothing(tmp_path: Path) -> None:
    whole, flows = strong(), drawn(4, most=30)
    save_file(whole, tmp_path / "a.safetensors")
    for i in range(2):
        whole[f"base_transformer.encoder.layer.{i}.position_embeddings.weight"] += 5
    save_file(whole, tmp_path / "b.safetensors")
    a, b = (tiny(checkpoint=tmp_path / f"{name}.safetensors") for name in "ab")
    np.testing.assert_array_equal(a.embed(flows), b.embed(flows))
    assert a.digest != b.digest
