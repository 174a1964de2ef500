"""The masked autoencoder over packet fields: a plain forward pass, what is hidden, what it learns, batches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ethogram.errors import ConfigurationError
from ethogram.schema import PacketFlows
from ethogram.third_party_encoders import PacketEncoder
from ethogram.third_party_encoders.flowsem import FlowSem, FlowSemSizes, trimmed
from ethogram.third_party_encoders.pretraining import PretrainingSettings, load_packets, pretrain_packets
from packet_flows_made import Packet, drawn, packet_flows

TINY = {"d": 8, "depth": 2, "heads": 2, "packets": 5, "octets": 1, "ports": 1}
SIZES = FlowSemSizes(**{**TINY, "ports": True})


def network(seed: int = 0) -> FlowSem:
    torch.manual_seed(seed)
    net = FlowSem(SIZES)
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.3)
    return net.eval()


def settings(**given) -> PretrainingSettings:
    return PretrainingSettings.of(**{"steps": 3, "batch": 4, "arithmetic": "float32", "widths": TINY, **given})


def plain(net: FlowSem, table: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
    """The embedding of one flow [R, F], cell by cell in double precision."""
    w = {name: value.detach().double().numpy() for name, value in net.state_dict().items()}
    fields, begins, of_flow = net.table.fields, net.table.begins, len(net.table.flow_fields)

    def norm(x, name):
        x = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def apply(x, name):
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    cells = {}
    for r, f in zip(*np.nonzero(table), strict=True):
        if hidden is not None and hidden[r, f]:
            continue
        number = f if r == 0 else of_flow + f
        low = math.floor(table[r, f] - 1)
        high = min(low + 1, fields[number].classes - 1)
        share = table[r, f] - 1 - low
        value = (1 - share) * w["value.weight"][begins[number] + low] + share * w["value.weight"][begins[number] + high]
        cells[r, f] = value + w["field.weight"][number] + w["row.weight"][r]

    def looked(name, along):
        given = {cell: apply(norm(x, f"{name}.norm"), f"{name}.qkv").reshape(3, 2, 4) for cell, x in cells.items()}
        after = {}
        for cell, x in cells.items():
            others = [other for other in cells if other[along] == cell[along]]
            heads = []
            for head in range(2):
                scores = np.array([given[cell][0, head] @ given[o][1, head] / 2 for o in others])
                weights = np.exp(scores - scores.max())
                heads.append(sum(a * given[o][2, head] for a, o in zip(weights / weights.sum(), others, strict=True)))
            after[cell] = x + apply(np.concatenate(heads), f"{name}.proj")
        return after

    for i in range(SIZES.depth):
        cells = looked(f"layers.{i}.fields", 0)
        cells = looked(f"layers.{i}.packets", 1)
        for cell, x in cells.items():
            inner = apply(norm(x, f"layers.{i}.norm"), f"layers.{i}.wide")
            gelu = np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in inner])
            cells[cell] = x + apply(gelu, f"layers.{i}.narrow")
    flow = [norm(x, "norm") for (r, _), x in cells.items() if r == 0]
    packets = [norm(x, "norm") for (r, _), x in cells.items() if r > 0]
    return np.concatenate([np.mean(part, 0) if part else np.zeros(8) for part in (flow, packets)])


FLOWS = drawn(6, seed=3, most=7)


def test_the_embedding_is_that_of_a_plain_forward_pass() -> None:
    net = network()
    z = net.encoder("drawn").embed(FLOWS)
    expected = [plain(net, table) for table in net.table.describe(FLOWS)]
    np.testing.assert_allclose(z, expected, atol=1e-4)


def test_what_is_hidden_is_not_seen() -> None:
    net = network()
    table = net.prepare(FLOWS, np.arange(6))
    hidden = net.hide(table, torch.Generator().manual_seed(1))
    _, mean = net.seen(table, (table > 0) & ~hidden)
    expected = [plain(net, t.numpy(), h.numpy()) for t, h in zip(table, hidden, strict=True)]
    np.testing.assert_allclose(mean.detach(), expected, atol=1e-4)


def test_hidden_are_fields_packets_columns_and_ports_and_never_everything() -> None:
    net = FlowSem(SIZES)
    flows = packet_flows([[Packet(k, payload=b"x") for k in range(5)]] * 300)
    table = net.prepare(flows, np.arange(300))
    hidden, there = net.hide(table, torch.Generator().manual_seed(0)), table > 0
    assert (hidden <= there).all() and (there & ~hidden).any(2).any(1).all()
    assert 0.3 < float(hidden.sum() / there.sum()) < 0.7
    ports = [field.name for field in net.table.flow_fields].index("remote_port")
    assert (hidden[:, 0, ports] & hidden[:, 0, ports + 1]).float().mean() > 0.4
    rows, columns = (hidden | ~there)[:, 1:].all(2), (hidden | ~there)[:, 1:, 0].all(1)
    assert 0.1 < float(rows.float().mean()) < 0.4 and float(columns.float().mean()) > 0.08


def test_nothing_of_a_hidden_cell_reaches_what_is_said_of_it() -> None:
    """With one cell hidden, its value changes the loss only as what is to be said."""
    net = network()
    table = net.prepare(FLOWS, np.array([0]))
    there = table > 0
    hidden = torch.zeros_like(there)
    hidden[0, 1, 1] = True
    other = table.clone()
    other[0, 1, 1] = 3.0
    known = [net.seen(t, there & ~hidden) for t in (table, other)]
    torch.testing.assert_close(known[0][1], known[1][1], atol=0, rtol=0)
    assert torch.equal(known[0][0][~hidden & there], known[1][0][~hidden & there])


def test_every_weight_learns_and_the_loss_falls() -> None:
    flows = packet_flows(
        [[Packet(k, payload=bytes([i % 3] * (1 + i % 7)), tcp_flags=24) for k in range(3)] for i in range(8)]
    )
    torch.manual_seed(0)
    net = FlowSem(replace(SIZES, depth=1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-2)
    losses, touched = [], set()
    for step in range(30):
        loss = net.loss(net.prepare(flows, np.arange(8)), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        touched |= {
            name for name, value in net.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0
        }
        optimizer.step()
        losses.append(float(loss.detach()))
    assert touched == {name for name, _ in net.named_parameters()}
    assert 0.8 < losses[0] < 1.5, "knowing nothing costs about one"
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_same_seed_same_weights_and_a_file_holds_them(tmp_path: Path) -> None:
    flows = drawn(40, seed=1)
    first = pretrain_packets("flowsem", flows, settings(), seed=5, save=tmp_path / "one.safetensors")
    assert isinstance(first, PacketEncoder)
    assert first.digest == pretrain_packets("flowsem", flows, settings(), seed=5).digest
    assert first.digest != pretrain_packets("flowsem", flows, settings(), seed=6).digest
    again = load_packets(tmp_path / "one.safetensors", "flowsem")
    assert (again.digest, again.origin, again.facts) == (first.digest, first.origin, first.facts)
    np.testing.assert_array_equal(again.embed(flows), first.embed(flows))
    assert first.facts.d == 16 and "pretrained here" in first.facts.name


def test_batches_and_cells_without_tokens_make_no_difference() -> None:
    encoder = network().encoder("drawn")
    flows = drawn(150, seed=5)
    whole = encoder.embed(flows)
    rows = np.array([149, 3, 3, 11])
    np.testing.assert_allclose(encoder.embed(flows, rows), whole[rows], atol=1e-5)
    np.testing.assert_allclose(encoder.embed(flows, rows[1:2]), whole[rows[1:2]], atol=1e-5)
    assert encoder.embed(PacketFlows.empty()).shape == (0, 16)
    assert (encoder.embed(PacketFlows.empty(2)) == 0).all()
    assert trimmed(torch.zeros(3, 6, 4)).shape == (3, 2, 4)


def test_the_paper_size_is_small_and_has_no_addresses() -> None:
    net = FlowSem()
    assert sum(value.numel() for value in net.parameters()) < 1_000_000
    assert not any("address" in field.name or "port" in field.name for field in net.table.fields)
    with pytest.raises(ConfigurationError, match="does not divide"):
        FlowSemSizes(d=10, heads=4)
    with pytest.raises(ConfigurationError, match="no size 'width'"):
        pretrain_packets("flowsem", FLOWS, PretrainingSettings(widths={"width": 3}))
