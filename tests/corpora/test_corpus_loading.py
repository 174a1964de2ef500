"""Loading a corpus: a capture without usable packets is counted and does not stop the others."""

from __future__ import annotations

from pathlib import Path

from ethogram.corpora.card import read_card
from ethogram.corpora.load import load

CARD = """
name = "home"
title = "A home"
years = "2021"
network = "home"
kind = "packet_csv"
runs = "file"
source = "generated"
citation = "none"
licence = "none"
traps = []
devices = [{ id = "cam", model = "acme-cam", vendor = "acme", type = "camera", files = ["*.csv"] }]
"""
HEAD = "epoch_timestamp,ip_dst_new,protocol,source_port,dest_port,total_length\n"


def test_a_capture_without_usable_packets_is_counted_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    own, remote = (192 << 24) + (168 << 16) + 5, (9 << 24) + 9
    (folder / "day1.csv").write_text(
        HEAD + f"1600000000.0,{remote},6,40000,443,60\n1600000000.5,{own},6,443,40000,1500\n"
    )
    (folder / "day2.csv").write_text(HEAD + "1600000000.0,,0,0,0,60\n1600000001.0,,0,0,0,60\n")
    loaded = load(read_card(CARD, file="home.toml"), tmp_path, cache_folder=None)
    assert loaded.labels["device"].to_list() == ["cam#day1"]
    assert loaded.flows.height == 1
    assert loaded.accounting["read"].read == 4
    assert loaded.accounting["read"].used == 2
    assert loaded.accounting["read"].ignored == {"no IP destination": 2}
