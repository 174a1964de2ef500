"""What exports read of the live service: services of devices by their ids, and alerts that come back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from ethogram.schema import AlertPass, AlertSighting
from ethogram.serve.exported import sink_events, stored_uses
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts
from tests.serve.segments_made import MINUTE, START, flows, segment
from tests.serve.store_rows import HOUR, document, judge, see, sighting

CAMERA, PLUG = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def test_services_are_those_of_the_flow_tables_by_id(tmp_path: Path) -> None:
    segment(tmp_path, 1, flows(CAMERA, START), flows(PLUG, START, port=8883, name=None))
    segment(tmp_path, 2, flows(CAMERA, START + 2 * MINUTE, number=2), flows("192.168.1.99", START))
    (tmp_path / "flows" / "no-segment.parquet").write_bytes(b"damaged")
    with Store.open(tmp_path / "store.db") as store:
        camera, plug = see(store, sighting(CAMERA), sighting(PLUG))
        for each in (camera, plug):
            judge(store, each, document())
        counts = StoredCounts(tmp_path / "facts", ["collector"])
        use, notes = stored_uses(store, tmp_path / "flows", counts, [camera, plug])
        alone, _ = stored_uses(store, tmp_path / "flows", counts, [plug])
        absent, lines = stored_uses(store, tmp_path / "nothing", counts, [camera, plug])
    rows = {row["device"]: row for row in use.uses.iter_rows(named=True)}
    assert set(rows) == {camera, plug}
    assert (rows[camera]["port"], rows[camera]["name"], rows[camera]["flows"]) == (443, "example.com", 5)
    assert (rows[plug]["address"], rows[plug]["packets_out"]) == ("192.0.2.1", 15)
    assert use.ends.rows() == [("example.com", "192.0.2.1", 5)]
    assert notes == []
    assert set(alone.uses["device"]) == {plug}
    assert (absent.uses.height, lines) == (0, ["2 of 2 devices have no flow tables: their other ends are domains"])


def test_flows_outside_the_time_of_a_device_are_of_another_one(tmp_path: Path) -> None:
    segment(tmp_path, 1, flows(CAMERA, START + timedelta(days=3)))
    with Store.open(tmp_path / "store.db") as store:
        (camera,) = see(store, sighting(CAMERA))
        judge(store, camera, document())
        use, _ = stored_uses(store, tmp_path / "flows", StoredCounts(tmp_path / "facts", []), [camera])
    assert use.uses.height == use.ends.height == 0


def test_an_alert_that_comes_back_is_an_event_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        (camera,) = see(store, sighting(CAMERA))
        found = AlertSighting("unusual device", camera, "cam is unusual", ("why",), camera, "cam")
        cause: dict[str, tuple[AlertSighting, ...]] = {"unusual device": (found,)}
        nothing: dict[str, tuple[AlertSighting, ...]] = {"unusual device": ()}
        # After an hour it is an event; after half an hour it is not, as for a cause that flaps.
        for hour, holding in ((0, cause), (1, nothing), (2, cause), (3, nothing), (3.5, cause)):
            position = store.alert_state()[0]
            store.record_alerts(AlertPass(START + hour * HOUR, position, position, holding=holding))
        (row,) = store.alerts(state="open").rows
        store.acknowledge([row.id], "ana")
        store.reopen_alert(row.id, "ana")
        store.reopen_alert(row.id, "ana")  # it is open already: no third event
        events = [event for event in sink_events(store, store.events(0)) if event.kind == "alert"]
    assert [(event.data["alert"], event.data["reopened"]) for event in events] == [
        (row.id, False), (row.id, True), (row.id, True),
    ]  # fmt: skip
    assert {(event.text, event.severity, event.device is not None) for event in events} == {
        ("cam is unusual", "warning", True)
    }
