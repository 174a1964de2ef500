"""Laws of pseudonyms: prefixes, classes and differences are kept, and nothing but the key leads back."""

from __future__ import annotations

import ipaddress

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.flow.pseudonyms import ADDRESS_CLASSES, WHOLE_CLASSES, Pseudonyms, siphash

KEY, OTHER = Pseudonyms(bytes(range(32))), Pseudonyms(bytes(range(1, 33)))
NETWORKS = [ipaddress.ip_network(text) for text in ADDRESS_CLASSES]
WHOLE = [ipaddress.ip_network(text) for text in WHOLE_CLASSES]

special4 = st.sampled_from([0, 0x0A000000, 0x0AFFFFFF, 0xC0A80105, 0xC0A801FF, 0xE00000FB, 0xFFFFFFFF, 0x7F000001,
                            0xA9FE0101, 0xAC1F01FF])  # fmt: skip
four = st.one_of(st.integers(0, (1 << 32) - 1), special4)
six = st.one_of(
    st.integers(0, (1 << 128) - 1),
    st.sampled_from(["::", "::1", "fe80::211:22ff:fe33:4455", "fd00::1", "ff02::fb", "2001:db8::1", "64:ff9b::808:808",
                     "fe80::", "fc00::1", "4000::1"]).map(lambda text: int(ipaddress.IPv6Address(text))),
)  # fmt: skip


def near(numbers: st.SearchStrategy[int], bits: int) -> st.SearchStrategy[tuple[int, int]]:
    """Two addresses that share a prefix of any length."""
    def pair(parts: tuple[int, int, int]) -> tuple[int, int]:
        first, length, rest = parts
        low = (1 << (bits - length)) - 1
        return first, (first & ~low) | (rest & low)

    return st.tuples(numbers, st.integers(0, bits), st.integers(0, (1 << bits) - 1)).map(pair)


def pseudonym(number: int, bits: int, key: Pseudonyms = KEY) -> int:
    address = ipaddress.IPv4Address(number) if bits == 32 else ipaddress.IPv6Address(number)
    if bits == 32:
        return int(key.ipv4(np.array([number], np.uint32))[0])
    high, low = key.ipv6(np.array([int(address) >> 64], np.uint64), np.array([int(address) & (2**64 - 1)], np.uint64))
    return int(high[0]) << 64 | int(low[0])


def shared(first: int, second: int, bits: int) -> int:
    return bits - (first ^ second).bit_length()


@given(near(four, 32))
def test_ipv4_prefixes_are_kept_exactly(pair: tuple[int, int]) -> None:
    first, second = pair
    assert shared(pseudonym(first, 32), pseudonym(second, 32), 32) == shared(first, second, 32)


@given(near(six, 128))
def test_ipv6_prefixes_are_kept_exactly(pair: tuple[int, int]) -> None:
    first, second = pair
    assert shared(pseudonym(first, 128), pseudonym(second, 128), 128) == shared(first, second, 128)


@given(st.one_of(st.tuples(four, st.just(32)), st.tuples(six, st.just(128))))
def test_classes_are_kept(given_: tuple[int, int]) -> None:
    number, bits = given_
    make = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
    before, after = make(number), make(pseudonym(number, bits))
    for network in NETWORKS:
        assert (before in network) == (after in network), network
    for name in ("is_private", "is_multicast", "is_loopback", "is_link_local", "is_unspecified"):
        if any(before in network for network in NETWORKS if network.version == before.version):
            assert getattr(before, name) == getattr(after, name) or name == "is_private"
    if any(before in network for network in WHOLE):
        assert after == before


@given(st.sampled_from(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]), st.integers(0, (1 << 32) - 1))
def test_last_octets_of_broadcast_addresses_are_kept(prefix: str, rest: int) -> None:
    network = ipaddress.IPv4Network(prefix)
    number = int(network.network_address) | (rest & int(network.hostmask))
    assert (number & 0xFF == 0xFF) == (pseudonym(number, 32) & 0xFF == 0xFF)


def test_a_subnet_of_hosts_is_mapped_one_to_one() -> None:
    base = int(ipaddress.IPv4Address("192.168.3.0"))
    hosts = KEY.ipv4(np.arange(base, base + 256).astype(np.uint32))
    assert len(set(hosts.tolist())) == 256
    assert {number >> 8 for number in hosts.tolist()} == {int(hosts[0]) >> 8}
    public = KEY.ipv4(np.arange(1 << 12).astype(np.uint32) << 20)
    assert len(set(public.tolist())) == 1 << 12


@given(st.integers(0, (1 << 48) - 1), st.booleans())
def test_macs_keep_their_kind_and_vendor(number: int, vendor: bool) -> None:
    key = Pseudonyms(bytes(range(32)), vendor_prefix=vendor)
    new = int(key.mac_numbers(np.array([number], np.uint64))[0])
    assert new >> 40 & 3 == number >> 40 & 3
    if number >> 40 & 1:
        assert new == number
    elif vendor and not number >> 41 & 1:
        assert new >> 24 == number >> 24


@pytest.mark.parametrize("vendor", [True, False])
def test_macs_are_mapped_one_to_one(vendor: bool) -> None:
    units = np.arange(1 << 14).astype(np.uint64) * np.uint64(1021) % np.uint64(1 << 24) + np.uint64(0x0017_88 << 24)
    new = Pseudonyms(bytes(range(32)), vendor_prefix=vendor).mac_numbers(units)
    assert len(set(new.tolist())) == len(units)
    assert (new != units).mean() > 0.99


def test_pseudonyms_are_stable_over_runs_and_differ_by_key() -> None:
    texts = pl.Series(["192.0.2.7", "2001:db8::7", "00:17:88:0a:0b:0c", "Den camera", None, "192.0.2.7"])
    pinned = ["192.101.77.141", "3c75:aba8:e4cc:ffd4:a326:7150:a246:12f0", "00:17:88:a2:32:bf", "name-bee08835fd0535ed"]
    assert KEY.devices(texts)[:4].to_list() == pinned
    again = Pseudonyms(bytes(range(32))).devices(texts)
    assert again.to_list() == KEY.devices(texts).to_list()
    assert again[0] == again[5]
    assert again[4] is None
    assert all(a != b for a, b in zip(again, OTHER.devices(texts), strict=True) if a is not None)
    assert set(again.drop_nulls()).isdisjoint(texts.drop_nulls())


@given(st.text(max_size=40))
def test_any_text_has_a_pseudonym_of_its_own_column(text: str) -> None:
    column = pl.Series([text])
    for kind in (KEY.addresses, KEY.macs, KEY.devices, KEY.names):
        assert kind(column).null_count() == 0
    assert KEY.names(column)[0].startswith("name-")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.flow.pseudonyms.MOST_REMEMBERED", 10)
    key = Pseudonyms(bytes(range(32)))
    for start in range(0, 64, 8):
        new = key.addresses(pl.Series([f"10.0.0.{n}" for n in range(start, start + 8)]))
        assert new.to_list() == KEY.addresses(pl.Series([f"10.0.0.{n}" for n in range(start, start + 8)])).to_list()
    assert len(key._known["address"]) <= 10


def test_the_hash_spreads_over_rows_alike() -> None:
    words = [np.arange(1000, dtype=np.uint64), np.full(1000, 8 << 56, np.uint64)]
    whole = siphash((1, 2), words)
    single = [int(siphash((1, 2), [word[i : i + 1] for word in words])[0]) for i in (0, 1, 999)]
    assert [int(whole[i]) for i in (0, 1, 999)] == single


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32 octets"):
        Pseudonyms(bytes(31))
