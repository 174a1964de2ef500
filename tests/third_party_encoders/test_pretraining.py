"""Encoders that learn here: the loop, what is hidden, the file, and ET-BERT-small."""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from torch import nn

from ethogram.errors import ConfigurationError, EthogramError, LibraryError
from ethogram.representation.checkpoint import read_arrays, write_arrays
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders import adapter
from ethogram.third_party_encoders.bert import LayerNorm
from ethogram.third_party_encoders.bigrams import MASK, SPECIAL
from ethogram.third_party_encoders.et_bert_small import EtBertSmall, frequent_pairs, new
from ethogram.third_party_encoders.pretraining import (
    PacketNetwork,
    PretrainingSettings,
    digest_of_flows,
    load_packets,
    pretrain_packets,
    rate_at,
    train_packets,
)
from packet_flows_made import Packet, drawn, drawn_packets, packet_flows

torch.set_num_threads(1)

NAME = "et-bert-small"
TINY = {"layers": 1, "hidden": 16, "heads": 2, "feedforward": 16, "vocabulary": 400}
FLOWS = drawn(24, seed=1, most=4)


def settings(**values: Any) -> PretrainingSettings:
    return PretrainingSettings.of(**({"steps": 4, "batch": 8, "arithmetic": "float32", "widths": TINY} | values))


# -- the loop


class Line(PacketNetwork):
    """Learns one number; says which rows it was given."""

    name = "line"

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))
        self.matrix = nn.Parameter(torch.ones(2, 2))
        self.rows: list[list[int]] = []
        self.noise: list[float] = []

    def prepare(self, flows, rows):
        self.rows.append(rows.tolist())
        return rows

    def loss(self, prepared, generator):
        self.noise.append(float(torch.rand(1, generator=generator)))
        return (self.value - 3.0).square().sum() + 0.0 * self.matrix.sum()


