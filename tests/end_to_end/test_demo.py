"""The demo through its command: the shipped figures are there, simulated is said, and what it says is right."""

from __future__ import annotations

import pytest

from ethogram.cli.app import main
from ethogram.demo import LATER, NETWORKS, real_devices, simulated_home
from ethogram.errors import InputError
from ethogram.pipeline.library import open_library
from ethogram.schema import UNKNOWN


@pytest.mark.parametrize(("network", "least"), [("stevens_lsif_2019", 6), ("unsw_2016_kics_flows", 9)])
def test_later_windows_of_real_devices_are_named_by_earlier_ones(network: str, least: int) -> None:
    result = real_devices(network)
    assert sum(item.right is True for item in result) >= least
    assert sum(item.right is False for item in result) <= 2
    assert not any(item.verdict.simulated for item in result)
    for item in result:
        assert item.verdict.reason
        total = sum(e.contribution for e in item.verdict.evidence)
        assert total == pytest.approx(item.verdict.raw_score, abs=1e-3)


def test_the_simulated_home_knows_strangers_and_sees_who_changed() -> None:
    home = simulated_home()
    by_device = {item.verdict.device: item for item in home.sightings}
    assert all(item.verdict.simulated for item in home.sightings)
    assert {name for name, item in by_device.items() if item.truth == UNKNOWN} == {"aquarium", "garage-opener"}
    assert by_device["aquarium"].verdict.verdict == by_device["garage-opener"].verdict.verdict == UNKNOWN
    assert sum(item.right is True for item in home.sightings) >= 11
    assert not any(item.right is False for item in home.sightings)
    assert [(change.device, change.day) for change in home.changes] == [("study-plug", 7)]
    assert "Telnet" in home.changes[0].after.reason
    for accounting in home.accounting.values():
        accounting.check()


def test_the_homes_flows_come_over_udp_and_each_one_that_does_not_is_known() -> None:
    home = simulated_home(4, 2, seed=3)
    export, stages = home.export, home.accounting
    assert export.place.startswith("udp://127.0.0.1:")
    assert export.sent.flows > export.sent.biflows > 25_000  # long flows are cut
    assert export.exact
    assert export.lost["messages"] > 5
    assert export.gaps == export.lost["units"]
    assert export.received == export.sent.units - export.lost["units"]
    assert stages["datagrams"].read == stages["messages"].used == export.sent.messages - export.lost["messages"]
    assert stages["biflows"].used == export.received
    assert stages["orient"].used == stages["output"].used == stages["counts"].used
    assert not any(stages[name].dropped for name in stages)


def test_a_machine_without_a_loopback_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr("ethogram.io.receive.address.socket.socket.bind", refuse)
    with pytest.raises(InputError, match=r"^udp://127.0.0.1:0: cannot listen: Cannot assign requested address$"):
        simulated_home(4, 2)


def test_a_loopback_that_carries_nothing_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.demo.inventory.WAIT_S", 0.2)
    monkeypatch.setattr("ethogram.simulate.send.UdpSender.send_octets", lambda *_: None)
    with pytest.raises(InputError, match=r"^udp://127.0.0.1:\d+: nothing arrived for 0 s$"):
        simulated_home(4, 2)


def test_the_command_prints_the_inventory_and_says_what_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-page", "--days", "8"]) == 0
    text = capsys.readouterr().out
    assert "Real devices" in text
    assert "none of these devices exists" in text
    assert text.count("(simulated)") >= 10
    assert "study-plug left its fingerprint on day 7" in text
    assert "received" in text
    assert "+ gaps" in text
    assert "= sent" in text


def test_the_shipped_files_hold_only_what_the_networks_say() -> None:
    library = open_library()
    assert {entry.observed[0].source for entry in library.entries} >= set(NETWORKS)
    assert all(source.licence and source.citation for source in library.sources)
    assert all(entry.identity.coarse != "non-iot" for entry in library.entries)
    assert LATER.endswith(".jsonl.gz")
