"""Multicast DNS and LLMNR: names, services and models of the sender, and of nobody else."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.identity.mdns import read_llmnr, read_mdns
from ethogram.io.identity.statement import MAX_FACTS, Statement
from ethogram.schema import FACT
from tests.io.identity.messages import dns, dns_name, record

CAST = ("_googlecast", "_tcp", "local")
PTR, TXT, SRV, A = 12, 16, 33, 1


def texts(*entries: bytes) -> bytes:
    return b"".join(bytes([len(entry)]) + entry for entry in entries)


def facts_of(*statements: Statement) -> set[tuple[str, str]]:
    return {fact for statement in statements for fact in statement.facts}


def test_a_device_announces_an_instance_with_model_and_host() -> None:
    instance = dns_name("Living room", *CAST)
    message = dns(
        record(dns_name(*CAST), PTR, instance),
        record(instance, TXT, texts(b"md=Chromecast", b"fn=Living room TV", b"id=0815", b"flag", b"manufacturer=Acme")),
        record(instance, SRV, struct.pack(">HHH", 0, 0, 8009) + dns_name("fuchsia-1", "local")),
        record(dns_name("fuchsia-1", "local"), A, bytes([10, 0, 0, 5])),
    )
    [statement] = read_mdns(message, "10.0.0.5")
    assert statement.by_sender
    assert facts_of(statement) == {
        ("mdns_service", "_googlecast._tcp"), ("mdns_name", "Living room"), ("mdns_model", "Chromecast"),
        ("mdns_name", "Living room TV"), ("mdns_vendor", "Acme"), ("mdns_name", "fuchsia-1"),
    }  # fmt: skip


def test_lists_of_services_subtypes_and_printers() -> None:
    message = dns(
        record(dns_name("_services", "_dns-sd", "_udp", "local"), PTR, dns_name("_ipp", "_tcp", "local")),
        record(dns_name("_print", "_sub", "_http", "_tcp", "local"), PTR, dns_name("Press", "_http", "_tcp", "local")),
        record(dns_name("Press", "_ipp", "_tcp", "local"), TXT, texts(b"ty=Acme 5", b"product=(Acme 5 Series)")),
        record(dns_name("Lamp", "_hap", "_tcp", "local"), TXT, texts(b"md=L1", b"ci=5")),
    )
    assert facts_of(*read_mdns(message)) == {
        ("mdns_service", "_ipp._tcp"), ("mdns_service", "_http._tcp"), ("mdns_name", "Press"),
        ("mdns_model", "Acme 5"), ("mdns_model", "Acme 5 Series"), ("mdns_service", "_hap._tcp"),
        ("mdns_name", "Lamp"), ("mdns_model", "L1"), ("mdns_category", "5"),
    }  # fmt: skip


def test_a_repeated_announcement_is_about_the_address_in_it() -> None:
    address = record(dns_name("lamp", "local"), A, bytes([10, 0, 0, 9]))
    [statement] = read_mdns(dns(address), "10.0.0.1")
    assert not statement.by_sender
    assert statement.address == "10.0.0.9"
    other = record(dns_name("plug", "local"), A, bytes([10, 0, 0, 8]))
    assert read_mdns(dns(address, other), "10.0.0.1") == [], "of two devices at once"
    assert read_mdns(dns(address), "fe80::1")[0].by_sender, "an IPv6 sender is not compared with an IPv4 address"


def test_queries_state_nothing() -> None:
    message = dns(record(dns_name(*CAST), PTR, dns_name("Den", *CAST)), flags=0)
    assert read_mdns(message) == []


def test_compressed_names_are_followed_backwards_only() -> None:
    first = record(dns_name(*CAST), PTR, b"\3Den\xc0\x0c")
    assert facts_of(*read_mdns(dns(first))) == {("mdns_service", "_googlecast._tcp"), ("mdns_name", "Den")}
    assert read_mdns(dns(record(b"\xc0\x0c", PTR, b"\0"))) == [], "a loop"


def test_facts_of_a_message_are_bounded() -> None:
    records = [record(dns_name(f"h{i}", "local"), A, bytes([10, 0, 0, 5])) for i in range(200)]
    [statement] = read_mdns(dns(*records), "10.0.0.5")
    assert len(statement.facts) == MAX_FACTS


def test_llmnr_names_are_answered_or_tried() -> None:
    answer = dns(record(dns_name("desk"), A, bytes([10, 0, 0, 5])), flags=0x8000)
    assert facts_of(*read_llmnr(answer)) == {("llmnr_name", "desk")}
    tried = dns(flags=0, question=dns_name("desk") + b"\0\xff\0\1")
    assert facts_of(*read_llmnr(tried)) == {("llmnr_name", "desk")}
    assert read_llmnr(dns(flags=0, question=dns_name("printer") + b"\0\1\0\1")) == [], "a name of another host"


@given(st.binary(max_size=300), st.booleans())
def test_random_octets_never_raise(octets: bytes, framed: bool) -> None:
    message = struct.pack(">HHHHHH", 0, 0x8400, 1, 3, 2, 1) + octets if framed else octets
    for statement in [*read_mdns(message, "10.0.0.5"), *read_llmnr(message)]:
        assert all(kind in FACT.categories.to_list() and 0 < len(value) <= 255 for kind, value in statement.facts)
