"""LLDP: names, descriptions and inventories of senders, from frames that carry no IP."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.config import CaptureSettings, MeterSettings
from ethogram.io.capture import open_capture
from ethogram.io.identity.lldp import read_lldp
from ethogram.pipeline.capture import capture_flows
from tests.io.capture_builder import SOURCE_MAC, Packet, ethernet, pcap

NOW = 1_700_000_000_000_000_000


def element(kind: int, value: bytes) -> bytes:
    return (kind << 9 | len(value)).to_bytes(2) + value


FRAME = (
    element(1, b"\x04" + SOURCE_MAC) + element(2, b"\x07p1") + element(3, b"\0\x78") + element(5, b"desk phone")
    + element(6, b"Acme T-1000 firmware 2.1") + element(8, b"\5\1\x0a\0\0\5\2\0\0\0\1\0")
    + element(127, b"\0\x12\xbb\x09Acme") + element(127, b"\0\x12\xbb\x0aT-1000") + element(127, b"\0\x80\xc2\1\0\1")
    + b"\0\0" + element(5, b"after the end")
)  # fmt: skip
FACTS = (("lldp_name", "desk phone"), ("lldp_system", "Acme T-1000 firmware 2.1"), ("vendor", "Acme"),
         ("model", "T-1000"))  # fmt: skip


def test_names_descriptions_and_inventories() -> None:
    [statement] = read_lldp(FRAME)
    assert statement.facts == FACTS
    assert statement.address == "10.0.0.5"
    assert read_lldp(element(1, b"\x04" + SOURCE_MAC) + b"\0\0") == []


def test_frames_of_a_capture_are_read_once_each(tmp_path: Path) -> None:
    frames = [(NOW + i * 10**9, ethernet(FRAME, 0x88CC)) for i in range(40)]
    frames.append((NOW + 41 * 10**9, ethernet(Packet("10.0.0.5", "10.0.0.9").internet())))
    path = tmp_path / "lan.pcap"
    path.write_bytes(pcap(frames))
    flows = capture_flows(path, MeterSettings(), identity=True)
    list(flows.batches())
    facts = flows.identity_facts()
    assert facts.select(pl.col("fact").cast(pl.String), "value").rows() == list(FACTS)
    assert facts["mac"].unique().to_list() == [SOURCE_MAC.hex(":")]
    assert facts["source"].unique().to_list() == ["LLDP"]
    # Of one block, the places of the first 16 frames are kept.
    assert facts["times"].unique().to_list() == [16]
    assert facts["first"][0].timestamp() == NOW / 1e9
    assert flows.accounting.ignored["lldp"] == 40


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_frame_cut_short_states_what_it_holds(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "lan.pcap"
    path.write_bytes(pcap([(NOW, ethernet(FRAME[:cut], 0x88CC))]))
    source = open_capture(path, CaptureSettings())
    list(source.batches())
    assert [message.octets for message in source.link_messages] == [FRAME[:cut]] * bool(cut)


@given(st.binary(max_size=200))
def test_random_octets_never_raise(octets: bytes) -> None:
    for frame in (octets, element(1, b"\x04" + SOURCE_MAC) + octets):
        assert all(0 < len(value) <= 255 for statement in read_lldp(frame) for _, value in statement.facts)
