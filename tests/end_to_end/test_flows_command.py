"""``ethogram flows`` and ``ethogram doctor`` as a user calls them."""

from __future__ import annotations

import gzip
import struct
import sys
import zipfile
from pathlib import Path

import orjson
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.errors import InputError
from ethogram.pipeline.flows import collect, load_flows, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import FLOW
from flow_records import MAPPING, TEXTS, yaf


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for file_name, text in TEXTS.values():
        (tmp_path / file_name).write_bytes(text)
    (tmp_path / "map.toml").write_text(MAPPING)
    return tmp_path


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "mapped"])
def test_every_format_gives_the_same_flow_table(name: str, home: Path) -> None:
    out = home / "flows.parquet"
    assert call("flows", home / TEXTS[name][0], "-o", out) == 0
    flows = load_flows(out).collect()
    assert FLOW.matches(flows.schema)
    camera = flows.filter(pl.col("device_address") == "192.168.1.5").sort("start")
    seen = camera.select("service_port", "role", "scope", "answered", "octets_out", "octets_in", "initiator").rows()
    assert seen == [
        (53, "client", "lan", True, 58, 88, "device"),
        (443, "client", "wan", True, 1500, 5600, "device"),
        (23, "server", "wan", False, 0, 60, "remote"),
    ]
    if name == "joy":
        assert camera["remote_domain"].to_list() == [None, "example.com", None]
    if name == "yaf":
        assert set(camera["device"]) == {"aa:bb:cc:00:01:02"}


def test_the_report_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = home / "yaf.json"
    bad.write_bytes(TEXTS["yaf"][1] + b"\n{broken\n")
    assert call("flows", bad, home / "nf.csv", "-o", home / "f.parquet", "--json") == 0
    report = orjson.loads(capsys.readouterr().out)
    assert [entry["format"] for entry in report["inputs"]] == ["yaf", "nfdump"]
    assert report["inputs"][0]["accounting"]["dropped"] == {"broken JSON line": 1}
    assert report["inputs"][0]["first_problem"] == f"{bad}:4: broken JSON line"
    assert report["stages"]["pair"]["corrected"] == {"paired with the opposite direction": 2}
    assert report["rows"] == 8
    for accounting in (*(entry["accounting"] for entry in report["inputs"]), *report["stages"].values()):
        parts = accounting["used"] + sum(accounting["ignored"].values()) + sum(accounting["dropped"].values())
        assert accounting["read"] == parts


def test_options_reach_the_stages(home: Path) -> None:
    devices = home / "devices.csv"
    devices.write_text("device,ip\ncamera,192.168.1.5\n")
    out = home / "f.parquet"
    assert call("flows", home / "conn.log", "-o", out, "--devices", devices, "--from", "2019-05-01T00:00:01Z",
                "--to", "2019-05-01T00:00:02", "--no-names") == 0  # fmt: skip
    flows = load_flows(out).collect()
    assert flows.select("device", "service_port").rows() == [("camera", 443)]
    assert call("flows", home / "conn.log", "-o", out, "--local", "198.51.100.0/24") == 0
    assert load_flows(out).collect()["device"].to_list() == ["198.51.100.7"]
    assert call("flows", home / "flows.csv", "--mapping", home / "map.toml", "-o", out) == 0
    assert load_flows(out).collect().height == 4


def test_a_flow_table_passes_unchanged_and_inputs_may_be_mixed(home: Path) -> None:
    first, two = home / "one.parquet", home / "two.parquet"
    assert call("flows", home / "conn.log", "-o", first) == 0
    assert call("flows", first, "-o", two) == 0
    assert load_flows(first).collect().equals(load_flows(two).collect())
    assert call("flows", first, home / "joy.json", "-o", two) == 0
    assert load_flows(two).collect().height == 8


def test_blocks_do_not_matter(home: Path) -> None:
    from ethogram.config import FlowSettings

    # The names come first: an answer names what is read with it or after it, as on a live network.
    inputs = [home / "joy.json", home / "nf.csv", home / "yaf.json"]
    # So would the MACs, which only one of them has: here a device is its address.
    whole = collect(read_flows(inputs, ReadOptions(flow=FlowSettings(device_by="address"))))
    by_one = collect(read_flows(inputs, ReadOptions(flow=FlowSettings(device_by="address", block_flows=1))))
    assert whole.sort(whole.columns).equals(by_one.sort(whole.columns))


