"""The identifier of the live service: the same verdicts as ``identify`` with the same libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

import ethogram
from custom_flow_twin import P, capture
from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.pipeline import device_identifier
from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.library import open_library

HOUR = 3_600
START = 1_714_521_600
DEVICES = {5: (443, 8883), 6: (8883,), 7: (443, 1883), 8: (123, 443, 554), 9: (6668,)}


def write_days(path: Path, days: range, devices: dict[int, tuple[int, ...]] = DEVICES) -> Path:
    """A capture of some days: each device asks each of its ports every half an hour."""
    packets = []
    for half in range(days.start * 48, days.stop * 48):
        for device, ports in devices.items():
            for port in ports:
                at = (START + half * HOUR // 2) * 10**9 + (port * 10 + device) * 1_000_000
                sent = P(at, f"192.168.1.{device}", f"198.51.100.{port % 200}", 20_000 + half, port,
                         payload=b"x" * (port % 90), source_mac=f"02:00:00:00:00:{device:02}")  # fmt: skip
                packets += [sent, sent.back(at + 1_000_000)]
    path.write_bytes(capture(sorted(packets, key=lambda packet: packet.time_ns)))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two libraries of the first three days, and the capture of the fourth."""
    folder = tmp_path_factory.mktemp("home")
    write_days(folder / "later.pcap", range(3, 4))
    for name, devices in (("a", (5, 6, 7)), ("b", (8,))):
        some = {device: DEVICES[device] for device in devices}
        labels = {f"02:00:00:00:00:{device:02}": f"device {device}" for device in devices}
        (folder / f"{name}.csv").write_text("\n".join(["device,label", *(f"{m},{n}" for m, n in labels.items())]))
        capture_of = write_days(folder / f"{name}.pcap", range(3), some)
        ethogram.enrol(capture_of, labels=folder / f"{name}.csv").save(folder / f"{name}.jsonl.gz")
    return folder


@pytest.mark.parametrize("names", [(), ("packaged",), ("a",), ("a", "packaged"), ("packaged", "b", "a")])
def test_verdicts_are_those_of_identify(home: Path, names: tuple[str, ...]) -> None:
    libraries = [name if name == "packaged" else str(home / f"{name}.jsonl.gz") for name in names]
    counted = count_inputs([str(home / "later.pcap")], COUNTING, None)
    identifier = DeviceIdentifier(libraries)
    expected = ethogram.identify(home / "later.pcap", library=libraries or None, flows=False)
    assert identifier.name == expected.library
    judged = identifier.verdicts(counted.gathering.counts(), counted.identity)
    verdicts = {verdict.device: verdict for verdict in judged}
    assert len(verdicts) == len(DEVICES)
    for verdict in expected.devices:
        assert verdicts[verdict.device] == verdict
    if "a" in names:
        assert verdicts["02:00:00:00:00:05"].verdict == "device 5"


def test_a_library_is_learnt_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identifier = DeviceIdentifier([home / "a.jsonl.gz", "packaged"])
    assert sorted(path.name for path in home.glob("a.learnt-*")) == ["a.learnt-evidence-label.npz",
                                                                   "a.learnt-ladder.npz"]  # fmt: skip
    monkeypatch.setattr(device_identifier, "learn", lambda *_: pytest.fail("it is learnt again"))
    counts = count_inputs([str(home / "later.pcap")], COUNTING, None).gathering.counts()
    assert identifier.verdicts(counts) == identifier.verdicts(counts)


def test_added_devices_are_judged_with_the_libraries_and_leave_again(home: Path) -> None:
    counts = count_inputs([str(home / "later.pcap")], COUNTING, None).gathering.counts()
    identifier = DeviceIdentifier([str(home / "a.jsonl.gz"), "packaged"])
    name, before = identifier.name, identifier.verdicts(counts)
    identifier.add(open_library(home / "b.jsonl.gz"))
    together = DeviceIdentifier([str(home / name) for name in ("a.jsonl.gz", "b.jsonl.gz")] + ["packaged"])
    assert identifier.verdicts(counts) == together.verdicts(counts)
    assert identifier.name == name
    identifier.add(None)
    assert identifier.verdicts(counts) == before


def test_a_damaged_addition_changes_nothing(home: Path, tmp_path: Path) -> None:
    identifier = DeviceIdentifier(home / "a.jsonl.gz")
    counts = count_inputs([str(home / "later.pcap")], COUNTING, None).gathering.counts()
    before = identifier.verdicts(counts)
    empty = tmp_path / "empty.jsonl.gz"
    library_file.write(library_file.read(home / "b.jsonl.gz").remove(labels=["device 8"]), empty)
    with pytest.raises(LibraryError):
        DeviceIdentifier(empty)
    assert identifier.verdicts(counts) == before


def test_the_name_covers_the_knowledge_file(tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("table,key,subject,value\nvendors,acme,name,Acme\n")
    first = DeviceIdentifier(knowledge=facts).name
    assert first.startswith(f"{DeviceIdentifier().name} + facts.csv ")
    facts.write_text("table,key,subject,value\nvendors,acme,name,Acme Works\n")
    assert DeviceIdentifier(knowledge=facts).name != first
