"""Masked autoencoders of images: what is hidden, the error there alone, true names, learning, and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ethogram.errors import ConfigurationError
from ethogram.third_party_encoders import adapter
from ethogram.third_party_encoders.checkpoint import shapes_of
from ethogram.third_party_encoders.masked import error_of_hidden, insert_mask_tokens, random_mask
from ethogram.third_party_encoders.netmamba import PAPER as NETMAMBA
from ethogram.third_party_encoders.netmamba_small import MaskedNetMamba
from ethogram.third_party_encoders.pretraining import PretrainingSettings, load_packets, pretrain_packets
from ethogram.third_party_encoders.yatc import PAPER as YATC
from ethogram.third_party_encoders.yatc_small import MaskedYatc
from packet_flows_made import Packet, drawn, packet_flows

TINY = {
    "yatc-small": {"d": 8, "depth": 1, "heads": 2, "mlp": 16, "decoder_d": 8, "decoder_heads": 2},
    "netmamba-small": {"d": 8, "depth": 1, "inner": 16, "state": 4, "rank": 2, "decoder_d": 8},
}
PAPERS = {"yatc-small": (MaskedYatc, YATC), "netmamba-small": (MaskedNetMamba, NETMAMBA)}


def settings(name: str, **given) -> PretrainingSettings:
    return PretrainingSettings.of(**{"steps": 3, "batch": 4, "arithmetic": "float32", "widths": TINY[name], **given})


def test_a_tenth_is_shown_in_order() -> None:
    stored, absent = random_mask(50, 400, 0.9, torch.Generator().manual_seed(0))
    assert stored.shape == (50, 40) and (stored.diff(dim=1) > 0).all()
    assert (absent.sum(1) == 360).all() and (absent.gather(1, stored) == 0).all()
    assert (absent.mean(0) < 1).all(), "every token is shown in some flow"
    assert random_mask(2, 3, 0.99, torch.Generator())[0].shape == (2, 1)


def test_hidden_tokens_stand_where_nothing_is_shown() -> None:
    seen = torch.arange(1.0, 5.0).reshape(1, 2, 2)
    result = insert_mask_tokens(seen, torch.tensor([[1, 3]]), torch.tensor([[[9.0, 8.0]]]), 4)
    assert result.tolist() == [[[9, 8], [1, 2], [9, 8], [3, 4]]]


def test_the_error_is_of_hidden_tokens_alone() -> None:
    gradient, true = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 3.0], [50.0, 50.0], [0.0, 2.0]]])
    assert float(error_of_hidden(gradient, true, torch.tensor([[1.0, 0.0, 1.0]]))) == pytest.approx((5 + 2) / 2)


def test_the_names_of_pretraining_are_those_of_the_authors_files() -> None:
    for masked, paper in PAPERS.values():
        by_name = {name.split(".")[0]: shape for name, shape in shapes_of(lambda m=masked, p=paper: m(p)).items()}
        assert {"decoder_embed", "mask_token", "decoder_pos_embed", "decoder_blocks", "decoder_pred"} <= set(by_name)
        assert by_name["decoder_pos_embed"] == (1, 401, 128) and by_name["decoder_pred"] == (4,)


@pytest.mark.parametrize("name", list(TINY))
def test_same_seed_same_weights_and_a_file_holds_them(tmp_path: Path, name: str) -> None:
    flows = drawn(40, seed=1)
    first = pretrain_packets(name, flows, settings(name), seed=5, save=tmp_path / "one.safetensors")
    assert first.digest == pretrain_packets(name, flows, settings(name), seed=5).digest
    assert first.digest != pretrain_packets(name, flows, settings(name), seed=6).digest
    again = load_packets(tmp_path / "one.safetensors", name)
    assert (again.digest, again.origin, again.facts) == (first.digest, first.origin, first.facts)
    np.testing.assert_array_equal(again.embed(flows), first.embed(flows))
    assert "pretrained here" in first.origin and "pretrained here" in first.facts.name


@pytest.mark.parametrize("name", list(TINY))
def test_a_file_of_pretraining_here_is_read_by_the_adapter_of_the_paper(tmp_path: Path, name: str) -> None:
    flows = drawn(10, seed=1)
    first = pretrain_packets(name, flows, settings(name), save=tmp_path / "one.safetensors")
    seen = {"addresses": 0, "checksums": 0}
    other = adapter(name.removesuffix("-small"), checkpoint=tmp_path / "one.safetensors", widths=TINY[name] | seen)
    np.testing.assert_array_equal(other.embed(flows), first.embed(flows))
    assert other.digest == first.digest and "heads ignored" in other.origin


@pytest.mark.parametrize("name", list(TINY))
def test_it_learns_and_every_weight_learns(name: str) -> None:
    flows = packet_flows([[Packet(k, payload=bytes([65 + i % 3]) * 200) for k in range(3)] for i in range(6)])
    masked = PAPERS[name][0]
    torch.manual_seed(0)
    net = masked(type(PAPERS[name][1])(**TINY[name]))
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    losses, touched = [], set()
    for step in range(30):
        loss = net.loss(net.prepare(flows, np.arange(6)), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        touched |= {
            key for key, value in net.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0
        }
        optimizer.step()
        losses.append(float(loss.detach()))
    # NetMamba's class stands behind everything that is guessed, so nothing that is guessed depends on it.
    unmoved = {"cls_token"} if name == "netmamba-small" else set()
    assert touched == {key for key, value in net.named_parameters() if value.requires_grad} - unmoved
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


@pytest.mark.parametrize("name", list(TINY))
def test_addresses_are_seen_by_none_of_them(name: str) -> None:
    encoder = pretrain_packets(name, drawn(10), settings(name))
    moved = Packet(device="10.0.0.1", remote="203.0.113.77", ip_checksum=5, checksum=6)
    np.testing.assert_array_equal(encoder.embed(packet_flows([[Packet()]])), encoder.embed(packet_flows([[moved]])))


def test_no_such_size() -> None:
    with pytest.raises(ConfigurationError, match="no size 'wide'"):
        pretrain_packets("yatc-small", drawn(3), PretrainingSettings(widths={"wide": 3}))
