"""Records as rows: display of each type."""

from __future__ import annotations

import struct

import pytest
from exports import KEY, NOW_MS, Column, Export

from ethogram.io.wire.rows import field_names, rows_of
from ethogram.io.wire.text_fields import MOST, host_names, texts


def row_of(*columns: Column, version: int = 10, options: bool = False, **more: object) -> dict[str, object]:
    export = Export(version)
    export.send(columns, options=options, **more)  # type: ignore[arg-type]
    [records] = export.records()
    return next(rows_of(records, 1))


@pytest.mark.parametrize(
    ("column", "name", "value"),
    [
        ((1, 3, [70_000]), "octetDeltaCount", 70_000),
        ((434, 2, [65_535]), "mibObjectValueInteger", -1),
        ((311, 4, [int.from_bytes(struct.pack(">f", 0.25))]), "samplingProbability", 0.25),
        ((311, 8, [int.from_bytes(struct.pack(">d", 0.1))]), "samplingProbability", 0.1),
        ((311, 8, [int.from_bytes(struct.pack(">d", float("nan")))]), "samplingProbability", None),
        ((276, 1, [1]), "dataRecordsReliability", True),
        ((276, 1, [2]), "dataRecordsReliability", False),
        ((276, 1, [0]), "dataRecordsReliability", None),
        ((8, 4, [0xC0000201]), "sourceIPv4Address", "192.0.2.1"),
        ((27, 16, [bytes(15) + b"\1"]), "sourceIPv6Address", "::1"),
        ((27, 4, [5]), "sourceIPv6Address", "00000005"),
        ((56, 6, [0x0A0000000001]), "sourceMacAddress", "0a:00:00:00:00:01"),
        ((56, 6, [0]), "sourceMacAddress", "00:00:00:00:00:00"),
        ((152, 8, [NOW_MS]), "flowStartMilliseconds", "2023-11-14T22:13:20.000000Z"),
        ((150, 4, [NOW_MS // 1000]), "flowStartSeconds", "2023-11-14T22:13:20.000000Z"),
        ((154, 8, [((NOW_MS // 1000 + 2_208_988_800) << 32) | (1 << 31)]), "flowStartMicroseconds",
         "2023-11-14T22:13:20.500000Z"),
        ((152, 8, [0]), "flowStartMilliseconds", 0),
        ((152, 8, [1 << 60]), "flowStartMilliseconds", 1 << 60),
        ((82, 8, [b"eth0"]), "interfaceName", "eth0"),
        ((82, 65535, [b"eth0  "]), "interfaceName", "eth0"),
        ((82, 65535, [b"ab\0cd"]), "interfaceName", "ab"),
        ((82, 65535, [b"\xff"]), "interfaceName", ""),
        ((95, 65535, [b"\x14\0\1"]), "applicationId", "140001"),
        ((291, 65535, [b"\1\2"]), "basicList", "0102"),
        ((5000, 2, [258]), "0.5000", "0102"),
    ],
)  # fmt: skip
def test_a_value_is_written_by_its_type(column: Column, name: str, value: object) -> None:
    result = row_of(column)[name]
    assert result == value
    assert type(result) is type(value)


def test_names_of_repeated_reverse_and_scope_fields() -> None:
    row = row_of((8, 4, [1]), (8, 4, [2]), reverse=[(1, 4, [9])])
    assert row == {"sourceIPv4Address": "0.0.0.1", "sourceIPv4Address.2": "0.0.0.2", "reverseOctetDeltaCount": 9}
    assert row_of((1, 4, [0]), (2, 4, [5]), (34, 4, [9]), version=9, options=True, scopes=2) == {
        "scope system": 0, "scope interface": 5, "samplingInterval": 9
    }  # fmt: skip


def test_a_field_of_no_octets_has_no_value() -> None:
    export = Export()
    export.send([*KEY, (210, 0, [b"", b""])])
    [records] = export.records()
    assert field_names(records.template)[-1] == "paddingOctets"
    assert [row["paddingOctets"] for row in rows_of(records)] == [None, None]


def test_host_names_are_distinguished_from_other_text() -> None:
    export = Export()
    values = [b"WWW.Example.org", b"example.org:443", b"example.org.", b"not a host", b"", b"\xe4", b"x" * 300, b"-a"]
    export.send([(460, 65535, values)])
    [records] = export.records()
    assert host_names(records, 0).to_list() == [
        "www.example.org", "example.org", "example.org", None, None, None, None, None
    ]  # fmt: skip


def test_long_texts_are_cut() -> None:
    export = Export()
    export.send([(82, 65535, [b"a" * 10_000, b"b"])])
    [records] = export.records()
    assert texts(records, 0).str.len_bytes().to_list() == [MOST, 1]
