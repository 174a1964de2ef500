"""ET-BERT and TrafficFormer: names, shapes, an independent forward pass, their native inputs, and the traps of both."""

from __future__ import annotations

import dataclasses
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders import PacketEncoder, adapter, bert
from ethogram.third_party_encoders.bert import Bert, BertEncoder, BertWidths, LayerNorm, batches
from ethogram.third_party_encoders.bigrams import CLS, PAD, SEP, SPECIAL, UNK, Vocabulary
from ethogram.third_party_encoders.interface import expected
from ethogram.third_party_encoders.traffic_former import randomised
from packet_flows_made import Packet, drawn, drawn_packets, packet_flows

torch.set_num_threads(1)

TINY = {"layers": 2, "hidden": 12, "heads": 3, "feedforward": 20}
NAMES = ("et-bert", "traffic-former")


def tiny(name: str, **options) -> BertEncoder:
    built = adapter(name, widths=TINY, **options)
    assert isinstance(built, BertEncoder)
    return built


# -- the network


def listed(layers: int, hidden: int, feedforward: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes, written out."""
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.word_embedding.weight": (vocabulary, hidden),
        "embedding.position_embedding.weight": (512, hidden),
        "embedding.segment_embedding.weight": (3, hidden),
    }
    shapes |= {f"embedding.layer_norm.{part}": (hidden,) for part in ("gamma", "beta")}
    for i in range(layers):
        at = f"encoder.transformer.{i}"
        for linear in ("linear_layers.0", "linear_layers.1", "linear_layers.2", "final_linear"):
            shapes |= {
                f"{at}.self_attn.{linear}.weight": (hidden, hidden),
                f"{at}.self_attn.{linear}.bias": (hidden,),
            }
        shapes |= {
            f"{at}.feed_forward.linear_1.weight": (feedforward, hidden),
            f"{at}.feed_forward.linear_1.bias": (feedforward,),
            f"{at}.feed_forward.linear_2.weight": (hidden, feedforward),
            f"{at}.feed_forward.linear_2.bias": (hidden,),
        }
        shapes |= {f"{at}.layer_norm_{k}.{part}": (hidden,) for k in (1, 2) for part in ("gamma", "beta")}
    return shapes


@pytest.mark.parametrize("name", NAMES)
def test_the_full_network_has_the_published_names_and_shapes(name) -> None:
    full = expected(name)
    assert full == listed(12, 768, 3072, 60_005)
    assert sum(math.prod(shape) for shape in full.values()) == 131_535_360
    assert expected(name, TINY) == listed(2, 12, 20, 60_005)


def test_the_full_list_is_made_without_allocating() -> None:
    wide = expected("et-bert", {"hidden": 49_152, "layers": 20})  # 800 GB, if they were made
    assert len(wide) == 5 + 20 * 16
    assert sum(math.prod(shape) for shape in wide.values()) > 1.9e11


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def normed(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Layer norm with n - 1 and the epsilon outside the root, position by position."""
    out = np.empty_like(x)
    for i, row in enumerate(x):
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in row) / (len(row) - 1))
        out[i] = gamma * (row - mean) / (deviation + 1e-6) + beta
    return out


