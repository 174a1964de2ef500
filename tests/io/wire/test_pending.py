"""Data sets before their template: held within limits, released in order, and all accounted for."""

from __future__ import annotations

import pytest
from wire_messages import ONE, TWO, S, columns, data, decode, ipfix, several, template, v9

from ethogram.config import WireSettings
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.pending import GROUP_COST, SET_COST
from ethogram.io.wire.sequence import Sequences
from ethogram.schema import Exporter

FOUR, TWO_TWO = [(8, 4)], [(7, 2), (11, 2)]
WAITING = "waiting for a template"


def test_sets_wait_for_their_template_and_come_in_order() -> None:
    decoder = Decoder()
    for i in range(3):
        assert decode(decoder, ipfix(data(256, 2 * i, 2 * i + 1)), at_s=i) == []
    assert decoder.sets.dropped == {WAITING: 3} and len(decoder.pending) == 3
    first, second = decode(decoder, ipfix(template(256, FOUR), data(256, 6)), at_s=3)
    assert first.unsigned(0).tolist() == [0, 1, 2, 3, 4, 5] and second.unsigned(0).tolist() == [6]
    assert first.headers["arrival_ns"][first.message].tolist() == [0, 0, S, S, 2 * S, 2 * S]
    assert first.exporter == ONE
    assert decoder.sets.dropped == {} and decoder.sets.corrected == {"waited for a template": 3}
    assert (decoder.sets.read, decoder.sets.used) == (5, 5)
    assert (len(decoder.pending), decoder.pending.octets) == (0, 0)


def test_a_set_in_the_same_batch_takes_the_first_template_that_comes() -> None:
    decoder = Decoder()
    result = decode(
        decoder, ipfix(data(256, 0x00010002)), ipfix(template(256, FOUR)), ipfix(template(256, TWO_TWO)),
        ipfix(data(256, 0x00030004)),
    )  # fmt: skip
    assert columns(result) == [(256, [[0x00010002]]), (256, [[3], [4]])]


def test_sets_of_different_keys_do_not_meet() -> None:
    decoder = Decoder()
    decoder.decode(several([
        (ONE, ipfix(data(256, 1))), (TWO, ipfix(data(256, 2))), (ONE, ipfix(data(256, 3), domain=2)),
        (ONE, v9(data(256, 4))), (ONE, ipfix(data(257, 5))),
    ]))  # fmt: skip
    assert columns(decode(decoder, ipfix(template(256, FOUR)))) == [(256, [[1]])]
    assert columns(decode(decoder, ipfix(template(256, FOUR)), exporter=TWO)) == [(256, [[2]])]
    assert columns(decode(decoder, ipfix(template(256, FOUR), domain=2))) == [(256, [[3]])]
    assert columns(decode(decoder, v9(template(256, FOUR, 9)))) == [(256, [[4]])]
    assert decoder.sets.dropped == {WAITING: 1}


def test_sets_are_held_for_an_age() -> None:
    decoder = Decoder(WireSettings(pending_age_s=10))
    decode(decoder, ipfix(data(256, 1)), at_s=0)
    decode(decoder, ipfix(data(256, 2)), at_s=5)
    assert columns(decode(decoder, ipfix(template(256, FOUR)), at_s=11)) == [(256, [[2]])]
    assert decoder.sets.dropped == {"expired while waiting": 1}


def test_an_exporter_that_holds_too_much_loses_its_own_oldest() -> None:
    first = GROUP_COST + SET_COST + 4
    decoder = Decoder(WireSettings(pending_octets_per_exporter=3 * first, pending_octets=100 * first))
    decode(decoder, ipfix(data(256, 99)), exporter=TWO)
    for i in range(5):
        decode(decoder, ipfix(data(256, i)))
    assert decoder.sets.dropped == {WAITING: 4, "evicted while waiting": 2}
    assert columns(decode(decoder, ipfix(template(256, FOUR)))) == [(256, [[2, 3, 4]])]
    assert columns(decode(decoder, ipfix(template(256, FOUR)), exporter=TWO)) == [(256, [[99]])]


def test_when_all_hold_too_much_the_oldest_of_all_leaves() -> None:
    first = GROUP_COST + SET_COST + 4
    decoder = Decoder(WireSettings(pending_octets=2 * first))
    for i, exporter in enumerate((TWO, ONE, ONE)):
        decode(decoder, ipfix(data(256, i)), exporter=exporter)
    assert decoder.pending.octets == 2 * first
    assert decode(decoder, ipfix(template(256, FOUR)), exporter=TWO) == []
    assert columns(decode(decoder, ipfix(template(256, FOUR)))) == [(256, [[1, 2]])]


def test_of_too_many_sets_at_once_the_last_are_held() -> None:
    decoder = Decoder(WireSettings(pending_octets_per_exporter=GROUP_COST + 3 * (SET_COST + 4)))
    decode(decoder, *(ipfix(data(256, i)) for i in range(10)))
    assert decoder.sets.dropped == {WAITING: 3, "no template, and no room to wait": 7}
    assert columns(decode(decoder, ipfix(template(256, FOUR)))) == [(256, [[7, 8, 9]])]


def test_nothing_is_held_when_nothing_may_be() -> None:
    decoder = Decoder(WireSettings(pending_octets=0))
    decode(decoder, ipfix(data(256, 1)))
    assert decoder.sets.dropped == {"no template, and no room to wait": 1}
    assert decode(decoder, ipfix(template(256, FOUR))) == []


def test_more_missing_templates_than_can_be_known_are_not_waited_for() -> None:
    decoder = Decoder(WireSettings(max_templates=10))
    decode(decoder, ipfix(*(data(256 + i, 1) for i in range(25))))
    assert decoder.sets.dropped == {WAITING: 10, "no template, and no room to wait": 15}


def test_what_a_session_left_waiting_ends_with_it() -> None:
    tcp = Exporter("192.0.2.9", 5, "tcp", 3)
    decoder = Decoder()
    decode(decoder, ipfix(data(256, 1)), exporter=tcp)
    decoder.end_session(tcp)
    assert decoder.sets.dropped == {"session ended while waiting": 1}
    assert decode(decoder, ipfix(template(256, FOUR)), exporter=tcp) == []
    decoder.sets.check()


def test_sequence_numbers_follow_what_waits() -> None:
    decoder = Decoder()
    decoder.sequence = Sequences()
    decode(decoder, ipfix(template(300, FOUR)), ipfix(data(256, 1, 2), sequence=0))
    decode(decoder, ipfix(data(300, 1), sequence=2), ipfix(data(300, 9), sequence=5))
    assert decoder.sequence.totals.received == 2
    decode(decoder, ipfix(template(256, FOUR), sequence=6))
    totals = decoder.sequence.totals
    assert (totals.received, totals.gaps, totals.undecoded, totals.sent) == (4, 2, 0, 6)


def test_a_flood_of_missing_templates_is_not_looked_at_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.io.wire.pending.MOST_GROUPS", 5)
    decoder = Decoder()
    decode(decoder, ipfix(*(data(256 + i, i) for i in range(9))))
    assert decoder.sets.dropped == {WAITING: 5, "no template, and no room to wait": 4}
    assert columns(decode(decoder, ipfix(template(256, FOUR), template(264, FOUR)))) == [(256, [[0]])]
