"""The page about encoders: its examples run in order, and its settings exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from custom_flows_made import made
from ethogram.cli import main
from ethogram.config import CustomFlowSettings, EncoderSettings, TrainingSettings
from ethogram.pipeline.vector_files import write_custom_flows

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "representations.md").read_text("utf-8")


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("flows.parquet", "other.parquet"):
        write_custom_flows(Path(name), [made(60, seed=len(name))], CustomFlowSettings())
    commands = re.findall(r"^\$ ethogram ((?:pretrain|embed) .*)$", PAGE.replace("\\\n", " "), flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["pretrain", "embed", "pretrain", "pretrain"]
    quick = ["--passes", "1", "--seeds", "1", "--threads", "1", "--set", "encoder.widths=[8]"]
    for command in commands:
        parts = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)]
        assert main([*parts, *(quick if parts[0] == "pretrain" else [])]) == 0
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    by_name: dict[str, np.ndarray] = {}
    exec(compile(program, "representations.md", "exec"), by_name)
    assert by_name["z"].shape == (60, 32)
    assert by_name["x_hat"].shape == (60, 3040)


def test_settings_exist() -> None:
    for name in re.findall(r"--set (encoder|training)\.([\w.]+)=", PAGE):
        section: object = EncoderSettings() if name[0] == "encoder" else TrainingSettings()
        for part in name[1].split("."):
            section = getattr(section, part)
    kinds = set(re.findall(r"`([\w-]+)`", re.search(r"\| `--kind`.*?\n\n", PAGE, flags=re.DOTALL)[0]))  # type: ignore[index]
    assert set(EncoderSettings.model_fields["kind"].annotation.__args__) <= kinds  # type: ignore[union-attr]
