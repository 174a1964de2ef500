"""One enrolled day, labels of the user, and groups without a library, from the command line and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ethogram
from ethogram.cli.app import main
from ethogram.simulate import DEMO_HOME, SimulatedHome


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    assert main(["simulate", "--days", "3", "-o", str(folder / "home.ipfix"), "--quiet"]) == 0
    assert main(["flows", str(folder / "home.ipfix"), "-o", str(folder / "flows.parquet"), "--quiet"]) == 0
    return folder


def mac(name: str) -> str:
    return SimulatedHome().mac_of(next(item for item in DEMO_HOME if item.name == name))


def test_one_enrolled_day_names_the_next_ones_and_a_given_label_is_compared(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, library = str(tmp_path / "labels.csv"), str(tmp_path / "home.jsonl.gz")
    for name in ("porch-camera", "kettle-plug", "kitchen-speaker"):
        assert main(["label", mac(name), name, "--kind", "thing", "--labels", labels]) == 0
    assert "kitchen-speaker; 3 rows in all" in capsys.readouterr().err
    flows = str(home / "flows.parquet")
    assert main(["enrol", flows, "--labels", labels, "--to", "2026-01-06", "-o", library]) == 0
    ethogram.label(mac("kettle-plug"), "porch-camera", labels=labels)  # wrong on purpose
    ethogram.label(mac("hall-bulb"), "bulb", labels=labels)
    capsys.readouterr()
    arguments = ["identify", flows, "--library", library, "--from", "2026-01-06", "--format", "json"]
    assert main([*arguments, "--labels", labels]) == 0
    output = capsys.readouterr()
    document = {verdict["device"]: verdict for verdict in json.loads(output.out)["devices"]}
    assert {document[mac(name)]["verdict"] for name in ("porch-camera", "kettle-plug")} == {"porch-camera"}
    assert not document[mac("porch-camera")]["unusual"]
    assert document[mac("kettle-plug")]["unusual"]
    assert f"{mac('kettle-plug')} no longer behaves like porch-camera: it is like kettle-plug" in output.err
    assert document[mac("hall-bulb")]["reason"].startswith("you said so; bulb is not in the library")
    assert document[mac("weather-station")]["verdict"] == "unknown"
    assert document[mac("kitchen-speaker")]["score"] == 1.0
    assert main(arguments) == 0
    document = {verdict["device"]: verdict for verdict in json.loads(capsys.readouterr().out)["devices"]}
    assert {name: document[mac(name)]["verdict"] for name in ("porch-camera", "kettle-plug", "kitchen-speaker")} == {
        name: name for name in ("porch-camera", "kettle-plug", "kitchen-speaker")
    }
    inventory = ethogram.identify(flows, library=library, labels={mac("vacuum"): "robot"}, time_from="2026-01-06")
    assert {verdict.device for verdict in inventory.devices if verdict.pinned} == {mac("vacuum")}


def test_without_a_library_all_devices_are_grouped_and_can_be_enrolled(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flows = str(home / "flows.parquet")
    assert main(["unknown", flows, "--format", "json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert (groups["known"], groups["library"]) == (0, "")
    devices = [device for group in groups["groups"] for device in group["devices"]]
    assert sorted(devices) == sorted(set(devices))
    assert len(devices) >= 15
    together = next(group for group in groups["groups"] if mac("kettle-plug") in group["devices"])
    assert mac("study-plug") in together["devices"]
    assert main(["unknown", flows, "--name", f"{together['group']}=plug"]) == 2
    assert "--name without --library: name a library to write with -o" in capsys.readouterr().err
    library = tmp_path / "new.jsonl"
    assert main(["unknown", flows, "--name", f"{together['group']}=plug", "-o", str(library)]) == 0
    assert set(ethogram.open_library(library).labels()) == {"plug"}
    assert ethogram.unknown(flows).known == 0


def test_named_groups_are_added_to_your_own_libraries_and_packaged_is_judged_beside_them(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flows = str(home / "flows.parquet")
    first, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for library, name in ((first, "kettle-plug"), (other, "porch-camera")):
        ethogram.enrol(flows, labels={mac(name): name}, time_to="2026-01-06").save(library)
    both = ["--library", "packaged", "--library", str(first), "--library", str(other)]
    assert main(["unknown", flows, *both, "--format", "json", "--from", "2026-01-06"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert groups["known"] >= 2
    assert "+" in groups["library"]
    assert not {mac("kettle-plug"), mac("porch-camera")} & {
        device for group in groups["groups"] for device in group["devices"]}  # fmt: skip
    named = ["--name", "1=new", "--from", "2026-01-06"]
    assert main(["unknown", flows, *both, *named]) == 2
    assert "--name with several libraries: name a library to write with -o" in capsys.readouterr().err
    assert main(["unknown", flows, "--library", "packaged", *named]) == 2
    assert "--name with the bundled library: name a library to write with -o" in capsys.readouterr().err
    written = tmp_path / "written.jsonl"
    assert main(["unknown", flows, *both, *named, "-o", str(written)]) == 0
    assert set(ethogram.open_library(written).labels()) == {"kettle-plug", "porch-camera", "new"}
    assert main(["unknown", flows, "--library", "packaged", "--library", str(first), *named]) == 0
    assert set(ethogram.open_library(first).labels()) == {"kettle-plug", "new"}
    assert ethogram.unknown(flows, library=["packaged", other]).known >= 1
