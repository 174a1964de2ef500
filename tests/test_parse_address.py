"""One host has one spelling, whichever way its address enters."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram._address_text import AddressText
from ethogram._parse_address import canonical_device, parse_address, parse_prefix
from ethogram.flow.devices_file import DeviceFile
from ethogram.flow.local import INSIDE, MULTICAST, LocalNetwork
from ethogram.io.receive.address import Prefixes

four = st.ip_addresses(v=4)
six = st.ip_addresses(v=6)


@given(four)
def test_every_spelling_of_an_ipv4_address(address: ipaddress.IPv4Address) -> None:
    plain, number = str(address), int(address)
    for text in (plain, f" {plain} ", f"{plain}/32", f"[{plain}]", f"::ffff:{plain}", f"::FFFF:{plain}/128",
                 f"::ffff:{number >> 16:x}:{number & 0xFFFF:X}", f"0:0:0:0:0:ffff:{plain}", f"[::ffff:{plain}%eth0]",
                 ".".join(f"{int(part):03d}" for part in plain.split("."))):  # fmt: skip
        assert parse_address(text) == plain


@given(six)
def test_every_spelling_of_an_ipv6_address(address: ipaddress.IPv6Address) -> None:
    plain = str(address.ipv4_mapped or address)
    for text in (str(address), address.exploded, address.exploded.upper(), f"[{address}]", f"{address}%en0",
                 f"{address}/128"):  # fmt: skip
        result = parse_address(text)
        assert result is not None
        assert ipaddress.ip_address(result) == ipaddress.ip_address(plain)


@pytest.mark.parametrize(
    "text",
    ["", "host-a", "10.0.0", "10.0.0.256", "3232235781", "0x0a000001", "010.0.0.1", "192.168.01.5", "10.0.0.1/24",
     "fe80::1/64", "10.0.0.1%eth0", "1::2::3", "fe80::1]", "１０.0.0.1", "10.0.0.1\0",
     "300.001.001.001", "::ffff:1.2.3"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(max_size=20))
def test_any_text_is_an_address_as_the_standard_library_has_it_or_none(text: str) -> None:
    result = parse_address(text)
    assert result is None or parse_address(result) == result
    assert result is None or str(ipaddress.ip_address(result)) is not None


@given(four, st.integers(0, 32))
def test_mapped_prefixes_are_ipv4_prefixes(address: ipaddress.IPv4Address, bits: int) -> None:
    expected = ipaddress.ip_network((address, bits), strict=False)
    assert parse_prefix(f"{address}/{bits}") == expected
    assert parse_prefix(f"::ffff:{address}/{96 + bits}") == expected


@given(st.lists(st.one_of(four, six, four.map(lambda a: ipaddress.IPv6Address(f"::ffff:{a}"))), min_size=1))
def test_addresses_given_as_numbers_have_the_same_text(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    version = np.array([address.version for address in addresses], np.uint8)
    high = np.array([int(address) >> 64 for address in addresses], np.uint64)
    low = np.array([int(address) & 0xFFFFFFFFFFFFFFFF for address in addresses], np.uint64)
    assert AddressText()(version, high, low).to_list() == [parse_address(str(address)) for address in addresses]
    shown = AddressText(unmap=False)(version, high, low).to_list()
    assert [ipaddress.ip_address(text) for text in shown] == addresses


def test_mapped_prefixes_say_what_is_inside_and_who_may_send() -> None:
    home = LocalNetwork(["::ffff:192.168.0.0/112"])
    assert home.places(pl.Series(["192.168.1.5", "224.0.0.251"])).to_list() == [INSIDE, MULTICAST]
    allowed = Prefixes(["::ffff:10.0.0.0/104"])
    assert [allowed.allow(text) for text in ("10.9.8.7", "::ffff:10.1.1.1", "11.0.0.1")] == [True, True, False]


def test_a_device_file_may_spell_an_address_as_mapped(tmp_path: Path) -> None:
    (tmp_path / "devices.csv").write_text("device,ip\ncamera,::ffff:192.168.1.5\nplug,[FE80::1%eth0]\n")
    assert set(DeviceFile.load(tmp_path / "devices.csv").entries["key"]) == {"192.168.1.5", "fe80::1"}


def test_names_of_devices_that_are_addresses_or_macs_are_canonical() -> None:
    names = ["::ffff:10.0.0.1", "AA-BB-CC-00-00-01", "deadbeefcafe", "Den Camera", "1.2"]
    assert [canonical_device(name) for name in names] == [
        "10.0.0.1", "aa:bb:cc:00:00:01", "deadbeefcafe", "Den Camera", "1.2",
    ]  # fmt: skip
