"""Output of the builder, octet by octet: headers, sequence rules, sets, padding, variable length, MTU."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ethogram.errors import UsageError
from ethogram.io.wire.build import (
    Encoded,
    MessageBuilder,
    Set,
    batch,
    data,
    encode,
    template_set,
    withdrawal_set,
    write_file,
)
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template, v5_template

ADDRESS, OCTETS = Field(0, 8, 4), Field(0, 1, 4)
TIME_MS = 1_700_000_000_250


def template(version: int, fields: list[Field], number: int = 256, *, options: bool = False) -> Template:
    return Template(version, 0, number, tuple(fields), options=options)


def numbers(*values: int) -> np.ndarray:
    return np.array(values)


def sets_of(message: bytes) -> list[tuple[int, bytes]]:
    at, by_name = {9: 20, 10: 16}[message[1]], []
    while at < len(message):
        number, length = struct.unpack_from(">HH", message, at)
        assert length >= 4
        by_name.append((number, message[at + 4 : at + length]))
        at += length
    assert at == len(message)
    return by_name


def test_an_ipfix_message_has_the_header_of_the_rfc_and_counts_data_records() -> None:
    flows = template(10, [ADDRESS, OCTETS])
    build = MessageBuilder(10, domain=7, sequence=0xFFFFFFFF)
    [first] = build.messages([template_set(flows), data(flows, [numbers(1, 2), numbers(3, 4)])], TIME_MS)
    assert struct.unpack_from(">HHIII", first) == (10, len(first), 1_700_000_000, 0xFFFFFFFF, 7)
    assert sets_of(first) == [
        (2, struct.pack(">HHHHHH", 256, 2, 8, 4, 1, 4)),
        (256, struct.pack(">IIII", 1, 3, 2, 4)),
    ]
    assert build.sequence == 1  # modulo 2**32; the template is no data record


def test_options_data_records_count_in_ipfix_and_templates_do_not() -> None:
    options = template(10, [Field(0, 149, 4, scope=True), Field(0, 34, 4)], 300, options=True)
    build = MessageBuilder(10)
    build.messages([template_set(options), withdrawal_set(400), data(options, [numbers(7), numbers(100)])], 0)
    assert build.sequence == 1


def test_a_v9_message_counts_all_records_in_its_header_and_messages_in_its_sequence() -> None:
    flows = template(9, [ADDRESS, OCTETS])
    build = MessageBuilder(9, domain=5, boot_ms=TIME_MS - 1234)
    columns = [numbers(1, 2, 3), numbers(3, 4, 5)]
    [first] = build.messages([template_set(flows), data(flows, columns)], TIME_MS)
    assert struct.unpack_from(">HHIIII", first) == (9, 4, 1234, 1_700_000_000, 0, 5)
    assert [number for number, _ in sets_of(first)] == [0, 256]
    [second] = build.messages([data(flows, columns)], TIME_MS)
    assert struct.unpack_from(">HHIIII", second)[4] == 1


def test_a_v5_message_holds_thirty_records_at_most_and_counts_flows() -> None:
    flows = v5_template(0)
    columns = [np.full(70, 1) for _ in V5_FIELDS]
    build = MessageBuilder(5, domain=0x0102, boot_ms=TIME_MS, mtu=9000, sampling=0x4064)
    messages = build.messages([data(flows, columns)], TIME_MS)
    heads = [struct.unpack_from(">HHIIIIBBH", message) for message in messages]
    assert [(head[1], head[5]) for head in heads] == [(30, 0), (30, 30), (10, 60)]
    assert heads[0] == (5, 30, 0, 1_700_000_000, 250_000_000, 0, 1, 2, 0x4064)
    assert [len(message) for message in messages] == [24 + 48 * 30, 24 + 48 * 30, 24 + 48 * 10]
    assert sum(field.length for field in V5_FIELDS) == 48


def test_uptime_wraps_after_49_days() -> None:
    build = MessageBuilder(9, boot_ms=0)
    flows = template(9, [OCTETS])
    [message] = build.messages([data(flows, [numbers(1)])], (1 << 32) + 5)
    assert struct.unpack_from(">HHI", message)[2] == 5


def test_options_templates_state_octets_of_scope_in_v9_and_fields_in_ipfix() -> None:
    fields = [Field(0, 1, 4, scope=True), Field(0, 34, 4), Field(0, 35, 1)]
    nine = template_set(template(9, fields, 260, options=True))
    ten = template_set(template(10, fields, 260, options=True))
    specifiers = struct.pack(">HHHHHH", 1, 4, 34, 4, 35, 1)
    assert nine.octets == struct.pack(">HHHHH", 1, 24, 260, 4, 8) + specifiers + b"\0\0"
    assert ten.octets == struct.pack(">HHHHH", 3, 24, 260, 3, 1) + specifiers + b"\0\0"


def test_enterprise_and_reverse_elements_have_their_number() -> None:
    fields = [Field(6871, 14, 4), Field(0, 1, 8, reverse=True), Field(6871, 21, 4, reverse=True)]
    octets = template_set(template(10, fields)).octets
    assert octets[8:] == struct.pack(">HHIHHIHHI", 0x800E, 4, 6871, 0x8001, 8, 29305, 0xC015, 4, 6871)


def test_withdrawals_have_no_fields_and_all_of_a_kind_have_the_sets_own_id() -> None:
    assert withdrawal_set(256, 257) == Set(struct.pack(">HHHHHH", 2, 12, 256, 0, 257, 0), 2, data=False)
    assert withdrawal_set().octets == struct.pack(">HHHH", 2, 8, 2, 0)
    assert withdrawal_set(options=True).octets == struct.pack(">HHHH", 3, 8, 3, 0)


@pytest.mark.parametrize(
    ("length", "head"), [(0, b"\0"), (254, b"\xfe"), (255, b"\xff\x00\xff"), (300, b"\xff\x01\x2c")]
)
def test_variable_length_takes_one_octet_or_three(length: int, head: bytes) -> None:
    text = b"x" * length
    encoded = encode([Field(0, 4, 1), Field(0, 96, VARIABLE), Field(0, 5, 1)], [numbers(6), [text], numbers(9)])
    assert encoded.tobytes() == b"\x06" + head + text + b"\x09"


def test_the_long_form_is_allowed_for_short_values() -> None:
    assert encode([Field(0, 96, VARIABLE)], [[b"ab"]], long_form=True).tobytes() == b"\xff\x00\x02ab"


def test_records_of_variable_length_are_interleaved_right() -> None:
    names = [b"", b"abc", b"y" * 400, b"z"]
    encoded = encode(
        [Field(0, 4, 2), Field(0, 96, VARIABLE), Field(0, 82, VARIABLE)], [numbers(1, 2, 3, 4), names, names]
    )
    expected = [
        struct.pack(">H", i + 1) + 2 * ((bytes([len(n)]) if len(n) < 255 else b"\xff" + struct.pack(">H", len(n))) + n)
        for i, n in enumerate(names)
    ]
    assert encoded.tobytes() == b"".join(expected)
    assert [encoded[i : i + 1].tobytes() for i in range(4)] == expected


def test_reduced_size_keeps_signs_and_reals_take_four_or_eight() -> None:
    fields = [Field(0, 434, 3), Field(0, 320, 4), Field(0, 320, 8), Field(0, 57, 16)]
    columns = [numbers(-2), np.array([1.5]), np.array([-0.25]), numbers(258)]
    assert (
        encode(fields, columns).tobytes() == b"\xff\xff\xfe" + struct.pack(">fd", 1.5, -0.25) + b"\0" * 14 + b"\x01\x02"
    )


def test_what_does_not_fit_is_refused() -> None:
    for field, column in (
        (Field(0, 1, 2), numbers(65_536)),
        (Field(0, 434, 1), numbers(-129)),
        (Field(0, 82, 4), [b"five!"]),
        (Field(0, 320, 3), np.array([1.0])),
        (Field(0, 27, 16), np.zeros((1, 15), np.uint8)),
        (Field(0, 96, VARIABLE), [b"x" * 65_536]),
    ):
        with pytest.raises(UsageError):
            encode([field], [column])
    with pytest.raises(UsageError):
        encode([ADDRESS, OCTETS], [numbers(1), numbers(1, 2)])
    with pytest.raises(UsageError):
        template_set(template(9, [ADDRESS]), template(9, [ADDRESS], options=True))


def test_a_set_is_padded_only_where_no_record_could_be_read_from_it() -> None:
    five = template(10, [Field(0, 1, 4), Field(0, 4, 1)])
    two = template(10, [Field(0, 7, 2)])
    build = MessageBuilder(10)
    [message] = build.messages([data(five, [numbers(1), numbers(2)]), data(two, [numbers(3)])], 0)
    assert [len(octets) for _, octets in sets_of(message)] == [8, 2]


@pytest.mark.parametrize("version", [9, 10])
def test_messages_keep_to_the_mtu_and_lose_no_record(version: int) -> None:
    flows = template(version, [ADDRESS, Field(0, 96, VARIABLE)])
    fixed = template(version, [Field(0, 1, 8), Field(0, 4, 3)], 257)
    texts = [b"n" * (i * 37 % 290) for i in range(500)]
    build = MessageBuilder(version, mtu=512)
    parts = [
        template_set(flows, fixed),
        data(flows, [np.arange(500), texts]),
        data(fixed, [np.arange(70), np.arange(70)]),
    ]
    messages = build.messages(parts, 0)
    assert max(map(len, messages)) <= 512
    assert min(map(len, messages[:-1])) > 200
    octets = {256: b"", 257: b""}
    for message in messages:
        for number, content in sets_of(message):
            if number >= 256:
                octets[number] += content if number == 256 else content[: len(content) // 11 * 11]
    assert octets[257] == encode(fixed.fields, [np.arange(70), np.arange(70)]).tobytes()
    assert build.sequence == (570 if version == 10 else len(messages))


def test_a_record_longer_than_the_mtu_has_a_message_for_itself() -> None:
    flows = template(10, [Field(0, 96, VARIABLE)])
    texts = [b"a", b"b" * 3000, b"c"]
    messages = MessageBuilder(10, mtu=600).messages([data(flows, [texts])], 0)
    assert [len(message) > 600 for message in messages] == [False, True, False]
    with pytest.raises(UsageError):
        MessageBuilder(10).messages([data(flows, [[b"b" * 65_535]])], 0)


def test_no_records_make_no_message() -> None:
    flows = template(10, [ADDRESS])
    assert MessageBuilder(10).messages([data(flows, [numbers()])], 0) == []
    assert encode([ADDRESS, Field(0, 96, VARIABLE)], [numbers(), []]).tobytes() == b""


def test_a_batch_is_what_a_receiver_would_give() -> None:
    first = batch([b"abc", b"", b"de"], arrival_ns=[1, 2, 3])
    spans = zip(first.offset, first.octets, strict=True)
    assert [bytes(first.data[o : o + n]) for o, n in spans] == [b"abc", b"", b"de"]
    assert first.arrival_ns.tolist() == [1, 2, 3]
    assert len(first) == 3


def test_an_ipfix_file_is_messages_one_after_another(tmp_path: Path) -> None:
    flows = template(10, [ADDRESS])
    messages = MessageBuilder(10).messages([template_set(flows), data(flows, [np.arange(1000)])], 0)
    assert len(messages) > 2
    assert write_file(tmp_path / "a.ipfix", messages) == sum(map(len, messages))
    assert (tmp_path / "a.ipfix").read_bytes() == b"".join(messages)


def test_encoded_records_are_cut_by_slices() -> None:
    encoded = encode([ADDRESS], [np.arange(10)])
    assert isinstance(encoded[2:5], Encoded)
    assert encoded[2:5].tobytes() == struct.pack(">III", 2, 3, 4)
    assert len(encoded[8:20]) == 2
