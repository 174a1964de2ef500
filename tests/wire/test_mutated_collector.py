"""A live collector that is sent mutated datagrams over UDP and mutated streams over TCP goes on, and counts all."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from datagrams import logstash, mutated_batches, pmacct

from ethogram.config import WireSettings
from ethogram.io.receive.address import Listen
from ethogram.serve.collector import Collector, CollectorSettings
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.home import SimulatedHome

DATAGRAMS, STREAMS = 8_000, 40
SETTINGS = CollectorSettings(wire=WireSettings(segment_s=0.5, max_templates=2048, pending_octets=1 << 22))


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def has_read(collector: Collector, count: int) -> bool:
    return collector.udp.accounting.read >= count


@pytest.mark.wire
def test_a_collector_outlives_anything_it_is_sent(tmp_path: Path, wire: Path) -> None:
    datagrams = logstash(wire) + pmacct(wire)
    places = [Listen.parse("udp://127.0.0.1:0"), Listen.parse("tcp://127.0.0.1:0")]
    collector = Collector(places, tmp_path, SETTINGS)
    collector.start()
    try:
        udp, tcp = (("127.0.0.1", place.port) for place in collector.listening)
        sent = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for batch in mutated_batches(datagrams, DATAGRAMS, seed=5, together=200):
                for at, octets in zip(batch.offset.tolist(), batch.octets.tolist(), strict=True):
                    sender.sendto(batch.data[at : at + octets].tobytes(), udp)
                    sent += 1
                until(partial(has_read, collector, sent))
        for batch in mutated_batches([d for d in datagrams if d[:2] == b"\0\x0a"], STREAMS * 8, seed=6, together=8):
            with socket.create_connection(tcp) as stream:
                try:
                    for at, octets in zip(batch.offset.tolist(), batch.octets.tolist(), strict=True):
                        stream.sendall(batch.data[at : at + octets].tobytes())
                except OSError:
                    pass  # the collector ended what is no IPFIX
        until(lambda: collector.tcp.opened == STREAMS and collector.tcp.connections == 0)
        # It still does what it is for.
        exporter = FlowExporter(ExportSettings())
        before = collector.decoder.records.used
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number, message in enumerate(exporter.messages(SimulatedHome(days=1).batches())):
                sender.sendto(message.octets, udp)
                sent += 1
                if number % 50 == 0:
                    until(partial(has_read, collector, sent))
        until(lambda: collector.decoder.records.used >= before + exporter.sent.flows)
        assert not collector.wait(0)
    finally:
        collector.stop()
    accountings = collector.counters.accountings()
    assert all(accounting.balanced for accounting in accountings.values())
    assert accountings["datagrams"].read == sent
    assert accountings["messages"].dropped["unknown version"] > 0
    totals = collector.sequences.totals
    assert totals.sent == totals.received + totals.gaps + totals.undecoded
    written = sum(pl.read_parquet(path).height for path in (tmp_path / "flows").glob("*.parquet"))
    assert written == accountings["output"].used == collector.flows > exporter.sent.flows // 4
    again = Collector(places, tmp_path, SETTINGS)
    again.start()
    again.stop()
    assert not again.problems
    assert again.counters.accountings()["datagrams"].read == sent
