"""Load: the same messages sent repeatedly as other homes and days, with sequence numbers without gaps."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest

from ethogram.errors import UsageError
from ethogram.io.receive.address import Listen
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.io.wire.sequence import Sequences
from ethogram.simulate.exporter import ExportSettings
from ethogram.simulate.layout import PROTOCOLS, Protocol
from ethogram.simulate.load import Load
from ethogram.simulate.send import UdpSender


def column(records: list[Records], element: int) -> np.ndarray:
    result = [decoded.unsigned(i) for decoded in records if (i := decoded.has(0, element)) is not None]
    return np.concatenate(result)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cycles_are_days_of_homes_and_the_sequence_has_no_gap(protocol: Protocol) -> None:
    load = Load(ExportSettings(protocol=protocol), homes=300)
    one_day = Load(ExportSettings(protocol=protocol))
    messages = list(load.messages(3))
    decoder = Decoder()
    decoder.sequence = sequences = Sequences()
    result = decoder.decode(batch(messages))
    assert sum(map(len, result)) == 3 * load.flows == 3 * one_day.flows
    totals = sequences.totals
    assert (totals.received, totals.gaps, totals.resets, totals.duplicates) == (3 * load.units, 0, 0, 0)
    ends = np.concatenate([column(result, 8), column(result, 12)])
    networks = set((ends[(ends >> np.uint64(24)) == 10] >> np.uint64(8)).tolist())
    assert networks == {0x0A0000, 0x0A0001, 0x0A0002}
    assert not np.any(ends >> np.uint64(8) == 0xC0A84D)
    assert len(set(ends[ends >> np.uint64(8) == 0x0A0001].tolist())) == 17  # the devices, the gateway, the phone


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_times_move_by_a_day_when_all_homes_had_theirs(protocol: Protocol) -> None:
    load = Load(ExportSettings(protocol=protocol), homes=2)
    messages = list(load.messages(3))
    count = len(messages) // 3
    first, third = (Decoder().decode(batch(part)) for part in (messages[:count], messages[2 * count :]))
    elements = (152, 153) if protocol.startswith("ipfix") else (22, 21)
    for element in elements:
        moved = column(third, element).astype(np.int64) - column(first, element).astype(np.int64)
        assert set(moved.tolist()) == {86_400_000}
    heads = [np.concatenate([decoded.headers["export_time_s"] for decoded in result]) for result in (first, third)]
    assert set((heads[1].astype(np.int64) - heads[0]).tolist()) == {86_400}
    if protocol in {"v5", "v9"}:
        uptimes = [np.concatenate([decoded.headers["uptime_ms"] for decoded in result]) for result in (first, third)]
        assert set((uptimes[1].astype(np.int64) - uptimes[0]).tolist()) == {86_400_000}
    for element in (1, 2, 4, 7, 11):
        assert column(first, element).tolist() == column(third, element).tolist()


def test_a_million_devices_have_addresses_and_macs_of_their_own() -> None:
    load = Load(homes=1 << 16)
    assert load.devices == 983_040
    load.prepare((1 << 16) - 1)
    [records] = [item for item in Decoder().decode(batch(list(one_cycle(load)))) if len(item)]
    ends, macs = column([records], 8), column([records], 56)
    assert {0x0AFFFF} == set((ends[ends >> np.uint64(24) == 10] >> np.uint64(8)).tolist())
    assert {0x02FFFF} == set((macs[macs > 0] >> np.uint64(24)).tolist())
    with pytest.raises(UsageError):
        Load(homes=(1 << 16) + 1)


def one_cycle(load: Load) -> list[bytes]:
    ends = load._offset + load._octets
    return [load.data[at:end].tobytes() for at, end in zip(load._offset, ends, strict=True)]


@pytest.mark.parametrize("many", [True, False])
def test_what_is_sent_is_counted_and_arrives(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not many:
        monkeypatch.setattr("ethogram.simulate.load.ctypes.sizeof", lambda _: 4)  # as if there were no such call
    load = Load(homes=5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        place = Listen("udp", "127.0.0.1", receiver.getsockname()[1])
        delivery = load.send(place, seconds=0.05, rate=20_000)
        first = receiver.recv(65_536)
    assert delivery.flows >= 1000
    assert delivery.refused == 0
    fresh = Load(homes=5)
    fresh.prepare(0)
    assert first == one_cycle(fresh)[0]
    with pytest.raises(UsageError):
        load.send(Listen("tcp", "127.0.0.1", 1), seconds=1)


def test_batched_sending_continues_without_a_listener() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        place = Listen("udp", "127.0.0.1", receiver.getsockname()[1])
    delivery = Load().send(place, seconds=0.05)
    assert delivery.refused > 0
    assert delivery.messages > 256


def test_a_sender_says_what_the_network_does_not_carry() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        sender = UdpSender(Listen("udp", "127.0.0.1", receiver.getsockname()[1]))
        with pytest.raises(Exception, match="too long for the network"):
            sender.send_octets(bytes(70_000))
        sender.close()


def test_live_flows_end_when_they_are_sent() -> None:
    load = Load(homes=2, live=True)
    script = Load()
    begin_ms = time.time_ns() // 1_000_000
    result = Decoder().decode(batch(list(load.messages(1))))
    end_ms = time.time_ns() // 1_000_000
    ends, starts = column(result, 153).astype(np.int64), column(result, 152).astype(np.int64)
    assert begin_ms <= ends.min() <= ends.max() <= end_ms
    scripted = Decoder().decode(batch(list(script.messages(1))))
    durations = column(scripted, 153).astype(np.int64) - column(scripted, 152).astype(np.int64)
    assert np.array_equal(ends - starts, durations)
    with pytest.raises(UsageError, match="IPFIX only"):
        Load(ExportSettings(protocol="v9"), live=True)


def test_sending_ends_when_it_is_told_to() -> None:
    ending = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        place = Listen.parse(f"udp://127.0.0.1:{receiver.getsockname()[1]}")
        sent = Load().send(place, seconds=60, rate=1000, on_progress=lambda _: ending.set(), ending=ending)
    assert sent.messages == 256
    assert sent.seconds < 30