def test_a_directory_is_read_and_what_is_no_flow_is_passed_over(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "in").mkdir()
    (home / "in" / "conn.log").write_bytes(TEXTS["zeek tsv"][1])
    (home / "in" / "README").write_text("hello\n")
    assert call("flows", home / "in", "-o", home / "f.parquet", "--verbose") == 0
    shown = capsys.readouterr().err
    assert f"{home}/in/README: passed over: unknown format" in shown
    assert f"{home}/in/conn.log (zeek): 3 records read = 3 used + 0 ignored + 0 dropped" in shown
    assert "4 rows written to" in shown


def test_a_zip_may_hold_other_files_beside_its_records(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(home / "all.zip", "w") as packed:
        packed.writestr("README.txt", "hello\n")
        packed.writestr("a/conn.log", TEXTS["zeek tsv"][1])
        packed.writestr("nf.csv.gz", gzip.compress(TEXTS["nfdump csv"][1]))
    assert call("flows", home / "all.zip", "-o", home / "f.parquet") == 0
    assert load_flows(home / "f.parquet").collect().height == 8
    assert f"{home}/all.zip:README.txt: passed over: unknown format" in capsys.readouterr().err
    with zipfile.ZipFile(home / "none.zip", "w") as packed:
        packed.writestr("README.txt", "hello\n")
    assert call("flows", home / "none.zip", "-o", home / "f.parquet") == 3
    assert "none.zip:README.txt: unknown format" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.json"], 3, "gone.json: no such file"),
        (["README"], 3, "README: unknown format"),
        (["empty"], 3, "empty: the file is empty"),
        (["header.csv"], 3, "header.csv: no packets and no flow records in it"),
        (["nf.csv", "--strict"], 0, "rows written"),
        (["broken.json", "--strict"], 3, "broken.json:2: broken JSON line"),
        (["cut.log.gz"], 3, "cut.log.gz: the compressed file is truncated"),
        (["flows.csv", "--mapping", "none.toml"], 5, "mapping none.toml: No such file or directory"),
        (["flows.csv", "--input-format", "csv"], 2, "--input-format csv needs --mapping"),
        (["conn.log", "--devices", "none.csv"], 5, "device file none.csv: No such file or directory"),
        (["conn.log", "--local", "home"], 5, "setting local: 'home' is no prefix"),
        (["conn.log", "--from", "soon"], 2, "--from: invalid time 'soon'"),
        (["conn.log", "--pair", "maybe"], 5, "setting pair:"),
        (["conn.log", "--time-zone", "Mars"], 5, "setting time_zone: 'Mars' is no time zone"),
        (["conn.log", "--idle-timeout", "-1"], 2, "--idle-timeout: invalid duration"),
        (["conn.log", "-o", "no/such/folder.parquet"], 3, "no/such/folder.parquet: cannot be written: no such folder"),
        (["useless.json"], 3, "no record can be used; the first: useless.json:1: unreadable start time"),
    ],
)
def test_bad_input_is_one_line_and_a_named_exit_code(
    arguments: list[str], code: int, message: str, home: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(home)
    Path("README").write_text("hello\n")
    Path("empty").touch()
    Path("header.csv").write_bytes(TEXTS["nfdump csv"][1].split(b"\n")[0] + b"\n")
    Path("useless.json").write_text('{"flows": {"octetTotalCount": 1e300, "flowStartMilliseconds": {"a": []}}}')
    Path("broken.json").write_bytes(TEXTS["yaf"][1].split(b"\n")[0] + b"\n{broken\n")
    Path("cut.log.gz").write_bytes(gzip.compress(TEXTS["zeek tsv"][1])[:-9])
    given = arguments if "-o" in arguments else [*arguments, "-o", "f.parquet"]
    assert call("flows", *given) == code
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("ethogram: ")]
    assert shown.out == ""
    assert "Traceback" not in shown.err
    if code:
        assert len(lines) == 1
        assert lines[0].removeprefix("ethogram: ").startswith(message) or message in lines[0]
    assert not [path for path in home.iterdir() if path.name.endswith(".part")]
    if arguments[0] == "cut.log.gz":
        assert load_flows("f.parquet").collect().height == 4


