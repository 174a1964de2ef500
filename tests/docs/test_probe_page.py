"""The page about evaluating encoders: its examples run, and the reasons and settings that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ethogram.cli import main
from ethogram.config import ProbeSettings
from ethogram.identify import flow_labels
from ethogram.pipeline import probe_data as material
from labelled_flows_made import home, write_home

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "probe.md").read_text("utf-8")
QUICK = {
    "pretrain": ["--kind", "ae", "--passes", "1", "--seeds", "1", "--threads", "1", "--set", "encoder.widths=[8]"],
    "reconstruct": ["--flows", "60"],
    "probe": ["--seeds", "1", "--set", "draws=10"],
}


def test_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    write_home(tmp_path, "home", home(240, 1))
    write_home(tmp_path, "office", home(120, 2, first_day=30))
    commands = re.findall(r"^\$ ethogram ([^#\n]*)", PAGE, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["pretrain", "reconstruct", "probe", "probe"]
    for command in commands:
        parts = command.split()
        assert main([*parts, *QUICK[parts[0]]]) == 0, capsys.readouterr().err
    capsys.readouterr()
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        exec(compile(program, "probe.md", "exec"), {})
    assert "home-vae" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reason",
    [
        flow_labels.DEVICE_WITHOUT_LABEL,
        flow_labels.OTHER_TIME,
        flow_labels.NO_LEVEL,
        material.LEARNT_DAY,
        material.BEYOND,
    ],
)
def test_reasons_are_documented(reason: str) -> None:
    assert f"`{reason}`" in PAGE


def test_settings_exist() -> None:
    named = re.findall(r"--set (\w+)=", PAGE)
    assert named
    assert set(named) <= set(ProbeSettings.model_fields)
    for name in ("logistic_c", "mlp_decay", "leaf", "held_out", "train_flows", "test_flows", "quantile"):
        assert f"`{name}`" in PAGE
        assert name in ProbeSettings.model_fields
