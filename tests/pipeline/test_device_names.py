"""Files that name devices, from the command line to the inventory: they add names, and hide nobody."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl
import pytest

import ethogram
from ethogram.cli import main
from ethogram.errors import ConfigurationError, UsageError
from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.read_options import ReadOptions

RECORDS = (
    b"ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt,opkt,obyt\n"
    b"2024-05-01 00:00:00,2024-05-01 00:00:01,1.0,192.168.0.2,192.0.2.1,40000,443,TCP,3,300,2,200\n"
    b"2024-05-01 00:00:00,2024-05-01 00:00:01,1.0,192.168.0.3,192.0.2.1,40000,443,TCP,3,300,2,200\n"
)
CAM = "aa:bb:cc:00:00:01"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_bytes(RECORDS)
    Path("devices.csv").write_text("device,ip\nporch,192.168.0.2\n")
    Path("leases").write_text(f"1714600000 {CAM} 192.168.0.3 cam *\n1714600000 x 192.168.0.4 y *\n")


def devices(*options: str) -> list[str]:
    assert main(["flows", "in.csv", "-o", "flows.parquet", "--force", *options]) == 0
    return pl.read_parquet("flows.parquet")["device"].sort().to_list()


def test_a_device_file_adds_names_and_hides_nobody() -> None:
    assert devices() == ["192.168.0.2", "192.168.0.3"]
    assert devices("--devices", "devices.csv") == ["192.168.0.3", "porch"]
    assert devices("--devices", "devices.csv", "--devices-only") == ["porch"]


def test_leases_add_names_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices("--devices", "devices.csv", "--names", "leases") == ["cam", "porch"]
    assert "leases: 1 of 2 names used; the first that cannot be: leases:2: 'x' is no MAC" in capsys.readouterr().err
    identity = count_inputs("in.csv", COUNTING, ReadOptions(names=(Path("leases"),))).identity
    stated = identity.filter(device="cam").select(pl.col("fact").cast(pl.String), "value", "source").rows()
    assert stated == [
        ("mac", CAM, "leases (dnsmasq leases)"), ("address", "192.168.0.3", "flows"),
        ("address", "192.168.0.3", "leases (dnsmasq leases)"), ("host_name", "cam", "leases (dnsmasq leases)"),
    ]  # fmt: skip


def test_the_report_counts_entries_and_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert devices("--names", "leases", "--json")
    report = orjson.loads(capsys.readouterr().out)
    [names] = report["names"]
    assert (names["format"], names["accounting"]["used"], names["accounting"]["dropped"]) == (
        "dnsmasq leases", 1, {"no MAC": 1},
    )  # fmt: skip
    assert names["first_problem"] == "leases:2: 'x' is no MAC"
    assert report["identity_facts"] == 5


def test_two_names_for_one_device_are_one_line_and_the_rest_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    Path("two.csv").write_text("device,ip\nporch,192.168.0.2\nhall,192.168.0.2\nden,192.168.0.3\n")
    assert devices("--devices", "two.csv") == ["den", "porch"]
    assert "two.csv:3: 192.168.0.2 is 'porch' (line 2) and 'hall' at once; the first is used" in capsys.readouterr().err
    Path("names.csv").write_text("ip,name\n192.168.0.2,porch\n192.168.0.2,hall\n192.168.0.3,den\n")
    assert main(["identify", "in.csv", "--names", "names.csv", "--json", "-v"]) == 0
    out, err = capsys.readouterr()
    assert sorted(device["name"] for device in orjson.loads(out)["devices"]) == ["den", "porch"]
    assert "names.csv (CSV):3: 192.168.0.2 is 'porch' (names.csv (CSV):2) and 'hall'; the first is used" in err


def test_the_api_takes_the_same_files() -> None:
    flows = ethogram.read_flows("in.csv", devices="devices.csv", names=["leases"]).to_frame()
    assert flows["device"].sort().to_list() == ["cam", "porch"]
    with pytest.raises(UsageError, match="names=False: names are files here"):
        ethogram.read_flows("in.csv", names=False)  # type: ignore[arg-type]


def test_wrong_files_and_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flows", "in.csv", "-o", "x.parquet", "--names", "in.csv"]) == 5
    assert "names file in.csv: names no devices in a known form" in capsys.readouterr().err
    assert main(["flows", "in.csv", "-o", "x.parquet", "--devices-only"]) == 2
    assert "--devices-only needs --devices" in capsys.readouterr().err
    assert main(["flows", "in.csv", "-o", "x.parquet", "--names-mapping", "m.toml"]) == 2
    assert "there is no --names to read through it" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="No such file"):
        ethogram.read_flows("in.csv", names="nothing")


def test_facts_are_stored_in_the_flow_table_and_read_back() -> None:
    assert devices("--names", "leases") == ["192.168.0.2", "cam"]
    stored = count_inputs("flows.parquet", COUNTING).identity
    assert stored.filter(device="cam", source="flows")["value"].to_list() == ["192.168.0.3"]
    assert stored.filter(device="cam").height == 4
    assert not count_inputs("flows.parquet", COUNTING, ReadOptions(identity=False)).identity.height
    assert devices("--no-identity") == ["192.168.0.2", "192.168.0.3"]
    named = count_inputs("flows.parquet", COUNTING).identity
    assert named.select(pl.col("fact").cast(pl.String), "value").rows() == [
        ("address", "192.168.0.2"), ("address", "192.168.0.3"),
    ], "only what the names of devices say"  # fmt: skip


def test_names_of_a_flow_table_are_facts_of_its_devices() -> None:
    assert devices("--no-identity") == ["192.168.0.2", "192.168.0.3"]
    identity = count_inputs("flows.parquet", COUNTING, ReadOptions(names=(Path("leases"),))).identity
    named = identity.filter(pl.col("source") != "flows")
    assert named["device"].unique().to_list() == ["192.168.0.3"]
    assert "cam" in named["value"].to_list()


def test_labels_may_name_a_device_by_mac_address_or_host_name(capsys: pytest.CaptureFixture[str]) -> None:
    for device in ("cam", CAM.upper(), "192.168.0.3"):
        library = ethogram.enrol("in.csv", {device: "camera"}, names="leases")
        assert {entry.identity.label for entry in library.entries} == {"camera"}, device
        assert {seen.device for entry in library.entries for seen in entry.observed} == {"cam"}