def test_strict_flows_leave_no_half_file_behind(home: Path) -> None:
    out = home / "f.parquet"
    (home / "yaf.json").write_bytes(TEXTS["yaf"][1] + b"\n{broken\n")
    assert call("flows", home / "yaf.json", "-o", out, "--strict") == 3
    assert not out.exists()


def test_loading_something_else_says_what_it_is(tmp_path: Path) -> None:
    from ethogram.schema import BIFLOW

    BIFLOW.empty().write_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="a biflow table: 'ethogram flows' makes a flow table of it"):
        load_flows(tmp_path / "b.parquet")


def test_exporter_statistics_are_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "s.json").write_bytes(
        orjson.dumps({"flows": yaf()}) + b"\n" + orjson.dumps({"stats": {"droppedPacketTotalCount": 12}})
    )
    assert call("flows", home / "s.json", "-o", home / "f.parquet") == 0
    assert "note: exporter counter droppedPacketTotalCount: 12" in capsys.readouterr().err


def test_the_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETHOGRAM_CORPUS", raising=False)
    monkeypatch.setenv("ETHOGRAM_WIRE", "/nonexistent")
    assert call("doctor", "--json") == 1
    document = {check["subject"]: check for check in orjson.loads(capsys.readouterr().out)["checks"]}
    assert document["polars"]["state"] == "ok"
    assert document["public suffix list"]["state"] == "ok"
    assert document["ETHOGRAM_CORPUS"]["state"] == "absent"
    assert document["ETHOGRAM_WIRE"] == {
        "subject": "ETHOGRAM_WIRE",
        "state": "broken",
        "detail": "/nonexistent is no folder",
    }
    monkeypatch.delenv("ETHOGRAM_WIRE")
    assert call("doctor", "--load") == 0
    assert "absent" in capsys.readouterr().out


def test_the_doctor_reports_a_broken_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert call("doctor", "--load") == 1
    assert "broken  scikit-learn" in capsys.readouterr().out


def capture(*seconds: float) -> bytes:
    """A pcap of one UDP datagram for each time, from one port to a resolver."""
    datagram = struct.pack(">HHHH", 40000, 53, 8, 0)
    internet = struct.pack(">BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0) + bytes([192, 168, 1, 5, 198, 51, 100, 7])
    frame = bytes(6) + bytes.fromhex("aabbcc000102") + b"\x08\x00" + internet + datagram
    packets = [struct.pack("<IIII", int(t), int(t % 1 * 1e6), len(frame), len(frame)) + frame for t in seconds]
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(packets)


def test_captures_and_records_make_one_table(home: Path) -> None:
    (home / "day.pcap").write_bytes(capture(1556668800, 1556668801, 1556669000))
    out = home / "f.parquet"
    assert call("flows", home / "day.pcap", home / "conn.log", "-o", out) == 0
    flows = load_flows(out).collect()
    dns = flows.filter(pl.col("remote") == "198.51.100.7", pl.col("service_port") == 53).sort("start")
    assert dns.select("packets_out", "octets_out", "answered").rows() == [(2, 56, False), (1, 28, False)]
    assert set(dns["device"]) == {"aa:bb:cc:00:01:02"}
    assert flows.height == 6
    assert call("flows", home / "day.pcap", "-o", out, "--idle-timeout", "300") == 0
    assert load_flows(out).collect()["packets_out"].to_list() == [3]


def test_a_cut_capture_keeps_what_was_read_and_says_where(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "day.pcap").write_bytes(capture(1, 2)[:-5])
    out = home / "f.parquet"
    assert call("flows", home / "day.pcap", "-o", out) == 3
    assert load_flows(out).collect()["packets_out"].to_list() == [1]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"ethogram: {home}/day.pcap at octet 82: truncated")
