"""Real exports of many vendors: record counts agree with other decoders, and no damage causes an exception."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ethogram.config import FlowSettings
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.export_reader import ExportFiles, ExportReader, read_ipfix_file
from ethogram.io.wire.ipfix_file import IpfixFile

pytestmark = pytest.mark.wire

# The reference's decoder reads the first of three messages in this datagram; all three hold 12 flows and 1 option.
CONCATENATED = "ipfix.dat"


def decoded(messages: list[bytes]) -> Decoder:
    decoder = Decoder()
    for part in decoder.decode(batch(messages)):
        for i in range(len(part.template.fields)):
            at, octets = part.spans(i)
            assert (at >= 0).all() and (at + octets <= part.data.size).all()
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()
    return decoder


def test_each_scenario_of_about_25_makers_has_as_many_records_as_its_reference_says(wire: Path) -> None:
    folder = wire / "logstash-codec-netflow"
    where = {path.name: path for path in folder.rglob("*.dat")}
    compared = 0
    for scenario in json.loads((folder / "expected.json").read_text()):
        decoder = decoded([where[name].read_bytes() for name in scenario["files"]])
        assert decoder.accounting.dropped == {} or "invalid" in scenario["name"], scenario["name"]
        if not scenario["decoded_records"]:
            continue
        expected = sum(scenario["decoded_records"])
        data, options = decoder.records.used, decoder.records.ignored.total()
        if scenario["files"] == [CONCATENATED]:
            assert (expected, data, options) == (7, 12, 1)
        else:
            assert expected in (data, data + options), scenario["name"]
        assert decoder.records.dropped == {}, scenario["name"]
        compared += 1
    assert compared == 43


def test_an_ipfix_file_that_four_decoders_agree_on(wire: Path) -> None:
    [path] = (wire / "ipfixcol2").rglob("example_flows.ipfix")
    source = read_ipfix_file([path], FlowSettings())
    table = pl.concat(list(source.batches()))
    assert table.height == source.accounting.used == 3979
    assert int(table["octets"].sum() + table["reverse_octets"].sum()) == 49_001_404
    assert source.decoder.accounting.used == 68
    assert sum(len(datagram) for datagram in IpfixFile(path).datagrams()) == 68


def test_captures_of_exports_have_all_their_records(wire: Path) -> None:
    cases = {
        "100": (12, 0), "101": (51, 0), "102": (35, 0), "103": (12, 0), "104": (3, 1), "106": (3, 1),
        "110": (98, 0), "111": (24, 0), "112": (9, 76),
    }  # fmt: skip
    for case, (data, options) in cases.items():
        used, told = 0, 0
        for path in sorted((wire / "pmacct").glob(f"tests/{case}-*/*.pcap")):
            source = ExportReader(ExportFiles([path]))
            for _ in source.batches():
                pass
            used += source.decoder.records.used
            told += source.decoder.records.ignored["options record"]
        # In 112 options and templates come from one port and data from another of the same address.
        assert (used, told) == (data, options), case


def test_damaged_real_messages_raise_nothing(wire: Path) -> None:
    files = sorted((wire / "logstash-codec-netflow").rglob("*.dat"))
    sound = [path.read_bytes() for path in files]
    rng = np.random.default_rng(20)
    decoder = Decoder()
    for _ in range(40):
        messages = []
        for octets in sound:
            changed = bytearray(octets)
            for _ in range(rng.integers(1, 8)):
                changed[rng.integers(len(changed))] = rng.integers(256)
            messages.append(bytes(changed[: rng.integers(1, len(changed) + 1)] if rng.random() < 0.3 else changed))
        for part in decoder.decode(batch(messages)):
            for i in range(len(part.template.fields)):
                at, octets = part.spans(i)
                assert (at >= 0).all() and (at + octets <= part.data.size).all()
                part.unsigned(i)
        for accounting in (decoder.accounting, decoder.sets, decoder.records):
            accounting.check()
    assert decoder.accounting.read >= 40 * len(sound)
