"""Options that cannot act on an input are refused, or said; and what else lies in a folder is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.cli import main
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.send import write

RECORDS = (
    b"ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt,opkt,obyt\n"
    b"2024-05-01 00:00:00,2024-05-01 00:00:01,1.0,192.168.0.2,192.0.2.1,40000,443,TCP,3,300,2,200\n"
)
OPTIONS = {
    "--devices": ["devices.csv"], "--local": ["192.168.0.0/16"], "--no-join": [], "--pair": ["never"],
    "--no-remote-names": [], "--time-zone": ["Europe/Berlin"], "--idle-timeout": ["60"], "--active-timeout": ["60"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_bytes(RECORDS)
    Path("devices.csv").write_text("device,ip\nporch,192.168.0.2\n")
    Path("labels.csv").write_text("device,label\n192.168.0.2,camera\n")
    assert main(["flows", "in", "-o", "table.parquet"]) == 0


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_without_effect_on_a_flow_table_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    verbs = {
        "flows": ["-o", "x.parquet"], "fingerprint": ["-o", "x.parquet"], "identify": [],
        "enrol": ["--labels", "labels.csv", "-o", "x.jsonl"],
    }  # fmt: skip
    for verb, more in verbs.items():
        if verb == "flows" or option in {"--devices", "--local"}:
            capsys.readouterr()
            assert main([verb, "table.parquet", *more, option, *OPTIONS[option]]) == 2, verb
            assert f"table.parquet is a flow table: {option} has no effect on it" in capsys.readouterr().err
    assert not Path("x.parquet").exists()


def test_an_option_that_other_inputs_follow_is_said_of_the_flow_table(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["flows", "table.parquet", "in", "-o", "x.parquet", "--devices", "devices.csv"]) == 0
    assert "note: no effect on a flow table: --devices" in capsys.readouterr().err


def test_fingerprints_take_no_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fingerprint", "table.parquet", "-o", "prints.parquet"]) == 0
    capsys.readouterr()
    assert main(["identify", "prints.parquet", "--devices", "devices.csv"]) == 2
    assert "is a file of fingerprints: --devices has no effect" in capsys.readouterr().err


def test_a_mapping_that_nothing_is_read_through_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.toml").write_text('[columns]\nstart = "ts"\n')
    capsys.readouterr()
    assert main(["flows", "table.parquet", "-o", "x.parquet", "--mapping", "map.toml"]) == 2
    assert "no input is read through it" in capsys.readouterr().err


def test_what_else_lies_in_a_folder_is_passed_over_under_a_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.toml").write_text(
        '[columns]\nstart = "ts"\nend = "te"\nsource_address = "sa"\ndestination_address = "da"\nprotocol = "pr"\n'
        'octets = "ibyt"\npackets = "ipkt"\nsource_port = "sp"\ndestination_port = "dp"\n'
    )
    Path("day").mkdir()
    Path("in").rename("day/in")
    Path("day/README.md").write_text("# Exports of May\n")
    capsys.readouterr()
    assert main(["flows", "day", "--mapping", "map.toml", "-o", "x.parquet"]) == 0
    assert "day/README.md: passed over: does not have the columns of map.toml" in capsys.readouterr().err
    Path("day/in").unlink()
    assert main(["flows", "day", "--mapping", "map.toml", "-o", "x.parquet"]) == 3
    assert "the first: day/README.md: does not have the columns" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["exports", "ipfix", "nfdump", "capture", "zeek"])
def test_what_else_lies_in_a_folder_is_passed_over_under_a_named_format(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("day").mkdir()
    Path("day/README.md").write_text("# Exports of May\n")
    Path("day/NOTES").write_bytes(b"")
    right = {"exports": "a.ipfix", "ipfix": "a.ipfix", "nfdump": "in"}.get(form)
    exporter = FlowExporter(ExportSettings())
    write(exporter.messages(SimulatedHome(days=1).batches()), Path("day/a.ipfix"))
    Path("in").rename("day/in")
    capsys.readouterr()
    code = main(["flows", "day", "--input-format", form, "-o", "x.parquet"])
    result = capsys.readouterr().err
    if right is None:
        assert code == 3
        assert "no file of a known format" in result
        return
    assert code == 0
    assert "1 input, " in result
    assert "day/README.md: passed over: not in format" in result
    assert main(["flows", "day/README.md", "--input-format", form, "-o", "x.parquet"]) == 3
