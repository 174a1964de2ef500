"""Every export of real verdicts and of hostile names, read as its receiver reads it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydantic
import pytest
from sqlalchemy import event

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.cli.export import Format
from ethogram.errors import ConfigurationError
from ethogram.export import csv_table, ecs, homeassistant, ocsf, prometheus_sd, registry, stix
from ethogram.export.registry import EXPORTS, ExportData, ExportOptions, load_export
from ethogram.schema import AlertPass, AlertSighting, ExportedDevice, SinkEvent
from ethogram.serve.exported import DevicesRead, stored_alerts, stored_devices
from ethogram.serve.store import Store
from tests.export import ecs_fields
from tests.serve.store_rows import document, judge, see, sighting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CAMERA = ExportedDevice(
    "1", "=cam\x1b[2J", ("192.168.1.5", "fe80::1"), ("02:00:00:00:00:0a",), ("cam",), "camera", "Acme", "Cam 2",
    "Acme camera", "model", 0.98765, "known", NOW, NOW + timedelta(hours=1), 1234.5, 7, False, False, "because",
)  # fmt: skip
BARE = ExportedDevice("2", "nothing known")
ALERT = SinkEvent(5, NOW, "alert", "critical", "Two devices, one address", "192.168.1.5 is used twice", CAMERA,
                  {"kind": "address conflict", "alert": 3})  # fmt: skip
DATA = ExportData((CAMERA, BARE), NOW, (ALERT,))


def text(module: Any, data: ExportData = DATA, options: ExportOptions | None = None) -> str:
    return "".join(part.text for part in module.write(data, options or ExportOptions()))


def test_the_command_has_the_formats_of_the_registry() -> None:
    assert {each.value for each in Format} == set(EXPORTS)
    for name in EXPORTS:
        assert callable(load_export(name))


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTS, "csv", EXPORTS["csv"]._replace(needs=("not_there", "tables")))
    with pytest.raises(ConfigurationError, match=r"the export csv needs not_there: pip install 'ethogram\[tables\]'"):
        registry.load_export("csv")


def test_csv_is_read_back_and_no_cell_is_a_formula() -> None:
    first, second = csv.DictReader(io.StringIO(text(csv_table)))
    assert first["name"] == "'=cam\\x1b[2J"
    assert (first["addresses"], first["score"], first["octets_a_day"]) == ("192.168.1.5;fe80::1", "0.9877", "1234")
    assert first["last_seen"] == "2026-01-02T04:04:05+00:00"
    assert second["first_seen"] == second["kind"] == ""


@pytest.mark.parametrize(("port", "target"), [(0, "192.168.1.5"), (9100, "192.168.1.5:9100")])
def test_prometheus_reads_targets_and_labels(port: int, target: str) -> None:
    (group,) = json.loads(text(prometheus_sd, options=ExportOptions(port=port)))
    assert group["targets"] == [target]
    assert group["labels"] == {"device": "=cam\\x1b[2J", "device_id": "1", "kind": "camera", "vendor": "Acme",
                               "model": "Cam 2", "state": "known"}  # fmt: skip


def test_home_assistant_has_an_announcement_and_a_state_for_each_device() -> None:
    messages = [json.loads(line) for line in text(homeassistant, options=ExportOptions(prefix="ha")).splitlines()]
    assert [each["topic"] for each in messages] == [
        "ha/device/ethogram_1/config", "ethogram/device/ethogram_1/state",
        "ha/device/ethogram_2/config", "ethogram/device/ethogram_2/state",
    ]  # fmt: skip
    assert messages[0]["payload"]["state_topic"] == messages[1]["topic"]
    assert messages[3]["payload"]["last_seen"] is None


def ecs_documents(data: ExportData = DATA) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text(ecs, data).splitlines()]


def test_ecs_has_devices_as_assets_and_alerts() -> None:
    camera, bare, alert = ecs_documents()
    assert camera["host"]["mac"] == ["02-00-00-00-00-0A"]
    assert camera["device"] == {"id": "1", "manufacturer": "Acme", "model": {"name": "Cam 2"}}
    assert "ip" not in bare["host"]
    assert (alert["event"]["kind"], alert["event"]["severity"], alert["event"]["action"]) == (
        "alert", 3, "address-conflict",
    )  # fmt: skip
    assert alert["rule"] == {"name": "Two devices, one address"}


@pytest.mark.skipif(bool(ecs_fields.missing()), reason=ecs_fields.missing())
def test_ecs_documents_have_the_fields_of_the_schema_alone() -> None:
    assert ecs_fields.version() == ecs.VERSION
    events = [replace(ALERT, kind=kind, severity=severity) for kind in ("alert", "device new", "label")
              for severity in ("info", "warning", "critical")]  # fmt: skip
    documents = ecs_documents(ExportData((CAMERA, BARE), NOW, tuple(events)))
    assert [ecs_fields.problems(each) for each in documents] == [[]] * len(documents)
    assert ecs_fields.problems({"event": {"kind": "guess"}, "made": {"up": 1}, "host": {"ip": "192.0.2.1"}}) == [
        "event.kind: 'guess' is not one of ['alert', 'asset', 'enrichment', 'event', 'metric', 'state', "
        "'pipeline_error', 'signal']", "made.up: unknown field", "host.ip: not a list",
    ]  # fmt: skip


def ocsf_problems(document: dict[str, Any], model: type[pydantic.BaseModel]) -> list[str]:
    """Fields of a document that the model of pydantic-ocsf does not know, also in the objects of it."""
    def unknown(record: object, place: str) -> list[str]:
        if isinstance(record, list):
            return [each for item in record for each in unknown(item, place)]
        if not isinstance(record, pydantic.BaseModel):
            return []
        found = [f"{place}{name}" for name in record.model_extra or {}]
        return found + [each for name in record.model_fields_set & set(type(record).model_fields)
                        for each in unknown(getattr(record, name), f"{place}{name}.")]  # fmt: skip
    # The models have the two values that all types share; those of devices are listed here (OCSF 1.7, object device).
    if "device" in document:
        assert document["device"]["type_id"] in {*range(16), 99}
        document = document | {"device": document["device"] | {"type_id": 99}}
    return unknown(model.model_validate(document), "")


def test_ocsf_documents_are_those_of_the_schema() -> None:
    from ocsf.v1_7_0.events import DetectionFinding, InventoryInfo

    camera, bare, alert = (json.loads(line) for line in text(ocsf).splitlines())
    for made, model in ((camera, InventoryInfo), (bare, InventoryInfo), (alert, DetectionFinding)):
        assert ocsf_problems(made, model) == []
        assert made["metadata"]["version"] == ocsf.VERSION
    assert ocsf_problems(alert | {"colour": "red"}, DetectionFinding) == ["colour"]
    assert (camera["device"]["type_id"], bare["device"]["type_id"]) == (7, 0)
    assert (alert["severity_id"], alert["type_uid"]) == (5, 200401)
    with pytest.raises(pydantic.ValidationError):
        ocsf_problems({**camera, "severity_id": 77}, InventoryInfo)


def test_stix_is_parsed_and_ids_stay_the_same() -> None:
    import stix2

    bundle = stix2.parse(text(stix), allow_custom=False)
    by_type: dict[str, list[Any]] = {}
    for each in bundle.objects:
        by_type.setdefault(each["type"], []).append(each)
    assert {kind: len(each) for kind, each in by_type.items()} == {
        "identity": 1, "infrastructure": 2, "mac-addr": 1, "ipv4-addr": 1, "ipv6-addr": 1, "relationship": 3, "note": 1,
    }  # fmt: skip
    ids = {each["id"] for each in bundle.objects}
    assert {each["target_ref"] for each in by_type["relationship"]} <= ids
    assert by_type["note"][0]["object_refs"][0] in ids
    later = stix2.parse(text(stix, replace(DATA, time=NOW + timedelta(days=1))))
    assert {each["id"] for each in later.objects} == ids


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera with a cloud and a local client, as a capture."""
    packets: list[P] = []
    for minute in range(0, 600, 10):
        at = (1_714_521_600 + minute * 60) * 1_000_000_000
        packet = P(at, "192.168.1.5", "198.51.100.7", 40_000 + minute, 443, source_mac="02:00:00:00:00:05")
        packets += [packet, packet.back(at + 100_000_000)]
    path = tmp_path_factory.mktemp("home") / "home.pcap"
    path.write_bytes(capture(packets))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["export", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_capture_is_exported_in_every_format(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = csv.DictReader(io.StringIO(run(capsys, "csv", str(home))))
    assert (row["addresses"], row["macs"]) == ("192.168.1.5", "02:00:00:00:00:05")
    (line,) = run(capsys, "ecs", str(home)).splitlines()
    assert json.loads(line)["host"]["ip"] == ["192.168.1.5"]
    (group,) = json.loads(run(capsys, "prometheus-sd", str(home), "--port", "80"))
    assert group["targets"] == ["192.168.1.5:80"]
    mud = json.loads(run(capsys, "mud", str(home), "--device", "192.168.1.5", "--mud-url", "https://mud.example"))
    ports = [entry["matches"]["ipv4"]["destination-ipv4-network"]
             for entry in mud["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"]]  # fmt: skip
    assert ports == ["198.51.100.7/32"]
    folder = tmp_path / "mud"
    assert run(capsys, "mud", str(home), "-o", str(folder)) == ""
    assert [path.suffix for path in folder.iterdir()] == [".json"]
    assert "exists and has no mark of Ethogram" in run(capsys, "mud", str(home), "-o", str(folder), code=2)
    assert run(capsys, "mud", str(home), "-o", str(folder), "--force") == ""


@pytest.mark.parametrize(("arguments", "message"), [
    (["csv", "{home}", "--device", "192.168.1.9"], "--device: there is no device '192.168.1.9'"),
    (["csv", "{home}", "--data", "x"], "--data: belongs to the live service"),
    (["csv", "--data", "x", "--library", "packaged"], "--library: belongs to inputs"),
    (["mud", "{home}", "--mud-url", "http://mud.example"], "begins with https://"),
    (["csv", "--data", "x"], "there is no such store"),
    (["xml", "{home}"], "Invalid value for 'FORMAT'"),
])  # fmt: skip
def test_what_cannot_be_exported_is_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str
) -> None:
    given = [text.replace("{home}", str(home)) for text in arguments]
    capsys.readouterr()
    assert main(["export", *given]) in (2, 3, 5)
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]


