"""The verb *changes* on files."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import ethogram
from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.errors import InputError, UsageError

DAY = 86_400
START = 1_714_521_600


def day(number: int, services: dict[int, list[int]]) -> bytes:
    """A capture of one day: for each device, an hourly flow to each of its ports."""
    packets = []
    for hour in range(24):
        at = (START + number * DAY + hour * 3_600 + 60) * 1_000_000_000
        for device, ports in services.items():
            for port in ports:
                sent = P(at, f"192.168.1.{device}", "198.51.100.7", 40_000 + hour, port, payload=b"x",
                         source_mac=f"02:00:00:00:00:0{device}")  # fmt: skip
                packets += [sent, sent.back(at + 100_000_000)]
                at += 1_000_000
    return capture(sorted(packets, key=lambda packet: packet.time_ns))


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("days")
    (folder / "monday.pcap").write_bytes(day(0, {5: [443], 6: [8883], 7: [443, 1883], 8: [443]}))
    (folder / "tuesday.pcap").write_bytes(day(1, {5: [443, 23], 7: [443, 1883], 8: [443, 23], 9: [554]}))
    return str(folder / "monday.pcap"), str(folder / "tuesday.pcap")


def told(found: ethogram.NetworkChanges) -> list[tuple[str, str, str]]:
    return [(change.change, change.device[-1], change.subject) for change in found.changes]


def test_new_silent_and_changed_devices_are_told_and_a_shared_change_once(days: tuple[str, str]) -> None:
    result = ethogram.changes(days, verdicts=False)
    assert told(result) == [
        ("new device", "9", ""), ("silent device", "6", ""), ("service appeared", "5", "Telnet"),
    ]  # fmt: skip
    shared = next(change for change in result.changes if change.change == "service appeared")
    assert [device[-1] for device in shared.also] == ["8"]
    assert (shared.hours_before, shared.hours_after) == (0, 24)
    assert result.unchanged == 1
    assert result.before.hours == result.after.hours == 24


def test_the_command_gives_what_the_function_gives(
    days: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ethogram.changes(days)
    assert main(["changes", *days, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == result.to_dict()
    assert main(["changes", *days, "--format", "jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == result.to_dict()["changes"]
    assert main(["changes", *days, "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(result.changes) == 1 + result.to_frame().height
    assert main(["changes", *days]) == 0
    out = capsys.readouterr().out
    assert "Telnet" in out
    assert "1 device unchanged" in out


def test_one_input_is_cut_at_the_last_part(days: tuple[str, str], tmp_path: Path) -> None:
    both = ethogram.read_flows(list(days))
    cut = ethogram.changes(both, since="1d", verdicts=False)
    assert told(cut) == told(ethogram.changes(days, verdicts=False))
    assert cut.after.end - cut.after.start == timedelta(days=1)


def test_what_cannot_be_compared_is_refused(days: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="1 input: give two"):
        ethogram.changes(days[0])
    with pytest.raises(UsageError, match="by hour"):
        ethogram.changes(days[0], since="60s")
    with pytest.raises(InputError, match="no flows in the earlier span"):
        ethogram.changes(days[0], since="30d")
    with pytest.raises(InputError, match=r"nowhere\.pcap"):
        ethogram.changes([days[0], "nowhere.pcap"])
