"""Keyed pseudonyms of addresses, MACs and names: the same key gives the same pseudonym, another key another one.

IP addresses follow Crypto-PAn (Fan, Xu, Ammar and Moon, Computer Networks 46, 2004, section 3): bit i of the pseudonym
is bit i of the address, flipped by a keyed function of the i bits before it. Two addresses therefore share a prefix of
n bits exactly if their pseudonyms do, and the mapping is a bijection. The keyed function is SipHash-2-4 (Aumasson and
Bernstein, INDOCRYPT 2012) instead of AES, so that it runs over whole columns with NumPy alone. Bits on the way to a
class of addresses (private, link-local, multicast ...) are never flipped, so an address stays in its class.

Unit numbers of MACs go through a Feistel network of ten rounds with the same function (Luby and Rackoff, SIAM J.
Comput. 17, 1988): a bijection that keeps no order. Names become tokens of 64 bits of keyed BLAKE2b.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._parse_address import parse_address, parse_mac

__all__ = ["ADDRESS_CLASSES", "Pseudonyms", "siphash"]

ADDRESS_CLASSES = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
    "::/128", "::1/128", "64:ff9b::/96", "2000::/3", "fc00::/7", "fd00::/8", "fe80::/10", "fe80::/64", "ff00::/8",
)  # fmt: skip
"""Prefixes that an address stays in (IANA special-purpose address registries)."""

WHOLE_CLASSES = ("0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/127", "ff00::/8")
"""Prefixes whose addresses are public constants, such as multicast groups, and stay as they are."""

PRIVATE_CLASSES = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""Prefixes in which an address that ends in .255 may be a broadcast address, and stays one that does."""

ROUNDS = 10
CHUNK = 4096
"""Addresses hashed at once: the arrays of the hash stay in the cache of the processor."""
MOST_REMEMBERED = 1 << 18
_FOUR, _SIX, _MAC, _NUMBER = 4, 6, 1, 2
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)

Words = NDArray[np.uint64]


def siphash(key: tuple[int, int], words: Sequence[Words]) -> Words:
    """SipHash-2-4 of messages of whole 64-bit words, the last of which has the length in its top octet.

    Parameters
    ----------
    key
        The two halves of 64 bits.
    words
        Each word of all N messages, uint64 [N].

    Returns
    -------
    uint64 [N].

    Examples
    --------
    The example of the paper, appendix A: 15 octets 00 to 0e under the key 00 to 0f.

    >>> words = [np.array([0x0706050403020100], np.uint64), np.array([0x0F0E0D0C0B0A0908], np.uint64)]
    >>> hex(siphash((0x0706050403020100, 0x0F0E0D0C0B0A0908), words)[0])
    '0xa129ca6149be45e5'
    """
    size = words[0].shape
    halves = (*key, *key)
    a, b, c, d = (np.full(size, initial ^ half, np.uint64) for initial, half in zip(_INITIAL, halves, strict=True))
    for word in words:
        d ^= word
        for _ in range(2):
            a, b, c, d = _round(a, b, c, d)
        a ^= word
    c ^= np.uint64(0xFF)
    for _ in range(4):
        a, b, c, d = _round(a, b, c, d)
    return np.asarray(a ^ b ^ c ^ d)


def _round(a: Words, b: Words, c: Words, d: Words) -> tuple[Words, Words, Words, Words]:
    a = a + b
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c = c + d
    d = _rotated(d, 16) ^ c
    a = a + d
    d = _rotated(d, 21) ^ a
    c = c + b
    b = _rotated(b, 17) ^ c
    c = _rotated(c, 32)
    return a, b, c, d


def _rotated(value: Words, bits: int) -> Words:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


