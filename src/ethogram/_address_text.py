"""Format addresses as canonical text, each only once: IPv4, IPv6 (RFC 5952) and MAC.

A hash table numbers the distinct addresses, and only new ones are formatted. When the table is full it is emptied.
"""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._hashing import empty_slots, finalize64, find_triple
from ethogram._numba import Compiler

__all__ = ["MAC", "AddressText"]

COMPILER = Compiler.of(__file__, "_hashing")

MAC = 1
"""The *version* under which MAC addresses are looked up; 4 and 6 are IP."""

MAX_ADDRESSES = 1 << 16
HIGH, LOW, VERSION = 0, 1, 2  # columns of the keys
HEX = pl.Series([f"{i:02x}" for i in range(256)], dtype=pl.String)
DECIMAL = pl.Series([str(i) for i in range(256)], dtype=pl.String)


@COMPILER.compiled
def number_addresses(
    version: Any, high: Any, low: Any, keys: Any, slots: Any, known: int, seed: Any, numbers: Any
) -> tuple[int, int]:
    """Fill in the number of each address; new addresses get the next one. Stop when ``keys`` is full.

    Returns
    -------
    rows, known
        Number of rows done, and of known addresses.
    """
    for row in range(high.shape[0]):
        kind = np.uint64(version[row])
        # The seed is hashed with one half first: else collisions could be chosen without knowing it.
        tag = finalize64(finalize64(high[row] ^ seed) + low[row] + (kind << np.uint64(56)))
        at = find_triple(slots, keys, high[row], low[row], kind, tag)
        if slots[at] < 0:
            if known == keys.shape[0]:
                return row, known
            keys[known, HIGH] = high[row]
            keys[known, LOW] = low[row]
            keys[known, VERSION] = kind
            slots[at] = known
            known += 1
        numbers[row] = slots[at]
    return high.shape[0], known


class AddressText:
    """Formats addresses given as numbers.

    Parameters
    ----------
    unmap
        Format IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) as the IPv4 address it stands for, so that a host has a
        single spelling. False formats what was on the wire.

    Examples
    --------
    >>> text = AddressText()
    >>> zero = np.zeros(1, np.uint64)
    >>> text(np.array([4], np.uint8), zero, np.array([0xC0A80001], np.uint64)).to_list()
    ['192.168.0.1']
    """

    def __init__(self, unmap: bool = True) -> None:
        self._unmap = unmap
        self._seed = np.uint64(np.random.default_rng().integers(1 << 63))
        self._keys = np.empty((MAX_ADDRESSES, 3), np.uint64)
        self._restart()

    def _restart(self) -> None:
        self._slots = empty_slots(MAX_ADDRESSES)
        self._known = 0
        self._text = pl.Series(dtype=pl.String)

    def __call__(self, version: NDArray[np.uint8], high: NDArray[np.uint64], low: NDArray[np.uint64]) -> pl.Series:
        """Format addresses.

        Parameters
        ----------
        version
            4, 6 or :data:`MAC` for each row.
        high, low
            The 128-bit number in halves.

        Returns
        -------
        One string per row; null for MAC 0, which means unknown.
        """
        parts = []
        done = 0
        while done < high.shape[0]:
            numbers = np.empty(high.shape[0] - done, np.int32)
            rows, known = number_addresses(
                np.ascontiguousarray(version[done:]), np.ascontiguousarray(high[done:]),
                np.ascontiguousarray(low[done:]), self._keys, self._slots, self._known, self._seed, numbers,
            )  # fmt: skip
            if known > self._known:
                new = format_keys(self._keys[self._known : known], self._unmap)
                self._text = pl.concat([self._text, new], rechunk=True)
                self._known = known
            parts.append(self._text.gather(pl.Series(numbers[:rows])))
            done += rows
            if done < high.shape[0]:
                self._restart()
        return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def format_keys(keys: NDArray[np.uint64], unmap: bool) -> pl.Series:
    """Text of the addresses in rows of (high, low, version)."""
    low, version = keys[:, LOW], keys[:, VERSION]
    mapped = (version == 6) & (keys[:, HIGH] == 0) & (low >> np.uint64(32) == 0xFFFF) & unmap
    octets = np.ascontiguousarray(keys[:, :2].astype(">u8")).view(np.uint8).reshape(-1, 16)
    out = np.empty(len(keys), object)
    for of_version, first, names, separator in (
        ((version == 4) | mapped, 12, DECIMAL, "."),
        ((version == MAC) & (low != 0), 10, HEX, ":"),
    ):
        rows = np.flatnonzero(of_version)
        if rows.size:
            parts = [names.gather(pl.Series(octets[rows, i].astype(np.uint32))).alias(str(i)) for i in range(first, 16)]
            text = pl.select(pl.concat_str(parts, separator=separator)).to_series()
            out[rows] = text.to_list()
    for row in np.flatnonzero((version == 6) & ~mapped).tolist():
        out[row] = socket.inet_ntop(socket.AF_INET6, octets[row].tobytes())
    return pl.Series(out.tolist(), dtype=pl.String)
