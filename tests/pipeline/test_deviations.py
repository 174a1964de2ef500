"""The verb deviations: what is learnt, what is scored, and what is printed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

import ethogram
from behaviour.traffic_made import START, flow, scan, table, usual
from ethogram.cli import main
from ethogram.errors import InputError

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty days of a plug, with SSH from the twelfth on, and a scan on the eighth; a lamp that joins on the tenth."""
    path = tmp_path_factory.mktemp("deviations") / "month.parquet"
    rows = usual(20) + usual(8, "lamp", START + 9 * DAY) + scan(START + 7 * DAY + timedelta(hours=3), 500)
    rows += [flow(START + timedelta(days=day, minutes=5 * n), service_port=22, remote_port=22, remote_name=None,
                  remote_domain=None) for day in range(11, 20) for n in range(288)]  # fmt: skip
    table(rows).write_parquet(path)
    return path


def test_deviations_are_named_and_new_behaviour_is_exported(month: Path) -> None:
    plug = next(each for each in ethogram.deviations(month).devices if each.device == "plug")
    deviating = [epoch for epoch in plug.epochs if epoch.deviates]
    assert [(epoch.start - START).days for epoch in deviating] == [7, 11, 12, 13, 14, 15, 16, 17]
    scanned = deviating[0]
    assert {each.subject for each in scanned.deviations if each.part == "service"} == {"TCP/23 client wan"}
    assert scanned.reason.startswith("Telnet from the device: 20 kB, before never")
    assert [each.status for each in plug.fingerprints] == ["converged", "change"]
    assert plug.fingerprints[1].deviations[0].subject == "TCP/22 client wan"
    assert plug.epochs[-1].fingerprint == 1


def test_shares_add_up(month: Path) -> None:
    scored = [epoch for device in ethogram.deviations(month, epoch="1h").devices for epoch in device.epochs
              if epoch.score is not None]  # fmt: skip
    assert len(scored) > 100
    for epoch in scored:
        assert sum(each.share for each in epoch.deviations) == pytest.approx(1 - epoch.score)
        assert all(each.part != "hour" for each in epoch.deviations)


def test_a_label_judges_devices_that_joined(month: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("device,label\nplug,acme\nlamp,acme\n")
    lamp = next(each for each in ethogram.deviations(month, labels=labels).devices if each.device == "lamp")
    assert lamp.epochs[0].score is None
    assert lamp.epochs[0].label_score is not None
    assert lamp.label == "acme"


def test_the_table_names_what_is_outside(month: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deviations", str(month)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "plug 2026-03-09" in text
    assert "plug: behaviour changed on 2026-03-" in text
    assert text.endswith("2 of 2 devices with a fingerprint")
    assert main(["deviations", str(month), "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["device"] for row in rows} == {"plug", "lamp"}


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    table([flow(START)]).clear().write_parquet(empty)
    with pytest.raises(InputError, match="no flows"):
        ethogram.deviations(empty)
