"""nPrint: bits as text, packet by packet, beside what arrays give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ethogram.errors import ConfigurationError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import PacketEncoder, adapter, expected
from ethogram.third_party_encoders.nprint import BITS, bits_of
from packet_flows_made import Packet, drawn, drawn_packets, packet_flows


def plain(packet: Packet | None, masked: bool = True) -> list[int]:
    """The numbers of one packet, from its octets as text."""
    if packet is None:
        return [0] * 1088
    collected = []
    parts = [(packet.internet, 60), (packet.transport if packet.protocol == 6 else b"", 60),
             (packet.transport if packet.protocol == 17 else b"", 8), (b"", 8)]  # fmt: skip
    for octets, room in parts:
        text = "".join(f"{octet:08b}" for octet in octets)
        collected += [int(bit) for bit in text] + [-1] * (8 * room - len(text))
    if masked:
        for begin, end in ((96, 160), (480, 512), (960, 992), (512, 576)):
            collected[begin:end] = [0] * (end - begin)
    return collected


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("packets", [1, 5, 10])
def test_the_bits_are_those_of_a_plain_twin(masked: bool, packets: int) -> None:
    made = drawn_packets(60, seed=4)
    made[3] = [replace(made[3][0], ip_options=b"\x07\x04\x00\x00"), replace(made[3][0], fragment=3)]
    seen = {} if masked else {"addresses": 1, "ports": 1, "sequence": 1}
    encoder = adapter("nprint", widths={"packets": packets, **seen})
    assert isinstance(encoder, PacketEncoder)
    z = encoder.embed(packet_flows(made))
    assert z.dtype == np.float32 and z.shape == (60, packets * 1088)
    for row, flow in zip(z, made, strict=True):
        expected_row = [plain(flow[k] if k < len(flow) else None, masked) for k in range(packets)]
        assert row.astype(int).tolist() == [number for packet in expected_row for number in packet]


def test_rows_and_batches_and_progress() -> None:
    flows, result = drawn(700, seed=1), []
    encoder = adapter("nprint")
    z = encoder.embed(flows, on_progress=lambda done, of: result.append((done, of)))
    assert result == [(512, 700), (700, 700)]
    rows = np.array([650, 3, 3])
    np.testing.assert_array_equal(encoder.embed(flows, rows), z[rows])
    assert encoder.embed(flows, np.zeros(0, np.int64)).shape == (0, 5 * BITS)
    assert encoder.embed(PacketFlows.empty(2)).tolist() == np.zeros((2, 5 * BITS)).tolist()


def test_who_speaks_is_not_seen_unless_asked_for() -> None:
    packet = [Packet(0, payload=b"x"), Packet(1, out=False)]
    other = [
        replace(
            p, device="10.9.8.7", remote="203.0.113.77", device_port=1, remote_port=2, sequence=9, acknowledgement=8
        )
        for p in packet
    ]
    both = packet_flows([packet, other])
    a, b = adapter("nprint").embed(both)
    np.testing.assert_array_equal(a, b)
    a, b = adapter("nprint", widths={"addresses": 1}).embed(both)
    assert set((np.flatnonzero(a != b) % BITS) // 8) == set(range(12, 20))


def test_headers_cut_by_the_capture_are_absent() -> None:
    flows = packet_flows([[Packet(payload=b"")]])
    cut = PacketFlows.of_columns(
        flows.first_packet,
        {**{name: getattr(flows, name) for name in
            ("packet_offset_us", "packet_out", "packet_octets", "ip_octets", "payload_octets")},
         "transport_octets": np.array([13], np.uint8)},
        flows.data[:33],
    )  # fmt: skip
    bits = bits_of(cut, np.array([0]))[0, 0]
    assert (bits[480 + 13 * 8 : 960] == -1).all() and (bits[480 + 12 * 8 : 480 + 13 * 8] >= 0).all()


def test_what_is_declared(tmp_path: Path) -> None:
    encoder = adapter("nprint", widths={"packets": 10})
    facts = encoder.facts
    assert (facts.name, facts.parameters, facts.d, facts.packets, facts.licence) == (
        "nprint", 0, 10_880, 10, "Apache-2.0"
    )  # fmt: skip
    assert encoder.origin == "no weights" and encoder.digest != adapter("nprint").digest
    assert adapter("nprint", seed=5).digest == adapter("nprint").digest
    assert expected("nprint") == {}
    for wrong, reason in (({"depth": 1}, "no size 'depth'"), ({"packets": 0}, "1 to 72"), ({"ports": 2}, "0 to 1")):
        with pytest.raises(ConfigurationError, match=reason):
            adapter("nprint", widths=wrong)
    with pytest.raises(ConfigurationError, match="no weights"):
        adapter("nprint", checkpoint=tmp_path / "weights.pt")
