"""Logs of resolvers name the flows of records that have no names themselves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ethogram
from ethogram.cli import main

RECORDS = (
    "ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt,opkt,obyt\n"
    "2024-05-01 12:00:00,2024-05-01 12:00:00,0.0,192.168.0.2,192.168.0.1,40000,53,UDP,1,60,1,90\n"
    "2024-05-01 12:00:01,2024-05-01 12:00:02,1.0,192.168.0.2,203.0.113.1,40001,443,TCP,3,300,2,200\n"
    "2024-05-01 12:00:01,2024-05-01 12:00:02,1.0,192.168.0.3,203.0.113.1,40001,443,TCP,3,300,2,200\n"
    "2024-05-01 18:00:00,2024-05-01 18:00:00,0.0,192.168.0.2,192.168.0.1,40000,53,UDP,1,60,1,90\n"
)
LOG = (
    "May  1 12:00:00 dnsmasq[7]: query[A] api.maker.example from 192.168.0.2\n"
    "May  1 12:00:00 dnsmasq[7]: reply api.maker.example is 203.0.113.1\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text(RECORDS)
    Path("dns.txt").write_text(LOG)
    os.utime("dns.txt", (1714600000, 1714600000))


def test_answers_name_flows_and_questions_name_dns_exchanges() -> None:
    flows = ethogram.read_flows("in.csv", dns_log="dns.txt", time_zone="Europe/Berlin").to_frame()
    named = flows.filter(device="192.168.0.2").sort("start").select("service_port", "remote_name").rows()
    assert named == [(53, "api.maker.example"), (443, "api.maker.example"), (53, None)]
    assert flows.filter(device="192.168.0.3")["remote_name"].to_list() == ["api.maker.example"], "by the address alone"
    assert not ethogram.read_flows("in.csv").to_frame()["remote_name"].drop_nulls().len()


def test_times_without_a_zone_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["flows", "in.csv", "-o", "f.parquet", "--dns-log", "dns.txt", "--force"]
    assert main(command) == 0
    told = "dns.txt: note: times state no zone: UTC is assumed; --time-zone says another"
    assert told in capsys.readouterr().err
    assert main([*command, "--time-zone", "Europe/Berlin", "-v"]) == 0
    err = capsys.readouterr().err
    assert "times state no zone: Europe/Berlin is assumed" in err
    assert "dns.txt (dnsmasq log): 2 log entries read = 2 used" in err
    assert "resolver logs: 1 answer, 1 question" in err


def test_wrong_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flows", "in.csv", "-o", "f.parquet", "--dns-log", "dns.txt", "--no-names"]) == 2
    assert "--dns-log and --no-remote-names contradict each other" in capsys.readouterr().err
    assert main(["flows", "in.csv", "-o", "f.parquet", "--dns-log", "in.csv"]) == 5
    assert "resolver log in.csv: no resolver log of a known form" in capsys.readouterr().err
