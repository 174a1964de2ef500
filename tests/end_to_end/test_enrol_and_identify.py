"""enrol, library and identify as a user calls them: results on standard output, one line for every mistake."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.schema import FLOW

T0 = datetime(2024, 3, 4, tzinfo=UTC)
# device -> services as (protocol, port, scope, flows an hour, octets out, octets in)
HOME = {
    "cam": [(6, 443, "wan", 6, 90_000, 9_000), (17, 53, "lan", 4, 70, 150), (6, 554, "lan", 2, 500_000, 5_000)],
    "plug": [(6, 8883, "wan", 1, 2_000, 2_500), (17, 53, "lan", 2, 60, 110), (17, 123, "wan", 1, 76, 76)],
    "lamp": [(6, 6668, "wan", 3, 400, 300), (17, 53, "lan", 1, 64, 96), (17, 6667, "lan", 6, 200, 0)],
}  # fmt: skip
STRANGER = [(17, 40_001, "wan", 30, 1_200, 1_200), (6, 25, "wan", 9, 4_000, 90)]


def traffic(home: dict[str, list[tuple[int, int, str, int, int, int]]], first: int, days: int) -> pl.DataFrame:
    rng = np.random.default_rng(first)
    rows = []
    for device, services in home.items():
        for hour in range(first * 24, (first + days) * 24):
            for protocol, port, scope, flows, out, back in services:
                for _ in range(int(rng.poisson(flows))):
                    start = T0 + timedelta(hours=hour, seconds=float(rng.uniform(0, 3600)))
                    rows.append({
                        "device": device, "device_address": "10.0.0.1", "remote": "9.9.9.9", "local_port": 50_000,
                        "remote_port": port, "protocol": protocol, "start": start, "end": start + timedelta(seconds=2),
                        "octets_out": int(out * rng.uniform(0.8, 1.2)), "octets_in": int(back * rng.uniform(0.8, 1.2)),
                        "packets_out": 4, "packets_in": 3 if back else 0, "initiator": "device", "service_port": port,
                        "role": "client", "scope": scope, "answered": back > 0, "joined": 1,
                    })  # fmt: skip
    return FLOW.conform(pl.DataFrame(rows).sort("start"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flows of ten days, flows of two later ones, labels, and the library of the ten."""
    folder = tmp_path_factory.mktemp("home")
    traffic(HOME, 0, 10).write_parquet(folder / "early.parquet")
    traffic({**HOME, "ghost": STRANGER}, 20, 2).write_parquet(folder / "late.parquet")
    (folder / "labels.csv").write_text(
        "device,label,vendor,type\ncam,den camera,acme,camera\nplug,kettle plug,acme,plug\nlamp,bed lamp,bell,light\n"
    )
    code = main(["enrol", str(folder / "early.parquet"), "--labels", str(folder / "labels.csv"), "-o",
                 str(folder / "home.jsonl")])  # fmt: skip
    assert code == 0
    return folder


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def test_known_devices_are_named_and_a_stranger_is_unknown(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "identify", home / "late.parquet", "--library", home / "home.jsonl", "--format", "json")
    assert code == 0
    document = {verdict["device"]: verdict for verdict in orjson.loads(out)["devices"]}
    verdicts = {device: verdict["verdict"] for device, verdict in document.items()}
    assert verdicts == {"cam": "den camera", "plug": "kettle plug", "lamp": "bed lamp", "ghost": "unknown"}
    assert all(document[device]["score"] > 0.8 for device in HOME)
    for verdict in document.values():
        assert sum(e["contribution"] for e in verdict["evidence"]) == pytest.approx(verdict["raw_score"], abs=1e-3)


@pytest.mark.parametrize("method", ["nearest", "likelihood", "cross-network", "bag-of-ports", "mud"])
def test_every_method_names_them_in_a_closed_set(home: Path, capfd: pytest.CaptureFixture[str], method: str) -> None:
    code, out, _ = run(capfd, "identify", home / "late.parquet", "--library", home / "home.jsonl", "--format", "csv",
                       "--closed", "--method", method, "--level", "type")  # fmt: skip
    assert code == 0
    verdicts = {row["device"]: row["verdict"] for row in csv.DictReader(io.StringIO(out))}
    assert {d: v for d, v in verdicts.items() if d != "ghost"} == {"cam": "camera", "plug": "plug", "lamp": "light"}
    assert verdicts["ghost"] != "unknown"


