"""A second opinion: netflume decodes the same datagrams, and both must agree in records and in their fields."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netflume
import numpy as np
import pytest
from datagrams import datagrams_of
from hypothesis import given, settings
from hypothesis import strategies as st
from netflume.ie import IE
from netflume.parse import NTP_EPOCH

from ethogram.io.wire.build import MessageBuilder, batch, data, template_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template, v5_template

ADDRESS = "192.0.2.1"


def values_of(records: Records, i: int, kind: str) -> list[Any] | None:
    """A field of ours in netflume's terms; None where it has no such form."""
    field = records.template.fields[i]
    if kind == "ipv4" and field.length == 4:
        return [str(ipaddress.IPv4Address(int(low))) for low in records.address(i)[1]]
    if kind == "ipv6" and field.length == 16:
        high, low = records.address(i)
        return [str(ipaddress.IPv6Address(int(h) << 64 | int(w))) for h, w in zip(high, low, strict=True)]
    if kind == "mac" and field.length == 6:
        return [":".join(f"{octet:02x}" for octet in int(v).to_bytes(6)) for v in records.unsigned(i)]
    if kind == "uint" and field.length <= 8:
        return records.unsigned(i).tolist()
    if kind == "ntp" and field.length == 8:
        words = records.unsigned(i).tolist()
        return [word and (word >> 32) - NTP_EPOCH + (word & 0xFFFFFFFF) / 2**32 for word in words]
    octets = [records.data[o : o + n].tobytes() for o, n in zip(*records.spans(i), strict=True)]
    if kind == "string":
        return [text.decode("utf-8", "replace").rstrip("\0").strip() for text in octets]
    return None


def name_of(field: Field, version: int) -> tuple[str, str] | None:
    """Name and kind of an element in netflume; None where the two number it differently."""
    if field.enterprise or field.reverse or (field.scope and version == 9):
        return None
    return IE.get(field.id)


