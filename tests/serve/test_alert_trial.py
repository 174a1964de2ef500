"""Rules of alerts in a file, and what they would raise of what is stored."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ethogram.cli import main
from ethogram.config import AlertRule, AlertSettings, ServeSettings, read_alert_rules
from ethogram.errors import ConfigurationError, InputError
from ethogram.schema import FLOW_METADATA, AlertPass, AlertSighting
from ethogram.serve.rules_file import RulesFile
from ethogram.serve.store import Store
from serve.segments_made import flows
from serve.store_rows import HOUR, START, document, judge, see, sighting
from serve.test_service import message_of, serving, settings_of, state_of, wait_for

DAY = timedelta(days=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A store of an unknown device, and a camera that appeared after the time of learning; one stored alert."""
    with Store.open(tmp_path / "store.db") as store:
        see(store, sighting("10.0.0.2"))
        ids = see(store, sighting("10.0.0.3", first=START + 3 * DAY, last=START + 3 * DAY))
        judge(store, ids[-1], document("Acme camera"), at=START + 3 * DAY + HOUR)
        store.record_alerts(AlertPass(START, 0, 0, raised=(AlertSighting("disk space", "data", "nearly full"),)))
    return tmp_path


def test_rules_are_read_with_the_line_of_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text('open_days = 3\n\n[[rule]]\nkinds = ["new device"]\nmute = true\n')
    read = read_alert_rules(file, AlertSettings(hourly=4))
    assert (read.open_days, read.hourly) == (3, 4)
    assert read.rule == (AlertRule(kinds=("new device",), mute=True),)
    for text, line, reason in (
        ("open_days = 3\nopen_day = 4", 2, "open_day: there is no such setting"),
        ("hourly = 0", 1, "hourly: Input should be greater than 0"),
        ('[[rule]]\nmute = true\n[[rule]]\nkinds = ["new"]', 4, "rule.1.kinds: .*there is no kind of alert 'new'"),
        ('[[rule]]\n\nseverity = "fatal"', 3, "rule.0.severity: "),
        ('[[rule]]\ndevice_kinds = ["toaster9"]', 2, "there is no kind of device 'toaster9'"),
        ("[[rule]]\nmutes = true", 2, "rule.0.mutes: there is no such setting"),
        ('off = ["nothing"]', 1, "there is no kind of alert 'nothing'"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=rf"alerts.toml: line {line}: .*{reason}"):
            read_alert_rules(file)
    file.write_text("open_days = ")
    with pytest.raises(ConfigurationError, match="not TOML"):
        read_alert_rules(file)
    with pytest.raises(InputError, match="no such file"):
        read_alert_rules(tmp_path / "missing.toml")


def test_rules_set_severities_and_mute(data: Path) -> None:
    rules = AlertSettings(rule=(
        AlertRule(kinds=("new device",), device_kinds=("camera",), severity="critical"), AlertRule(mute=True),
    ))  # fmt: skip
    with Store.open(data / "store.db") as store:
        (camera,) = [row.id for row in store.devices().rows if row.kind == "camera"]
        after, _ = store.alert_state()
        raised = (AlertSighting("new device", camera, "here", device=camera), AlertSighting("clock error", "x", "y"))
        assert store.record_alerts(AlertPass(START, after, after, raised=raised), rules) == 1
        assert [row.severity for row in store.alerts(kind="new device").rows] == ["critical"]
        assert store.alert_counters()["muted by a rule"] == 1


def test_what_rules_would_raise_is_printed_and_not_stored(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (data / "store.db").read_bytes()
    rules = data / "alerts.toml"
    rules.write_text('[[rule]]\nkinds = ["new device"]\ndevice_kinds = ["camera"]\nseverity = "critical"\n')
    command = ["alerts", "test", "--data", str(data), "--json"]
    assert main(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["kind"], row["severity"], row["device_kind"]) == ("new device", "info", "camera")
    assert main([*command, "--rules", str(rules)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["severity"] == "critical"
    assert main(["alerts", "test", "--data", str(data), "--since", "30m"]) == 0
    assert "0 alerts would be raised" in capsys.readouterr().err
    with Store.open(data / "store.db") as store:
        assert [row.kind for row in store.alerts().rows] == ["disk space"]
    assert len(before) == len((data / "store.db").read_bytes())


def flow_file(path: Path, *tables: pl.DataFrame) -> str:
    metadata = {key.decode(): value.decode() for key, value in FLOW_METADATA.items()}
    pl.concat(tables).write_parquet(path, metadata=metadata)
    return str(path)


def test_rules_are_tried_on_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = [
        flow_file(tmp_path / f"day{day}.parquet", *(
            flows(address, START + day * DAY + hour * HOUR, 20)
            for address in (["10.0.0.2"] + ["10.0.0.3"] * (day < 4) + ["10.0.0.4"] * (day == 3)) for hour in range(20)
        ))
        for day in range(7)
    ]  # fmt: skip
    rules = tmp_path / "alerts.toml"
    off = 'off = ["unknown device", "unknown group"]\n'
    rules.write_text(off + '[[rule]]\nkinds = ["new device"]\nseverity = "critical"')
    test = ["alerts", "test", "--rules", str(rules), "--json"]
    assert main([*test, *days]) == 0
    rows = {(row["kind"], row["device_name"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {("new device", "10.0.0.4"), ("silent device", "10.0.0.3")}
    assert rows["new device", "10.0.0.4"]["first"].startswith("2026-03-04")
    assert rows["silent device", "10.0.0.3"]["evidence"] == ["traffic on 4 of its last 4 days"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    assert main([*test, *days[:4], str(tmp_path / "bad.parquet")]) == 3
    streams = capsys.readouterr()
    assert [(row["kind"], row["severity"]) for row in json.loads(streams.out)] == [("new device", "critical")]
    assert len([line for line in streams.err.splitlines() if "bad.parquet" in line]) == 1


@pytest.mark.parametrize(("arguments", "error"), [
    (["test", "missing.parquet"], "missing.parquet: there is no such file"),
    (["test", "."], "is not a file"),
    (["test", "day.parquet", "--since", "1d"], "--since: belongs to the live service"),
    (["test", "day.parquet", "--data", "."], "--data: belongs to the live service"),
    (["list", "day.parquet"], "IN: belongs to 'ethogram alerts test'"),
    (["test", "--local", "10.0.0.0/8"], "--local: belongs to 'ethogram alerts test' with files"),
])  # fmt: skip
def test_options_of_files_and_of_the_store_are_apart(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    assert main(["alerts", *arguments]) in (1, 2, 3)
    assert error in capsys.readouterr().err


def test_of_an_empty_store_nothing_would_be_raised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open(tmp_path / "store.db").close()
    assert main(["alerts", "test", "--data", str(tmp_path)]) == 0
    assert "0 alerts would be raised" in capsys.readouterr().err


def test_open_alerts_are_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "--data", str(data)]) == 0
    assert "nearly full" in capsys.readouterr().out
    assert main(["alerts", "--data", str(data), "--since", "1d"]) == 2
    assert "belongs to 'ethogram alerts test'" in capsys.readouterr().err


def test_changed_rules_are_read_again_and_wrong_ones_are_not_used(tmp_path: Path) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text("hourly = 5\n")
    rules = RulesFile(ServeSettings.of(alert_rules=str(file), alerts={"open_days": 2}))
    assert rules.refresh()
    assert (rules.rules.hourly, rules.rules.open_days) == (5, 2)
    assert not rules.refresh()
    file.write_text("open_days = 3000\n")
    assert rules.refresh()
    assert (rules.rules.hourly, rules.rules.open_days) == (AlertSettings().hourly, 3000)
    file.write_text("hourly = 0\n")
    assert not rules.refresh()
    assert rules.problem.startswith(f"{file}: line 1: hourly: ")
    assert rules.problem.endswith("; alerts follow the rules that were read before")
    assert rules.rules.open_days == 3000
    file.unlink()
    assert not rules.refresh()
    assert "there is no such file" in rules.problem
    file.write_text("open_days = 3000 # again\n")
    assert not rules.refresh()
    assert (rules.problem, rules.rules.open_days) == ("", 3000)


def test_a_running_service_follows_its_rules(tmp_path: Path) -> None:
    file, lines = tmp_path / "alerts.toml", list[str]()
    file.write_text("hourly = 5\n")
    with serving(settings_of(tmp_path, alert_rules=str(file)), lines) as service:
        wait_for(lambda: state_of(service, "alerts") == "running")
        file.write_text("hourly = 0 # wrong\n")
        wait_for(lambda: state_of(service, "alerts") == "degraded")
        assert "line 1: hourly: " in message_of(service, "alerts")
        assert service.settings()["alerts"]["hourly"] == 5
        file.write_text("hourly = 50\n")
        wait_for(lambda: state_of(service, "alerts") == "running")
        assert service.settings()["alerts"]["hourly"] == 50
    assert len([line for line in lines if "hourly: " in line]) == 1
    assert f"alerts: {file} was read again" in lines


def test_the_service_checks_its_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules, settings = tmp_path / "alerts.toml", tmp_path / "serve.toml"
    rules.write_text("[[rule]]\nsverity = 1\n")
    settings.write_text(f"alert_rules = {json.dumps(str(rules))}\n")
    assert main(["serve", "--check", "-c", str(settings), "--data", str(tmp_path / "data")]) != 0
    assert "alerts.toml: line 2: rule.0.sverity: there is no such setting" in capsys.readouterr().err
