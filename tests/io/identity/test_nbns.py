"""NetBIOS: names that a host has, and no names of groups or of other hosts."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.identity.nbns import read_nbns, read_netbios_datagram
from tests.io.identity.messages import netbios_name

DESK = (("nbns_name", "DESK"),)


def registration(name: bytes, flags: int = 0) -> bytes:
    data = struct.pack(">H4s", flags, bytes([10, 0, 0, 5]))
    return (struct.pack(">HHHHHH", 1, 0x2910, 1, 0, 0, 1) + name + b"\0\x20\0\1"
            + b"\xc0\x0c" + struct.pack(">HHIH", 0x20, 1, 300_000, 6) + data)  # fmt: skip


def test_a_host_registers_its_name() -> None:
    assert read_nbns(registration(netbios_name("DESK")))[0].facts == DESK
    assert read_nbns(registration(netbios_name("WORKGROUP"), flags=0x8000)) == [], "a group"
    assert read_nbns(registration(netbios_name("DESK", 0x1D))) == [], "the master browser"


def test_answers_state_names() -> None:
    record = struct.pack(">HHIH", 0x20, 1, 300, 6) + struct.pack(">H4s", 0, bytes(4))
    assert read_nbns(struct.pack(">HHHHHH", 1, 0x8500, 0, 1, 0, 0) + netbios_name("DESK") + record)[0].facts == DESK
    names = b"\2" + b"DESK".ljust(15) + b"\0\x04\0" + b"WORKGROUP".ljust(15) + b"\0\x84\0"
    status = struct.pack(">HHIH", 0x21, 1, 0, len(names)) + names
    listed = read_nbns(struct.pack(">HHHHHH", 1, 0x8400, 0, 1, 0, 0) + netbios_name("*") + status)
    assert listed[0].facts == DESK


def test_queries_state_nothing() -> None:
    assert read_nbns(struct.pack(">HHHHHH", 1, 0x0110, 1, 0, 0, 0) + netbios_name("OTHER") + b"\0\x20\0\1") == []


def test_datagrams_have_a_source_name() -> None:
    message = b"\x11\x02" + bytes(12) + netbios_name("DESK") + netbios_name("WORKGROUP", 0x1E) + b"data"
    assert read_netbios_datagram(message)[0].facts == DESK


@given(st.binary(max_size=200))
def test_random_octets_never_raise(octets: bytes) -> None:
    named = struct.pack(">HHHHHH", 1, 0x2910, 1, 0, 0, 1) + netbios_name("DESK") + octets
    for message in (octets, named, b"\x11" + octets):
        assert all(0 < len(value) <= 255 for statement in read_nbns(message) for _, value in statement.facts)
        read_netbios_datagram(message)