def ours(decoder: Decoder, datagram: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Flow and options records of one datagram in its order; those of sets that had waited are left out."""
    given = batch([datagram])
    collected: list[tuple[int, bool, dict[str, Any]]] = []
    for records in decoder.decode(given):
        if not np.may_share_memory(records.data, given.data):
            continue
        names = [name_of(field, records.template.version) for field in records.template.fields]
        rows: list[dict[str, Any]] = [{} for _ in range(len(records))]
        for i, named in enumerate(names):
            # Of a name that stands for two fields netflume keeps one by rules of its own.
            if named is None or [other and other[0] for other in names].count(named[0]) > 1:
                continue
            values = values_of(records, i, named[1])
            for row, value in zip(rows, values or (), strict=False):
                row[named[0]] = value
        collected += [(int(at), records.template.options, row) for at, row in zip(records.starts, rows, strict=True)]
    collected.sort(key=lambda item: item[0])
    return [row for _, options, row in collected if not options], [row for _, options, row in collected if options]


def theirs(decoder: netflume.Decoder, datagram: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    message = decoder.decode(datagram, ADDRESS)
    if message is None:
        return [], []
    # A sampling rate in a v5 header is an options record there.
    return list(message.flows), list(message.options) if message.version != 5 else []


def agree(datagrams: list[bytes]) -> int:
    """Compare datagram by datagram; gives the number of values that were compared."""
    decoder, other = Decoder(), netflume.Decoder()
    compared = 0
    for number, datagram in enumerate(datagrams):
        for mine, yours in zip(ours(decoder, datagram), theirs(other, datagram), strict=True):
            assert len(mine) == len(yours), f"datagram {number}: {len(mine)} records, netflume {len(yours)}"
            for row, (one, two) in enumerate(zip(mine, yours, strict=True)):
                for name, value in one.items():
                    if name in two:
                        assert value == two[name], f"datagram {number}, record {row}: {name}"
                        compared += 1
    return compared


def scenarios() -> Iterator[Any]:
    """The scenarios of logstash's codec, where they are at hand."""
    import os

    root = Path(os.environ.get("ETHOGRAM_WIRE", "")) / "logstash-codec-netflow"
    if not (root / "expected.json").is_file():
        yield pytest.param(None, id="none")
        return
    for place, scenario in enumerate(json.loads((root / "expected.json").read_text())):
        yield pytest.param(scenario, id=f"{place}-{scenario['name'].replace(' ', '-')}")


DIFFER = {
    "Netflow 5 invalid 01": (0, 30, "a count no v5 message has: netflume reads what follows as records"),
    "Netflow 5 invalid 02": (0, 30, "the same"),
    "Netflow 9 H3C Netstream with varstring": (1, 0, "v9 fields of variable length, which that exporter sends"),
}
"""Scenarios on which we differ: our records, netflume's, and why."""
NO_COMMON_FIELD = {"Netflow 9 Cisco NBAR options template 260": 15}
"""Scenarios whose elements netflume has no names for: only records can be compared."""


def split(datagram: bytes) -> list[bytes]:
    """The messages of a datagram: one file holds three behind one another, of which netflume reads the first."""
    length = int.from_bytes(datagram[2:4])
    if datagram[:2] == b"\0\x0a" == datagram[length : length + 2]:
        return [datagram[:length], *split(datagram[length:])]
    return [datagram]


@pytest.mark.wire
@pytest.mark.parametrize("scenario", list(scenarios()))
def test_netflume_agrees_on_the_scenarios_of_logstash(wire: Path, scenario: dict[str, Any]) -> None:
    folder = wire / "logstash-codec-netflow"
    paths = {file.name: file for file in folder.rglob("*.dat")}
    datagrams = [path for name in scenario["files"] for path in split(paths[name].read_bytes())]
    name = scenario["name"]
    if name not in DIFFER:
        compared = agree(datagrams)
        assert compared > 0 or not any(scenario["decoded_records"]) or name in NO_COMMON_FIELD
    decoder, other = Decoder(), netflume.Decoder()
    counts = [(sum(map(len, ours(decoder, path))), sum(map(len, theirs(other, path)))) for path in datagrams]
    mine, yours = map(sum, zip(*counts, strict=True))
    assert (mine, yours) == DIFFER.get(name, (NO_COMMON_FIELD.get(name, mine), mine))[:2]


@pytest.mark.wire
def test_netflume_agrees_on_the_captures_of_pmacct(wire: Path) -> None:
    for file in sorted((wire / "pmacct").rglob("*.pcap")):
        assert agree(datagrams_of(file)) > 0, file


@st.composite
def exchanges(draw: st.DrawFn) -> list[bytes]:
    """Messages of our own builder: some templates, and data of each."""
    version = draw(st.sampled_from([5, 9, 10]))
    build = MessageBuilder(version, draw(st.integers(0, 255)), mtu=draw(st.integers(200, 1400)))
    rows = draw(st.integers(1, 40))
    if version == 5:
        columns: list[Any] = [numbers(draw, item.length, rows) for item in V5_FIELDS]
        return build.messages([data(v5_template(0), columns)], 1_700_000_000_000)
    parts: list[Any] = []
    for number in range(draw(st.integers(1, 3))):
        fields = draw(st.lists(fields_of(version), min_size=1, max_size=10))
        template = Template(version, 0, 256 + number, tuple(fields))
        columns = [column(draw, field, rows) for field in fields]
        parts += [template_set(template), data(template, columns)]
    return build.messages(parts, 1_700_000_000_000)


KNOWN = ((1, 4), (1, 8), (2, 3), (4, 1), (6, 2), (7, 2), (8, 4), (12, 4), (27, 16), (28, 16), (56, 6), (58, 2), (22, 4),
         (136, 1))  # fmt: skip


def fields_of(version: int) -> st.SearchStrategy[Field]:
    known = st.sampled_from(KNOWN)
    fixed = known.map(lambda item: Field(0, *item))
    if version == 9:
        return fixed
    return st.one_of(fixed, fixed, st.sampled_from([Field(0, 82, VARIABLE), Field(0, 154, 8), Field(9, 12, 4)]))


def numbers(draw: st.DrawFn, octets: int, rows: int) -> np.ndarray[Any, Any]:
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return chance.integers(1, 1 << min(8 * octets, 62), size=rows)


def column(draw: st.DrawFn, field: Field, rows: int) -> Any:
    if field.length == VARIABLE:
        return [b"e" * (int(value) % 300) for value in numbers(draw, 2, rows)]
    if field.length > 8:
        return (numbers(draw, 1, rows * field.length) & 0xFF).astype(np.uint8).reshape(rows, field.length)
    return numbers(draw, field.length, rows)


@settings(deadline=None, max_examples=60)
@given(exchanges())
def test_netflume_agrees_on_what_our_builder_writes(datagrams: list[bytes]) -> None:
    agree(datagrams)
    decoder, other = Decoder(), netflume.Decoder()
    counts = [(len(ours(decoder, datagram)[0]), len(theirs(other, datagram)[0])) for datagram in datagrams]
    assert sum(mine for mine, _ in counts) == sum(yours for _, yours in counts) == decoder.records.used > 0
