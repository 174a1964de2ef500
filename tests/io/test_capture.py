"""Captures: every built variant is read back, and every packet is accounted for."""

from __future__ import annotations

import gzip
import struct
import zipfile
from ipaddress import ip_address
from pathlib import Path

import pytest
from capture_builder import (
    DESTINATION_MAC,
    SOURCE_MAC,
    Packet,
    block,
    enhanced,
    ethernet,
    framed,
    interface,
    pcap,
    read,
    section,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import CaptureSettings
from ethogram.errors import EthogramWarning, InputError
from ethogram.io.capture import is_capture, open_capture
from ethogram.schema import PacketBatch

NOW = 1_700_000_000_123_456_000
LINKS = [0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 276]


def addresses(high: int, low: int, version: int) -> str:
    return str(ip_address((high << 64 | low).to_bytes(16, "big")[-4 if version == 4 else 0 :]))


def described(batch: PacketBatch, row: int) -> Packet:
    version = int(batch.version[row])
    start = int(batch.payload_offset[row])
    return Packet(
        addresses(int(batch.source_high[row]), int(batch.source_low[row]), version),
        addresses(int(batch.destination_high[row]), int(batch.destination_low[row]), version),
        int(batch.protocol[row]),
        int(batch.source_port[row]),
        int(batch.destination_port[row]),
        int(batch.tcp_flags[row]),
        bytes(batch.data[start : start + int(batch.payload_octets[row])]),
    )


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from([4, 6]))
    address = st.ip_addresses(v=family).map(str)
    protocol = draw(st.sampled_from([6, 17]))
    port = st.integers(0, 65535)
    return Packet(
        draw(address), draw(address), protocol, draw(port), draw(port),
        draw(st.integers(0, 255)) if protocol == 6 else 0, draw(st.binary(max_size=40)),
    )  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    packets=st.lists(packets(), max_size=8),
    link=st.sampled_from(LINKS),
    order=st.sampled_from("<>"),
    nano=st.booleans(),
    ng=st.booleans(),
)
def test_what_is_built_is_read_back(
    tmp_path: Path, packets: list[Packet], link: int, order: str, nano: bool, ng: bool
) -> None:
    times = [NOW + 1000 * i for i in range(len(packets))]
    frames = [framed(link, p.internet(), p.ethertype) for p in packets]
    if ng:
        head = section(order) + interface(link, order, resolution=9 if nano else None)
        octets = head + b"".join(
            enhanced(f, t if nano else t // 1000, 0, order) for t, f in zip(times, frames, strict=True)
        )
    else:
        octets = pcap(list(zip(times, frames, strict=True)), link=link, order=order, nano=nano)
    source, batches = read(tmp_path / "built", octets)
    assert source.accounting.used == source.accounting.read == len(packets)
    got = [(int(b.time_ns[i]), int(b.frame_octets[i]), described(b, i)) for b in batches for i in range(len(b))]
    assert got == [(t, len(f), p) for t, f, p in zip(times, frames, packets, strict=True)]
    assert source.accounting.corrected.total() == 0


def test_all_columns_of_one_frame(tmp_path: Path) -> None:
    packet = Packet(payload=b"hello")
    _, [batch] = read(tmp_path / "a", pcap([(NOW, ethernet(packet.internet(), vlans=(7, 12)))], modified=True))
    assert batch.vlan.tolist() == [12]  # the innermost tag
    assert batch.source_mac.tolist() == [int.from_bytes(SOURCE_MAC)]
    assert batch.destination_mac.tolist() == [int.from_bytes(DESTINATION_MAC)]
    assert batch.ip_octets.tolist() == [45]
    assert batch.frame_octets.tolist() == [14 + 8 + 45]
    assert batch.tcp_flags.tolist() == [0x18]
    assert described(batch, 0) == packet


def test_interfaces_keep_their_own_clock_and_link_type(tmp_path: Path) -> None:
    raw, plain = Packet().internet(), ethernet(Packet().internet())
    octets = (
        section()
        + interface(1)
        + interface(101, resolution=9)
        + interface(101, resolution=0x80 | 10, offset=100)
        + enhanced(plain, 5_000_001)
        + enhanced(raw, 5_000_000_002, 1)
        + block(5, b"statistics, stepped over")
        + enhanced(raw, 5 * 1024 + 512, 2)
        + block(3, struct.pack("<I", len(plain)) + plain)  # simple: no time of its own
        + block(2, struct.pack("<HHIIII", 1, 0, 1, 0, len(raw), len(raw)) + raw)  # obsolete
        + section(">")
        + interface(12, ">")
        + enhanced(raw, 7_000_000, 0, ">")
        + enhanced(raw, 7_000_000, 1, ">")  # the interfaces of the section before are gone
    )
    source, batches = read(tmp_path / "a", octets)
    times = [int(t) for b in batches for t in b.time_ns]
    assert times == [5_000_001_000, 5_000_000_002, 105_500_000_000, 105_500_000_000, 1 << 32, 7_000_000_000]
    assert source.accounting.dropped == {"unknown interface": 1}
    assert source.accounting.corrected == {"time not stated": 1}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (ethernet(b"\0" * 28, 0x0806), "arp"),
        (ethernet(b"\1\3\0\0", 0x888E), "eapol"),
        (ethernet(b"\2\7", 0x88CC), "lldp"),
        (ethernet(b"\0" * 40, 0x88B5), "ethertype"),
        (ethernet(b"\x42\x42\3" + b"\0" * 35, 38), "llc"),
    ],
)
def test_other_frames_are_ignored_by_reason(tmp_path: Path, frame: bytes, reason: str) -> None:
    source, batches = read(tmp_path / "a", pcap([(NOW, frame)]))
    assert source.accounting.ignored == {reason: 1}
    assert batches == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (ethernet(b"\x45\0"), "truncated header"),
        (ethernet(Packet().internet()[:30]), "truncated header"),
        (ethernet(Packet().internet(total=24)), "truncated header"),
        (ethernet(Packet().internet(total=19)), "bad length"),
        (ethernet(b"\x41" + Packet().internet()[1:]), "bad length"),
        (ethernet(b"\x75" + Packet().internet()[1:]), "bad version"),
        (SOURCE_MAC, "truncated header"),
    ],
)
def test_damaged_packets_are_dropped_by_reason(tmp_path: Path, frame: bytes, reason: str) -> None:
    source, _ = read(tmp_path / "a", pcap([(NOW, frame)]))
    assert source.accounting.dropped == {reason: 1}


