"""The store on SQLite and PostgreSQL: rounds, lists, labels that stay, identity over address changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.schema import CounterSample, DeviceFact, ExporterSample, RoundResult
from ethogram.serve.store import Store
from serve.store_rows import HOUR, START, document, judge, see, sighting

Open = Callable[..., Store]
MAC, OTHER_MAC = "aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02"
DAY = timedelta(days=1)


def test_a_round_is_stored_once(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    result = RoundResult("here", 0, 1, START, "library 1", (sighting("10.0.0.2"),))
    with pytest.raises(InputError, match="segment 1 is stored, not 0: nothing is counted twice"):
        store.record_round(result)
    rows = store.devices(sort="address").rows
    assert [(row.address, row.flows) for row in rows] == [("10.0.0.2", 10), ("10.0.0.3", 10)]
    assert open_store().position("here") == 1


def test_a_round_that_fails_leaves_nothing(open_store: Open) -> None:
    store = open_store()
    bad = sighting("10.0.0.3", last=START.replace(tzinfo=None))
    with pytest.raises((InputError, TypeError, ValueError)):
        store.record_round(RoundResult("here", 0, 1, START, "l", (sighting("10.0.0.2"), bad)))
    assert store.position("here") == 0
    assert store.devices().total == 0
    assert store.last_event() == 0


def test_devices_are_searched_filtered_sorted_and_paged(open_store: Open) -> None:
    store = open_store()
    ids = see(store, *(sighting(f"10.0.{i // 250}.{i % 250 + 1}", octets=i) for i in range(300)))
    judge(store, ids[0], document("Acme camera"))
    judge(store, ids[1], document("plug, vendor unknown", "kind", 0.7))
    page = store.devices(sort="address", limit=10, offset=20)
    assert page.total == 300
    assert [row.address for row in page.rows] == [f"10.0.0.{i}" for i in range(21, 31)]
    assert [row.statement for row in store.devices(search="ACME cam").rows] == ["Acme camera"]
    assert store.devices(search="100%").total == store.devices(search="_").total == 0
    assert store.devices(kind="plug").total == store.devices(vendor="Acme").total == 1
    assert store.devices(network="10.0.1.0/24").total == 50
    assert store.devices(state="known").total == 2
    assert store.devices(sort="score", descending=True).rows[0].statement == "Acme camera"
    assert store.devices(sort="octets_a_day", descending=True, limit=3).rows[2].octets_a_day is None
    for wrong in ({"sort": "secret"}, {"state": "odd"}):
        with pytest.raises(UsageError):
            store.devices(**wrong)  # type: ignore[arg-type]


def test_numbers_of_the_overview(open_store: Open) -> None:
    store = open_store()
    ids = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"), sighting("10.0.0.4"))
    judge(store, ids[0], document())
    judge(store, ids[1], document("unknown", "unknown", 0.0, kind="", vendor=""))
    store.ignore(ids[2], "ana")
    overview = store.overview()
    assert overview.devices == 2
    assert overview.by_kind == {"": 1, "camera": 1}
    states = {"ignored": 1, "silent": 0, "new": 2, "changed": 0, "several": 0, "unknown": 1, "known": 1}
    assert overview.by_state == states
    assert overview.library == "library 1"
    assert store.devices().total == 2
    assert [row.id for row in store.devices(state="ignored").rows] == [ids[2]]


def test_a_statement_stays_until_several_judgements_say_otherwise(open_store: Open) -> None:
    store = open_store(change_times=3)
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document("Acme camera", score=0.8))
    for times in (1, 2):
        judge(store, id_, document("Acme plug", score=0.85), at=START + times * DAY)
        detail = store.device(id_)
        assert detail is not None
        assert detail.row.statement == "Acme camera"
        assert detail.candidate is not None
        assert detail.candidate["times"] == times
    judge(store, id_, document("Acme plug", score=0.85, facts=["uses TCP/9999"]), at=START + 3 * DAY)
    detail = store.device(id_)
    assert detail is not None
    assert (detail.row.statement, detail.candidate) == ("Acme plug", None)
    assert [(change.before, change.after, change.reason) for change in detail.history] == [
        ("Acme camera", "Acme plug", "three judgements in a row say so"), ("", "Acme camera", "first judgement"),
    ]  # fmt: skip
    assert detail.history[0].evidence == ("uses TCP/9999",)
    assert detail.row.changed == START + 3 * DAY


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        (document("Acme camera: model 5", "model", 0.7), "more is known: model"),
        (document("Acme plug", score=0.99), "more probable than before (0.99 against 0.70)"),
    ],
)
def test_a_statement_changes_at_once_with_a_reason(open_store: Open, later: dict[str, object], reason: str) -> None:
    store = open_store()
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document(score=0.7))
    judge(store, id_, later)
    assert store.changes()[0].reason == reason


def test_what_was_only_probable_gives_way_at_once(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document("probably a camera", "unknown", 0.6, kind="camera"))
    assert "unknown" in store.devices().rows[0].states
    judge(store, id_, document("plug, vendor unknown", "kind", 0.7))
    assert store.changes()[0].reason == "more is known: kind"


def test_another_library_is_the_reason_of_what_it_changes(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document())
    judge(store, id_, document("Acme plug", score=0.6), library="library 2")
    assert store.changes()[0].reason == "judged with another library: library 2"


def test_the_label_of_a_user_is_above_every_verdict(open_store: Open) -> None:
    store = open_store()
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document())
    store.label(id_, "porch", "ana", kind="camera")
    for _ in range(5):
        judge(store, id_, document("Acme plug", score=0.95))
    row = store.devices().rows[0]
    assert (row.name, row.statement, row.score, row.kind, row.pinned, row.unusual) == (
        "porch", "porch", 1.0, "camera", True, True,
    )  # fmt: skip
    assert "unusual" in [event.kind for event in store.events()]
    store.label(id_, "front porch", "ben")
    store.remove_label(id_, "ben")
    detail = store.device(id_)
    assert detail is not None
    assert [(each.value, each.user, each.removed is None) for each in detail.labels] == [
        ("front porch", "ben", False), ("porch", "ana", False),
    ]  # fmt: skip
    assert detail.row.statement == "Acme plug"
    assert [each.action for each in store.audit()] == ["remove label", "label", "label"]
    assert [change.reason for change in detail.history][:2] == ["label removed by ben", "labelled by ben"]


@pytest.mark.parametrize("value", ["", "   ", "x" * 256])
def test_labels_are_bounded(open_store: Open, value: str) -> None:
    store = open_store()
    (id_,) = see(store, sighting(MAC))
    with pytest.raises(UsageError, match="1 to 255"):
        store.label(id_, value, "ana")
    with pytest.raises(UsageError, match="no kind"):
        store.label(id_, "porch", "ana", kind="spaceship")
    with pytest.raises(UsageError, match="no device"):
        store.label("0" * 16, "porch", "ana")
    assert store.audit() == ()


def test_a_rejected_statement_is_not_stated_again(open_store: Open) -> None:
    store = open_store(change_times=1)
    (id_,) = see(store, sighting(MAC))
    judge(store, id_, document())
    store.reject(id_, "ana")
    assert store.devices().rows[0].level == "unknown"
    judge(store, id_, document())
    assert store.devices().rows[0].level == "unknown"
    judge(store, id_, document("Acme plug", score=0.8))
    assert store.devices().rows[0].statement == "Acme plug"
    store.confirm(id_, "ana")
    store.note(id_, "bought in May", "ben")
    detail = store.device(id_)
    assert detail is not None
    assert [(note.kind, note.text, note.user) for note in detail.notes] == [
        ("note", "bought in May", "ben"), ("confirm", "Acme plug", "ana"), ("reject", "Acme camera", "ana"),
    ]  # fmt: skip


def test_a_mac_is_one_device_whatever_its_addresses(open_store: Open) -> None:
    store = open_store()
    see(store, sighting(MAC, addresses=("10.0.0.2",)))
    see(store, sighting(MAC, START + DAY, addresses=("10.0.0.9", "fd00::1")))
    see(store, sighting("fd00::2", START + 2 * DAY, mac=MAC))
    (row,) = store.devices().rows
    detail = store.device(row.id)
    assert detail is not None
    assert {key.value for key in detail.keys if key.kind == "address"} == {"10.0.0.2", "10.0.0.9", "fd00::1", "fd00::2"}
    assert row.flows == 30


def test_a_host_name_follows_a_device_to_another_address(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("10.0.0.2", host_names=("tv-lounge",)), sighting("10.0.0.3", host_names=("android",)))
    see(store, sighting("10.0.0.7", START + 2 * HOUR, host_names=("TV-Lounge",)),
        sighting("10.0.0.8", START + 2 * HOUR, host_names=("android",)))  # fmt: skip
    rows = store.devices(sort="address").rows
    assert [(row.address, row.flows) for row in rows] == [("10.0.0.3", 10), ("10.0.0.7", 20), ("10.0.0.8", 10)]


def test_an_address_is_another_device_after_a_gap_or_with_another_host_name(open_store: Open) -> None:
    store = open_store(address_gap_s=3 * 86_400)
    see(store, sighting("10.0.0.2"), sighting("10.0.0.3", host_names=("printer",)))
    see(store, sighting("10.0.0.2", START + 2 * DAY), sighting("10.0.0.3", START + DAY, host_names=("scale",)))
    assert store.devices().total == 3
    see(store, sighting("10.0.0.2", START + 30 * DAY))
    assert store.devices().total == 4


def test_two_macs_with_one_host_name_are_two_devices(open_store: Open) -> None:
    store = open_store()
    universal = ("a8:bb:cc:00:00:01", "a8:bb:cc:00:00:02")
    see(store, *(sighting(mac, START + i * DAY, host_names=("plug-4",)) for i, mac in enumerate(universal)))
    assert store.devices().total == 2


def test_merge_and_split(open_store: Open) -> None:
    store = open_store()
    first, two = see(store, sighting("10.0.0.2", host_names=("a-1",)), sighting("10.0.0.3", host_names=("b-2",)))
    judge(store, first, document())
    store.merge(first, two, "ana")
    see(store, sighting("10.0.0.2", START + DAY, host_names=("a-1",)))
    (row,) = store.devices().rows
    assert (row.id, row.flows) == (two, 30)
    detail = store.device(first)
    assert detail is not None
    assert (detail.row.id, detail.merged) == (two, (first,))
    assert [change.after for change in detail.history] == ["Acme camera"]
    new = store.split(two, ["10.0.0.2", "a-1"], "ana")
    see(store, sighting("10.0.0.2", START + 2 * DAY, host_names=("b-2",)))
    rows = {row.id: row for row in store.devices().rows}
    assert rows.keys() == {two, new}
    assert rows[new].flows == 10
    with pytest.raises(UsageError, match="nothing would be left"):
        store.split(two, ["10.0.0.3"], "ana")
    with pytest.raises(UsageError, match="into itself"):
        store.merge(first, two, "ana")


def test_devices_beyond_the_bound_are_counted(open_store: Open) -> None:
    store = open_store(max_devices=5)
    see(store, *(sighting(f"10.0.0.{i}") for i in range(1, 10)))
    see(store, *(sighting(f"10.0.0.{i}", START + HOUR) for i in range(1, 10)))
    assert store.devices().total == 5
    assert sum(row.flows for row in store.devices().rows) == 100


def test_facts_exporters_and_counters(open_store: Open) -> None:
    store = open_store()
    facts = (DeviceFact("host_name", "tv", "DHCP", START, START), DeviceFact("vendor", "Acme", "file", None, None))
    samples = (CounterSample(START, "orient", "ignored", "outside", "flows", 7),)
    exporters = (ExporterSample("192.0.2.1", 4739, "udp", 10, 100, 1, {"domain": 0}),)
    (id_,) = see(store, sighting(MAC, facts=facts), counters=samples, exporters=exporters)
    later = DeviceFact("host_name", "tv", "DHCP", START + DAY, START + DAY)
    see(store, sighting(MAC, START + DAY, facts=(later,)),
        counters=(CounterSample(START + DAY, "orient", "ignored", "outside", "flows", 9),))  # fmt: skip
    detail = store.device(id_)
    assert detail is not None
    assert {(f.fact, f.first, f.last) for f in detail.facts} == {
        ("host_name", START, START + DAY), ("vendor", None, None),
    }  # fmt: skip
    assert [each.value for each in store.counters()] == [9]
    assert [each.value for each in store.counters(since=START)] == [7, 9]
    (exporter,) = store.exporters()
    assert (exporter.address, exporter.records, exporter.detail) == ("192.0.2.1", 100, {"domain": 0})


def test_groups_keep_their_name_while_most_members_stay(open_store: Open) -> None:
    store = open_store()
    ids = see(store, *(sighting(f"10.0.0.{i}") for i in range(1, 7)))
    store.record_groups([(ids[:4], ["TCP/8883 to example.com"]), (ids[4:], [])])
    first, _ = store.groups()
    store.name_group(first.id, "shelly", "ana", kind="plug")
    store.record_groups([(ids[1:5], ["TCP/8883"])])
    (group,) = store.groups()
    assert (group.id, group.name, len(group.devices)) == (first.id, "shelly", 4)
    assert store.devices(search="shelly").total == 4


def test_users_tokens_and_sessions(open_store: Open) -> None:
    store = open_store()
    token = store.create_user("ana", "editor")
    user = store.user_of(token)
    assert user is not None
    assert (user.name, user.role) == ("ana", "editor")
    assert store.user_of(token + "x") is None
    secret, session = store.open_session("ana", HOUR)
    assert store.session(secret) == session
    assert store.session("") is None
    fresh = store.new_token("ana")
    assert store.user_of(token) is None
    assert store.user_of(fresh) is not None
    assert store.session(secret) is None
    expired, _ = store.open_session("ana", timedelta(0))
    assert store.session(expired) is None
    with pytest.raises(UsageError, match="already"):
        store.create_user("ana", "viewer")
    with pytest.raises(UsageError, match="last editor"):
        store.delete_user("ana")
    with pytest.raises(UsageError, match="letters, digits"):
        store.create_user("a b", "viewer")
    store.create_user("bo", "editor")
    store.delete_user("ana")
    assert [user.name for user in store.users()] == ["bo"]


def test_events_are_replayed_by_id(open_store: Open) -> None:
    store = open_store()
    see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    first, second = store.events()
    assert [event.id for event in store.events(first.id)] == [second.id]
    assert store.events(second.id) == ()
    assert store.last_event() == second.id


def test_readers_do_not_wait_for_a_round(open_store: Open) -> None:
    store, errors = open_store(), []

    def read() -> None:
        try:
            for _ in range(50):
                store.devices(search="10.0")
        except Exception as error:  # whatever is raised
            errors.append(error)

    threads = [Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(20):
        see(store, sighting(f"10.0.0.{i + 1}", START + i * HOUR))
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.devices().total == 20


def test_tokens_are_not_in_the_database(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        token = store.create_user("ana", "editor")
        secret, _ = store.open_session("ana", HOUR)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in stored
    assert secret.encode() not in stored


def test_other_databases_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not mysql"):
        Store.open("mysql://host/name")
    with pytest.raises(InputError, match=r"\*\*\*.*cannot be written: .*refused"):
        Store.open("postgresql://ana:secret@127.0.0.1:1/name")


def test_traffic_follows_a_device_to_its_kind(open_store: Callable[..., Store]) -> None:
    store = open_store()
    hours = ((START, 700), (START + HOUR, 300))
    (id_,) = see(store, sighting("10.0.0.2", hours=hours))
    see(store, sighting("10.0.0.3", hours=((START, 50),)))
    assert store.traffic(START) == ((START, "", 750), (START + HOUR, "", 300))
    judge(store, id_, document("Acme camera"), hours=hours)
    assert [row for row in store.traffic(START) if row[2]] == [
        (START, "", 50), (START, "camera", 700), (START + HOUR, "camera", 300),
    ]  # fmt: skip
    judge(store, id_, document("Acme camera"), hours=hours)
    assert (START, "camera", 700) in store.traffic(START)


def test_feedback_moves_with_a_merged_device_and_back_with_its_flows(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    for id_ in (one, two):
        judge(store, id_, document())
    store.confirm(one, "ana")
    store.note(one, "in the hall", "ana")
    store.note(two, "in the kitchen", "ben")
    assert [each.device.id for each in store.confirmed()] == [one]
    before = store.feedback_mark()
    store.merge(one, two, "ana")
    assert store.feedback_mark() != before
    [confirmed] = store.confirmed()
    assert (confirmed.device.id, confirmed.user, confirmed.statement) == (two, "ana", "Acme camera")
    assert {name for name, *_ in confirmed.device.names} == {"10.0.0.2", "10.0.0.3"}
    before = store.feedback_mark()
    new = store.split(two, ["10.0.0.2"], "ana")
    assert store.feedback_mark() != before
    assert store.confirmed() == []  # nothing is stated about the new device yet
    judge(store, new, document())
    assert [each.device.id for each in store.confirmed()] == [new]
    assert [each.text for each in store.device(new).notes if each.kind == "note"] == ["in the hall"]
    assert [each.text for each in store.device(two).notes if each.kind == "note"] == ["in the kitchen"]


def labels_that_hold(store: Store, id_: str) -> list[str]:
    return [each.value for each in store.device(id_).labels if each.removed is None]


def test_a_label_moves_with_a_merged_device_and_back_with_its_flows(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    store.label(one, "Hall camera", "ana", kind="camera")
    store.merge(one, two, "ben")
    merged = store.device(two)
    assert (merged.row.name, merged.row.kind, merged.row.pinned) == ("Hall camera", "camera", True)
    assert merged.history[0].reason == "labelled by ana before the merge"
    assert labels_that_hold(store, two) == ["Hall camera"]
    new = store.split(two, ["10.0.0.2"], "ben")
    assert (store.device(new).row.name, store.device(two).row.name) == ("Hall camera", "10.0.0.3")
    assert (labels_that_hold(store, new), labels_that_hold(store, two)) == (["Hall camera"], [])


def test_of_two_labels_that_of_the_device_that_stays_holds(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    store.label(one, "Hall camera", "ana")
    store.label(two, "Kitchen", "ana")
    store.merge(one, two, "ben")
    assert (store.device(two).row.name, labels_that_hold(store, two)) == ("Kitchen", ["Kitchen"])
    new = store.split(two, ["10.0.0.2"], "ben")
    assert (labels_that_hold(store, new), labels_that_hold(store, two)) == (["Hall camera"], ["Kitchen"])
    assert store.device(new).row.name == "Hall camera"


def test_a_label_that_was_removed_after_a_merge_does_not_come_back(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    store.label(one, "Hall camera", "ana")
    store.merge(one, two, "ben")
    store.remove_label(two, "ana")
    new = store.split(two, ["10.0.0.2"], "ben")
    assert (labels_that_hold(store, new), store.device(new).row.name) == ([], "10.0.0.2")


def test_a_rejection_moves_with_a_merged_device(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    for id_ in (one, two):
        judge(store, id_, document())
    store.reject(one, "ana")
    store.merge(one, two, "ana")
    assert store.device(two).row.statement == "unknown"
    judge(store, two, document())
    assert store.device(two).row.statement == "unknown"
    store.withdraw(two, "ana")
    judge(store, two, document())
    assert store.device(two).row.statement == "Acme camera"


def test_another_part_of_a_device_takes_no_feedback_along(open_store: Open) -> None:
    store = open_store()
    one, two = see(store, sighting("10.0.0.2"), sighting("10.0.0.3"))
    judge(store, two, document())
    store.confirm(two, "ana")
    store.merge(one, two, "ana")
    store.split(two, ["10.0.0.2"], "ana")
    assert [each.device.id for each in store.confirmed()] == [two]
