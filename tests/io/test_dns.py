"""Passive DNS: answers are read, and nothing is taken from malformed messages."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

from capture_builder import Packet, ethernet, pcap, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import MeterSettings
from ethogram.io.dns import DnsAnswers, read_answers
from ethogram.pipeline.capture import capture_flows
from ethogram.schema import NAME_ANSWER

NOW = 1_700_000_000_000_000_000


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, ttl: int, data: bytes, family: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", kind, family, ttl, len(data)) + data


def address(owner: bytes, text: str, ttl: int = 60) -> bytes:
    packed = ip_address(text).packed
    return record(owner, 1 if len(packed) == 4 else 28, ttl, packed)


def message(question: bytes, *records: bytes, flags: int = 0x8180, answers: int | None = None) -> bytes:
    count = len(records) if answers is None else answers
    return struct.pack(">HHHHHH", 7, flags, 1, count, 0, 0) + question + b"\0\1\0\1" + b"".join(records)


def answers_of(tmp_path: Path, *messages: bytes, port: int = 53, protocol: int = 17) -> DnsAnswers:
    frames = [ethernet(Packet("192.0.2.53", "192.168.1.7", protocol, port, 4000, 0, m).internet()) for m in messages]
    _, [batch] = read(tmp_path / "dns", pcap([(NOW + i, f) for i, f in enumerate(frames)]))
    return read_answers(batch)


POINTER = b"\xc0\x0c"


def test_addresses_of_both_families_along_a_chain(tmp_path: Path) -> None:
    chain = [
        record(POINTER, 5, 300, name("edge.cdn.example")),
        record(name("EDGE.cdn.example"), 5, 20, b"\3far" + b"\xc0\x10"),  # far.site.example, compressed
        address(name("far.site.example"), "203.0.113.9", 90),
        address(name("far.site.example"), "2001:db8::9", 10),
    ]
    got = answers_of(tmp_path, message(name("WWW.site.example"), *chain))
    assert got.name.to_list() == ["www.site.example"] * 2
    assert got.version.tolist() == [4, 6]
    assert got.ttl_s.tolist() == [20, 10]  # the smallest on the way
    assert got.low.tolist() == [int(ip_address("203.0.113.9")), 9]
    assert got.high.tolist() == [0, 0x20010DB8 << 32]
    assert got.counts["malformed"] == 0


def test_other_records_owners_and_classes_are_left_out(tmp_path: Path) -> None:
    got = answers_of(
        tmp_path,
        message(
            name("a.example"),
            record(POINTER, 16, 60, b"\4text"),
            address(name("other.example"), "203.0.113.1"),
            record(POINTER, 1, 60, b"\1\2\3\4", family=3),
            record(POINTER, 1, 60, b"\1\2\3"),
            address(POINTER, "203.0.113.2"),
        ),
    )
    assert got.low.tolist() == [int(ip_address("203.0.113.2"))]
    assert got.counts["unrelated record"] == 4


def test_queries_errors_tcp_and_other_ports_give_nothing(tmp_path: Path) -> None:
    sound = message(name("a.example"), address(POINTER, "203.0.113.2"))
    assert answers_of(tmp_path, message(name("a.example"), flags=0x0100)).counts["responses"] == 0
    refused = answers_of(tmp_path, message(name("a.example"), address(POINTER, "203.0.113.2"), flags=0x8183))
    assert (refused.counts["responses"], refused.row.size) == (1, 0)
    assert answers_of(tmp_path, sound, port=5353).row.size == 0
    over_tcp = answers_of(tmp_path, sound, protocol=6)
    assert (over_tcp.counts["over tcp"], over_tcp.row.size) == (1, 0)


def test_pointer_loops_and_bad_lengths_are_malformed(tmp_path: Path) -> None:
    for question in (b"\xc0\x0c", b"\1a\xc0\x0c", b"\xc0\x20", b"\x40", b"\x3f" * 300, b"\3a b\0", b"\1a"):
        got = answers_of(tmp_path, message(question)[: 12 + len(question)])
        assert (got.counts["malformed"], got.row.size) == (1, 0), question
    sound = address(POINTER, "203.0.113.2")
    got = answers_of(tmp_path, message(name("a.example"), sound, sound[:-1]))
    assert (got.counts["malformed"], got.row.size) == (1, 1)
    got = answers_of(tmp_path, message(name("a.example"), sound, answers=65535))
    assert (got.counts["malformed"], got.row.size) == (1, 1)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=120), answers=st.integers(0, 65535), sound=st.booleans())
def test_random_octets_never_read_past_the_end(tmp_path: Path, tail: bytes, answers: int, sound: bool) -> None:
    question = name("a.example") if sound else b""
    got = answers_of(tmp_path, struct.pack(">HHHHHH", 7, 0x8180, 1, answers, 0, 0) + question + tail, b"\0" * 20)
    assert got.name.len() == got.row.size == got.ttl_s.size
    assert all(1 <= len(text) <= 253 for text in got.name.to_list()) or not sound


def test_a_capture_gives_name_answers_and_the_switch_turns_them_off(tmp_path: Path) -> None:
    reply = message(name("cam.example"), address(POINTER, "203.0.113.2", 30))
    frame = ethernet(Packet("192.0.2.53", "192.168.1.7", 17, 53, 4000, 0, reply).internet())
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(NOW, frame)]))
    flows = capture_flows(path, MeterSettings())
    assert sum(b.height for b in flows.batches()) == 1
    answers = flows.name_answers()
    assert NAME_ANSWER.matches(answers.schema)
    assert answers.drop("time").rows() == [("192.168.1.7", "203.0.113.2", "cam.example", 30)]
    silent = capture_flows(path, MeterSettings(), names=False)
    list(silent.batches())
    assert silent.name_answers().height == 0