def test_a_packet_cut_by_the_snap_length_is_used_while_its_ports_are_there(tmp_path: Path) -> None:
    whole = ethernet(Packet(payload=b"x" * 100).internet())
    for retained in (14 + 24, 14 + 33, 14 + 34, 14 + 60):
        source, [batch] = read(tmp_path / "a", pcap([(NOW, whole[:retained])], wire=len(whole)))
        assert source.accounting.corrected == {"cut short": 1}
        assert batch.destination_port.tolist() == [443]
        assert batch.ip_octets.tolist() == [140]
        assert batch.frame_octets.tolist() == [len(whole)]
        assert batch.tcp_flags.tolist() == [0x18 if retained >= 48 else 0]
        assert batch.payload_octets.tolist() == [max(0, retained - 54)]


def test_fragments_have_ports_only_in_the_first(tmp_path: Path) -> None:
    packet, six = Packet(payload=b"y" * 8), Packet("2001:db8::1", "2001:db8::2")
    frames = [
        ethernet(packet.internet(fragment=0x2000)),
        ethernet(packet.internet(fragment=0x2003)),
        ethernet(six.internet(extensions=struct.pack(">BBHI", 6, 0, 1, 9), next_header=44), 0x86DD),
        ethernet(six.internet(extensions=struct.pack(">BBHI", 6, 0, 8, 9), next_header=44), 0x86DD),
    ]
    source, [batch] = read(tmp_path / "a", pcap([(NOW, f) for f in frames]))
    assert batch.destination_port.tolist() == [443, 0, 443, 0]
    assert batch.protocol.tolist() == [6, 6, 6, 6]
    assert source.accounting.corrected == {"fragment without ports": 2}


