"""Fields read from vectors, against what the flows say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from custom_flows_made import made
from ethogram.config import FieldSettings
from ethogram.representation.field_columns import CLASSES, FLOW, KNOWN_PORTS, PACKET, PORTS, FieldPlan, describe
from ethogram.representation.payload_length import expand_payload_prefix, payload_symbols
from ethogram.representation.vector import expand
from ethogram.representation.views import view_of

SETTINGS = FieldSettings(octets=6, grams=12, buckets=512)
PLAN = FieldPlan(SETTINGS)
FLOWS = made(60, seed=4)


def text_vector(*packets: bytes) -> np.ndarray:
    x = np.zeros((1, 3040), np.float32)
    at = 40
    for text in packets:
        for code in (1, *(octet + 3 for octet in text), 2):
            x[0, at] = code / 258
            at += 1
    return x


def grams(*packets: bytes) -> set[int]:
    result = describe(text_vector(*packets), view_of("full"), FieldSettings(octets=1, grams=64))[0, -64:]
    return {int(value) for value in result if value}


def test_a_plain_loop_reads_the_same() -> None:
    result = describe(expand(FLOWS, "full"), view_of("full"), SETTINGS)
    for i in range(len(FLOWS)):
        row = result[i]
        assert row[0] == (1 if FLOWS.protocol[i] == 6 else 2)
        assert row[1] == KNOWN_PORTS.index(int(FLOWS.remote_port[i])) + 1
        first_octet = int(FLOWS.remote[i]) >> 24
        assert row[5] == (2 if 224 <= first_octet < 240 else 4)
        port = int(FLOWS.device_port[i])
        assert row[2] == (KNOWN_PORTS.index(port) + 1 if port in KNOWN_PORTS else PORTS - (2 if port < 49_152 else 1))
        octet, before = int(FLOWS.first_octet[i]), 0.0
        first = int(FLOWS.first_packet[i])
        for k in range(10):
            packet = row[FLOW + k * PLAN.packet :][: PLAN.packet]
            if first + k >= FLOWS.first_packet[i + 1]:
                assert not packet.any()
                continue
            stored = int(FLOWS.payload_octets[first + k])
            payload = FLOWS.payload[octet : octet + stored]
            octet += stored
            assert packet[0] == 1
            assert packet[1] == FLOWS.packet_out[first + k]
            assert packet[2] == FLOWS.packet_octets[first + k]
            now = FLOWS.packet_offset_us[first + k] / 1e3
            assert abs(packet[3] - np.log1p(now - before) / np.log1p(60_000)) < 1e-3
            before = now
            assert np.isclose(packet[4], np.log1p(stored) / np.log1p(1000))
            assert np.isclose(packet[PACKET : PACKET + CLASSES].sum(), 1 if stored else 0)
            lower = np.mean((payload >= 97) & (payload <= 122)) if stored else 0
            assert np.isclose(packet[PACKET + 3], lower)
            octets = packet[PACKET + CLASSES :]
            assert octets.tolist() == [*(payload[:6] + 1.0), *([0.0] * (6 - min(6, stored)))]


def test_of_an_address_its_kind_alone_is_read() -> None:
    addresses = [0x0, 0xEFFFFFFA, 0xE00000FB, 0xFFFFFFFF, 0x08080808, 0xDFFFFFFF, 0xF0000001, 0x000000FF]
    flows = replace(FLOWS.take(np.arange(8)), remote=np.array(addresses, np.uint32))
    result = describe(expand(flows, "full"), view_of("full"), SETTINGS)
    assert result[:, 5].tolist() == [1, 2, 2, 3, 4, 4, 4, 4]
    without = view_of("full/no-address")
    assert not describe(expand(flows, without), without, SETTINGS)[:, 5].any()


def test_what_is_used_is_enough() -> None:
    view = view_of("full/no-address")
    rows = np.arange(len(FLOWS))
    used = payload_symbols(FLOWS)
    whole = expand(FLOWS, view)
    assert np.array_equal((whole[:, view.blocks()["payload"]] != 0).sum(1), used)
    narrow = expand_payload_prefix(FLOWS, view, rows, int(used.max()))
    assert np.array_equal(narrow, whole[:, : narrow.shape[1]])
    assert np.array_equal(describe(narrow, view, SETTINGS), describe(whole, view, SETTINGS))


def test_names_are_the_same_words_in_a_question_and_in_a_greeting() -> None:
    asked = grams(b"\x00\x01\x01\x00\x00\x01\x03api\x0bexample-cam\x03net\x00")
    greeted = grams(b"\x16\x03\x01", b"\x00\x00api.example-cam.net\x00")
    header = grams(b"GET / HTTP/1.1\r\nHost: Example-Cam\r\n")
    assert asked
    assert asked <= greeted
    assert asked <= header | greeted
    assert asked & header
    assert not grams(bytes(range(128, 256)))
    assert not grams(b"12345678 1 abc"), "no letter, or too short"


def test_views_without_ports_hide_them() -> None:
    view = view_of("full/no-ports")
    result = describe(expand(FLOWS, view), view, SETTINGS)
    whole = describe(expand(FLOWS, "full"), view_of("full"), SETTINGS)
    assert not result[:, 1:3].any()
    assert np.array_equal(np.delete(result, [1, 2], 1), np.delete(whole, [1, 2], 1))
