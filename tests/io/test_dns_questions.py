"""DNS query names, including errors; nothing is taken from malformed messages."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.dns import read_questions
from ethogram.schema import PacketBatch


def batch_of(*payloads: bytes) -> PacketBatch:
    data = np.frombuffer(b"".join(payloads) or b"\0", np.uint8)
    sizes = np.array([len(p) for p in payloads], np.int32)
    count = len(payloads)
    zero = np.zeros(count, np.uint64)
    return PacketBatch(
        time_ns=np.arange(count, dtype=np.int64), version=np.full(count, 4, np.uint8),
        protocol=np.full(count, 17, np.uint8), source_high=zero, source_low=zero, destination_high=zero,
        destination_low=zero, source_port=np.full(count, 53, np.uint16),
        destination_port=np.full(count, 4000, np.uint16), tcp_flags=np.zeros(count, np.uint8),
        ip_octets=np.zeros(count, np.uint32), frame_octets=np.zeros(count, np.uint32),
        vlan=np.full(count, 0xFFFF, np.uint16), source_mac=zero, destination_mac=zero,
        internet_offset=np.zeros(count, np.int64),
        payload_offset=np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64), payload_octets=sizes, data=data,
    )  # fmt: skip


def response(name: str, flags: int = 0x8180, questions: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return struct.pack("!HHHHHH", 7, flags, questions, 0, 0, 0) + labels + struct.pack("!HH", 1, 1)


def test_a_query_counts_for_any_answer() -> None:
    nxdomain = 0x8183
    asked = read_questions(batch_of(response("Cloud.Example.net"), response("gone.example.net", nxdomain)))
    assert asked.row.tolist() == [0, 1]
    assert asked.name.to_list() == ["cloud.example.net", "gone.example.net"]


def test_queries_other_messages_and_the_root_are_no_questions() -> None:
    query, several = response("a.example", 0x0100), response("a.example", questions=2)
    root = struct.pack("!HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 1, 1)
    assert read_questions(batch_of(query, several, root, b"\x00" * 20)).row.size == 0


@given(st.lists(st.binary(max_size=80), max_size=5), st.integers(0, 40))
def test_only_complete_names_are_returned(messages: list[bytes], cut: int) -> None:
    good = response("cam.example.org")
    asked = read_questions(batch_of(*messages, good, good[:cut]))
    assert len(messages) in asked.row.tolist()
    assert all(name and name == name.lower() for name in asked.name.to_list())