def test_options_extensions_and_offloaded_lengths(tmp_path: Path) -> None:
    six = Packet("2001:db8::1", "2001:db8::2", 17, 5000, 53, 0, b"z" * 9)
    headers = bytes([60, 0]) + b"\0" * 6 + bytes([51, 1]) + b"\0" * 14 + bytes([17, 4]) + b"\0" * 22
    frames = [
        ethernet(Packet().internet(options=b"\1" * 8)),
        ethernet(six.internet(extensions=headers, next_header=0), 0x86DD),
        ethernet(Packet().internet(total=0)),
        ethernet(six.internet(total=0), 0x86DD),
    ]
    source, [batch] = read(tmp_path / "a", pcap([(NOW, f) for f in frames]))
    assert batch.destination_port.tolist() == [443, 53, 443, 53]
    assert batch.protocol.tolist() == [6, 17, 6, 17]
    assert batch.ip_octets.tolist() == [48, 40 + len(headers) + 17, 40, 57]
    assert source.accounting.corrected == {"length not stated": 2}


def test_tunnels_are_entered_on_request_only(tmp_path: Path) -> None:
    inner = Packet(source_port=1234)
    raw = inner.internet()
    frames = [
        Packet(protocol=4, payload=raw).internet(),
        Packet(protocol=47, payload=b"\0\0\x08\0" + raw).internet(),
        Packet(protocol=47, payload=b"\x20\0\x65\x58" + b"key." + ethernet(raw)).internet(),
        Packet(protocol=17, destination_port=2152, payload=b"\x30\xff\0\0\0\0\0\1" + raw).internet(),
        Packet(protocol=17, destination_port=2152, payload=b"\x34\xff\0\0\0\0\0\1\0\0\0\x85\1\0\0\0" + raw).internet(),
    ]
    octets = pcap([(NOW, f) for f in frames], link=101)
    _, [outer] = read(tmp_path / "a", octets)
    assert outer.protocol.tolist() == [4, 47, 47, 17, 17]
    source, [entered] = read(tmp_path / "a", octets, tunnels=True)
    assert [described(entered, i) for i in range(5)] == [inner] * 5
    assert source.accounting.corrected == {"tunnel entered": 5}


@pytest.mark.parametrize("block_octets", [4096, 5000, 1 << 20])
def test_packets_that_straddle_blocks_are_whole(tmp_path: Path, block_octets: int) -> None:
    packets = [Packet(source_port=i, payload=bytes([i % 256]) * (i % 1400)) for i in range(1, 200)]
    packets.append(Packet(payload=b"L" * 20_000))  # longer than a block
    octets = pcap([(NOW + i, ethernet(p.internet())) for i, p in enumerate(packets)])
    _, batches = read(tmp_path / "a", octets, block_octets=block_octets)
    assert [described(b, i) for b in batches for i in range(len(b))] == packets


def test_a_truncated_last_record_keeps_what_was_read(tmp_path: Path) -> None:
    octets = pcap([(NOW, ethernet(Packet().internet()))] * 3)
    path = tmp_path / "cut.pcap"
    with pytest.warns(EthogramWarning, match=r"cut.pcap at octet 164: truncated record"):
        source, [batch] = read(path, octets[:-1])
    assert len(batch) == 2
    assert source.accounting.dropped == {"truncated record": 1}
    assert source.notes == [f"{path} at octet 164: truncated record: the last packet is incomplete"]
    with pytest.raises(InputError, match="truncated record"):
        read(path, octets[:-1], strict=True)


def test_a_record_of_absurd_length_ends_the_reading(tmp_path: Path) -> None:
    good = ethernet(Packet().internet())
    octets = pcap([(NOW, good)]) + struct.pack("<IIII", 1, 1, 0x7FFFFFFF, 60) + b"\0" * 100
    with pytest.warns(EthogramWarning, match="at octet 94: bad length"):
        source, _ = read(tmp_path / "a", octets)
    assert source.accounting.used == 1
    assert source.accounting.dropped == {"bad length": 1}


def test_gzip_and_zip_with_every_member(tmp_path: Path) -> None:
    first = pcap([(NOW, ethernet(Packet(source_port=1).internet()))])
    second = section() + interface() + enhanced(ethernet(Packet(source_port=2).internet()), 5)
    source, [batch] = read(tmp_path / "a.pcap.gz", gzip.compress(first))
    assert batch.source_port.tolist() == [1]
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.pcap", first)
        archive.writestr("folder/notes.txt", "no capture")
        archive.writestr("folder/two.pcap.gz", gzip.compress(second))
    source, batches = read(path, path.read_bytes())
    assert [int(b.source_port[0]) for b in batches] == [2, 1], "members are read by name"
    assert source.notes == [], "whoever opens the file says what is passed over"


