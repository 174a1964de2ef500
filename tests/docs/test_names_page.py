"""The page about names of devices: its example runs, and its formats are those that are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.running import blocks, page, run_shell
from ethogram.io.names.table import load_mapping
from ethogram.pipeline.flows import load_flows

PAGE = page("docs/howto/names.md")


def test_example_runs_and_prints_the_documented_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (shell, resolver), (expected,), (python,) = blocks(PAGE, "sh"), blocks(PAGE, "text"), blocks(PAGE, "python")
    done = run_shell(shell, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == expected
    named = run_shell(resolver, tmp_path)
    assert named.returncode == 0, named.stderr
    assert load_flows("named.parquet").collect()["remote_name"].unique().to_list() == ["api.maker.example"]
    exec(compile(python, "names.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "aa:bb:cc:00:00:01" in printed
    assert "dhcp.leases (dnsmasq leases)" in printed


def test_the_mapping_on_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(blocks(PAGE, "toml")[0])
    assert set(load_mapping(tmp_path / "map.toml")) == {"mac", "address", "name"}
