"""Alerts: raised once for each cause, grouped, closed when the cause ends, acknowledged, muted, bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ethogram.config import AlertSettings
from ethogram.errors import InputError, UsageError
from ethogram.schema import ALERT_KINDS, COUNTS, AlertPass, AlertSighting, DueDevice, ServiceHealth
from ethogram.serve.alert_rules import AlertRules, ServiceState
from ethogram.serve.store import Store
from serve.store_rows import HOUR, START, document, judge, see, sighting

Open = Callable[..., Store]
DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def rules(store: Store, **values: Any) -> AlertRules:
    return AlertRules(store, AlertSettings.of(**{"interval_s": 1e-9, "conflict_s": 0.0, **values}))


def texts(store: Store, kind: str | None = None, state: str | None = "open") -> list[str]:
    return [row.text for row in store.alerts(kind=kind, state=state).rows][::-1]


def sightings(kind: str, *subjects: str, **values: Any) -> tuple[AlertSighting, ...]:
    return tuple(AlertSighting(kind, subject, f"{subject} is here", **values) for subject in subjects)


def record(store: Store, now: datetime = NOW, settings: AlertSettings | None = None, **values: Any) -> int:
    after, _ = store.alert_state()
    return store.record_alerts(AlertPass(now, after, after, **values), settings)


# What is stored


def test_a_cause_is_one_alert_however_often_it_is_seen(open_store: Open) -> None:
    store = open_store()
    assert record(store, raised=sightings("new device", "a", "b")) == 2
    assert record(store, NOW + HOUR, raised=sightings("new device", "a")) == 0
    rows = {row.subject: row for row in store.alerts().rows}
    assert (rows["a"].count, rows["a"].first, rows["a"].last) == (2, NOW, NOW + HOUR)
    assert (rows["b"].count, rows["b"].severity, rows["b"].state) == (1, "info", "open")
    assert [event.data["text"] for event in store.events() if event.kind == "alert"] == ["a is here", "b is here"]
    assert store.alert_counters() == {"closed": 0, "raised": 2, "removed by age": 0, "repeated": 1}


def test_what_holds_is_closed_when_it_ends_and_flapping_is_no_news(open_store: Open) -> None:
    store = open_store()
    holding = {"disk space": sightings("disk space", "data")}
    for minute in range(0, 60, 10):
        at = NOW + timedelta(minutes=minute)
        record(store, at, holding=holding)
        record(store, at + timedelta(minutes=5), holding={"disk space": ()})
    (row,) = store.alerts().rows
    assert (row.state, row.count) == ("closed", 6)
    assert len([event for event in store.events() if event.kind == "alert"]) == 1
    record(store, NOW + 3 * DAY, holding=holding)
    assert [row.state for row in store.alerts().rows] == ["open", "closed"]


def test_many_at_once_are_one_alert_that_follows_their_number(open_store: Open) -> None:
    store = open_store()
    many = sightings("unknown device", *(f"d{i:03}" for i in range(40)))
    record(store, holding={"unknown device": many}, totals={"unknown device": 1234})
    (row,) = store.alerts().rows
    assert (row.subject, row.text, row.count) == ("", "1,234 devices stay unknown", 1234)
    assert row.evidence[-1] == "and 1,225 more"
    record(store, NOW + HOUR, holding={"unknown device": many[:6]})
    assert texts(store) == ["6 devices stay unknown"]
    record(store, NOW + 2 * HOUR, holding={"unknown device": many[:5]})
    assert texts(store) == [f"d{i:03} is here" for i in range(5)]
    record(store, NOW + 3 * HOUR, holding={"unknown device": ()})
    assert texts(store) == []


def test_more_than_the_hourly_number_becomes_one_alert(open_store: Open) -> None:
    store, settings = open_store(), AlertSettings(hourly=4)
    for i in range(9):
        record(store, NOW + timedelta(minutes=i), settings, raised=sightings("new device", f"d{i}"))
    assert texts(store) == ["d0 is here", "d1 is here", "d2 is here", "d3 is here", "5 new devices"]


def test_mutes_and_kinds_that_are_off_are_counted(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2"))
    mine = sightings("changed verdict", id_, device=id_)
    record(store, raised=mine)
    store.mute("ana", kind="changed verdict", device=id_)
    assert texts(store) == []
    record(store, NOW + 10 * DAY, raised=(*mine, *sightings("changed verdict", "x" * 16, device="x" * 16)))
    assert texts(store) == ["x" * 16 + " is here"]
    record(store, NOW + 11 * DAY, AlertSettings(off=("new device",)), raised=sightings("new device", "q"))
    assert store.alert_counters()["muted"] == store.alert_counters()["switched off"] == 1
    (mute,) = store.mutes()
    assert (mute.kind, mute.device, mute.device_name, mute.user) == ("changed verdict", id_, "10.0.0.2", "ana")
    store.unmute(mute.id, "ana")
    record(store, NOW + 12 * DAY, raised=mine)
    assert len(texts(store)) == 2
    store.mute("ana", device=id_, until=datetime.now(UTC) + HOUR)
    record(store, datetime.now(UTC) + 2 * HOUR, raised=())
    assert store.mutes() == ()
    assert [entry.action for entry in store.audit()] == ["mute", "unmute", "mute"]
    past = {"kind": "new device", "until": NOW - 999 * DAY}
    for values in ({"kind": "no such kind"}, {"device": "0" * 16}, past):
        with pytest.raises(UsageError):
            store.mute("ana", **values)


def test_alerts_are_acknowledged_and_opened_again(open_store: Open) -> None:
    store = open_store()
    record(store, raised=sightings("new device", "a", "b"))
    ids = [row.id for row in store.alerts().rows]
    assert store.acknowledge([*ids, 999], "ana") == 2
    assert store.acknowledge(ids, "ana") == 0
    assert {row.user for row in store.alerts(state="acknowledged").rows} == {"ana"}
    record(store, NOW + HOUR, raised=sightings("new device", "a"))
    assert store.alerts(state="open").total == 0
    store.reopen_alert(ids[0], "ana")
    assert store.alerts(state="open").total == store.open_alerts() == 1
    with pytest.raises(UsageError, match="state of an alert is open, acknowledged, closed"):
        store.alerts(state="no such")


def test_old_alerts_are_closed_removed_and_bounded(open_store: Open) -> None:
    store = open_store()
    record(store, raised=sightings("new device", "a"))
    record(store, NOW + 8 * DAY)
    assert texts(store, state="closed") == ["a is here"]
    record(store, NOW + 99 * DAY)
    assert store.alerts().total == 0
    small = AlertSettings(max_alerts=3, group_from=100, hourly=100)
    record(store, NOW, small, raised=sightings("new device", *"abcdef"))
    assert store.alerts().total == 3
    assert store.alert_counters()["removed beyond the bound"] == 3


def test_no_alert_is_raised_twice_after_a_crash(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("10.0.0.2"))
    result = AlertPass(NOW, 0, 1, sightings("new device", "a"))
    store.record_alerts(result)
    with pytest.raises(InputError, match="event 1 is stored, not 0: no alert is raised twice"):
        store.record_alerts(result)
    assert store.alerts().rows[0].count == 1


def test_merged_devices_have_one_alert_of_a_kind(open_store: Open) -> None:
    store = open_store()
    first, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    unknown = (*sightings("unknown device", first, device=first), *sightings("unknown device", two, device=two))
    names = sightings("name conflict", "printer", device=first)
    record(store, holding={"unknown device": unknown, "name conflict": names})
    store.merge(first, two, "ana")
    record(store, NOW + HOUR, holding={"unknown device": unknown[1:], "name conflict": names})
    rows = {row.subject: row.device for row in store.alerts(state="open").rows}
    assert rows == {two: two, "printer": two}
    assert store.alerts(state="closed").total == 1


def test_filters_of_the_list(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2", host_names=("hall-camera",)))
    record(store, raised=(*sightings("new device", id_, device=id_), *sightings("service trouble", "judge")))
    assert [row.kind for row in store.alerts(severity="critical").rows] == ["service trouble"]
    assert [row.device_name for row in store.alerts(search="HALL").rows] == ["hall-camera"]
    assert store.alerts(device=id_).total == store.alerts(kind="new device", search="here").total == 1
    assert store.alerts().open == {"critical": 1, "warning": 0, "info": 1}
    assert store.alerts(offset=1, limit=1).total == 2
    other = see(store, sighting("10.0.0.3"))[1]
    store.merge(id_, other, "ana")
    assert store.alerts(device=other).total == 1


# The rules


def test_a_new_device_is_an_alert_after_the_time_of_learning(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    watch = rules(store)
    assert watch.run(ServiceState()) == 0
    see(store, sighting("02:00:00:00:00:09", START + 2 * DAY, addresses=("10.0.0.9",)))
    assert watch.run(ServiceState()) == 1
    assert texts(store) == ["first seen 2026-03-03 00:00 UTC at 02:00:00:00:00:09"]
    assert store.alerts().rows[0].device_name == "10.0.0.9"
    assert store.alert_counters()["new devices while learning"] == 2
    assert watch.run(ServiceState()) == 0


def test_another_statement_is_an_alert_and_more_about_the_same_is_none(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2"))
    judge(store, id_, document("camera", "kind", 0.8))
    judge(store, id_, document("Acme camera", "family", 0.8), at=START + DAY)
    rules(store).run(ServiceState())
    assert texts(store) == []
    judge(store, id_, document("Acme plug", "family", 0.99, facts=["a name of plugs"]), at=START + 2 * DAY)
    for day in (3, 4):
        judge(store, id_, document("Acme plug", "family", 0.99, facts=["a name of plugs"]), at=START + day * DAY)
    rules(store).run(ServiceState())
    (row,) = store.alerts(kind="changed verdict").rows
    assert row.text == "Acme camera → Acme plug"
    assert row.evidence == ("three judgements in a row say so", "a name of plugs")
    judge(store, id_, document("Acme camera"), at=START + 5 * DAY, library="library 2")
    rules(store).run(ServiceState())
    assert texts(store)[-1] == "1 device: judged with another library: library 2"


def test_a_device_that_stays_unknown_until_something_is_stated(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2"))
    judge(store, id_, document("unknown", "unknown", 0.0))
    rules(store).run(ServiceState())
    assert texts(store) == []
    see(store, sighting("10.0.0.2", START + 3 * DAY))
    rules(store).run(ServiceState())
    assert texts(store) == ["unknown since 2026-03-01 00:00 UTC"]
    store.label(id_, "porch", "ana")
    rules(store).run(ServiceState())
    assert texts(store) == []


def test_a_regular_device_that_falls_silent_and_comes_back(open_store: Open) -> None:
    store = open_store()
    regular, seldom, clock = "10.0.0.2", "10.0.0.3", "10.0.0.4"
    for day in range(6):
        see(store, sighting(regular, START + day * DAY), sighting(clock, START + day * DAY))
    see(store, sighting(seldom, START + 5 * DAY))

    def active(devices: Sequence[DueDevice]) -> Mapping[str, int]:
        return {each.id: 6 if each.names[0][0] == regular else 1 for each in devices}

    state = ServiceState(active_days=active)
    watch = rules(store)
    watch.run(state)
    see(store, sighting(clock, START + 9 * DAY))
    watch.run(state)
    (row,) = store.alerts(kind="silent device").rows
    assert (row.device_name, row.text) == (regular, "no traffic since 2026-03-06 01:00 UTC")
    assert row.evidence == ("traffic on 6 of its last 6 days",)
    assert store.alert_counters()["silent devices that were not regular"] == 1
    see(store, sighting(regular, START + 10 * DAY))
    watch.run(state)
    assert texts(store, "silent device") == []


def test_more_silent_devices_of_one_time_than_a_pass_reads(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.serve.alert_rules.MOST_SILENT", 3)
    store = open_store()
    see(store, *(sighting(f"10.0.0.{i}") for i in range(2, 9)), sighting("10.0.0.9", START + 9 * DAY))
    watch = rules(store)
    for _ in range(4):
        watch.run(ServiceState())
    assert store.alert_counters()["silent devices that were not regular"] == 7


def test_one_alert_for_many_silent_devices_is_closed_by_age(open_store: Open) -> None:
    store = open_store()
    record(store, raised=sightings("silent device", *(f"d{i:02}" for i in range(20))))
    assert texts(store) == ["20 devices that were regular are silent"]
    record(store, NOW + 8 * DAY)
    assert texts(store) == []


def test_one_host_name_of_two_devices_at_once(open_store: Open) -> None:
    store = open_store()
    names = {"host_names": ("printer",)}
    first, second = "04:11:22:33:44:01", "00:11:22:33:44:55"
    for minutes in (0, 5, 10):
        at = START + timedelta(minutes=minutes)
        see(store, sighting(first, at, addresses=("10.0.0.2",), **names),
            sighting("04:11:22:33:44:56", at, addresses=("10.0.0.3",), host_names=("tv",)),
            sighting(second, at, addresses=("10.0.0.4",), **names))  # fmt: skip
    rules(store, conflict_s=1800.0).run(ServiceState())
    assert texts(store, "name conflict") == []
    rules(store).run(ServiceState())
    assert texts(store, "name conflict") == ["printer is used by 2 devices at once"]
    (row,) = store.alerts(kind="name conflict").rows
    assert set(row.evidence) == {
        f"printer (10.0.0.2, {first}): latest flow 2026-03-01 01:10 UTC",
        f"printer (10.0.0.4, {second}): latest flow 2026-03-01 01:10 UTC", "since 2026-03-01 01:10 UTC",
    }  # fmt: skip
    see(store, sighting(first, START + DAY, addresses=("10.0.0.2",), **names))
    rules(store).run(ServiceState())
    assert texts(store, "name conflict") == []


def test_one_address_of_two_macs_and_two_addresses_of_one_mac(open_store: Open) -> None:
    store = open_store()
    for minutes in (0, 5, 10):
        at = START + timedelta(minutes=minutes)
        see(store, sighting("00:11:22:33:44:01", at, addresses=("10.0.0.2", "10.0.0.7")),
            sighting("00:11:22:33:44:02", at, addresses=("10.0.0.2",)))  # fmt: skip
    rules(store).run(ServiceState())
    assert texts(store, "address conflict") == ["10.0.0.2 is used by 2 devices at once"]
    assert texts(store, "several addresses") == ["00:11:22:33:44:01 uses 2 addresses at once"]
    see(store, sighting("00:11:22:33:44:01", START + DAY, addresses=("10.0.0.7",)))
    rules(store).run(ServiceState())
    assert texts(store) == []


def test_a_lease_that_goes_to_another_device_is_no_conflict(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("00:11:22:33:44:01", START, addresses=("10.0.0.2",)))
    see(store, sighting("00:11:22:33:44:02", START + 2 * HOUR, addresses=("10.0.0.2",)))
    rules(store).run(ServiceState())
    assert texts(store) == []


def test_a_group_of_unknown_devices_that_grows(open_store: Open) -> None:
    store = open_store()
    ids = see(store, *(sighting(f"10.0.0.{i}") for i in range(2, 6)))
    for id_ in ids:
        judge(store, id_, document("unknown", "unknown", 0.0))
    store.record_groups([(ids[:2], ["UDP/5353"])])
    rules(store).run(ServiceState())
    store.record_groups([(ids, ["UDP/5353"])])
    rules(store).run(ServiceState())
    (row,) = store.alerts(kind="unknown group").rows
    assert (row.text, row.count) == ("4 unknown devices behave alike, 2 before", 2)
    store.name_group(row.subject, "lights", "ana")
    rules(store).run(ServiceState())
    assert texts(store) == []


def test_losses_that_move_and_rest(open_store: Open) -> None:
    store = open_store()

    def state(count: int, reason: str = "queue full") -> ServiceState:
        return ServiceState(lost=lambda: [{"place": "datagrams", "reason": reason, "count": count, "unit": "messages"}])

    watch = rules(store)
    watch.run(state(100), NOW)
    assert texts(store) == []
    watch.run(state(140), NOW + HOUR / 4)
    watch.run(state(150), NOW + HOUR / 2)
    assert texts(store) == ["datagrams: queue full: 50 messages"]
    watch.run(state(150), NOW + 2 * HOUR)
    assert texts(store) == []
    watch.run(state(9, "ahead of arrival"), NOW + 3 * HOUR)
    assert [row.kind for row in store.alerts(state="open").rows] == ["clock error"]


def test_parts_and_the_disk(open_store: Open, tmp_path: Any) -> None:
    store = open_store()
    part = ServiceHealth("judge", "degraded", "home.jsonl.gz: cannot be read: not a library", NOW)
    watch = rules(store, disk_octets=1 << 62)
    watch.run(ServiceState([part]), NOW + timedelta(seconds=30))
    assert texts(store) == []
    watch.run(ServiceState([part], folder=tmp_path), NOW + timedelta(seconds=61))
    assert texts(store, "service trouble") == ["judge: home.jsonl.gz: cannot be read: not a library"]
    assert "MB are free on the disk of" in texts(store, "disk space")[0]
    watch.run(ServiceState(), NOW + 2 * HOUR)
    assert texts(store, "service trouble") == []


def test_an_exporter_that_is_silent_and_starts_again_from_another_port(open_store: Open) -> None:
    from ethogram.schema import ExporterSample, RoundResult

    store = open_store()

    def sends(port: int, messages: int) -> None:
        at = store.position("here")
        samples = (ExporterSample("10.0.0.1", port, "udp", messages, messages, 0),)
        store.record_round(RoundResult("here", at, at + 1, START, "library 1", exporters=samples))

    sends(1000, 50)
    watch = rules(store)
    watch.run(ServiceState(), datetime.now(UTC) + HOUR)
    (row,) = store.alerts(kind="silent exporter").rows
    assert (row.subject, row.state, row.evidence) == ("10.0.0.1", "open", ("50 messages before",))
    sends(2000, 3)
    calm = rules(store, exporter_s=3600.0)
    calm._started = datetime.now(UTC) - DAY
    calm.run(ServiceState())
    assert texts(store, "silent exporter") == []


def test_an_unusual_device(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2"))
    judge(store, id_, document(level="family", unusual=True))
    rules(store).run(ServiceState())
    assert texts(store) == [], "of a family, nothing is known to be usual"
    judge(store, id_, document(level="model", unusual=True))
    rules(store).run(ServiceState())
    assert texts(store) == ["does not behave like Acme camera"]
    judge(store, id_, document(unusual=False))
    rules(store).run(ServiceState())
    assert texts(store) == []


def test_a_labelled_device_with_the_traffic_of_another_kind(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting("10.0.0.2"))
    judge(store, id_, document("Acme camera"))
    store.label(id_, "hall camera", "ana", kind="camera", vendor="Acme")
    waiting = rules(store, conflict_s=3 * 3600.0)
    waiting.run(ServiceState())
    assert texts(store) == []
    for hour in range(2, 12):
        judge(store, id_, document("Acme plug", facts=["contacts plug.example"]), at=START + hour * HOUR)
    waiting.run(ServiceState())
    assert texts(store, "identity conflict") == [], "what is stated may change again"
    assert texts(store, "unusual device") == ["does not behave like hall camera"]
    see(store, sighting("10.0.0.2", last=START + 16 * HOUR))
    waiting.run(ServiceState())
    (row,) = store.alerts(kind="identity conflict", state="open").rows
    assert (row.severity, row.device) == ("critical", id_)
    assert row.text == "labelled hall camera, but its traffic is that of: Acme plug"
    assert row.evidence[:2] == ("kind: labelled camera, traffic of plug", "contacts plug.example")
    assert texts(store, "unusual device") == []
    for hour in range(17, 27):
        judge(store, id_, document("Acme camera"), at=START + hour * HOUR)
    waiting.run(ServiceState())
    assert texts(store, "identity conflict") == []


def test_kinds_fit_their_columns_and_say_when_they_are_raised() -> None:
    for name, kind in ALERT_KINDS.items():
        assert len(name) <= 32
        assert "Closed" in kind.meaning and "{count}" in kind.many


# Behaviour


def counted(day: int, *rows: tuple[int, int, int, int]) -> pl.DataFrame:
    """Counts of some hours of a day: hour, port, flows, and packets of each direction."""
    return COUNTS.conform(pl.DataFrame([
        {"device": "", "time": START + day * DAY + hour * HOUR, "protocol": 6, "port": port, "role": "client",
         "scope": "wan", "answered": port == 443, "name": "example.com" if port == 443 else None, "flows": flows,
         "octets_out": 60 * packets, "octets_in": 60 * packets, "packets_out": packets, "packets_in": packets,
         "duration_ms": 10}
        for hour, port, flows, packets in rows
    ]))  # fmt: skip


def usual_day(day: int) -> pl.DataFrame:
    return counted(day, *((hour, 443, 4, 40) for hour in range(24)))


def behaviour_state(tables: Mapping[str, list[pl.DataFrame]]) -> ServiceState:
    def counts(devices: Sequence[DueDevice], since: datetime) -> pl.DataFrame:
        parts = [table.with_columns(device=pl.lit(device.id)).filter(pl.col("time") >= since)
                 for device in devices for table in tables[device.names[0][0]]]  # fmt: skip
        return pl.concat([COUNTS.empty(), *parts])

    return ServiceState(counts=counts)


def test_a_device_that_leaves_its_profile_and_returns_to_it(open_store: Open) -> None:
    store = open_store()
    scanning = counted(7, (3, 23, 6000, 6000))
    tables = {name: [usual_day(day) for day in range(9)] for name in ("10.0.0.2", "10.0.0.3")}
    state, watch = behaviour_state(tables), rules(store)

    def until(time: datetime) -> None:
        see(store, *(sighting(name, START, last=time) for name in tables))
        watch.run(state)

    until(START + 7 * DAY + 2 * HOUR)
    assert texts(store, "outside profile") == []
    tables["10.0.0.2"].append(scanning)
    until(START + 7 * DAY + 4 * HOUR)
    (row,) = store.alerts(kind="outside profile").rows
    assert (row.device_name, row.severity, row.count) == ("10.0.0.2", "warning", 1)
    assert row.text.startswith("outside the profile (TCP client wan): 6,000 flows from the device in 60 min; limit 200")
    assert "TCP/23 client wan: 12,000 packets, 720,000 octets" in row.evidence
    until(START + 7 * DAY + 6 * HOUR)  # nothing new: the alert stays, and is not counted again
    assert [each.count for each in store.alerts(kind="outside profile", state="open").rows] == [1]
    until(START + 8 * DAY + 6 * HOUR)
    assert texts(store, "outside profile") == []


def test_a_flood_of_a_usual_service_is_an_unusual_volume(open_store: Open) -> None:
    store = open_store()
    tables = {"10.0.0.2": [usual_day(day) for day in range(8)] + [counted(7, (3, 443, 4, 90_000))]}
    see(store, sighting("10.0.0.2", START, last=START + 7 * DAY + 4 * HOUR))
    rules(store).run(behaviour_state(tables))
    assert texts(store, "outside profile") == []
    (text,) = texts(store, "unusual volume")
    assert text.startswith("TCP/443 client wan example.com: 90,040 packets from the device in 60 min; limit 400")


def test_a_young_device_is_not_judged_by_its_profile(open_store: Open) -> None:
    store = open_store()
    tables = {"10.0.0.2": [usual_day(day) for day in range(5)] + [counted(4, (3, 23, 6000, 6000))]}
    see(store, sighting("10.0.0.2", START, last=START + 4 * DAY + 4 * HOUR))
    rules(store).run(behaviour_state(tables))
    assert texts(store, "outside profile") == []


def test_more_devices_than_a_pass_looks_at_are_left_for_the_next(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethogram.serve.alert_rules.MOST_WATCHED", 2)
    store = open_store()
    names = [f"10.0.0.{i}" for i in range(2, 7)]
    tables = {name: [usual_day(day) for day in range(8)] + [counted(7, (3, 23, 6000, 6000))] for name in names}
    see(store, *(sighting(name, START, last=START + 7 * DAY + 4 * HOUR) for name in names))
    watch, state = rules(store), behaviour_state(tables)
    for expected in (2, 4, 5, 5):
        watch.run(state)
        assert store.alerts(kind="outside profile").total == expected
