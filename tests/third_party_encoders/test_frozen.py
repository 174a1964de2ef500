"""Frozen networks as encoders: no batch is larger than its bound, weights stay, sizes by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ethogram.errors import ConfigurationError
from ethogram.third_party_encoders.flowsem import BATCH, FlowSem, FlowSemSizes
from ethogram.third_party_encoders.frozen import FrozenEncoder, seeded, sizes_of
from ethogram.third_party_encoders.interface import Facts
from ethogram.third_party_encoders.netmamba import PAPER
from packet_flows_made import drawn


class Counting(FrozenEncoder):
    """Tells the numbers of rows, and remembers how many it was given at once."""

    batch = 7

    def run(self, flows, rows):
        self.most = max(getattr(self, "most", 0), len(rows))
        return torch.from_numpy(rows[:, None] * np.ones(3))


def test_rows_go_through_in_batches_and_come_back_in_order() -> None:
    encoder = Counting(Facts("counting", 0, 3, 1, "none", "none"), nn.Linear(1, 1), "drawn")
    collected: list[tuple[int, int]] = []
    rows = np.array([5, 9, 9, 0, 3, 3, 3, 8, 1, 2])
    z = encoder.embed(drawn(10), rows, lambda done, of: collected.append((done, of)))
    assert z.dtype == np.float32 and z[:, 0].tolist() == rows.tolist()
    assert collected == [(7, 10), (10, 10)] and encoder.most == 7


def test_tables_go_through_a_network_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = FlowSem(FlowSemSizes(d=8, heads=2, depth=1))
    given: list[int] = []
    inner = net.embed
    monkeypatch.setattr(net, "embed", lambda table: given.append(len(table)) or inner(table))
    net.encoder("drawn").embed(drawn(200))
    assert max(given) <= BATCH and sum(given) <= 200
    twice = drawn(50)
    given.clear()
    z = net.encoder("drawn").embed(twice, np.tile(np.arange(50), 3))
    assert sum(given) <= 50, "flows of the same table are computed once"
    np.testing.assert_array_equal(z[:50], z[100:])


def test_weights_learn_no_more_and_the_digest_is_of_them_and_of_what_is_seen() -> None:
    first, two = (Counting(Facts("x", 0, 3, 1, "", ""), nn.Linear(1, 1), "drawn", given) for given in ("a", "b"))
    assert not any(value.requires_grad for value in first.net.parameters())
    two.net.load_state_dict(first.net.state_dict())
    assert first.digest != two.digest
    assert len(first.digest) == 16


def test_a_seed_leaves_the_programs_generator_alone() -> None:
    before = torch.random.get_rng_state()
    weights = [seeded(lambda: nn.Linear(3, 3), seed).weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sizes_by_name() -> None:
    assert sizes_of(PAPER, None, "x") is not None and sizes_of(PAPER, {"d": 3, "addresses": 1}, "x").d == 3
    assert sizes_of(PAPER, {"ports": 0}, "x").ports is False
    for wrong in ({"depth": 0}, {"ports": -1}, {"wide": 3}):
        with pytest.raises(ConfigurationError, match="x"):
            sizes_of(PAPER, wrong, "x")