class Pseudonyms:
    """Pseudonyms under one key.

    Memory: the latest 262,144 values of each kind.

    Parameters
    ----------
    secret
        Key material, at least 32 octets.
    vendor_prefix
        Keep the vendor prefix of MACs (three octets), which tells the vendor and not the unit. False: only the bits
        that say *locally administered* and *group* stay.

    Raises
    ------
    ValueError
        If the secret is too short.

    Examples
    --------
    >>> pseudonyms = Pseudonyms(bytes(range(32)))
    >>> home = pseudonyms.addresses(pl.Series(["192.168.1.5", "192.168.1.9", "192.168.7.5", "224.0.0.251"]))
    >>> [text.rpartition(".")[0] for text in home[:2]] == [home[0].rpartition(".")[0]] * 2, home[3]
    (True, '224.0.0.251')
    >>> pseudonyms.macs(pl.Series(["00:17:88:0a:0b:0c"]))[0][:8]
    '00:17:88'
    """

    def __init__(self, secret: bytes, *, vendor_prefix: bool = True) -> None:
        if len(secret) < 32:
            raise ValueError("a secret has at least 32 octets")
        master = hashlib.blake2b(secret, person=b"ethogram pseudon").digest()
        self._keys = {kind: _halves(hashlib.blake2b(bytes([kind]), key=master, digest_size=16).digest())
                      for kind in (_FOUR, _SIX, _MAC)}  # fmt: skip
        self._name_key = hashlib.blake2b(b"names", key=master, digest_size=32).digest()
        self.vendor_prefix = vendor_prefix
        self._known: dict[str, dict[str, str]] = {}

    # Columns of text

    def addresses(self, texts: pl.Series) -> pl.Series:
        """Pseudonyms of IP addresses; other text becomes a token, and null stays null."""
        return self.mapped("address", texts, self._new_addresses)

    def macs(self, texts: pl.Series) -> pl.Series:
        """Pseudonyms of MACs; other text becomes a token, and null stays null."""
        return self.mapped("mac", texts, self._new_macs)

    def devices(self, texts: pl.Series) -> pl.Series:
        """Pseudonyms of names in the flow table: each a MAC, an address, or a name."""
        return self.mapped("device", texts, self._new_devices)

    def names(self, texts: pl.Series) -> pl.Series:
        """Tokens of names, the same in upper and lower case: ``name-`` and 16 hexadecimal digits."""
        return self.mapped("name", texts, lambda new: [f"name-{self.token(text)}" for text in new])

    def token(self, text: str) -> str:
        """16 hexadecimal digits for a text, in any case.

        >>> Pseudonyms(bytes(32)).token("Den") == Pseudonyms(bytes(32)).token("den")
        True
        """
        return hashlib.blake2b(text.strip().lower().encode(), key=self._name_key, digest_size=8).hexdigest()

    def mapped(self, kind: str, texts: pl.Series, compute: Callable[[list[str]], list[str]]) -> pl.Series:
        """The column with each value replaced, under a name for its kind; only values that are new are computed."""
        known = self._known.get(kind) or {}
        values = [value for value in texts.cast(pl.String).unique() if value is not None]
        new = [value for value in values if value not in known]
        if len(known) + len(new) > MOST_REMEMBERED:
            known, new = {}, values
        if new:  # not changed in place: several threads may use it
            known = {**known, **dict(zip(new, compute(new), strict=True))}
            self._known[kind] = known
        replaced = texts.cast(pl.String).replace_strict(
            pl.Series(values, dtype=pl.String), pl.Series([known[value] for value in values], dtype=pl.String),
            default=None, return_dtype=pl.String,
        )  # fmt: skip
        return replaced.alias(texts.name)

    def _new_devices(self, texts: list[str]) -> list[str]:
        macs = [text for text in texts if text.count(":") == 5 and parse_mac(text)]
        addresses = [text for text in texts if parse_address(text) and text not in set(macs)]
        known = dict(zip(macs, self._new_macs(macs), strict=True))
        known |= dict(zip(addresses, self._new_addresses(addresses), strict=True))
        return [known.get(text) or f"name-{self.token(text)}" for text in texts]

    def _new_addresses(self, texts: list[str]) -> list[str]:
        out = [f"name-{self.token(text)}" for text in texts]
        packed: dict[int, list[tuple[int, bytes]]] = {4: [], 16: []}
        for row, text in enumerate(texts):
            address = parse_address(text)
            if address is not None:
                octets = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
                packed[len(octets)].append((row, octets))
        if four := packed[4]:
            numbers = np.frombuffer(b"".join(octets for _, octets in four), ">u4").astype(np.uint32)
            new = self.ipv4(numbers).astype(">u4").tobytes()
            for i, (row, _) in enumerate(four):
                out[row] = socket.inet_ntop(socket.AF_INET, new[4 * i : 4 * i + 4])
        if six := packed[16]:
            halves = np.frombuffer(b"".join(octets for _, octets in six), ">u8").astype(np.uint64).reshape(-1, 2)
            new = np.stack(self.ipv6(halves[:, 0], halves[:, 1]), axis=1).astype(">u8").tobytes()
            for i, (row, _) in enumerate(six):
                out[row] = socket.inet_ntop(socket.AF_INET6, new[16 * i : 16 * i + 16])
        return out

    def _new_macs(self, texts: list[str]) -> list[str]:
        parsed = [parse_mac(text) for text in texts]
        numbers = np.array([int((mac or "0").replace(":", ""), 16) for mac in parsed], np.uint64)
        digits = [f"{number:012x}" for number in self.mac_numbers(numbers).tolist()]
        return [
            f"name-{self.token(text)}" if mac is None else ":".join(new[i : i + 2] for i in range(0, 12, 2))
            for text, mac, new in zip(texts, parsed, digits, strict=True)
        ]

    # Columns of numbers

    def ipv4(self, addresses: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Pseudonyms of IPv4 addresses, uint32 [N]."""
        return self._flipped(_FOUR, 32, np.zeros(addresses.shape, np.uint64), addresses.astype(np.uint64))[1].astype(
            np.uint32
        )

    def ipv6(self, high: Words, low: Words) -> tuple[Words, Words]:
        """Pseudonyms of IPv6 addresses, given as halves, uint64 [N] each."""
        return self._flipped(_SIX, 128, high, low)

    def _flipped(self, kind: int, bits: int, high: Words, low: Words) -> tuple[Words, Words]:
        """Flip each bit, from the first, by the hash of the bits before it, unless a class fixes it.

        The whole address is at the low end of the 128 bits; ``kind`` separates the trees of the two versions.
        """
        fixed_high, fixed_low = _fixed_bits(bits, high, low)
        flips_high, flips_low = np.zeros_like(high), np.zeros_like(low)
        for start in range(0, len(low), CHUNK):
            part = slice(start, start + CHUNK)
            for level in range(bits):
                place = bits - 1 - level  # from the low end
                fixed, flips, shift = (
                    (fixed_high, flips_high, place - 64) if place >= 64 else (fixed_low, flips_low, place)
                )
                bit = np.uint64(1 << shift)
                if (fixed[part] & bit).all():
                    continue
                mask = _ONES << np.uint64(shift) << np.uint64(1)
                before_high, before_low = high[part], low[part]
                if place >= 64:
                    before_high, before_low = before_high & mask, np.zeros_like(before_low)
                else:
                    before_low = before_low & mask
                last = np.full(before_low.shape, (17 << 56) | level, np.uint64)
                hashed = siphash(self._keys[kind], [before_high, before_low, last])
                flips[part] |= (hashed >> np.uint64(63)) << np.uint64(shift)
        return high ^ (flips_high & ~fixed_high), low ^ (flips_low & ~fixed_low)

    def mac_numbers(self, macs: Words) -> Words:
        """Pseudonyms of MACs as numbers, uint64 [N]; group addresses and zero stay."""
        local = (macs >> np.uint64(41) & np.uint64(1)).astype(bool)
        group = (macs >> np.uint64(40) & np.uint64(1)).astype(bool)
        if self.vendor_prefix:
            unit = self._feistel(macs >> np.uint64(24), macs & np.uint64((1 << 24) - 1), 12)
            universal = (macs >> np.uint64(24) << np.uint64(24)) | unit
        else:
            universal = self._whole_mac(macs)
        new = np.where(local, self._whole_mac(macs), universal)
        return np.where(group | (macs == 0), macs, new)

    def _whole_mac(self, macs: Words) -> Words:
        """All bits but the two that say what kind of MAC it is."""
        kind = macs >> np.uint64(40) & np.uint64(3)
        low = np.uint64((1 << 40) - 1)
        rest = (macs >> np.uint64(42) << np.uint64(40)) | (macs & low)
        new = self._feistel(kind + np.uint64(1 << 32), rest, 23)
        return np.asarray((new >> np.uint64(40) << np.uint64(42)) | (kind << np.uint64(40)) | (new & low))

    def _feistel(self, tweak: Words, values: Words, half: int) -> Words:
        """A keyed permutation of numbers of twice ``half`` bits."""
        mask = np.uint64((1 << half) - 1)
        left, right = values >> np.uint64(half), values & mask
        for number in range(ROUNDS):
            last = np.full(values.shape, (17 << 56) | number, np.uint64)
            left, right = right, left ^ (siphash(self._keys[_MAC], [tweak, right, last]) & mask)
        return (left << np.uint64(half)) | right


def _halves(octets: bytes) -> tuple[int, int]:
    return int.from_bytes(octets[:8], "little"), int.from_bytes(octets[8:16], "little")


def _fixed_bits(bits: int, high: Words, low: Words) -> tuple[Words, Words]:
    """Bits that are not flipped. Whether a bit is fixed depends on the bits before it alone, so prefixes are kept."""
    fixed_high, fixed_low = np.zeros_like(high), np.zeros_like(low)
    for text in (*ADDRESS_CLASSES, *WHOLE_CLASSES):
        network = ipaddress.ip_network(text)
        if network.max_prefixlen != bits:
            continue
        number, length = int(network.network_address), network.prefixlen
        shared = _common_prefix(bits, high, low, number)
        count = np.minimum(shared + 1, length)
        if text in WHOLE_CLASSES:
            count = np.where(shared >= length, bits, count)
        top_high, top_low = _top_bits(bits, count)
        fixed_high |= top_high
        fixed_low |= top_low
    if bits == 32:
        fixed_low |= _broadcast_bits(low)
    return fixed_high, fixed_low


def _broadcast_bits(addresses: Words) -> Words:
    """Last octets of private addresses: a bit after ones only is fixed, so that .255 stays, and nothing becomes it."""
    fixed = np.zeros_like(addresses)
    octet = addresses & np.uint64(0xFF)
    ones = np.ones(addresses.shape, bool)
    for place in range(7, -1, -1):
        fixed |= ones.astype(np.uint64) << np.uint64(place)
        ones &= (octet >> np.uint64(place) & np.uint64(1)).astype(bool)
    private = np.zeros(addresses.shape, bool)
    for text in PRIVATE_CLASSES:
        network = ipaddress.IPv4Network(text)
        private |= (addresses & np.uint64(int(network.netmask))) == np.uint64(int(network.network_address))
    return np.where(private, fixed, np.uint64(0))


def _common_prefix(bits: int, high: Words, low: Words, number: int) -> NDArray[np.int64]:
    """Leading bits that addresses share with a number."""
    other_high, other_low = np.uint64(number >> 64), np.uint64(number & 0xFFFFFFFFFFFFFFFF)
    of_low = bits - _bit_length(low ^ other_low)
    if bits == 32:
        return of_low
    of_high = 64 - _bit_length(high ^ other_high)
    return np.where(of_high < 64, of_high, of_low)


def _bit_length(values: Words) -> NDArray[np.int64]:
    """Position of the highest bit, from 1; 0 for zero."""
    length = np.zeros(values.shape, np.int64)
    rest = values.copy()
    for step in (32, 16, 8, 4, 2, 1):
        above = rest >> np.uint64(step) != 0
        length += np.where(above, step, 0)
        rest = np.where(above, rest >> np.uint64(step), rest)
    return np.asarray(length + (rest != 0))


def _top_bits(bits: int, count: NDArray[np.int64]) -> tuple[Words, Words]:
    """Masks of the first ``count`` bits of addresses."""
    width = min(bits, 64)
    of_low = count - (bits - width)
    whole = np.uint64((1 << width) - 1)
    low = np.where(of_low <= 0, np.uint64(0), whole & ~_low_ones(width - np.clip(of_low, 0, width)))
    high = np.zeros_like(low)
    if bits == 128:
        high = np.where(count <= 0, np.uint64(0), ~_low_ones(64 - np.clip(count, 0, 64)))
    return high, low


def _low_ones(count: NDArray[np.int64]) -> Words:
    """Numbers whose lowest ``count`` bits are set; ``count`` is at most 64."""
    full = count >= 64
    shift = np.where(full, 0, count).astype(np.uint64)
    return np.where(full, _ONES, (np.uint64(1) << shift) - np.uint64(1))