def test_passes_hold_every_row_once_in_orders_of_their_own() -> None:
    line = Line()
    train_packets(line, drawn(10), settings(steps=5, batch=4), seed=2)
    rows = np.concatenate(line.rows)
    assert [len(row) for row in line.rows] == [4] * 5
    assert sorted(rows[:10].tolist()) == sorted(rows[10:].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()
    again, other = Line(), Line()
    train_packets(again, drawn(10), settings(steps=5, batch=4), seed=2)
    train_packets(other, drawn(10), settings(steps=5, batch=4), seed=3)
    assert again.rows == line.rows
    assert again.noise == line.noise
    assert other.rows != line.rows
    assert len(set(line.noise)) == 5


def test_steps_are_those_of_a_plain_adamw(monkeypatch) -> None:
    line = Line()
    how = settings(steps=30, learning_rate=0.1, weight_decay=0.5, gradient_norm=1.0, warmup=0.2)
    collected = []
    curve = train_packets(line, FLOWS, how, on_progress=collected.append)
    value, first, second, matrix, losses = 0.0, 0.0, 0.0, 1.0, []
    for step in range(30):
        rate = 0.1 * ((step + 1) / 6 if step < 6 else (30 - step) / 24)
        losses.append((value - 3.0) ** 2)
        gradient = 2 * (value - 3.0)
        gradient *= min(1.0, 1.0 / (abs(gradient) + 1e-6))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        value -= rate * (first / (1 - 0.9 ** (step + 1))) / (math.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        matrix *= 1 - rate * 0.5
    assert line.value.item() == pytest.approx(value, rel=1e-4)
    assert line.matrix[0, 1].item() == pytest.approx(matrix, rel=1e-4)  # decay alone, and none on the vector
    assert [s.step for s in collected] == list(range(1, 31))
    assert collected[-1].seconds_left == 0
    assert len(curve) == 20
    assert curve[-1]["step"] == 30
    assert curve[0]["loss"] == pytest.approx(np.mean(losses[:2]), rel=1e-3)


def test_a_network_has_a_rate_of_its_own() -> None:
    own, given = Line(), Line()
    own.learning_rate = 0.2
    train_packets(own, FLOWS, settings(steps=1))
    train_packets(given, FLOWS, settings(steps=1, learning_rate=0.2))
    assert own.value.item() == given.value.item() == pytest.approx(0.2, rel=1e-4)


def test_rates_rise_and_fall() -> None:
    rates = [rate_at(step, 100, 0.1) for step in range(100)]
    assert rates[9] == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert np.all(np.diff(rates[:10]) > 0)
    assert np.all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(1 / 90)
    assert rate_at(0, 5, 0.0) == 1.0


def test_a_loss_that_is_no_number_is_said() -> None:
    class Apart(Line):
        def loss(self, prepared, generator):
            return self.value.sum() * torch.nan

    with pytest.raises(EthogramError, match="came apart in step 0"):
        train_packets(Apart(), FLOWS, settings())


# -- pretraining and its file


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_weights(arithmetic) -> None:
    items = [pretrain_packets(NAME, FLOWS, settings(arithmetic=arithmetic), seed) for seed in (5, 5, 6)]
    assert items[0].digest == items[1].digest
    assert np.array_equal(items[0].embed(FLOWS), items[1].embed(FLOWS))
    assert items[0].digest != items[2].digest


def test_the_generator_of_the_program_stays_as_it_was() -> None:
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    pretrain_packets(NAME, FLOWS, settings())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_was_written_is_what_was_trained(tmp_path) -> None:
    path = tmp_path / "small.safetensors"
    made = pretrain_packets(NAME, FLOWS, settings(), 3, save=path)
    for read in (load_packets(path), load_packets(path, NAME), adapter(NAME, checkpoint=path)):
        assert read.facts == made.facts
        assert read.digest == made.digest
        assert read.origin == made.origin == "pretrained here, 4 steps of 8 from 24 flows, seed 3"
        assert np.array_equal(read.embed(FLOWS), made.embed(FLOWS))
    header = orjson.loads(read_arrays(path)[0])
    assert header["data"] == {"digest": digest_of_flows(FLOWS), "flows": 24}
    assert header["settings"]["steps"] == 4
    assert [row["step"] for row in header["curve"]] == [1, 2, 3, 4]
    assert header["network"]["hidden"] == 0.15
    assert made.facts.name == "et-bert-small (1 layers, 16 wide, pretrained here)"
    assert made.facts.d == made.embed(FLOWS).shape[1] == 16


def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "small.safetensors"
    pretrain_packets(NAME, FLOWS, settings(), save=path)
    before = path.read_bytes()

    def stop(step) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain_packets(NAME, FLOWS, settings(), 1, stop, save=path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["small.safetensors"]


def test_files_that_cannot_be_used(tmp_path) -> None:
    path = tmp_path / "small.safetensors"
    pretrain_packets(NAME, FLOWS, settings(steps=0), save=path)
    text, arrays = read_arrays(path)
    header = orjson.loads(text)

    def said(changed: dict | None = None, weights: dict | None = None, name: str | None = None) -> str:
        write_arrays(path, weights or arrays, orjson.dumps(header | (changed or {})))
        with pytest.raises(LibraryError) as caught:
            load_packets(path, name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "format 'x'" in said({"format": "x"})
    assert "holds 'et-bert-small', not 'yatc-small'" in said(name="yatc-small")
    assert "its header is wrong" in said({"name": "gpt"})
    assert "its header is wrong" in said({"network": {}})
    assert "its header is wrong" in said({"network": header["network"] | {"widths": {"depth": 1}}})
    huge = header["network"]["widths"] | {"vocabulary": 1 << 50}
    assert "its header is wrong" in said({"network": header["network"] | {"widths": huge}})
    assert "not those its header names" in said({"weights": "0" * 16})
    less = dict(list(arrays.items())[1:])
    assert "weights of other names" in said(weights=less)
    other = arrays | {"bert.embedding.layer_norm.beta": np.zeros(3, np.float32)}
    assert "bert.embedding.layer_norm.beta is [3]" in said(weights=other)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LibraryError, match="truncated"):
        load_packets(path)
    torch.save({}, path)
    with pytest.raises(LibraryError, match="nothing is unpickled"):
        load_packets(path)


def test_what_cannot_be_pretrained() -> None:
    with pytest.raises(ConfigurationError, match="no encoder that is pretrained here 'yatc'; there are et-bert-small"):
        pretrain_packets("yatc", FLOWS, settings())
    with pytest.raises(ConfigurationError, match="no flows"):
        pretrain_packets(NAME, PacketFlows.empty(), settings())
    with pytest.raises(ConfigurationError, match="no width 'depth'"):
        pretrain_packets(NAME, FLOWS, settings(widths={"depth": 2}))
    with pytest.raises(ConfigurationError, match="span"):
        pretrain_packets(NAME, FLOWS, settings(widths={"span": 0}))
    with pytest.raises(ConfigurationError, match=r"two \[SEP\], but 322 positions"):
        pretrain_packets(NAME, FLOWS, settings(widths={"positions": 322}))
    with pytest.raises(ConfigurationError, match="give the file that pretraining wrote"):
        adapter(NAME)
    with pytest.raises(ConfigurationError, match="setting step"):
        PretrainingSettings.of(step=3)


def test_digests_tell_flows_apart() -> None:
    assert digest_of_flows(FLOWS) == digest_of_flows(drawn(24, seed=1, most=4))
    assert digest_of_flows(FLOWS) != digest_of_flows(FLOWS.take(np.arange(24)[::-1]))


# -- ET-BERT-small


def test_it_learns_what_follows_what() -> None:
    """Payloads that count upwards: a hidden pair can be told from its neighbours."""
    random = np.random.default_rng(0)
    flows = [
        [Packet(payload=bytes((int(random.integers(256)) + np.arange(40)) % 256), protocol=17, checksum=0)]
        for _ in range(256)
    ]
    losses = []
    how = settings(steps=150, batch=32, learning_rate=5e-3, hidden=0.3, widths=TINY | {"hidden": 32})
    pretrain_packets(NAME, packet_flows(flows), how, on_progress=lambda step: losses.append(step.loss))
    assert losses[0] > 5
    assert losses[-1] < 0.5 * losses[0]


def entropy(scores: np.ndarray, wanted: int) -> float:
    return math.log(sum(math.exp(value - scores.max()) for value in scores)) - (scores[wanted] - scores.max())


def test_the_loss_is_the_mean_cross_entropy_of_what_is_hidden_and_of_what_belongs_together() -> None:
    net = new(FLOWS, settings(hidden=0.4), 0)
    prepared = net.prepare(FLOWS, np.arange(9))
    assert sum(len(tokens) for tokens, _ in prepared) == 9
    loss = net.loss(prepared, torch.Generator().manual_seed(4)).item()
    generator, each, halves = torch.Generator().manual_seed(4), [], []
    with torch.no_grad():
        for tokens, segments in prepared:
            joined, parts, same = net.join(tokens, segments, generator)
            seen, hidden = net.hide(joined, generator)
            states = net.bert(seen, parts)
            words, together = net.target.words(states).double().numpy(), net.target.together(states[:, 0]).numpy()
            halves += [entropy(together[i], int(same[i])) for i in range(len(same))]
            for i, k in zip(*np.nonzero(hidden.numpy()), strict=True):
                each.append(entropy(words[i, k], int(joined[i, k])))
    assert len(each) > 50
    assert len(halves) == 9
    assert loss == pytest.approx(np.mean(each) + np.mean(halves), rel=1e-4)


def test_halves_are_joined_with_their_own_or_with_anothers() -> None:
    net = new(FLOWS, settings(), 0)
    texts = [[10 * i + k + 20 for k in range(count)] for i, count in enumerate([7, 6, 1, 8, 0, 5])]
    width = 1 + max(len(text) for text in texts)
    tokens = torch.tensor([[2, *text] + [0] * (width - 1 - len(text)) for text in texts])
    segments = torch.tensor([[1] * (1 + len(text)) + [0] * (width - 1 - len(text)) for text in texts])
    cuts = [(text[: (len(text) + 1) // 2], text[(len(text) + 1) // 2 :]) for text in texts]
    seconds = [second for _, second in cuts]
    counted = collections.Counter()
    for seed in range(60):
        joined, parts, same = net.join(tokens, segments, torch.Generator().manual_seed(seed))
        for i, (first, own) in enumerate(cuts):
            used = int((parts[i] > 0).sum())
            row = joined[i, :used].tolist()
            assert row[: len(first) + 2] == [2, *first, 1]
            assert row[-1] == 1
            second = row[len(first) + 2 : -1]
            assert parts[i, :used].tolist() == [1] * (len(first) + 2) + [2] * (len(second) + 1)
            assert (joined[i, used:] == 0).all()
            assert second == own if same[i] else second in seconds[:i] + seconds[i + 1 :]
            counted[bool(same[i])] += 1
    assert 0.4 < counted[True] / 360 < 0.6
    alone = net.join(tokens[:1], segments[:1], torch.Generator())
    assert alone[2].tolist() == [True]


def test_what_is_hidden() -> None:
    net = new(FLOWS, settings(), 0)
    tokens = torch.randint(0, net.widths.vocabulary, (400, 120), generator=torch.Generator().manual_seed(0))
    seen, hidden = net.hide(tokens, torch.Generator().manual_seed(1))
    words = tokens >= len(SPECIAL)
    assert not (hidden & ~words).any()
    assert torch.equal(seen[~hidden], tokens[~hidden])
    assert hidden[words].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (seen[hidden] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (seen[hidden] == tokens[hidden]).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert seen.min() >= 0
    assert seen.max() < net.widths.vocabulary


def test_spans_hide_runs() -> None:
    net = new(FLOWS, settings(widths=TINY | {"span": 3}), 0)
    tokens = torch.full((300, 100), 9)
    _, hidden = net.hide(tokens, torch.Generator().manual_seed(1))
    runs = collections.Counter()
    for row in hidden.numpy():
        length = 0
        for value in [*row, False]:
            if value:
                length += 1
            elif length:
                runs[length] += 1
                length = 0
    inner = sum(count for length, count in runs.items() if length >= 3)
    assert inner / sum(runs.values()) > 0.95  # but those cut by the end
    assert hidden.float().mean().item() == pytest.approx(0.145, abs=0.01)


def test_the_vocabulary_is_the_frequent_pairs() -> None:
    packets = drawn_packets(30, seed=3)
    counts: collections.Counter[int] = collections.Counter()
    for flow in packets:
        for packet in flow[:5]:
            octets = (packet.transport + packet.payload)[4 : 4 + 65]
            counts.update(octets[i] << 8 | octets[i + 1] for i in range(len(octets) - 1))
    wanted = sorted(counts, key=lambda pair: (-counts[pair], pair))[:50]
    assert frequent_pairs(packet_flows(packets), 50).tolist() == wanted
    net = new(packet_flows(packets), settings(), 0)
    tokens, lengths = net.tokens(packet_flows(packets), np.arange(30))
    assert (tokens == 5).sum() == counts[wanted[0]]
    assert lengths.max() <= 321


def test_flows_without_octets_neither_fail_nor_teach() -> None:
    empty = PacketFlows.empty(3)
    made = pretrain_packets(NAME, empty, settings(steps=1))
    assert isinstance(made.embed(empty), np.ndarray)


def test_the_fast_norm_has_the_gradient_of_the_plain_one() -> None:
    norm = LayerNorm(7)
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(2)).requires_grad_()
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    gradient = torch.autograd.grad((norm(x) * weight).sum(), x)[0]
    deviation, mean = torch.std_mean(x, -1, correction=1, keepdim=True)
    plain = torch.autograd.grad((((x - mean) / (deviation + 1e-6)) * weight).sum(), x)[0]
    torch.testing.assert_close(gradient, plain, rtol=1e-4, atol=1e-5)


def test_attention_is_the_same_with_and_without_a_gradient() -> None:
    net = new(FLOWS, settings(), 0)
    assert isinstance(net, EtBertSmall)
    for tokens, segments in net.prepare(FLOWS, np.arange(12)):
        with torch.no_grad():
            quiet = net.bert(tokens, segments)
        there = segments.bool()
        torch.testing.assert_close(net.bert(tokens, segments)[there], quiet[there], rtol=1e-4, atol=1e-5)
