"""Custom flows of corpora: every packet accounted, truth beside the flows, the same ones again from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ethogram.corpora.card import card
from ethogram.corpora.custom_flows import TRUTH, load_flows
from ethogram.errors import UsageError


def test_small_networks_are_loaded_whole_and_come_again_from_the_cache(corpus: Path, tmp_path: Path) -> None:
    loaded = load_flows(card("uclouvain_2023_firewall"), corpus, cache_folder=tmp_path)
    assert loaded.accounting["read"].read == 51_117
    assert loaded.accounting["device"].used == int(loaded.flows.packets.sum())
    assert dict(loaded.truth.schema) == TRUTH
    assert (loaded.truth["device"] == loaded.flows.device).all()
    assert set(loaded.truth["id"]) == {device.id for device in card("uclouvain_2023_firewall").devices}
    assert np.array_equal(loaded.day, loaded.flows.start_us // 86_400_000_000)
    again = load_flows(card("uclouvain_2023_firewall"), corpus, cache_folder=tmp_path)
    assert again.truth.equals(loaded.truth) and again.flows.frame().equals(loaded.flows.frame())
    assert again.accounting == loaded.accounting and again.digest == loaded.digest
    stored = sorted(path.name for path in (tmp_path / "flows").iterdir() if path.suffix != ".lock")
    assert [name.partition(".")[2] for name in stored] == ["accounting.json", "flows.parquet", "truth.parquet"]


def test_a_damaged_cache_is_as_good_as_none(corpus: Path, tmp_path: Path) -> None:
    loaded = load_flows(card("nku_lifecycle_2025"), corpus, cache_folder=tmp_path)
    truth = next((tmp_path / "flows").glob("*truth.parquet"))
    truth.write_bytes(truth.read_bytes()[:100])
    again = load_flows(card("nku_lifecycle_2025"), corpus, cache_folder=tmp_path)
    assert len(again) == len(loaded) == 774
    part = again.take(np.array([5, 3]))
    assert part.truth["device"].to_list() == part.flows.device.to_list() and len(part) == 2
    assert part.flows.start_us.tolist() == again.flows.start_us[[5, 3]].tolist()


def test_records_have_no_custom_flows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need captures"):
        load_flows(card("unsw_2016_kics_flows"), tmp_path)
