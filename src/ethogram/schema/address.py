"""Addresses as canonical text, each formatted once: IPv4, IPv6 (RFC 5952) and MAC. IPv4-mapped IPv6 becomes IPv4.

A hash table gives every distinct address a number; only new ones are formatted, IPv4 and MAC by column. When the
table has grown to its bound it starts again.
"""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.schema.compiled import Compiler

__all__ = ["MAC", "AddressText"]

COMPILER = Compiler.of(__file__)

MAC = 1
"""The *version* under which MAC addresses are looked up; 4 and 6 are IP."""

PLACES = 1 << 17  # of the table; half of them are used at most
HEX = pl.Series([f"{i:02x}" for i in range(256)], dtype=pl.String)
DECIMAL = pl.Series([str(i) for i in range(256)], dtype=pl.String)


@COMPILER.checked
def number(
    version: Any, high: Any, low: Any, keys: Any, table: Any, known: int, seed: Any, numbers: Any
) -> tuple[int, int]:
    """Give each address its number; new ones get the next. Stop when the keys are full.

    Returns
    -------
    rows, known
        Rows numbered, and addresses known now.
    """
    mask = np.int64(table.shape[0] - 1)
    for row in range(high.shape[0]):
        h = (low[row] ^ seed) * np.uint64(0x9E3779B97F4A7C15) + high[row] * np.uint64(0xD6E8FEB86659FD93)
        h = (h ^ (h >> np.uint64(32)) ^ np.uint64(version[row])) * np.uint64(0xD6E8FEB86659FD93)
        at = np.int64(h >> np.uint64(33)) & mask
        while table[at] >= 0:
            key = keys[table[at]]
            if key[1] == low[row] and key[0] == high[row] and key[2] == np.uint64(version[row]):
                break
            at = (at + 1) & mask
        if table[at] < 0:
            if known == keys.shape[0]:
                return row, known
            keys[known, 0] = high[row]
            keys[known, 1] = low[row]
            keys[known, 2] = np.uint64(version[row])
            table[at] = known
            known += 1
        numbers[row] = table[at]
    return high.shape[0], known


class AddressText:
    """Text of addresses given as numbers.

    Parameters
    ----------
    unmap
        IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) is formatted as the IPv4 address it stands for, so that one host has
        one spelling. False shows what was on the wire.

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
        self._keys = np.empty((PLACES // 2, 3), np.uint64)
        self._restart()

    def _restart(self) -> None:
        self._table = np.full(PLACES, -1, np.int32)
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
        One string per row; null for a MAC of 0, which stands for none.
        """
        parts = []
        done = 0
        while done < high.shape[0]:
            numbers = np.empty(high.shape[0] - done, np.int32)
            rows, known = number(
                np.ascontiguousarray(version[done:]), np.ascontiguousarray(high[done:]),
                np.ascontiguousarray(low[done:]), self._keys, self._table, self._known, self._seed, numbers,
            )  # fmt: skip
            if known > self._known:
                fresh = format_keys(self._keys[self._known : known], self._unmap)
                self._text = pl.concat([self._text, fresh], rechunk=True)
                self._known = known
            parts.append(self._text.gather(pl.Series(numbers[:rows])))
            done += rows
            if done < high.shape[0]:
                self._restart()
        return pl.concat(parts) if parts else pl.Series(dtype=pl.String)


def format_keys(keys: NDArray[np.uint64], unmap: bool) -> pl.Series:
    """Text of the addresses in rows of (high, low, version)."""
    low, version = keys[:, 1], keys[:, 2]
    mapped = (version == 6) & (keys[:, 0] == 0) & (low >> np.uint64(32) == 0xFFFF) & unmap
    octets = np.ascontiguousarray(keys[:, :2].astype(">u8")).view(np.uint8).reshape(-1, 16)
    out = np.empty(len(keys), object)
    for chosen, first, names, separator in (
        ((version == 4) | mapped, 12, DECIMAL, "."),
        ((version == MAC) & (low != 0), 10, HEX, ":"),
    ):
        rows = np.flatnonzero(chosen)
        if rows.size:
            parts = [names.gather(pl.Series(octets[rows, i].astype(np.uint32))).alias(str(i)) for i in range(first, 16)]
            text = pl.select(pl.concat_str(parts, separator=separator)).to_series()
            out[rows] = text.to_list()
    for row in np.flatnonzero((version == 6) & ~mapped).tolist():
        out[row] = socket.inet_ntop(socket.AF_INET6, octets[row].tobytes())
    return pl.Series(out.tolist(), dtype=pl.String)
