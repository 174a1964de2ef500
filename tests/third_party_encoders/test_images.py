"""Octets of the first five packets against plain slices, and what is hidden of them."""

from __future__ import annotations

import numpy as np
import pytest

from ethogram.schema import PacketFlows
from ethogram.third_party_encoders.images import octets_of, scaled
from packet_flows_made import Packet, drawn_packets, packet_flows


def plain(packet: Packet) -> bytes:
    header = (packet.internet + packet.transport)[:80].ljust(80, b"\0")
    return header + packet.payload[:240].ljust(240, b"\0")


def test_eighty_octets_of_headers_then_the_payload_and_zeros_where_nothing_is() -> None:
    flows = drawn_packets(20, seed=3)
    flows[4] = [Packet(ip_options=b"\1" * 40, tcp_options=b"\2" * 40, payload=b"\3" * 999)]
    result = octets_of(packet_flows(flows), np.array([4, 4, 19, 0]))
    for row, flow in zip(result, (flows[4], flows[4], flows[19], flows[0]), strict=True):
        for k in range(5):
            assert row[k].tobytes() == (plain(flow[k]) if k < len(flow) else bytes(320))


def test_an_image_has_eight_rows_for_each_packet() -> None:
    flow = [Packet(payload=bytes([k + 1]) * 240) for k in range(5)]
    image = octets_of(packet_flows([flow])).reshape(40, 40)
    for k in range(5):
        assert (image[8 * k + 2 : 8 * k + 8] == k + 1).all()
        assert image[8 * k, 0] == 0x45


def blank(octets: bytes, *places: slice) -> bytes:
    result = bytearray(octets)
    for place in places:
        result[place] = bytes(place.stop - place.start)
    return bytes(result)


@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("options", [b"", b"\7" * 8, b"\7" * 40])
def test_what_is_hidden_is_hidden_and_nothing_else(protocol: int, options: bytes) -> None:
    packet = Packet(protocol=protocol, ip_options=options, payload=b"abc", tcp_options=b"\5" * 12)
    flows, begin = packet_flows([[packet]]), 20 + len(options)
    check = slice(begin + (16 if protocol == 6 else 6), begin + (18 if protocol == 6 else 8))
    assert octets_of(flows, addresses=False)[0, 0].tobytes() == blank(plain(packet), slice(12, 20))
    assert octets_of(flows, ports=False)[0, 0].tobytes() == blank(plain(packet), slice(begin, begin + 4))
    assert octets_of(flows, checksums=False)[0, 0].tobytes() == blank(plain(packet), slice(10, 12), check)


def test_a_fragment_without_ports_stays_as_it_is() -> None:
    packet = Packet(fragment=185, payload=b"abc")
    result = octets_of(packet_flows([[packet]]), ports=False, addresses=False, checksums=False)
    assert result[0, 0].tobytes() == blank(plain(packet), slice(10, 20))


def test_scaled_octets() -> None:
    x = np.arange(256, dtype=np.uint8)
    np.testing.assert_allclose(scaled(x), (x / 255 - 0.5) / 0.5, atol=1e-7)
    assert scaled(octets_of(PacketFlows.empty(3))).shape == (3, 5, 320)
    assert (scaled(octets_of(PacketFlows.empty(3))) == -1).all()
