"""From datagrams to devices: DHCP facts and names from flow exporters reach verdicts and the store."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import ethogram
from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, JudgeSettings, WireSettings
from ethogram.io.parquet import identity_of
from ethogram.io.receive.address import Listen
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.serve.collector import Collector, CollectorSettings
from ethogram.serve.judge import Judge
from ethogram.serve.segments import segments_in
from ethogram.serve.sources import CollectorSegments
from ethogram.serve.store import Store
from sending import send_all
from yaf_records import YafExporter, dhcp_part, dhcp_request, mac_part, payload_part

CAMERA, PLUG = "aa:bb:cc:00:00:07", "aa:bb:cc:00:00:08"
LATER = timedelta(minutes=10)  # so that devices are due


@pytest.fixture(scope="module")
def identifier() -> DeviceIdentifier:
    return DeviceIdentifier(None)


def collected(folder: Path, *runs: list[bytes]) -> None:
    """Collect messages over UDP, each run in a process life of its own."""
    settings = CollectorSettings(
        wire=WireSettings.of(segment_s=0.5), collect=CollectSettings.of(), flow=FlowSettings.of(local=("10.0.0.0/8",)),
        exporter=ExporterSettings.of(epoch_s=86_400, lateness_s=0, min_flows=1, min_epochs=1),
        counting=CountSettings.of(sub_epoch_s=3600),
    )  # fmt: skip
    for messages in runs:
        collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder, settings)
        collector.start()
        try:
            send_all(messages, collector.listening[0].port)
            end = time.monotonic() + 10
            while collector.decoder.accounting.used < len(messages) and time.monotonic() < end:
                time.sleep(0.02)
        finally:
            collector.stop()
        assert all(each.balanced for each in collector.counters.accountings().values())


def judged(folder: Path, store: Store, identifier: DeviceIdentifier) -> None:
    source = CollectorSegments(folder, 0.0, now=lambda: datetime.now(tz=UTC) + LATER)
    judge = Judge(store, folder / "facts", [source], identifier)
    for _ in range(20):
        if not judge.round().more:
            return
    raise AssertionError("the judge does not come to an end")


def web(exporter: YafExporter, address: str, port: int = 50_000) -> list[bytes]:
    return [exporter.flow(address, "192.0.2.1", (port + i, 443), protocol=6) for i in range(5)]


def test_a_device_has_the_dhcp_facts_of_its_exporter(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    exporter = YafExporter()
    renewal = exporter.flow("10.0.0.5", "10.0.0.1", (68, 67), mac_part(CAMERA), dhcp_part([1, 3, 6], "cam-os 2"))
    collected(tmp_path, [exporter.announce(), renewal, *web(exporter, "10.0.0.5")])
    with Store.open(tmp_path / "store.db", JudgeSettings()) as store:
        judged(tmp_path, store, identifier)
        [row] = store.devices(search="10.0.0.5").rows
        detail = store.device(row.id)
    assert detail is not None
    assert row.mac == CAMERA
    stated = {(fact.fact, fact.value, fact.source) for fact in detail.facts}
    assert {("dhcp_parameters", "1,3,6", "DHCP"), ("dhcp_vendor_class", "cam-os 2", "DHCP")} <= stated
    inventory = ethogram.identify(tmp_path / "flows")
    [verdict] = [each for each in inventory.devices if each.device == "10.0.0.5"]
    assert {(fact.fact, fact.value) for fact in verdict.identity} >= {
        ("mac", CAMERA), ("dhcp_vendor_class", "cam-os 2"), ("dhcp_parameters", "1,3,6")
    }  # fmt: skip


def test_a_device_stays_the_same_over_another_address_by_its_host_name(
    tmp_path: Path, identifier: DeviceIdentifier
) -> None:
    """Neither flows nor DHCP have a MAC that stays; only the host name identifies the device."""
    exporter = YafExporter()
    private = "02:bb:cc:00:00:01", "06:bb:cc:00:00:02"

    def lease(mac: str, address: str) -> bytes:
        return exporter.flow(address, "10.0.0.1", (68, 67), payload_part(dhcp_request(mac, "annas-phone", address)))

    first = [exporter.announce(), lease(private[0], "10.0.0.5"), *web(exporter, "10.0.0.5")]
    with Store.open(tmp_path / "store.db", JudgeSettings()) as store:
        collected(tmp_path, first)
        judged(tmp_path, store, identifier)
        before = store.devices(search="annas-phone").rows
        second = [exporter.announce(), *web(exporter, "10.0.0.9"), lease(private[1], "10.0.0.9")]
        collected(tmp_path, second + web(exporter, "10.0.0.7"))
        judged(tmp_path, store, identifier)
        after = store.devices(search="annas-phone").rows
        assert [row.id for row in before] == [row.id for row in after]
        assert after[0].address == "10.0.0.9"
        assert {row.address for row in store.devices().rows} == {"10.0.0.1", "10.0.0.7", "10.0.0.9"}


def test_facts_wait_for_flows_and_survive_a_restart(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    exporter = YafExporter()
    request = exporter.flow("0.0.0.0", "255.255.255.255", (68, 67), mac_part(PLUG), dhcp_part([1, 3], "plug-os"))
    result = exporter.flow("10.0.0.6", "10.0.0.1", (68, 67), mac_part(PLUG), dhcp_part([1, 3], "plug-os"))
    with Store.open(tmp_path / "store.db", JudgeSettings()) as store:
        collected(tmp_path, [exporter.announce(), request, *web(exporter, "10.0.0.5")])
        judged(tmp_path, store, identifier)  # each call is a judge of its own, as after a restart
        collected(tmp_path, [exporter.announce(), result, *web(exporter, "10.0.0.6")])
        judged(tmp_path, store, identifier)
        [plug] = store.devices(search=PLUG).rows
        detail = store.device(plug.id)
    assert detail is not None
    assert ("dhcp_vendor_class", "plug-os") in {(fact.fact, fact.value) for fact in detail.facts}
    [first] = [fact.first for fact in detail.facts if fact.fact == "dhcp_vendor_class"]
    stated = pl.concat([identity_of(path) for path in segments_in(tmp_path / "flows").values()])
    assert first == stated.filter(pl.col("fact") == "dhcp_vendor_class")["first"].min()
