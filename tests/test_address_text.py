"""Addresses as text: canonical, and the same whatever came before."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram import _address_text as address_module
from ethogram._address_text import MAC, AddressText


def texts(text: AddressText, numbers: list[tuple[int, int]]) -> list[str | None]:
    return text(
        np.array([v for v, _ in numbers], np.uint8),
        np.array([n >> 64 for _, n in numbers], np.uint64),
        np.array([n & (1 << 64) - 1 for _, n in numbers], np.uint64),
    ).to_list()


@settings(deadline=None)
@given(st.lists(st.ip_addresses()))
def test_text_is_that_of_the_standard_library(addresses: list[object]) -> None:
    numbers = [(a.version, int(a)) for a in addresses]
    # Addresses below ::/80 may embed IPv4: RFC 5952 leaves their form open.
    expected = [str(a) for a in addresses]
    got = texts(AddressText(), numbers)
    assert [g if int(ip_address(e)) >> 48 else e for g, e in zip(got, expected, strict=True)] == expected


def test_known_forms() -> None:
    six = [int(IPv6Address(a)) for a in ("::", "::1", "2001:db8:0:1:0:0:0:1", "2001:db8:0:1:1:1:1:1")]
    numbers = [(6, n) for n in six] + [(4, 0), (4, 0xFFFFFFFF), (MAC, 0), (MAC, 0x0A0B0C0D0E0F), (4, 1), (6, 1)]
    assert texts(AddressText(), numbers) == [
        "::", "::1", "2001:db8:0:1::1", "2001:db8:0:1:1:1:1:1", "0.0.0.0", "255.255.255.255", None,
        "0a:0b:0c:0d:0e:0f", "0.0.0.1", "::1",
    ]  # fmt: skip


def test_the_table_starts_again_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_module, "MAX_ADDRESSES", 8)
    text = AddressText()
    numbers = [(4, i % 30) for i in range(100)]
    assert texts(text, numbers) == [f"0.0.0.{i % 30}" for i in range(100)]
    assert texts(text, numbers[:5]) == [f"0.0.0.{i}" for i in range(5)]
