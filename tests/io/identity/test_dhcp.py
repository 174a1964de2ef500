"""DHCP: what clients state, and which address a server gives them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.identity.dhcp import read_dhcp, read_dhcpv6
from ethogram.io.identity.statement import Statement
from ethogram.schema import FACT
from tests.io.identity.messages import dhcp, dns_name, option

CAMERA = "aa:bb:cc:00:00:01"


def test_a_client_states_its_name_vendor_class_and_parameters() -> None:
    message = dhcp(CAMERA, option(53, b"\1"), option(12, b"cam\0"), option(60, b"udhcp 1.19.4"),
                   option(55, bytes([1, 3, 6, 15])), b"\0\0", option(61, b"\1x"))  # fmt: skip
    assert read_dhcp(message) == [Statement(
        (("host_name", "cam"), ("dhcp_vendor_class", "udhcp 1.19.4"), ("dhcp_parameters", "1,3,6,15")), mac=CAMERA,
    )]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "name"),
    [(b"\0\0\0cam.home", "cam.home"), (b"\4\0\0" + dns_name("cam", "home"), "cam.home"), (b"\4\0\0\3cam", "cam"),
     (b"\4\0\0\x3fcam", ""), (b"\0\0", ""), (b"\0\0\0", "")],
)  # fmt: skip
def test_the_full_name_is_text_or_labels(value: bytes, name: str) -> None:
    statements = read_dhcp(dhcp(CAMERA, option(81, value)))
    assert [fact for statement in statements for fact in statement.facts] == ([("host_name", name)] if name else [])


def test_pieces_of_an_option_are_joined_and_a_renewing_client_has_an_address() -> None:
    [statement] = read_dhcp(dhcp(CAMERA, option(60, b"vendor "), option(60, b"class"), ciaddr="10.0.0.5"))
    assert statement.facts == (("dhcp_vendor_class", "vendor class"),)
    assert statement.address == "10.0.0.5"


def test_a_server_gives_an_address_to_a_client() -> None:
    [statement] = read_dhcp(dhcp(CAMERA, option(53, b"\5"), option(12, b"x"), reply=True, yiaddr="10.0.0.5"))
    assert statement == Statement((("address", "10.0.0.5"),), mac=CAMERA, address="10.0.0.5", by_sender=False)
    assert read_dhcp(dhcp(CAMERA, option(53, b"\2"), reply=True, yiaddr="10.0.0.5")) == [], "an offer is no lease"


def test_an_ipv6_client_states_its_name_and_vendor_class() -> None:
    name = b"\0" + dns_name("cam", "home")
    vendor = bytes.fromhex("00000137") + b"\0\4MSFT"
    message = b"\1\0\0\1" + b"".join(
        code.to_bytes(2) + len(value).to_bytes(2) + value for code, value in ((39, name), (16, vendor))
    )
    assert read_dhcpv6(message)[0].facts == (("host_name", "cam.home"), ("dhcp_vendor_class", "MSFT"))


@given(st.binary(max_size=400), st.booleans())
def test_random_octets_never_raise(octets: bytes, framed: bool) -> None:
    message = dhcp(CAMERA)[:-1] + octets if framed else octets
    for statement in [*read_dhcp(message), *read_dhcpv6(message)]:
        assert all(kind in FACT.categories.to_list() and 0 < len(value) <= 255 for kind, value in statement.facts)
