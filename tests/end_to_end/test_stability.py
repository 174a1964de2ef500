"""Flows to fingerprints to stability, by the commands themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.pipeline.fingerprints import fingerprint
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.stability import stability
from ethogram.schema import FLOW

T0 = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """Three devices over eight days: a plug, a bulb that does the same, and a camera that changes halfway."""
    base: dict[str, Any] = {
        "device_address": "192.168.1.10", "remote": "198.51.100.7", "local_port": 50000, "remote_port": 443,
        "octets_out": 600, "octets_in": 4000, "packets_out": 6, "packets_in": 8, "first_flags_out": 2,
        "first_flags_in": 18, "initiator": "device", "role": "client", "scope": "wan", "answered": True,
        "end_reason": 3, "joined": 1, "remote_name": None, "remote_domain": None,
    }  # fmt: skip
    rows = []
    for hour in range(24 * 8):
        start = T0 + timedelta(hours=hour)
        for device in ("plug", "bulb", "camera"):
            late = device == "camera" and hour >= 24 * 4
            for protocol, port, n in ((6, 8883 if late else 443, 5 if device == "camera" else 2), (17, 53, 2)):
                row = {"device": device, "protocol": protocol, "service_port": port, "start": start, "end": start}
                rows += [{**base, **row}] * n
    path = tmp_path / "flows.parquet"
    pl.DataFrame(rows, schema=FLOW.schema).write_parquet(path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_flows_to_fingerprints_to_stability(flows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = flows.parent
    code, out, _ = run(capsys, "fingerprint", flows, "-o", folder / "f.parquet", "--json")
    report = orjson.loads(out)
    assert code == 0
    assert (report["fingerprints"], report["devices"], report["status"]) == (12, 3, {"converged": 12})
    assert report["flows"]["read"] == report["flows"]["used"] == 24 * 8 * 15
    code, out, _ = run(capsys, "stability", folder / "f.parquet", "--format", "json", "--plots", folder / "plots")
    document = orjson.loads(out)
    assert code == 0
    assert document["classes"] == [["bulb", "plug"]]
    recurrence = {row["device"]: row for row in document["recurrence"]}
    assert (recurrence["plug"]["identical"], recurrence["plug"]["distinct"]) == (1.0, 1)
    assert (recurrence["camera"]["identical"], recurrence["camera"]["distinct"]) == (2 / 3, 2)
    assert {row["device"]: row["median_km"] for row in document["convergence"]} == {"bulb": 2, "camera": 2, "plug": 2}
    names = ["convergence", "recurrence", "services-by-day", "within-and-between"]
    assert sorted(path.stem for path in (folder / "plots").glob("*.png")) == names
    assert sorted(path.stem for path in (folder / "plots").glob("*.csv")) == names


def test_labels_say_what_a_type_is(flows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = flows.parent
    run(capsys, "fingerprint", flows, "-o", folder / "f.parquet")
    (folder / "labels.csv").write_text(
        "device,label,type\nplug,the plug,switch\nbulb,the bulb,switch\ncamera,cam,eye\n"
    )
    code, out, _ = run(capsys, "stability", folder / "f.parquet", "--labels", folder / "labels.csv", "--format", "csv")
    assert code == 0
    assert "distinguishability,switch,fingerprints,8" in out.splitlines()
    assert "distinguishability,eye,margin,1.0" not in out
    code, out, _ = run(capsys, "stability", folder / "f.parquet")
    assert code == 0
    assert "Not distinguishable at any granularity: bulb, plug" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fingerprint", "none.pcap", "-o", "f.parquet"], 3, "none.pcap"),
        (["fingerprint", "{flows}", "-o", "f.parquet", "--epoch", "soon"], 2, "--epoch: invalid duration 'soon'"),
        (["fingerprint", "{flows}", "-o", "f.parquet", "--granularity", "0"], 2, "--granularity: '0'"),
        (["fingerprint", "{flows}", "-o", "f.parquet", "--prevalence", "weight"], 2, "--prevalence: invalid weight"),
        (["fingerprint", "{flows}", "-o", "f.parquet", "--key", "colour"], 2, "--key: invalid part 'colour'"),
        (["fingerprint", "{flows}", "-o", "f.parquet", "--compare", "thirds"], 5, "setting compare"),
        (["fingerprint", "{flows}", "-o", "no/such/f.parquet"], 3, "cannot be written"),
        (["stability", "none.parquet"], 3, "none.parquet: no such file"),
        (["stability", "{flows}"], 3, "no fingerprint file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    flows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(flows.parent)
    got, out, err = run(capsys, *(text.format(flows=flows.name) for text in arguments))
    assert (got, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_real_devices_converge_and_twins_are_one_class(corpus: Path, tmp_path: Path) -> None:
    """Two devices of one platform, and one of another, over twenty days."""
    folder = corpus / "stevens_lsif_2019"
    names = {"tp-link_LightBulb": "192.168.1.112", "tp-link_SmartPlug": "192.168.1.106",
             "Ring_Doorbell": "192.168.1.129"}  # fmt: skip
    (tmp_path / "devices.csv").write_text("device,ip\n" + "".join(f"{name},{ip}\n" for name, ip in names.items()))
    captures = [folder / name / f"{name}.zip" for name in names]
    flows = collect(read_flows(captures, ReadOptions(tmp_path / "devices.csv", devices_only=True)))
    plain = fingerprint(flows)
    assert plain.accounting.balanced
    assert plain.table.filter(device="Ring_Doorbell")["status"].to_list() == ["open"]  # hundreds of random ports
    learnt = fingerprint(flows, learn_days=3)
    assert "converged" in learnt.table.filter(device="Ring_Doorbell")["status"].to_list()
    result = stability(learnt)
    assert result.classes == [["tp-link_LightBulb", "tp-link_SmartPlug"]]
    rows = {row["device"]: row for row in result.recurrence.to_dicts()}
    assert rows["tp-link_SmartPlug"]["identical"] > 0.8
    chance = dict(result.recurrence_curve.filter(curve="chance").select("r", "share").iter_rows())
    every = dict(result.recurrence_curve.filter(curve="all").select("r", "share").iter_rows())
    assert every[0.8] > 0.9 > chance[0.8]
