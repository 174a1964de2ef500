"""Messages to records: validation of messages, reading of values, and counters."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from wire_messages import ONE, columns, data, decode, ipfix, set_of, template, v5, v5_record, v9

from ethogram.config import WireSettings
from ethogram.io.wire.decoder import Decoder
from ethogram.schema import Exporter

FOUR = [(8, 4)]


def test_a_message_of_netflow_v5_comes_as_records_of_ianas_elements() -> None:
    decoder = Decoder()
    [records] = decode(decoder, v5([v5_record(100), v5_record(200)]))
    assert len(records) == 2 and records.template.version == 5 and not records.template.options
    octets = records.has(0, 1)
    source = records.has(0, 8)
    assert octets is not None and source is not None
    assert records.unsigned(octets).tolist() == [100, 200]
    assert records.address(source)[1].tolist() == [0xC0000201] * 2
    header = records.headers[records.message[0]]
    assert (header["domain"], header["sequence"], header["uptime_ms"]) == (0x0102, 42, 5000)
    assert (header["export_time_s"], header["residual_ns"], header["sampling"]) == (1000, 7, 0x4064)
    assert records.exporter == ONE


@pytest.mark.parametrize(("stated", "arrived", "used"), [(3, 2, 2), (1, 2, 1), (30, 1, 1), (0, 2, 0)])
def test_a_count_that_lies_is_corrected_by_what_arrived(stated: int, arrived: int, used: int) -> None:
    decoder = Decoder()
    result = decode(decoder, v5([v5_record(1)] * arrived, stated))
    assert sum(map(len, result)) == decoder.records.used == used
    assert decoder.accounting.corrected == {"wrong record count": 1}


def test_a_v5_message_of_absurdly_many_records_is_none() -> None:
    decoder = Decoder()
    assert decode(decoder, v5([v5_record(1)] * 30, 55_000)) == []
    assert decoder.accounting.dropped == {"bad length": 1}


def test_the_count_in_a_v9_header_is_not_believed() -> None:
    decoder = Decoder()
    result = decode(decoder, v9(template(256, FOUR, 9), data(256, 1, 2, 3), count=60_000))
    assert columns(result) == [(256, [[1, 2, 3]])]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "shorter than its header"),
        (b"\0", "shorter than its header"),
        (ipfix()[:15], "shorter than its header"),
        (v9()[:19], "shorter than its header"),
        (v5([])[:23], "shorter than its header"),
        (ipfix(data(256, 1), version=7), "unknown version"),
        (ipfix(data(256, 1), length=15), "bad length"),
        (ipfix(data(256, 1), length=25), "longer than what arrived"),
    ],
)
def test_invalid_messages_are_dropped_by_reason(message: bytes, reason: str) -> None:
    decoder = Decoder()
    assert decode(decoder, message, v5([v5_record(1)]))[0].template.version == 5
    assert decoder.accounting.dropped == {reason: 1}
    assert (decoder.accounting.read, decoder.accounting.used) == (2, 1)


def test_several_messages_in_one_datagram_are_all_read() -> None:
    decoder = Decoder()
    result = decode(decoder, ipfix(template(256, FOUR)) + ipfix(data(256, 1)) + ipfix(data(256, 2)) + b"\0\x0a\0")
    assert columns(result) == [(256, [[1, 2]])]
    assert decoder.accounting.used == 3
    assert decoder.accounting.corrected == {"octets after the message": 1}


def test_a_set_whose_length_is_wrong_ends_its_message_and_what_came_before_is_kept() -> None:
    for bad, reason in ((set_of(256, b"", 3), "bad length"), (set_of(256, b"", 5), "longer than its message")):
        decoder = Decoder()
        result = decode(decoder, ipfix(template(256, FOUR), data(256, 7), bad))
        assert columns(result) == [(256, [[7]])]
        assert decoder.sets.dropped == {reason: 1}
        assert decoder.sets.read == 3


def test_reserved_sets_and_zeros_at_the_end_are_passed_over() -> None:
    decoder = Decoder()
    result = decode(decoder, v9(template(256, FOUR, 9), set_of(77, b"abcd"), data(256, 7), bytes(1000)))
    assert columns(result) == [(256, [[7]])]
    assert decoder.sets.ignored == {"reserved set number": 1}
    assert decoder.accounting.corrected == {"zeros after the last set": 1}


def test_padding_is_what_cannot_hold_a_shortest_record() -> None:
    decoder = Decoder()
    wide = ipfix(template(256, [(8, 4), (4, 1)]), data(256, 1, 2, octets=5, padding=2), data(256, octets=5, padding=4))
    assert columns(decode(decoder, wide)) == [(256, [[0, 0], [1, 2]])]
    # Six octets of zeros hold a record of five: nothing tells them from padding.
    assert sum(map(len, decode(decoder, ipfix(data(256, 1, octets=5, padding=6))))) == 2


def variable(*contents: bytes, long: bool = False) -> bytes:
    return b"".join(
        (b"\xff" + struct.pack(">H", len(c)) if long or len(c) > 254 else bytes([len(c)])) + c for c in contents
    )


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("version", [9, 10])
def test_fields_of_variable_length(long: bool, version: int) -> None:
    fields = [(96, 65535), (8, 4), (460, 65535), (1, 8)]
    rows = [(b"dns", 1, b"", 10), (b"x" * 254, 2, b"y" * 300, 20), (b"", 3, b"z", 30)]
    body = b"".join(
        variable(a, long=long) + struct.pack(">I", b) + variable(c, long=long) + struct.pack(">Q", d)
        for a, b, c, d in rows
    )
    decoder = Decoder()
    message = (ipfix if version == 10 else v9)(template(256, fields, version), set_of(256, body + bytes(3)))
    [records] = decode(decoder, message)
    assert records.unsigned(1).tolist() == [1, 2, 3] and records.unsigned(3).tolist() == [10, 20, 30]
    for i, place in ((0, 0), (2, 2)):
        offset, octets = records.spans(i)
        texts = [bytes(records.data[a : a + n]) for a, n in zip(offset, octets, strict=True)]
        assert texts == [row[place] for row in rows]
    assert records.broken == 0


def test_a_field_beyond_its_set_ends_the_set() -> None:
    decoder = Decoder()
    fields = template(256, [(96, 65535), (8, 4)])
    for tail in (b"\x09abcdefgh", b"\xff\xff", b"\xff\x00", b"\xff\xff\xffabc", b"\x04abcd123"):
        body = b"\x01a\0\0\0\x07" + tail
        [records] = decode(decoder, ipfix(fields, set_of(256, body), data(300, 1)))
        assert records.unsigned(1).tolist() == [7]
    assert decoder.records.dropped == {"longer than its set": 3}
    assert decoder.records.used == 5


def test_numbers_of_reduced_size_signed_ones_and_reals() -> None:
    fields = [(1, 3), (434, 2), (320, 4), (320, 8), (27, 16), (56, 6), (82, 0), (1, 5), (1, 8)]
    body = (
        (70_000).to_bytes(3) + (-2).to_bytes(2, signed=True) + struct.pack(">fd", 0.5, -1e300) + bytes(range(16))
        + bytes.fromhex("aabbccddeeff") + b"" + (1 << 39).to_bytes(5) + b"\xff" * 8
    )  # fmt: skip
    [records] = decode(Decoder(), ipfix(template(256, fields), set_of(256, body)))
    assert records.unsigned(0).tolist() == [70_000] and records.signed(0).tolist() == [70_000]
    assert records.signed(1).tolist() == [-2]
    assert records.real(2).tolist() == [0.5] and records.real(3).tolist() == [-1e300]
    assert np.isnan(records.real(0)).all()
    high, low = records.address(4)
    assert (int(high[0]), int(low[0])) == (0x0001020304050607, 0x08090A0B0C0D0E0F)
    assert records.unsigned(4).tolist() == [0x08090A0B0C0D0E0F]
    assert records.unsigned(5).tolist() == [0xAABBCCDDEEFF]
    assert records.unsigned(6).tolist() == [0] and records.spans(6)[1].tolist() == [0]
    assert records.unsigned(7).tolist() == [1 << 39]
    assert records.unsigned(8).tolist() == [(1 << 64) - 1] and records.signed(8).tolist() == [-1]
    assert records.has(0, 1) == 0 and records.has(0, 2) is None


def test_options_count_their_scope_in_octets_in_v9_and_in_fields_in_ipfix() -> None:
    # v9: scope 1 (system) of no octets is a real field; in v9 its number is no information element.
    head = struct.pack(">HHH", 257, 4, 8) + struct.pack(">HHHHHH", 1, 0, 34, 4, 35, 1)
    [records] = decode(Decoder(), v9(set_of(1, head), set_of(257, struct.pack(">IB", 1000, 2))))
    assert records.template.options and [f.scope for f in records.template.fields] == [True, False, False]
    assert records.unsigned(1).tolist() == [1000] and records.has(0, 1) is None and records.has(0, 34) == 1
    head = struct.pack(">HHH", 257, 3, 2) + struct.pack(">HHHHHH", 149, 4, 302, 0, 305, 4)
    decoder = Decoder()
    [records] = decode(decoder, ipfix(set_of(3, head), set_of(257, struct.pack(">II", 9, 100))))
    assert [f.scope for f in records.template.fields] == [True, True, False]
    assert records.unsigned(2).tolist() == [100] and records.has(0, 149) == 0
    assert decoder.records.ignored == {"options record": 1} and decoder.records.used == 0


def test_elements_of_enterprises_and_of_the_other_direction() -> None:
    specifiers = struct.pack(">HHI", 0x8000 | 1, 8, 29305) + struct.pack(">HHI", 0x8000 | 0x4000 | 14, 2, 6871)
    specifiers += struct.pack(">HHI", 0x8000 | 100, 4, 9)
    message = ipfix(set_of(2, struct.pack(">HH", 256, 3) + specifiers), set_of(256, bytes(13) + b"\5"))
    [records] = decode(Decoder(), message)
    assert records.has(0, 1, reverse=True) == 0 and records.has(0, 1) is None
    assert records.has(6871, 14, reverse=True) == 1
    assert records.has(9, 100) == 2 and records.unsigned(2).tolist() == [5]


def test_more_exporters_than_allowed_are_refused_and_counted() -> None:
    decoder = Decoder(WireSettings(max_exporters=1))
    decode(decoder, v5([v5_record(1)]))
    assert decode(decoder, v5([v5_record(1)]), exporter=Exporter("198.51.100.7", 1)) == []
    assert decoder.accounting.dropped == {"too many exporters": 1}
    assert len(decode(decoder, v5([v5_record(1)]))) == 1


def test_more_messages_than_fit_in_one_table_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.io.wire.decoder.TABLE_ROWS", 64)
    decoder = Decoder()
    messages = [ipfix(template(256, FOUR)), *(ipfix(data(256, i)) for i in range(500))]
    result = decode(decoder, *messages)
    assert [value for part in result for value in part.unsigned(0).tolist()] == list(range(500))
    assert len(result) > 1


def test_no_messages_give_no_records() -> None:
    assert decode(Decoder()) == []


def test_records_of_equal_templates_are_decoded_as_one_and_stand_apart() -> None:
    variable_fields = [(96, 65535), (8, 4)]
    decoder = Decoder()
    messages = [ipfix(template(256 + i, variable_fields if i % 2 else FOUR)) for i in range(6)]
    for turn in range(3):
        messages += [
            ipfix(set_of(256 + i, (bytes([i]) + bytes(i) if i % 2 else b"") + bytes([0, 0, turn, i])), sequence=turn)
            for i in (5, 2, 0, 1, 4)
        ]
    result = decode(decoder, *messages)
    assert [part.template.id for part in result] == [261, 258, 256, 257, 260]
    for part in result:
        i = part.template.id - 256
        last = part.has(0, 8)
        assert last is not None and len(part) == 3 and part.set_records.tolist() == [1, 1, 1]
        assert part.unsigned(last).tolist() == part.signed(last).tolist() == [i, 256 + i, 512 + i]
        assert part.address(last)[1].tolist() == [i, 256 + i, 512 + i]
        assert part.headers["sequence"][part.message].tolist() == [0, 1, 2]
        assert bytes(part.data[part.starts[0] : part.starts[0] + 1]) == (bytes([i]) if i % 2 else b"\0")
        if i % 2:
            assert part.spans(0)[1].tolist() == [i] * 3
        assert np.isfinite(part.real(last)).all()
    assert decoder.records.used == 15


def test_versions_with_equal_fields_are_decoded_as_one_and_keep_their_version() -> None:
    decoder = Decoder()
    nine, ten = decode(decoder, v9(template(256, FOUR, 9), data(256, 1)), ipfix(template(256, FOUR), data(256, 2)))
    assert (nine.template.version, nine.unsigned(0).tolist()) == (9, [1])
    assert (ten.template.version, ten.unsigned(0).tolist()) == (10, [2])


def test_records_so_short_that_they_are_an_attack_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.io.wire.decoder.SHORT_RECORDS", 100)
    for short in ([(4, 1)], [(96, 65535)]):
        decoder = Decoder()
        decode(decoder, ipfix(template(256, short), template(257, FOUR), template(258, [(8, 4)] * 5)))
        tiny = ipfix(set_of(256, bytes(60)))
        result = decode(decoder, tiny, tiny, ipfix(data(257, *range(60))), ipfix(set_of(258, bytes(200))), tiny)
        # 100 more than one for each 16 octets: first those of four octets, then of one octet what room is left for.
        assert [(part.template.id, len(part)) for part in result] == [(256, 60), (257, 60), (258, 10)]
        assert decoder.sets.dropped == {"too many short records": 2}
        decode(decoder, *(ipfix(set_of(300, bytes(40))) for _ in range(5)))
        assert [len(part) for part in decode(decoder, ipfix(template(300, short)))] == [80]
        assert decoder.sets.dropped == {"too many short records": 5}
        assert decoder.records.used == 210