def test_a_broken_gzip_keeps_what_was_read(tmp_path: Path) -> None:
    octets = gzip.compress(pcap([(NOW, ethernet(Packet(source_port=i).internet())) for i in range(100)]))
    with pytest.warns(EthogramWarning, match="truncated"):
        source, _ = read(tmp_path / "a.gz", octets[:-12])
    assert source.accounting.read > 0


def test_caps_on_size_and_ratio(tmp_path: Path) -> None:
    bomb = pcap([(NOW, b"\0" * 1_000_000)] * 80)
    with pytest.warns(EthogramWarning, match="expands to more than max_ratio = 100 times its size"):
        read(tmp_path / "a.gz", gzip.compress(bomb), max_ratio=100)
    with pytest.warns(EthogramWarning, match="more than max_octets = 5,000"):
        read(tmp_path / "a", bomb, max_octets=5000)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [(b"", "empty file"), (b"ts,uid\n1,2\n", "not a capture"), (b"PK\x03\x04broken", "damaged zip archive")],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, octets: bytes, reason: str) -> None:
    path = tmp_path / "input"
    path.write_bytes(octets)
    with pytest.raises(InputError, match=reason) as caught:
        list(open_capture(path).batches())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_capture(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory"):
        list(open_capture(tmp_path).batches())


def test_captures_are_recognised_by_their_first_octets() -> None:
    assert is_capture(pcap([])) and is_capture(pcap([], order=">", nano=True)) and is_capture(section())
    assert not is_capture(b"") and not is_capture(b"\x1f\x8b\x08\x00") and not is_capture(b"{}")


def captures() -> st.SearchStrategy[bytes]:
    """Valid captures with some changed octets, and noise after a valid header."""
    dns = b"\0\1\x81\x80\0\1\0\1\0\0\0\0\4site\7example\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
    frames = [
        ethernet(Packet(payload=b"p" * 9).internet(), vlans=(3,)),
        ethernet(Packet("2001:db8::1", "2001:db8::2").internet(extensions=b"\6\0" + b"\0" * 6, next_header=0), 0x86DD),
        ethernet(Packet(protocol=17, source_port=53, payload=dns).internet()),
        ethernet(Packet(protocol=47, payload=b"\0\0\x08\0" + Packet().internet()).internet()),
    ]
    whole = [pcap([(NOW, f) for f in frames]), section() + interface() + b"".join(enhanced(f, 5) for f in frames)]

    def mutated(octets: bytes) -> st.SearchStrategy[bytes]:
        change = st.tuples(st.integers(0, len(octets) - 1), st.integers(0, 255))

        def apply(changes: list[tuple[int, int]], cut: int) -> bytes:
            out = bytearray(octets)
            for at, value in changes:
                out[at] = value
            return bytes(out[:cut])

        return st.builds(apply, st.lists(change, max_size=12), st.integers(1, len(octets)))

    links = st.sampled_from([*LINKS, 147])
    noise = st.builds(
        lambda link, frames: pcap([(NOW, f) for f in frames], link=link), links, st.lists(st.binary(max_size=90))
    )
    tail = st.builds(lambda octets: section() + interface() + octets, st.binary(max_size=200))
    return st.one_of(mutated(whole[0]), mutated(whole[1]), noise, tail, st.binary(max_size=100))


@pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(octets=captures(), tunnels=st.booleans())
def test_any_octets_give_packets_or_a_one_line_error(
    tmp_path: Path, octets: bytes, tunnels: bool
) -> None:
    path = tmp_path / "mutated"
    path.write_bytes(octets)
    source = open_capture(path, CaptureSettings(tunnels=tunnels))
    used = 0
    try:
        for batch in source.batches():
            used += len(batch)
            ends = batch.payload_offset + batch.payload_octets
            assert (batch.payload_octets >= 0).all() and (ends <= batch.data.size).all()
    except InputError as error:
        assert "\n" not in str(error)
    source.accounting.check()
    assert used == source.accounting.used