@pytest.mark.parametrize(("per", "count"), [("device", 4), ("epoch", 8)])
def test_verdicts_per_device_and_per_epoch(home: Path, capfd: pytest.CaptureFixture[str], per: str, count: int) -> None:
    code, out, _ = run(capfd, "identify", home / "late.parquet", "--library", home / "home.jsonl", "--format", "csv",
                       "--per", per)  # fmt: skip
    assert code == 0
    assert len(out.splitlines()) == count + 1


def test_verdicts_per_fingerprint_and_the_table(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, "identify", home / "early.parquet", "--library", home / "home.jsonl", "--per",
                         "fingerprint")  # fmt: skip
    assert code == 0
    assert "den camera" in out
    assert "final" in out
    assert "flows counted" in err


def test_libraries_are_listed_extended_merged_and_reduced(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library, more, both = home / "home.jsonl", home / "more.jsonl.gz", home / "both.jsonl"
    code, out, _ = run(capfd, "library", "list", library)
    assert code == 0
    assert "30 entries" in out
    packaged = run(capfd, "library", "list", "--full")[1]
    assert "2000-01-0" not in packaged, "entries made from profiles have no date"
    labels = home / "ghost.csv"
    labels.write_text("device,label\nghost,mailer\nnobody,x\n")
    code, _, err = run(capfd, "enrol", home / "late.parquet", "--labels", labels, "-o", more)
    assert code == 0
    assert "labelled, but not seen: 1 device: nobody" in err
    assert "left out, without a label: 3 devices: cam, lamp, plug" in err
    assert run(capfd, "library", "merge", library, more, "-o", both)[0] == 0
    assert "32 entries" in run(capfd, "library", "list", both)[1]
    assert run(capfd, "library", "remove", both, "--label", "mailer", "-o", both)[0] == 0
    assert both.read_text().splitlines()[1:] == library.read_text().splitlines()[1:]
    code, _, _ = run(capfd, "enrol", home / "late.parquet", "--labels", labels, "-o", both, "--extend", library)
    assert code == 0
    assert "32 entries" in run(capfd, "library", "list", both, "--full")[1]


def test_mistakes_are_one_line_and_a_named_code(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    late, library, labels = home / "late.parquet", home / "home.jsonl", home / "labels.csv"
    old = home / "old.jsonl"
    old.write_text(library.read_text().replace("ethogram.library/1", "ethogram.library/9", 1))
    empty = home / "empty.parquet"
    FLOW.empty().write_parquet(empty)
    nobody = home / "nobody.csv"
    nobody.write_text("device,label\nnobody,x\n")
    cases: list[tuple[int, str, list[object]]] = [
        (3, "none.parquet", ["identify", home / "none.parquet", "--library", library]),
        (4, "there is no such library", ["identify", late, "--library", home / "none.jsonl"]),
        (4, "format ethogram.library/9", ["identify", late, "--library", old]),
        (4, "not JSON", ["identify", late, "--library", labels]),
        (3, "", ["identify", empty, "--library", library]),
        (3, "there is no such file", ["enrol", late, "--labels", home / "none.csv", "-o", home / "x.jsonl"]),
        (4, "nothing to enrol", ["enrol", late, "--labels", nobody, "-o", home / "x.jsonl"]),
        (4, "no coarse is known of", ["identify", late, "--library", library, "--level", "coarse"]),
        (5, "no method 'guess'", ["identify", late, "--library", library, "--method", "guess"]),
        (2, "--from", ["identify", late, "--library", library, "--from", "soon"]),
        (2, "needs at least one library", ["library", "merge", library]),
        (2, "remove needs", ["library", "remove", library, "-o", home / "x.jsonl"]),
        (3, "nothing to identify", ["identify", late, "--library", library, "--from", "2030-01-01"]),
    ]
    for code, words, arguments in cases:
        got, out, err = run(capfd, *arguments)
        assert (got, out) == (code, ""), (arguments, err)
        assert words in err.splitlines()[-1], (arguments, err)
        assert "Traceback" not in err
    assert not (home / "x.jsonl").exists()