def plain_states(weights: dict[str, np.ndarray], tokens: list[int], heads: int) -> np.ndarray:
    """States of one sequence without padding, in float64, one head and one position after the other."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = np.stack(
        [
            w["embedding.word_embedding.weight"][token]
            + w["embedding.position_embedding.weight"][position]
            + w["embedding.segment_embedding.weight"][1]
            for position, token in enumerate(tokens)
        ]
    )
    x = normed(x, w["embedding.layer_norm.gamma"], w["embedding.layer_norm.beta"])
    width = x.shape[1] // heads
    layers = 1 + max(int(name.split(".")[2]) for name in w if name.startswith("encoder"))
    for i in range(layers):
        at = f"encoder.transformer.{i}."

        def linear(name: str, value: np.ndarray, at: str = at) -> np.ndarray:
            return value @ w[f"{at}{name}.weight"].T + w[f"{at}{name}.bias"]

        query, key, value = (linear(f"self_attn.linear_layers.{k}", x) for k in range(3))
        taken = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for position in range(len(x)):
                score = key[:, part] @ query[position, part] / math.sqrt(width)
                share = np.exp(score - score.max())
                taken[position, part] = (share / share.sum()) @ value[:, part]
        x = normed(
            linear("self_attn.final_linear", taken) + x, w[f"{at}layer_norm_1.gamma"], w[f"{at}layer_norm_1.beta"]
        )
        inner = linear("feed_forward.linear_2", gelu(linear("feed_forward.linear_1", x)))
        x = normed(inner + x, w[f"{at}layer_norm_2.gamma"], w[f"{at}layer_norm_2.beta"])
    return x


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_equal_those_of_a_plain_forward_pass(name) -> None:
    encoder = tiny(name, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # wide enough that every part matters
        for value in encoder.net.parameters():
            value.normal_(0.2, 0.5, generator=generator)
    weights = {key: value.detach().numpy() for key, value in encoder.net.state_dict().items()}
    flows = drawn(6, seed=2, most=3)
    tokens, lengths = encoder.tokens(flows, np.arange(6))
    embeddings = encoder.embed(flows)
    for i in range(6):
        states = plain_states(weights, tokens[i, : lengths[i]].tolist(), TINY["heads"])
        np.testing.assert_allclose(embeddings[i], states[0], rtol=2e-4, atol=2e-4)
    assert np.linalg.norm(embeddings.std(0)) > 0.01


def test_layer_norm_divides_by_the_unbiased_deviation() -> None:
    norm, x = LayerNorm(4), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    with torch.no_grad():
        result = norm(x)[0, 0].item()
    unbiased = -1.5 / (math.sqrt(5 / 3) + 1e-6)
    biased = -1.5 / math.sqrt(5 / 4 + 1e-6)
    assert result == pytest.approx(unbiased, abs=1e-6)
    theirs = torch.nn.functional.layer_norm(x, (4,), eps=1e-6)[0, 0].item()
    assert theirs == pytest.approx(biased, abs=1e-6)
    assert theirs / result == pytest.approx(math.sqrt(4 / 3), abs=1e-5)
    # The epsilon stands outside the root: a constant row gives beta, and a tiny spread is not drowned.
    tiny_spread = torch.tensor([[1e-5, -1e-5]])
    assert LayerNorm(2)(tiny_spread)[0, 0].item() == pytest.approx(1e-5 / (math.sqrt(2) * 1e-5 + 1e-6), rel=1e-5)
    assert norm(torch.full((1, 4), 7.0)).abs().max() == 0


def test_the_embedding_is_the_state_of_the_first_token_and_padding_changes_nothing() -> None:
    encoder = tiny("et-bert", seed=1)
    flows = drawn(9, seed=4)
    tokens, lengths = encoder.tokens(flows, np.arange(9))
    assert (tokens[:, 0] == CLS).all()
    assert lengths.min() < lengths.max()
    wide = torch.from_numpy(tokens.astype(np.int64))
    segments = (torch.arange(512) < torch.from_numpy(lengths)[:, None]).long()
    with torch.no_grad():
        naive = encoder.net(wide, segments)
        other = encoder.net(torch.where(segments == 0, 77, wide), segments)
        wrong = encoder.net(wide, torch.ones_like(segments))
    embeddings = encoder.embed(flows)
    np.testing.assert_allclose(embeddings, naive[:, 0].numpy(), atol=2e-6)
    np.testing.assert_allclose(other[:, 0].numpy(), naive[:, 0].numpy(), atol=2e-6)
    short = int(lengths.argmin())
    assert (wrong[short, 0] - naive[short, 0]).abs().max() > 1e-4
    assert (naive[:, 1] - naive[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_any_batching_gives_the_same_and_batches_are_bounded(name, monkeypatch) -> None:
    encoder = tiny(name)
    flows = drawn(40, seed=5)
    whole = encoder.embed(flows)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(encoder.embed(flows, order), whole[order], atol=2e-6)
    np.testing.assert_allclose(encoder.embed(flows.take(order)), whole[order], atol=2e-6)
    np.testing.assert_allclose(encoder.embed(flows, np.array([7, 7])), whole[[7, 7]], atol=2e-6)
    sizes, forward = [], encoder.net.forward

    def seen(tokens, segments, **options):
        sizes.append(tokens.numel())
        return forward(tokens, segments, **options)

    monkeypatch.setattr(encoder.net, "forward", seen)
    monkeypatch.setattr(bert, "_CHUNK_FLOWS", 11)
    monkeypatch.setattr(bert, "_BATCH_NUMBERS", 1500 * 12)
    collected = []
    parts = encoder.embed(flows, on_progress=lambda done, total: collected.append((done, total)))
    np.testing.assert_allclose(parts, whole, atol=2e-6)
    assert len(sizes) >= 4
    assert max(sizes) <= 1500
    assert collected[-1] == (40, 40)
    assert [done for done, _ in collected] == sorted(done for done, _ in collected)


def test_batches_hold_every_row_once_within_their_bound() -> None:
    lengths = np.random.default_rng(3).integers(1, 513, 300)
    result = batches(lengths, 1024)
    assert sorted(np.concatenate(result).tolist()) == list(range(300))
    assert all(len(part) * lengths[part].max() <= 1024 for part in result)
    assert [part.tolist() for part in batches(np.array([5000, 1]), 1024)] == [[0], [1]]


@pytest.mark.parametrize("name", NAMES)
def test_flows_without_packets_and_no_flows(name) -> None:
    encoder = tiny(name)
    embeddings = encoder.embed(PacketFlows.empty(2))
    assert embeddings.shape == (2, 12)
    assert np.isfinite(embeddings).all()
    assert encoder.embed(PacketFlows.empty()).shape == (0, 12)
    assert encoder.embed(drawn(3), np.zeros(0, np.int64)).shape == (0, 12)


# -- weights


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["torch", "parallel", "safetensors"])
def test_weights_saved_and_loaded_embed_the_same(name, form, tmp_path) -> None:
    first = tiny(name, seed=5)
    state = {key: value.clone() for key, value in first.net.state_dict().items()}
    state |= {"target.mlm_linear_1.weight": torch.zeros(3), "output_layer_1.bias": torch.zeros(2)}
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({f"module.{key}": value for key, value in state.items()} if form == "parallel" else state, path)
    again = tiny(name, checkpoint=path, seed=5)
    assert again.origin.startswith("checkpoint sha256:")
    assert "2 weights of heads ignored" in again.origin
    assert again.origin.endswith("without its vocabulary: pairs in the order of their numbers")
    assert again.digest == first.digest
    flows = drawn(5)
    assert np.array_equal(again.embed(flows), first.embed(flows))


def test_weights_of_another_size_are_refused(tmp_path) -> None:
    path = tmp_path / "weights"
    torch.save(tiny("et-bert").net.state_dict(), path)
    with pytest.raises(LibraryError, match=r"embedding\.\S+ is \[12\], not \[24\]|is \[\d+, 12\], not \[\d+, 24\]"):
        adapter("et-bert", checkpoint=path, widths=TINY | {"hidden": 24})
    with pytest.raises(LibraryError, match=r"16 of 53 weights are missing: encoder\.transformer\.2"):
        adapter("et-bert", checkpoint=path, widths=TINY | {"layers": 3})


def test_what_is_declared() -> None:
    first, second = tiny("et-bert"), tiny("et-bert", seed=1)
    assert isinstance(first, PacketEncoder)
    assert first.origin == "random weights, seed 0"
    assert first.digest != second.digest
    assert first.facts.name == "et-bert (2 layers, 12 wide)"
    assert first.facts.parameters == sum(p.numel() for p in first.net.parameters())
    assert (first.facts.d, first.facts.packets, first.facts.licence) == (12, 5, "MIT")
    assert tiny("et-bert").digest == first.digest


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"depth": 3}, "no width 'depth'"),
        ({"hidden": 10, "heads": 3}, "no multiple"),
        ({"layers": 0}, "less than 1"),
        ({"length": 600}, "512 positions"),
    ],
)
def test_widths_that_are_none(widths, said) -> None:
    with pytest.raises(ConfigurationError, match=said):
        adapter("et-bert", widths=widths)


# -- the input of ET-BERT


def pairs(octets: bytes) -> list[int]:
    """Tokens of overlapping pairs in the stated order of 60,005 words."""
    values = [octets[i] << 8 | octets[i + 1] for i in range(len(octets) - 1)]
    return [value + 5 if value < 60_000 else UNK for value in values]


def test_et_bert_reads_from_behind_the_ports() -> None:
    flows = drawn_packets(60, seed=8)
    tokens, lengths = tiny("et-bert").tokens(packet_flows(flows), np.arange(60))
    assert tokens.shape == (60, 512)
    for i, flow in enumerate(flows):
        wanted = [CLS]
        for packet in flow[:5]:
            frame = bytes(14) + packet.internet + packet.transport + packet.payload
            wanted += pairs(frame[38:])[:128]
        wanted = wanted[:512]
        assert tokens[i, : lengths[i]].tolist() == wanted
        assert (tokens[i, lengths[i] :] == PAD).all()
    assert (lengths == 512).any()


def test_et_bert_sees_neither_addresses_nor_ports() -> None:
    flow = [Packet(payload=b"hello"), Packet(5, False, b"\x00\x01\x02")]
    moved = [
        dataclasses.replace(p, device="10.9.8.7", remote="203.0.113.1", device_port=7, remote_port=9, ttl=3)
        for p in flow
    ]
    tokens, _ = tiny("et-bert").tokens(packet_flows([flow, moved]), np.arange(2))
    assert np.array_equal(tokens[0], tokens[1])


def test_ip_options_move_nothing_and_fragments_are_read() -> None:
    plain, longer = Packet(payload=b"abcdef"), Packet(payload=b"abcdef", ip_options=bytes(8))
    tokens, lengths = tiny("et-bert").tokens(packet_flows([[plain], [longer]]), np.arange(2))
    assert np.array_equal(tokens[0], tokens[1])
    pieces = [Packet(payload=b"", protocol=17), Packet(1, payload=b"abcdefgh", fragment=100), Packet(2, payload=b"ab")]
    tokens, lengths = tiny("et-bert").tokens(packet_flows([pieces]), np.arange(1))
    wanted = [CLS, *pairs(pieces[0].transport[4:]), *pairs(b"efgh"), *pairs(pieces[2].transport[4:] + b"ab")]
    assert tokens[0, : lengths[0]].tolist() == wanted


# -- the input of TrafficFormer


def hello(kind: int, random: bytes) -> bytes:
    body = b"\x03\x03" + random + b"\x00" * 6
    return (
        b"\x16\x03\x01"
        + struct.pack(">H", len(body) + 4)
        + bytes([kind])
        + b"\x00"
        + struct.pack(">H", len(body))
        + body
    )


def stamps(own: int, echoed: int) -> bytes:
    return b"\x01\x01\x08\x0a" + struct.pack(">II", own, echoed)


def test_traffic_former_reads_sixty_four_octets_of_each_packet() -> None:
    flows = packet_flows(drawn_packets(50, seed=9))
    encoder = tiny("traffic-former")
    tokens, lengths = encoder.tokens(flows, np.arange(50))
    cells, there = randomised(flows, np.arange(50), 0)
    assert tokens.shape == (50, 320)
    for i in range(50):
        wanted = [CLS]
        for k in range(min(5, flows.packets[i])):
            wanted += [SEP, *pairs(cells[i, k, : there[i, k]].tobytes())]
        assert tokens[i, : lengths[i]].tolist() == wanted[:320]
    assert (lengths == 320).any()


def test_what_is_randomised_and_what_is_not() -> None:
    flows = drawn_packets(40, seed=10)
    made = packet_flows(flows)
    before = made.data.copy()
    cells, there = randomised(made, np.arange(40), 0)
    assert np.array_equal(made.data, before)
    for i, flow in enumerate(flows):
        sides = {}
        for k, packet in enumerate(flow[:5]):
            whole = (packet.internet + packet.transport + packet.payload)[:64]
            found = cells[i, k, : there[i, k]].tobytes()
            assert len(found) == len(whole)
            assert found[:12] == whole[:12]  # to the IP checksum, which stays
            assert found[12:20] != whole[12:20]
            assert found[24:] == whole[24:]  # these flows have neither timestamps nor hellos
            source, destination = found[12:16] + found[20:22], found[16:20] + found[22:24]
            here, other = (source, destination) if packet.out else (destination, source)
            assert sides.setdefault("device", here) == here
            assert sides.setdefault("remote", other) == other
        assert sides["device"] != sides["remote"]
    assert len({cells[i, 0, 12:24].tobytes() for i in range(40)}) == 40


def test_clocks_move_together_and_hello_clocks_are_drawn() -> None:
    random_ = bytes(range(100, 132))
    flow = [
        Packet(0, True, tcp_options=stamps(1000, 0), tcp_flags=2),
        Packet(1, False, tcp_options=stamps(70_000, 1000), tcp_flags=18),
        Packet(2, True, hello(1, random_), tcp_options=stamps(1003, 70_000)),
        Packet(3, False, hello(2, random_)),
        Packet(4, True, b"\x17" + hello(1, random_)[1:]),
    ]
    cells, _ = randomised(packet_flows([flow]), np.arange(1), 0)

    def clocks(k: int) -> tuple[int, int]:
        return struct.unpack(">II", cells[0, k, 44:52].tobytes())

    (a0, a1), (b0, b1), (c0, c1) = clocks(0), clocks(1), clocks(2)
    assert a0 != 1000
    assert a1 == 0  # nothing to echo yet
    assert b1 == a0
    assert (c0 - a0) % (1 << 32) == 3
    assert c1 == b0
    assert b0 != 70_000
    head = cells[0, 3, 40:64].tobytes()  # record, handshake, then the random at its 11th octet
    assert head[:11] == hello(2, random_)[:11]
    assert head[11:15] != random_[:4]
    assert head[15:] == random_[4:13]
    assert cells[0, 4, 51:55].tobytes() == random_[:4]  # no handshake
    assert cells[0, 2, 52:63].tobytes() == hello(1, random_)[:11]
    assert cells[0, 2, 63] == randomised(packet_flows([flow]), np.arange(1), 0)[0][0, 2, 63]


def test_a_flow_is_randomised_alike_in_any_company_and_otherwise_by_another_seed() -> None:
    flows = drawn(12, seed=11)
    first, _ = randomised(flows, np.arange(12), 0)
    backwards, _ = randomised(flows.take(np.arange(12)[::-1]), np.arange(12), 0)
    assert np.array_equal(first, backwards[::-1])
    other, _ = randomised(flows, np.arange(12), 1)
    assert (first[:, 0, 12:24] != other[:, 0, 12:24]).any(1).all()
    assert np.array_equal(first[:, :, :12], other[:, :, :12])


@pytest.mark.parametrize(
    "options", [b"\x08", b"\x08\x0a\x00\x00", b"\x00" * 4, b"\x05\x00\x00\x00", b"\x03\x01\x08\x0a"]
)
def test_damaged_options_are_left_alone(options) -> None:
    packet = Packet(payload=b"x" * 40, tcp_options=options.ljust(4, b"\x01"))
    cells, _ = randomised(packet_flows([[packet]]), np.arange(1), 0)
    assert cells[0, 0, 24:64].tobytes() == (packet.internet + packet.transport + packet.payload)[24:64]


# -- vocabularies


def vocabulary_file(path: Path, tokens: list[str]) -> Path:
    path.write_text("\n".join([*SPECIAL, *tokens]) + "\n", encoding="utf-8")
    return path


def test_a_vocabulary_of_the_user_numbers_words_and_cuts_others(tmp_path) -> None:
    path = vocabulary_file(tmp_path / "vocab.txt", ["4500", "45", "##3c", "##0", "003", "##1", "0"])
    content = Vocabulary.read(path, 12)
    assert content.name.startswith("vocabulary sha256:")

    def of(pair: int) -> list[int]:
        return content.pieces[pair, : content.counts[pair]].tolist()

    assert of(0x4500) == [5]
    assert of(0x453C) == [6, 7]
    assert of(0x0031) == [9, 10]
    assert of(0x0000) == [11, 8, 8, 8]
    assert of(0x453D) == [UNK]
    given = tiny_of(path)
    tokens, lengths = given.tokens(packet_flows([[Packet(payload=b"\x45\x3c\x45\x00", protocol=17)]]), np.arange(1))
    assert tokens[0, : lengths[0]].tolist() == [CLS, UNK, UNK, UNK, UNK, 6, 7, UNK, 5]
    assert given.digest != adapter("et-bert", widths=TINY | {"vocabulary": 12}).digest


def test_a_vocabulary_beside_the_checkpoint_is_found(tmp_path) -> None:
    sizes = TINY | {"vocabulary": 12}
    path = tmp_path / "et.bert.bin"
    torch.save(adapter("et-bert", widths=sizes).net.state_dict(), path)
    without = adapter("et-bert", checkpoint=path, widths=sizes)
    vocabulary_file(tmp_path / "et.bert.vocab.txt", ["4500", "45", "##3c", "##0", "003", "##1", "0"])
    beside = adapter("et-bert", checkpoint=path, widths=sizes)
    assert "vocabulary sha256:" in beside.origin
    assert beside.digest != without.digest
    named = adapter("et-bert", checkpoint=path, widths=sizes, vocabulary=tmp_path / "et.bert.vocab.txt")
    assert named.digest == beside.digest


def tiny_of(vocabulary: Path) -> BertEncoder:
    built = adapter("et-bert", widths=TINY | {"vocabulary": 12}, vocabulary=vocabulary)
    assert isinstance(built, BertEncoder)
    return built


def test_vocabularies_that_are_none(tmp_path) -> None:
    path = tmp_path / "vocab.txt"

    def said(size: int = 6) -> str:
        with pytest.raises(LibraryError) as caught:
            Vocabulary.read(path, size)
        return str(caught.value)

    assert "No such file" in said()
    vocabulary_file(path, ["4500"])
    assert "6 tokens, not 7" in said(7)
    path.write_text("a\nb\nc\nd\ne\n0000\n")
    assert "first lines are not [PAD] [SEP] [CLS] [UNK] [MASK]" in said()
    vocabulary_file(path, ["dog"])
    assert "no pair of octets" in said()
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in said()
    with pytest.raises(ConfigurationError, match="nprint has no vocabulary"):
        adapter("nprint", vocabulary=path)


def test_chosen_pairs_stand_in_their_order() -> None:
    result = Vocabulary.of_pairs(np.array([0x1234, 0x0001]), "chosen")
    assert result.size == 7
    assert result.pieces[[0x1234, 0x0001, 0x0002], 0].tolist() == [5, 6, UNK]
    assert result.pairs.tolist() == [0x1234, 0x0001]


def test_the_same_network_takes_any_length() -> None:
    net = Bert(BertWidths(layers=1, hidden=4, heads=1, feedforward=4, vocabulary=9, positions=8, length=8))
    net.draw(0)
    assert net(torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.long)).shape == (2, 3, 4)
