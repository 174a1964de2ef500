"""Templates of the simulated exporter, and conversion of biflows to their columns.

There is one layout for each kind of export: biflows (RFC 5103) or one-way records in IPFIX, one-way records in NetFlow
v9 and v5.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import by_unique, codes_of
from ethogram.io.wire.build import Values
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template

__all__ = ["OPTIONS_ID", "PROTOCOLS", "Layout", "Protocol", "halves", "layout_of", "milliseconds", "packed_addresses"]

Protocol = Literal["ipfix", "ipfix-uniflow", "v9", "v5"]
PROTOCOLS: tuple[Protocol, ...] = ("ipfix", "ipfix-uniflow", "v9", "v5")

CERT = 6871  # enterprise of YAF's elements, such as the flags of the first packet
SELECTOR = 302
SAMPLER = 7  # id of the only sampler
FIRST_ID, OPTIONS_ID = 256, 258
"""Template ids: 256 and 257 for the IP versions."""

_Pairs = tuple[tuple[Field, str], ...]  # fields of a template, and the column of each

_IPFIX: _Pairs = (
    (Field(0, 152, 8), "start_ms"), (Field(0, 153, 8), "end_ms"), (Field(0, 4, 1), "protocol"),
    (Field(0, 7, 2), "source_port"), (Field(0, 11, 2), "destination_port"),
    (Field(0, 1, 8), "octets"), (Field(0, 2, 8), "packets"), (Field(0, 6, 2), "union_tcp_flags"),
    (Field(0, 136, 1), "end_reason"), (Field(0, 56, 6), "source_mac"), (Field(0, 80, 6), "destination_mac"),
)  # fmt: skip
_REVERSE: _Pairs = (
    (Field(0, 1, 8, reverse=True), "reverse_octets"), (Field(0, 2, 8, reverse=True), "reverse_packets"),
    (Field(0, 6, 2, reverse=True), "reverse_union_tcp_flags"),
    (Field(CERT, 14, 1), "initial_tcp_flags"), (Field(CERT, 14, 1, reverse=True), "reverse_initial_tcp_flags"),
    (Field(0, 239, 1), "by_initiator"),
)  # fmt: skip
_NAMES: _Pairs = ((Field(CERT, 294, VARIABLE), "destination_name"),)  # YAF: TLS server name
_V9: _Pairs = (
    (Field(0, 22, 4), "first_ms"), (Field(0, 21, 4), "last_ms"), (Field(0, 4, 1), "protocol"),
    (Field(0, 7, 2), "source_port"), (Field(0, 11, 2), "destination_port"),
    (Field(0, 1, 8), "octets"), (Field(0, 2, 4), "packets"), (Field(0, 6, 1), "union_tcp_flags"),
    (Field(0, 56, 6), "source_mac"), (Field(0, 80, 6), "destination_mac"), (Field(0, 61, 1), "zero"),
)  # fmt: skip
_V5 = {8: "source", 12: "destination", 2: "packets", 1: "octets", 22: "first_ms", 21: "last_ms", 7: "source_port",
       11: "destination_port", 6: "union_tcp_flags", 4: "protocol"}  # fmt: skip
_ADDRESSES: dict[int, _Pairs] = {
    4: ((Field(0, 8, 4), "source"), (Field(0, 12, 4), "destination")),
    6: ((Field(0, 27, 16), "source"), (Field(0, 28, 16), "destination")),
}


@dataclass(frozen=True)
class Layout:
    """The templates of one protocol.

    Parameters
    ----------
    version
        5, 9 or 10.
    one_way
        Whether a biflow is exported as two records.
    fields, columns
        By IP version: fields of the template, and the column of each.
    options
        Fields of the options template of the sampling rate, and their values for a rate; none for v5, which states it
        in the header.
    """

    version: int
    one_way: bool
    fields: dict[int, tuple[Field, ...]]
    columns: dict[int, tuple[str, ...]]
    options: tuple[Field, ...] = ()
    option_values: Callable[[int], list[int]] = lambda _: []

    def template(self, family: int, domain: int, generation: int) -> Template:
        """Template of an IP version; after each restart the ids of the two versions are swapped."""
        if self.version == 5:
            return Template(5, domain, 0, self.fields[family])
        number = FIRST_ID + ((family == 6) + generation) % 2
        return Template(self.version, domain, number, self.fields[family])

    def options_template(self, domain: int) -> Template:
        """Options template of the sampling rate."""
        return Template(self.version, domain, OPTIONS_ID, self.options, options=True)

    def values(self, frame: pl.DataFrame, family: int, boot_ms: int) -> list[Values]:
        """Columns for the fields of an IP version, from its biflows or one-way records."""
        columns: dict[str, Values] = {}
        for name in set(self.columns[family]):
            columns[name] = _values(frame, name, family, boot_ms)
        return [columns[name] for name in self.columns[family]]


def layout_of(protocol: Protocol, sampled: bool, host_names: bool = False) -> Layout:
    """Layout of a protocol; with sampling, each record names the sampler if the protocol supports it.

    Biflows can have the host name of their destination.
    """
    if protocol == "v5":
        names = tuple(_V5.get(field.id, "zero") for field in V5_FIELDS)
        return Layout(5, True, {4: V5_FIELDS}, {4: names})
    if protocol == "v9":
        fields: _Pairs = _V9
        version = 9
        # Scope type *system* without flowSamplerId: the rate applies to the whole source.
        options: tuple[Field, ...] = (Field(0, 1, 4, scope=True), Field(0, 34, 4), Field(0, 35, 1))
        values: Callable[[int], list[int]] = lambda rate: [0, rate, 2]  # noqa: E731
    else:
        fields = _IPFIX if protocol == "ipfix-uniflow" else _IPFIX + _REVERSE
        version = 10
        fields = (*fields, (Field(0, SELECTOR, 8), "sampler")) if sampled else fields
        fields = fields + _NAMES if host_names and protocol == "ipfix" else fields
        options = (Field(0, SELECTOR, 8, scope=True), Field(0, 304, 2), Field(0, 305, 4), Field(0, 306, 4))
        # selectorAlgorithm 3: random n out of N (RFC 5477); one packet is selected for each rate - 1 that are not.
        values = lambda rate: [SAMPLER, 3, 1, rate - 1]  # noqa: E731
    both = {family: addresses + fields for family, addresses in _ADDRESSES.items()}
    return Layout(
        version,
        protocol != "ipfix",
        {family: tuple(field for field, _ in pairs) for family, pairs in both.items()},
        {family: tuple(name for _, name in pairs) for family, pairs in both.items()},
        options,
        values,
    )


_CONSTANT = {"zero": 0, "by_initiator": 1, "sampler": SAMPLER}


def _values(frame: pl.DataFrame, name: str, family: int, boot_ms: int) -> Values:
    """One column of octets or integers; null is 0 or empty, as an exporter writes unknown values."""
    if name == "destination_name":
        return [text.encode() for text in frame[name].fill_null("")]
    if name in _CONSTANT:
        return np.full(frame.height, _CONSTANT[name])
    if name in {"source", "destination"}:
        return packed_addresses(frame[f"{name}_address"], family)
    if name in {"source_mac", "destination_mac"}:
        return by_unique(frame[name], _macs).fill_null(0).to_numpy()
    if name in {"start_ms", "end_ms"}:
        return milliseconds(frame[name.removesuffix("_ms")])
    if name in {"first_ms", "last_ms"}:
        # Since the exporter started; earlier times are unknown to it, and its clock wraps after 49.7 days.
        since = milliseconds(frame["start" if name == "first_ms" else "end"]) - boot_ms
        return np.maximum(since, 0) & 0xFFFFFFFF
    return frame[name].fill_null(0).to_numpy()


def milliseconds(times: pl.Series) -> NDArray[np.int64]:
    """Integer milliseconds since 1970."""
    return np.asarray(times.dt.epoch("ms").to_numpy(), np.int64)


def _macs(texts: pl.Series) -> pl.Series:
    return pl.Series([int(text.replace(":", ""), 16) for text in texts], dtype=pl.UInt64)


def packed_addresses(texts: pl.Series, family: int) -> NDArray[np.generic]:
    """IPv4 addresses as numbers, IPv6 addresses as 16 octets each."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    codes, distinct = codes_of(texts)
    octets = np.frombuffer(b"".join(socket.inet_pton(kind, text) for text in distinct), np.uint8)
    table, rows = octets.reshape(-1, 4 if family == 4 else 16), codes.to_numpy()
    packed: NDArray[np.generic] = table.view(">u4").reshape(-1)[rows] if family == 4 else table[rows]
    return packed


def halves(frame: pl.DataFrame) -> pl.DataFrame:
    """One-way records of biflows in the same order; directions without packets are omitted."""
    frame = frame.with_row_index("_row").with_columns(_back=pl.lit(False))
    swap = {
        "source_address": "destination_address", "source_port": "destination_port", "source_mac": "destination_mac",
        "octets": "reverse_octets", "packets": "reverse_packets", "union_tcp_flags": "reverse_union_tcp_flags",
    }  # fmt: skip
    swap |= {other: name for name, other in swap.items()}
    back = frame.with_columns(*(pl.col(name).alias(other) for name, other in swap.items()), _back=pl.lit(True))
    both = pl.concat([frame, back]).filter((pl.col("packets") > 0) | (pl.col("octets") > 0))
    return both.sort("_row", "_back").drop("_row", "_back")
