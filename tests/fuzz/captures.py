"""Captures: pcap and pcapng files, frames of every link type, and DNS messages."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ethogram.config import CaptureSettings, MeterSettings
from ethogram.io import capture, dns, pcap, pcapng
from ethogram.io.dns import read_answers, read_questions
from ethogram.pipeline import capture as metering
from ethogram.schema import PacketBatch

from .harness import INTERPRETED, TESTS, Target, allowed, bounded, replace_in, written

sys.path.insert(0, str(TESTS / "io"))
import capture_builder as build

NOW = 1_700_000_000_000_000_000
LINKS = (0, 1, 9, 50, 51, 101, 104, 105, 108, 113, 127, 228, 229, 276)

if INTERPRETED:
    # Rows whose fields are attributes, as compiled code has them.
    capture.PACKET = np.dtype((np.record, capture.PACKET))  # type: ignore[assignment]

    def _scan_of(scanner_of: Any) -> Any:
        def bounded_scanner(head: bytes, tunnels: bool) -> Any:
            begin, scan = scanner_of(head, tunnels)
            return begin, lambda data, at, end, rows, counters: scan(bounded(data, end), at, end, rows, counters)

        return bounded_scanner

    def _packet_of(parse: Any) -> Any:
        def one_packet(data: Any, at: int, captured: int, *rest: Any) -> int:
            return int(parse(bounded(data, at + captured), at, captured, *rest))

        return one_packet

    def _message_of(read: Any) -> Any:
        def one_message(data: Any, start: int, end: int, *rest: Any) -> Any:
            return read(bounded(np.asarray(data), end), start, end, *rest)

        return one_message

    def _name_of(read: Any) -> Any:
        def one_name(data: Any, at: int, start: int, end: int, name: Any) -> Any:
            return read(bounded(np.asarray(data), end), at, start, end, bounded(name))

        return one_name

    replace_in([capture], "scanner_of", _scan_of)
    replace_in([pcap, pcapng], "parse_packet", _packet_of)
    replace_in([dns], "read_message", _message_of)
    replace_in([dns], "read_name", _name_of)


def frames() -> list[bytes]:
    """Packets of both families, tunnels, and a DNS response."""
    six = build.Packet("2001:db8::7", "2001:db8::9", 17, 5353, 5353, payload=b"hello")
    answer = bytes.fromhex("000781800001000200000000") + b"\3www\4site\0\0\1\0\1"
    answer += b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x10" + b"\xc0\x10\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\1"
    named = build.Packet("192.0.2.53", "192.168.1.7", 17, 53, 4000, payload=answer)
    inside = build.Packet().internet()
    wireless = build.framed(105, inside, 0x0800)
    teid = bytes.fromhex("34ff000000000001") + b"\0\0\0\0"
    return [
        inside,
        build.Packet(protocol=6, payload=b"x" * 40).internet(options=b"\1" * 4),
        build.Packet(protocol=1, payload=b"\x08\0\0\0").internet(fragment=0x2000),
        six.internet(extensions=b"\x11\0\1\4\0\0\0\0", next_header=0),
        six.internet(extensions=b"\x11\0\0\0\0\0\0\1", next_header=44),
        named.internet(),
        build.Packet(protocol=4, payload=inside).internet(),
        build.Packet(protocol=47, payload=b"\x20\0\x08\0\0\0\0\7" + inside).internet(),
        build.Packet(protocol=17, destination_port=2152, payload=teid + inside).internet(),
        build.Packet(protocol=17, destination_port=5247, payload=b"\0\x10\x02\0\0\0\0\0" + wireless).internet(),
    ]  # fmt: skip


def kind_of(internet: bytes) -> int:
    return 0x0800 if internet[0] >> 4 == 4 else 0x86DD


def pcaps() -> list[bytes]:
    """One capture per link type, and one per variant of the file format."""
    result = [
        build.pcap([(NOW, build.framed(number, item, kind_of(item))) for item in frames()[:4]], link=number)
        for number in LINKS
    ]
    packed = [(NOW + i * 1000, build.ethernet(item, kind_of(item), (7,) * (i % 3))) for i, item in enumerate(frames())]
    for order in "<>":
        result += [build.pcap(packed, order=order, nano=nano) for nano in (False, True)]
    result.append(build.pcap(packed, modified=True, wire=2000))
    return result


def pcapngs() -> list[bytes]:
    """Sections of both byte orders, with clocks, several interfaces and every kind of packet block."""
    result = []
    for order in "<>":
        eth = [build.ethernet(item, kind_of(item)) for item in frames()]
        ticks = NOW // 1000
        octets = build.section(order) + build.interface(1, order) + build.interface(101, order, resolution=9, offset=5)
        octets += build.interface(1, order, resolution=0x94, snaplen=64)
        octets += b"".join(build.enhanced(item, ticks, 0, order) for item in eth)
        octets += build.enhanced(frames()[0], ticks * 1000, 1, order) + build.enhanced(eth[0], ticks, 2, order)
        octets += build.block(3, len(eth[0]).to_bytes(4, "little" if order == "<" else "big") + eth[0], order)
        octets += build.block(5, b"\0" * 12, order) + build.section(order) + build.interface(0, order)
        result.append(octets)
    return [*result, build.section() + build.interface() + build.enhanced(build.ethernet(frames()[0]), NOW // 1000)]


def check_capture(octets: bytes) -> None:
    """Read packets and names, meter them, and check the sums; in small blocks, so that records cross blocks."""
    file = written("capture", octets)
    for tunnels, block in ((False, 1 << 12), (True, 1 << 22)):
        settings = CaptureSettings(tunnels=tunnels, block_octets=block)
        source = capture.open_capture(file, settings)

        def batches(source: capture.CaptureSource = source) -> int:
            count = 0
            for batch in source.batches():
                count += len(batch)
                check_rows(batch)
                if not INTERPRETED:
                    assert read_answers(batch).name.len() <= len(batch.data)
                    read_questions(batch)
            return count

        count = allowed(batches)
        source.accounting.check()
        assert count is None or count == source.accounting.used
        if INTERPRETED:
            return
    flows = metering.capture_flows(file, MeterSettings(max_flows=16))

    def metered() -> None:
        for frame in flows.batches():
            assert frame.height
        flows.name_answers(), flows.name_questions()

    allowed(metered)
    flows.accounting.check()


def check_rows(batch: PacketBatch) -> None:
    """No payload is outside the octets of its batch."""
    assert bool((batch.payload_octets >= 0).all())
    assert bool((batch.payload_offset >= 0).all())
    assert bool((batch.payload_offset + batch.payload_octets <= len(batch.data)).all())


def check_frame(octets: bytes) -> None:
    """One frame of the link type given by the first octet."""
    if octets:
        number = octets[0] if octets[0] < 250 else 276
        check_capture(build.pcap([(NOW, octets[1:])], link=number))


def check_dns(octets: bytes) -> None:
    """One DNS message; the first octet sets the number of pieces in the batch."""
    if not octets:
        return
    many = octets[0] % 3 + 1
    message = octets[1:]
    data = np.array(bytearray(message * many), np.uint8)
    batch = one_batch(data, [i * len(message) for i in range(many)], [len(message)] * many)
    answers = read_answers(batch)
    questions = read_questions(batch)
    assert answers.name.len() == answers.row.size == answers.ttl_s.size
    assert all(1 <= len(text) <= 253 for text in questions.name.to_list())
    assert all(len(text) <= 253 for text in answers.name.to_list())


def one_batch(data: Any, offsets: list[int], sizes: list[int]) -> PacketBatch:
    """UDP packets from port 53 with these payloads."""
    count = len(offsets)
    columns = {name: np.zeros(count, kind[0]) for name, kind in capture.PACKET.fields.items()}  # type: ignore[union-attr]
    columns["version"][:], columns["protocol"][:], columns["source_port"][:] = 4, 17, 53
    columns["payload_offset"][:], columns["payload_octets"][:] = offsets, sizes
    return PacketBatch(*[columns[name] for name in capture.NAMES], data)


def messages() -> list[bytes]:
    name = b"\3WWW\4site\0"
    head = bytes.fromhex("00078180000100020000000000")[:12]
    long = b"\x3f" + b"a" * 63
    return [
        b"\0" + head + name + b"\0\1\0\1" + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0\x10"
        + b"\xc0\x10\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\1",
        b"\1" + head + name + b"\0\x1c\0\1" + b"\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10" + b" \1\r\xb8" + b"\0" * 11 + b"\1",
        b"\2" + head[:3] + b"\3" + head[4:] + long * 3 + b"\x3d" + b"b" * 61 + b"\0\0\1\0\1",
    ]  # fmt: skip


TARGETS = [
    Target("pcap", pcaps, check_capture, compiled=True),
    Target("pcapng", pcapngs, check_capture, compiled=True, words=(b"\x0a\x0d\x0d\x0a", b"\x4d\x3c\x2b\x1a")),
    Target("frame", lambda: [bytes([min(n, 250)]) + build.framed(n, f, kind_of(f)) for n in LINKS for f in frames()],
           check_frame, compiled=True),
    Target("dns", messages, check_dns, compiled=True, words=(b"\xc0\x0c", b"\0\1\0\1", b"\0\x05\0\1")),
]  # fmt: skip
