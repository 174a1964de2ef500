"""Facts of the packets of a capture: who is meant, how often, and the bound on messages."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ethogram.io.identity.packets import PacketFacts
from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import IDENTITY
from tests.io.capture_builder import Packet, ethernet, pcap, read
from tests.io.identity.messages import dhcp, dns, dns_name, option, record

SENDER = "02:a1:b2:c3:d4:e5"
SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def mdns(address: str = "192.168.1.7") -> Packet:
    message = dns(record(dns_name("lamp", "local"), 1, bytes(map(int, address.split(".")))))
    return Packet("192.168.1.7", "224.0.0.251", 17, 5353, 5353, 0, message)


def request(name: bytes) -> Packet:
    message = dhcp(SENDER, option(53, b"\3"), option(12, name))
    return Packet("0.0.0.0", "255.255.255.255", 17, 68, 67, 0, message)


def capture(path: Path, *packets: Packet) -> Path:
    path.write_bytes(pcap([(NOW + i * SECOND, ethernet(packet.internet())) for i, packet in enumerate(packets)]))
    return path


def facts_of(path: Path, *packets: Packet, most: int = 100) -> tuple[pl.DataFrame, PacketFacts]:
    _, batches = read(path, pcap([(NOW + i * SECOND, ethernet(one.internet())) for i, one in enumerate(packets)]))
    facts = PacketFacts(most)
    for batch in batches:
        facts.feed(batch)
    return facts.table(), facts


def test_repeated_messages_are_parsed_once_and_counted(tmp_path: Path) -> None:
    table, _ = facts_of(tmp_path / "a", mdns(), request(b"lamp-1"), mdns(), mdns())
    assert IDENTITY.matches(table.schema)
    rows = table.select("mac", "address", pl.col("fact").cast(pl.String), "value", "source", "times").rows()
    assert rows == [
        (SENDER, "192.168.1.7", "mdns_name", "lamp", "mDNS", 3), (SENDER, None, "host_name", "lamp-1", "DHCP", 1),
    ]  # fmt: skip
    span = table.row(0, named=True)
    assert (span["last"] - span["first"]).total_seconds() == 3


def test_a_repeated_announcement_is_not_the_routers(tmp_path: Path) -> None:
    table, _ = facts_of(tmp_path / "a", mdns("192.168.1.9"))
    assert table.select("mac", "address").rows() == [(None, "192.168.1.9")]


def test_messages_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    table, facts = facts_of(tmp_path / "a", *(request(b"n%d" % i) for i in range(9)), most=4)
    assert table.height == 4
    assert facts.left_out == 5


def test_facts_reach_the_counts_of_a_capture_unless_switched_off(tmp_path: Path) -> None:
    path = capture(tmp_path / "home.pcap", request(b"lamp-1"), mdns(), Packet("192.168.1.7", "198.51.100.7"))
    identity = count_inputs(path, COUNTING).identity
    assert identity["device"].unique().to_list() == [SENDER]
    assert dict(identity.select(pl.col("fact").cast(pl.String), "value").rows()) == {
        "mac": SENDER, "address": "192.168.1.7", "host_name": "lamp-1", "mdns_name": "lamp",
    }  # fmt: skip
    assert not count_inputs(path, COUNTING, ReadOptions(identity=False)).identity.height


def test_devices_of_a_laboratory_state_what_they_are(corpus: Path) -> None:
    folder = corpus / "aalto_iot_sentinel_2016/captures_IoT_Sentinel/captures_IoT-Sentinel/HueBridge"
    if not folder.exists():
        pytest.skip("corpus not available")
    identity = count_inputs(folder / "Setup-A-1-STA.pcap", COUNTING).identity.filter(device="00:17:88:24:76:ff")
    stated = set(identity.select(pl.col("fact").cast(pl.String), "value").rows())
    assert {("host_name", "Philips-hue"), ("dhcp_vendor_class", "udhcp 1.19.4"), ("mdns_model", "BSB002"),
            ("mdns_service", "_hap._tcp"),
            ("ssdp_server", "Linux/3.14.0 UPnP/1.0 IpBridge/1.9.0")} <= stated  # fmt: skip
