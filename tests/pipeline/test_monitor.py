"""The verb monitor: where profiles come from, and what is reported."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import ethogram
from behaviour.test_mud_match import DOCUMENT
from behaviour.traffic_made import START, flow, scan, table, usual
from ethogram.cli import main
from ethogram.errors import InputError, UsageError

ATTACK = START + timedelta(days=8, hours=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days of two devices, the plug scanning on the last one; the first seven days; a MUD file."""
    path = tmp_path_factory.mktemp("monitor")
    rows = usual(9) + usual(9, "lamp") + scan(ATTACK, 3000)
    table(rows).write_parquet(path / "all.parquet")
    table([row for row in rows if row["start"] < START + timedelta(days=7)]).write_parquet(path / "before.parquet")
    table([row for row in rows if row["start"] >= START + timedelta(days=7)]).write_parquet(path / "after.parquet")
    (path / "plug.json").write_text(json.dumps(DOCUMENT))
    (path / "labels.csv").write_text("device,label\nplug,acme\nlamp,acme\n")
    return path


def test_a_baseline_and_the_first_part_of_the_inputs_are_the_same(folder: Path) -> None:
    with_baseline = ethogram.monitor(folder / "after.parquet", baseline=folder / "before.parquet")
    assert ethogram.monitor(folder / "all.parquet", learn="7d").to_dict() == with_baseline.to_dict()
    (alarm,) = with_baseline.alarms
    assert (alarm.device, alarm.start) == ("plug", ATTACK)
    plug = next(device for device in with_baseline.devices if device.device == "plug")
    assert (plug.days, plug.rules, plug.unused, plug.outside_packets) == (7, 3, 0, 3000)
    assert plug.counters[0].rule == "TCP/23 client wan"
    assert sum(counter.packets for counter in plug.counters) == 2 * 288 * 8 + 2 * 96 * 2 - 96 * 2 + 3000


def test_profiles_are_written_and_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "profiles.json"
    before = [str(folder / "after.parquet"), "--baseline", str(folder / "before.parquet"), "--json"]
    assert main(["monitor", *before, "-o", str(file)]) == 0
    learnt = json.loads(capsys.readouterr().out)
    assert main(["monitor", str(folder / "after.parquet"), "--profile", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == learnt
    assert main(["monitor", str(folder / "after.parquet"), "--profile", str(file), "--epoch", "1h"]) == 2
    assert "the limits of 'lamp' are of epochs of 300 s: give --epoch 300s" in capsys.readouterr().err
    file.write_text(file.read_text().replace('"permits": true', '"permits": 7', 1))
    assert main(["monitor", str(folder / "after.parquet"), "--profile", str(file)]) == 3
    assert "profiles.0.rules.0.permits" in capsys.readouterr().err


def test_a_mud_file_is_for_one_device(folder: Path) -> None:
    report = ethogram.monitor(folder / "after.parquet", profile={"plug": folder / "plug.json"})
    watched = {device.device: device.rules for device in report.devices if device.profile}
    assert watched == {"plug": 6}
    (alarm,) = report.alarms
    assert alarm.services[0].startswith("TCP/23 client wan: ")
    with_limits = ethogram.monitor(
        folder / "after.parquet", profile={"plug": folder / "plug.json"}, baseline=folder / "before.parquet"
    )
    assert {device.device: device.days for device in with_limits.devices} == {"plug": 7, "lamp": 7}
    assert [alarm.device for alarm in with_limits.alarms] == ["plug"]


def test_devices_of_a_label_are_judged_by_its_profile(folder: Path) -> None:
    report = ethogram.monitor(folder / "all.parquet", learn="2d", labels=folder / "labels.csv")
    assert [(device.label, device.days) for device in report.devices] == [("acme", 4), ("acme", 4)]
    assert [alarm.device for alarm in report.alarms] == ["plug"]


def test_devices_without_a_profile_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(folder / "all.parquet"), "--learn", "1d"]) == 0
    told = capsys.readouterr()
    assert "without a profile, not monitored: lamp, plug" in told.err
    assert "0 alarms of 0 devices" in told.out


def test_what_does_not_fit_together_is_refused(folder: Path) -> None:
    data = folder / "all.parquet"
    with pytest.raises(UsageError, match="no profiles: give --baseline, --learn or --profile"):
        ethogram.monitor(data)
    with pytest.raises(UsageError, match="give one of them"):
        ethogram.monitor(data, baseline=data, learn="1d")
    with pytest.raises(UsageError, match="no device or label kettle in the inputs"):
        ethogram.monitor(data, profile={"kettle": folder / "plug.json"})
    with pytest.raises(InputError, match="neither a MUD file nor profiles"):
        ethogram.monitor(data, profile=_written(folder / "other.json", "{}"))
    with pytest.raises(InputError, match="no flows to monitor after --learn"):
        ethogram.monitor(data, learn="30d")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_many_services_outside_are_summed(folder: Path) -> None:
    strange = [flow(START, service_port=port, remote_port=port) for port in range(1, 301)]
    path = folder / "strange.parquet"
    table(strange).write_parquet(path)
    report = ethogram.monitor(path, baseline=folder / "before.parquet")
    (device,) = report.devices
    assert len(device.counters) == 202  # 100 services and the others, in both directions
    assert sum(counter.packets for counter in device.counters) == 2 * 8 * 300
    assert {c.rule for c in device.counters if c.rule.startswith("others")} == {"others: 200 services"}
