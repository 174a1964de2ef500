"""What commands that read flows say beside their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ethogram.cli import main

RECORDS = (
    "ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt,opkt,obyt\n"
    "2024-05-01 00:00:00,2024-05-01 00:00:01,1.0,192.168.0.2,192.0.2.1,40000,443,TCP,3,300,2,200\n"
)


@pytest.mark.parametrize("form", [[], ["--json"], ["--format", "csv"]])
def test_a_notice_is_shown_whatever_the_format_of_the_result(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flows.csv").write_text(RECORDS)
    (tmp_path / "names.csv").write_text("address,name\n192.168.0.2,porch\n192.168.0.2,hall\n")
    command = ["identify", str(tmp_path / "flows.csv"), "--names", str(tmp_path / "names.csv")]
    assert main([*command, *form]) == 0
    result = capsys.readouterr()
    assert "192.168.0.2 is 'porch'" in result.err
    assert "the first is used" in result.err
    if form == ["--json"]:
        assert [device["name"] for device in json.loads(result.out)["devices"]] == ["porch"]
    assert main([*command, *form, "--quiet"]) == 0
    assert "porch" not in capsys.readouterr().err