def test_the_store_of_the_service_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "store.db"
    with Store.open(place) as store:
        (first,) = see(store, sighting("02:00:00:00:00:01", addresses=("192.168.1.5",), host_names=("cam",)))
        judge(store, first, document("Acme camera"))
        position = store.alert_state()[0]
        found = AlertPass(NOW, position, position, holding={
            "unusual device": (AlertSighting("unusual device", first, "cam is unusual", ("why",), first, "cam"),)
        })  # fmt: skip
        store.record_alerts(found)
        devices = stored_devices(store, facts=True)
        (alert,) = stored_alerts(store, devices)
    assert (devices[0].vendor, devices[0].macs) == ("Acme", ("02:00:00:00:00:01",))
    assert (alert.severity, alert.text, alert.device) == ("warning", "cam is unusual", devices[0])
    device, raised = map(json.loads, run(capsys, "ecs", "--data", str(tmp_path)).splitlines())
    assert (device["device"]["manufacturer"], raised["event"]["kind"]) == ("Acme", "alert")


def test_names_of_all_devices_are_read_at_once(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        ids = see(store, *(
            sighting(f"02:00:00:00:00:{n:02x}", addresses=(f"192.168.1.{n}",), host_names=(f"host-{n}",))
            for n in range(1, 8)
        ))  # fmt: skip
        for id_ in ids:
            judge(store, id_, document("Acme camera"))
        store.merge(ids[1], ids[0], "admin")
        for device in stored_devices(store, facts=True):
            detail = store.device(device.id)
            assert detail is not None
            assert device.reason == ("; ".join(detail.history[0].evidence[:3]) or detail.history[0].reason)
            for kind, values in (("address", device.addresses), ("mac", device.macs), ("hostname", device.host_names)):
                assert set(values) == {key.value for key in detail.keys if key.kind == kind}
                assert len(values) == len(set(values))
        read = DevicesRead(store)
        before = read()
        assert read() is before
        store.label(ids[3], "Front door", "admin")
        assert [device.name for device in read() if device.id == ids[3]] == ["Front door"]
        queries: list[str] = []
        event.listen(store._engine, "before_cursor_execute", lambda *given: queries.append(given[2]))
        assert len(stored_devices(store, facts=True)) == 6
        assert len(queries) < 3 * 6  # before: seven for each device
