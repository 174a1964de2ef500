"""Templates in force: redefinition, withdrawal, expiry, limits, sessions, and storage."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from wire_messages import ONE, TWO, S, columns, data, decode, ipfix, set_of, several, template, v5, v5_record, v9

from ethogram.config import WireSettings
from ethogram.errors import InputError
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.template import parse_definitions
from ethogram.io.wire.templates import TemplateStore
from ethogram.schema import Exporter

FOUR, TWO_TWO = [(8, 4)], [(7, 2), (11, 2)]
WITHDRAW = set_of(2, struct.pack(">HH", 256, 0))


def whats(decoder: Decoder) -> list[tuple[int, str]]:
    return [(event.id, event.what) for event in decoder.events]


def test_a_redefinition_counts_from_where_it_stands() -> None:
    decoder = Decoder()
    result = decode(
        decoder,
        ipfix(template(256, FOUR), data(256, 0x00010002), template(256, TWO_TWO), data(256, 0x00030004)),
        ipfix(data(256, 0x00050006)),
        ipfix(template(256, FOUR)),
        ipfix(data(256, 0x00070008)),
    )
    assert columns(result) == [
        (256, [[0x00010002]]), (256, [[3, 5], [4, 6]]), (256, [[0x00070008]]),
    ]  # fmt: skip
    generations = [part.template.generation for part in result]
    assert len(set(generations)) == 3 and generations == sorted(generations)
    assert whats(decoder) == [(256, "new"), (256, "changed"), (256, "changed")]


@pytest.mark.parametrize("version", [9, 10])
def test_the_same_fields_as_options_are_another_template(version: int) -> None:
    # Without a scope, which some exporters leave out, only the template's set says what its records are.
    message = ipfix if version == 10 else v9
    field = struct.pack(">HH", *FOUR[0])
    options = (
        set_of(3, struct.pack(">HHH", 256, 1, 0) + field) if version == 10
        else set_of(1, struct.pack(">HHH", 256, 0, 4) + field)
    )  # fmt: skip
    decoder = Decoder()
    result = decode(
        decoder, message(template(256, FOUR, version), data(256, 1), options, data(256, 2)), message(data(256, 3)),
    )  # fmt: skip
    by_kind = {part.template.options: part.unsigned(0).tolist() for part in result}
    assert by_kind == {False: [1], True: [2, 3]}
    assert whats(decoder) == [(256, "new"), (256, "changed")]
    again = decode(decoder, message(template(256, FOUR, version), data(256, 4)))
    assert [(part.template.options, part.unsigned(0).tolist()) for part in again] == [(False, [4])]


def test_a_template_sent_again_is_the_same_generation() -> None:
    decoder = Decoder()
    message = ipfix(template(256, FOUR), data(256, 1))
    [records] = decode(decoder, message, message, message)
    assert records.unsigned(0).tolist() == [1, 1, 1]
    assert decoder.store.counters == {"new": 1}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (set_of(2, struct.pack(">HHHHHH", 256, 2, 8, 0, 12, 0)), "records of no length"),
        (set_of(2, struct.pack(">HHHH", 256, 2, 8, 4)), "cut short"),
        (set_of(2, struct.pack(">HHHHH", 256, 1, 0x8001, 4, 9)), "cut short"),
        (set_of(2, struct.pack(">HH", 256, 9) + struct.pack(">HH", 1, 8) * 9), "too many fields"),
        (set_of(3, struct.pack(">HHHHH", 256, 1, 2, 8, 4)), "more scope fields than fields"),
    ],
)
def test_an_invalid_redefinition_deletes_the_one_before(bad: bytes, problem: str) -> None:
    decoder = Decoder(WireSettings(max_fields=8))
    assert columns(decode(decoder, ipfix(template(256, FOUR), data(256, 1)), ipfix(bad), ipfix(data(256, 2)))) == [
        (256, [[1]])
    ]
    assert whats(decoder)[-1] == (256, f"refused: {problem}")
    assert decoder.sets.dropped == {"waiting for a template": 1}
    assert len(decoder.store) == 0


def test_templates_are_withdrawn_one_by_one_or_all_of_a_kind() -> None:
    options = set_of(3, struct.pack(">HHHHH", 300, 1, 1, 149, 4))
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR), template(257, FOUR), options), ipfix(template(256, FOUR), domain=2))
    assert len(decoder.store) == 4
    decode(decoder, ipfix(WITHDRAW))
    assert whats(decoder)[-1] == (256, "withdrawn") and len(decoder.store) == 3
    decode(decoder, ipfix(set_of(2, struct.pack(">HH", 2, 0))))
    assert whats(decoder)[-1] == (257, "withdrawn") and len(decoder.store) == 2
    decode(decoder, ipfix(set_of(3, struct.pack(">HH", 3, 0))))
    assert whats(decoder)[-1] == (300, "withdrawn") and len(decoder.store) == 1
    decode(decoder, ipfix(WITHDRAW))  # of what is not there: nothing
    assert decoder.store.counters == {"new": 4, "withdrawn": 3}


def test_the_key_is_the_exporter_version_domain_and_number() -> None:
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR)))
    for message, exporter in (
        (ipfix(data(256, 1)), TWO), (ipfix(data(256, 1), domain=2), ONE), (v9(data(256, 1)), ONE),
        (ipfix(data(257, 1)), ONE), (ipfix(data(256, 1)), Exporter(ONE.address, 1234)),
    ):  # fmt: skip
        assert decode(decoder, message, exporter=exporter) == []
    assert decoder.sets.dropped == {"waiting for a template": 5}


OTHER_PORT = Exporter(ONE.address, 1234)


def booted(message: bytes, uptime_ms: int) -> bytes:
    """A v9 message with another uptime."""
    return message[:4] + struct.pack(">I", uptime_ms) + message[8:]


@pytest.mark.parametrize("make", [ipfix, v9])
@pytest.mark.parametrize("at_once", [True, False])
def test_exporters_sharing_an_address_have_separate_templates(make: Callable[..., bytes], at_once: bool) -> None:
    """Each id has another meaning for each exporter in any order; exporters differ by port, not by address."""
    version = 9 if make is v9 else 10
    decoder = Decoder()
    messages = [
        (ONE, make(template(256, FOUR, version))), (ONE, make(data(256, 0x00010002))),
        # The records of the second exporter precede its template and wait for it.
        (OTHER_PORT, make(data(256, 0x00030004))), (ONE, make(data(256, 0x00050006))),
        (OTHER_PORT, make(template(256, TWO_TWO, version))), (OTHER_PORT, make(data(256, 0x00070008))),
        (ONE, make(data(256, 0x0009000A))),
    ]  # fmt: skip
    if make is v9:
        messages = [(who, booted(m, 5000 if who is ONE else 900_000)) for who, m in messages]
    times = list(range(len(messages)))
    batches = [several(messages, times)] if at_once else [several([m], t) for m, t in zip(messages, times, strict=True)]
    result = [part for each in batches for part in decoder.decode(each)]
    result += decoder.finish()
    read = zip(result, columns(result), strict=True)
    assert {(part.exporter.port, tuple(map(tuple, numbers))) for part, (_, numbers) in read} <= {
        (port, tuple(values))
        for port, values in [
            (ONE.port, ((0x00010002, 0x00050006, 0x0009000A),)), (ONE.port, ((0x00010002,),)),
            (ONE.port, ((0x00050006,),)), (ONE.port, ((0x0009000A,),)),
            (1234, ((3,), (4,))), (1234, ((7,), (8,))),
        ]
    }  # fmt: skip
    assert sum(map(len, result)) == 5
    assert decoder.store.counters == {"new": 2}


def test_an_exporter_that_changes_its_port_takes_its_templates_along() -> None:
    # By the uptime of NetFlow v9 at once, also beside the old port.
    decoder = Decoder()
    decode(decoder, v9(template(256, FOUR, 9)))
    assert columns(decode(decoder, v9(data(256, 1)), exporter=OTHER_PORT)) == [(256, [[1]])]
    assert decoder.store.counters == {"new": 1, "taken over from another port": 1}
    # An exporter that started at another time must send its own template.
    decoder = Decoder()
    decode(decoder, v9(template(256, FOUR, 9)))
    assert decode(decoder, booted(v9(data(256, 1)), 100_000), exporter=OTHER_PORT) == []
    # IPFIX does not state the start time: the old port must stay silent.
    for still_sends in (False, True):
        decoder = Decoder()
        decode(decoder, ipfix(template(256, FOUR)), at_s=0)
        result = []
        for at_s in range(5, 1205, 60):
            result += decode(decoder, ipfix(data(256, at_s)), exporter=OTHER_PORT, at_s=at_s)
            if still_sends:
                decode(decoder, ipfix(data(256, 1)), at_s=at_s + 1)
        values = [value for _, [column] in columns(result) for value in column]
        assert values == ([] if still_sends else list(range(5, 1205, 60)))
        assert decoder.sets.balanced
    # One that had gone before; and when it is back after all, they are two.
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR)), at_s=0)
    assert len(decode(decoder, ipfix(data(256, 1)), exporter=OTHER_PORT, at_s=10)) == 1
    assert len(decode(decoder, ipfix(data(256, 1)), at_s=11)) == 1
    assert whats(decoder) == [(256, "new"), (256, "taken over from another port"), (256, "taken back")]
    assert decode(decoder, ipfix(data(256, 1)), exporter=OTHER_PORT, at_s=12) == []
    # If no more messages will arrive, silence until the end suffices.
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR)), at_s=0)
    decode(decoder, ipfix(data(256, 7)), exporter=OTHER_PORT, at_s=1)
    assert columns(decoder.finish()) == [(256, [[7]])]
    assert decoder.sets.dropped == {}
    assert decoder.sets.balanced


def test_two_exporters_in_one_batch_are_not_mixed() -> None:
    result = Decoder().decode(several([
        (ONE, ipfix(template(256, FOUR))), (TWO, ipfix(template(256, TWO_TWO))),
        (ONE, ipfix(data(256, 0x00010002))), (TWO, ipfix(data(256, 0x00010002))), (TWO, v5([v5_record(1)])),
        (ONE, v5([v5_record(1)])),
    ]))  # fmt: skip
    assert [(part.exporter, part.template.version, len(part)) for part in result] == [
        (ONE, 10, 1), (TWO, 10, 1), (TWO, 5, 1), (ONE, 5, 1)
    ]  # fmt: skip
    assert [len(part.template.fields) for part in result[:2]] == [1, 2]


def test_over_udp_a_template_not_sent_again_expires_and_in_a_session_it_does_not() -> None:
    settings = WireSettings(template_lifetime_s=100)
    decoder = Decoder(settings)
    tcp = Exporter("192.0.2.9", 5, "tcp", 3)
    for exporter in (ONE, tcp):
        decode(decoder, ipfix(template(256, FOUR)), exporter=exporter, at_s=1000)
    assert len(decode(decoder, ipfix(data(256, 1)), at_s=1100)) == 1
    assert decode(decoder, ipfix(data(256, 1)), at_s=1101) == []
    assert whats(decoder)[-1] == (256, "expired")
    assert len(decode(decoder, ipfix(data(256, 1)), exporter=tcp, at_s=9000)) == 1
    decoder.end_session(tcp)
    assert whats(decoder)[-1] == (256, "session ended")
    assert decode(decoder, ipfix(data(256, 1)), exporter=tcp, at_s=9000) == []


def test_what_is_sent_again_lives_on() -> None:
    decoder = Decoder(WireSettings(template_lifetime_s=100))
    for at_s in range(0, 1000, 90):
        assert len(decode(decoder, ipfix(template(256, FOUR), data(256, 1)), at_s=at_s)) == 1
    assert decoder.store.counters == {"new": 1}


def test_the_templates_unused_for_longest_leave_first() -> None:
    decoder = Decoder(WireSettings(max_templates_per_exporter=3, max_templates=4))
    decode(decoder, ipfix(*(template(256 + i, FOUR) for i in range(3))))
    decode(decoder, ipfix(data(256, 1)))
    decode(decoder, ipfix(template(300, FOUR)))
    assert whats(decoder)[-2:] == [(257, "evicted"), (300, "new")]
    decode(decoder, ipfix(template(256, FOUR), template(257, FOUR)), exporter=TWO)
    assert whats(decoder)[-2:] == [(258, "evicted"), (257, "new")]
    assert len(decoder.store) == 4
    assert len(decode(decoder, ipfix(data(256, 1), data(300, 1)))) == 2


def test_exporters_of_whom_nothing_is_understood_make_room_for_others() -> None:
    decoder = Decoder(WireSettings(max_exporters=4, template_lifetime_s=86_400))
    decode(decoder, ipfix(template(256, FOUR)), exporter=ONE, at_s=1)
    decode(decoder, v5([v5_record(1)]), exporter=TWO, at_s=1)
    for i in range(40):
        decode(decoder, b"rubbish", exporter=Exporter(f"198.51.100.{i}", 9), at_s=2 + i)
    assert decoder.store.counters["exporters evicted: nothing understood"] == 38
    late = Exporter("203.0.113.1", 9)
    assert len(decode(decoder, ipfix(template(256, FOUR), data(256, 1)), exporter=late, at_s=50)) == 1
    # Three are useful now, and the fourth place stays free for the next that is.
    assert len(decode(decoder, ipfix(data(256, 1)), exporter=ONE, at_s=51)) == 1
    assert len(decode(decoder, v5([v5_record(1)]), exporter=TWO, at_s=52)) == 1
    decode(decoder, v5([v5_record(1)]), exporter=Exporter("203.0.113.2", 9), at_s=53)
    refused = decoder.accounting.dropped["too many exporters"]
    decode(decoder, ipfix(template(256, FOUR)), exporter=Exporter("203.0.113.3", 9), at_s=54)
    assert decoder.accounting.dropped["too many exporters"] == refused + 1
    # Exporters that were silent for long are evicted with their templates.
    decode(decoder, ipfix(template(256, FOUR)), exporter=Exporter("203.0.113.3", 9), at_s=653)
    assert decoder.accounting.dropped["too many exporters"] == refused + 1
    assert decoder.store.counters["exporters evicted: silent"] == 1
    assert len(decode(decoder, ipfix(data(256, 1)), exporter=late, at_s=653)) == 0


def test_a_flood_of_addresses_in_one_batch_does_not_take_the_place_of_one_that_is_decoded_with_it() -> None:
    decoder = Decoder(WireSettings(max_exporters=4))
    batch = [(Exporter(f"198.51.100.{i}", 9), ipfix(template(256, FOUR), data(256, i))) for i in range(20)]
    assert len(decoder.decode(several(batch))) == 4
    assert decoder.accounting.dropped == {"too many exporters": 16}


def test_a_template_of_many_fields_counts_as_several() -> None:
    decoder = Decoder(WireSettings(max_templates_per_exporter=4))
    long = template(256, [(1, 1)] * 193)
    decode(decoder, ipfix(template(300, FOUR)), ipfix(long))
    assert whats(decoder) == [(300, "new"), (300, "evicted"), (256, "new")]


def test_a_template_set_is_read_up_to_its_first_error() -> None:
    two = struct.pack(">HHHH", 256, 1, 8, 4) + struct.pack(">HHHH", 257, 1, 12, 4)
    assert [item.id for item in parse_definitions(two, 10, False, 512)] == [256, 257]
    assert [item.id for item in parse_definitions(two + bytes(7), 9, False, 512)] == [256, 257]
    problems = [item.problem for item in parse_definitions(two + b"\0\5\0\1\0\1\0\1", 10, False, 512)]
    assert problems == [None, None, "template number below 256"]
    assert parse_definitions(b"", 10, False, 512) == parse_definitions(b"\1\0\0", 10, False, 512) == []
    [cut] = parse_definitions(struct.pack(">HH", 256, 3), 10, True, 512)
    assert cut.problem == "cut short"


# On disk


def stored(decoder: Decoder) -> list[object]:
    return [
        (e.exporter.address, e.template.version, e.template.domain, e.template.id, e.template.fields, e.seen_ns)
        for e in decoder.store.entries()
    ]


def test_templates_are_kept_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "templates"
    before = Decoder()
    scope = set_of(3, struct.pack(">HHHHHHHHI", 300, 2, 1, 149, 4, 0x8000 | 1, 8, 0, 29305))
    decode(before, ipfix(template(256, FOUR), scope), v9(template(256, TWO_TWO, 9)), at_s=5)
    decode(before, ipfix(template(999, FOUR)), exporter=Exporter("192.0.2.7", 1, "tcp", 1))
    before.store.save(file)
    store = TemplateStore()
    assert store.load(file) is None
    after = Decoder(store=store)
    assert stored(after) == [row for row in stored(before) if row[3] != 999]
    assert columns(decode(after, ipfix(data(256, 1)), v9(data(256, 2)), at_s=6)) == [(256, [[1]]), (256, [[0], [2]])]
    assert store.counters == {"loaded": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["templates"]


def test_a_decoder_uses_the_store_it_is_given_even_an_empty_one() -> None:
    store = TemplateStore()
    decode(Decoder(store=store), ipfix(template(256, FOUR)))
    assert len(store) == 1


def test_without_a_file_yet_nothing_is_taken_up(tmp_path: Path) -> None:
    assert TemplateStore().load(tmp_path / "none") is None


def test_a_file_that_is_not_what_was_written_is_a_clean_start(tmp_path: Path) -> None:
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR)))
    file = tmp_path / "templates"
    decoder.store.save(file)
    sound = file.read_bytes()
    head, body = sound.rstrip(b"\n").split(b"\n")

    def signed(rows: object) -> bytes:
        text = orjson.dumps(rows)
        return orjson.dumps({**orjson.loads(head), "sha256": hashlib.sha256(text).hexdigest()}) + b"\n" + text

    [row] = orjson.loads(body)
    wrong = [
        b"", sound[:-9], sound[: len(sound) // 2], sound.replace(b"192.0.2.1", b"192.0.2.3"), b"\0" * 99, head, body,
        sound.replace(b'"version":1', b'"version":2'), signed({}), signed([[1, 2]]),
        signed([[*row[:-1], [[0, 8, 0, 0, 0]]]]),
        signed([[*row[:4], 255, *row[5:]]]), signed([[None, *row[1:]]]), signed([[*row[:-1], [[0, 1 << 40, 4, 0, 0]]]]),
    ]  # fmt: skip
    for octets in wrong:
        file.write_bytes(octets)
        store = TemplateStore()
        note = store.load(file)
        assert note is not None and str(file) in note and "\n" not in note, octets
        assert len(store) == 0
    rng = np.random.default_rng(3)
    for _ in range(300):
        broken = bytearray(sound)
        broken[rng.integers(len(sound))] ^= int(rng.integers(1, 256))
        file.write_bytes(broken)
        store = TemplateStore()
        assert store.load(file) is not None or stored(Decoder(store=store)) == stored(decoder)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder()
    decode(decoder, ipfix(template(256, FOUR)))
    file = tmp_path / "templates"
    decoder.store.save(file)
    sound = file.read_bytes()
    decode(decoder, ipfix(template(257, FOUR)))

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        decoder.store.save(file)
    assert file.read_bytes() == sound and len(list(tmp_path.iterdir())) == 1


def test_loaded_templates_expire_as_if_there_had_been_no_restart(tmp_path: Path) -> None:
    settings = WireSettings(template_lifetime_s=100)
    decoder = Decoder(settings)
    decode(decoder, ipfix(template(256, FOUR)), at_s=1000)
    decoder.store.save(tmp_path / "templates")
    store = TemplateStore(settings)
    store.load(tmp_path / "templates")
    assert store.entries()[0].seen_ns == 1000 * S
    assert decode(Decoder(settings, store), ipfix(data(256, 1)), at_s=1101) == []


def test_ten_thousand_templates_of_five_hundred_exporters() -> None:
    exporters = [Exporter(f"198.51.{i >> 8}.{i & 255}", 2055) for i in range(500)]
    announced = [template(256 + k, FOUR if k % 2 else TWO_TWO) for k in range(20)]
    decoder = Decoder()
    decoder.decode(several([(exporter, ipfix(*announced)) for exporter in exporters]))
    assert len(decoder.store) == 10_000
    rng = np.random.default_rng(4)
    order = rng.permutation(10_000)
    messages = [(exporters[n // 20], ipfix(data(256 + n % 20, int(n)))) for n in order.tolist()]
    result = decoder.decode(several(messages))
    assert [(part.exporter, part.template.id) for part in result] == [(exporters[n // 20], 256 + n % 20) for n in order]
    for n, part in zip(order.tolist(), result, strict=True):
        values = [part.unsigned(i).tolist() for i in range(len(part.template.fields))]
        assert values == ([[n]] if n % 2 else [[n >> 16], [n & 0xFFFF]])
    assert decoder.sets.dropped == {}
