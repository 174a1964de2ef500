"""What an extra brings is asked for before any input is read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ethogram.cli import main
from ethogram.pipeline.representations import PACKAGED
from ethogram.representation import needs

TRAIN, EMBED = "pip install 'ethogram[train]'", "pip install 'ethogram[embed]'"
PRETRAIN = ["pretrain", "none.parquet", "-o", "model"]
PROBE = ["probe", "none.parquet", "--labels", "none.csv"]
RECONSTRUCT = ["reconstruct", "none.parquet"]


@pytest.mark.parametrize(
    ("command", "without", "named", "advice"),
    [
        *(([*PRETRAIN, "--kind", kind], "onnx", "onnx", TRAIN)
          for kind in ("vae", "fields", "linear-fields", "pca", "raw", "random-projection", "untrained")),
        ([*PRETRAIN, "--kind", "linear-fields"], "safetensors", "safetensors", TRAIN),
        *(([*PRETRAIN, "--kind", kind], "torch", "torch", TRAIN) for kind in ("vae", "ae", "fields", "untrained")),
        (["embed", "none.pcap", "-o", "z.parquet"], "onnxruntime", "ONNX Runtime", EMBED),
        (["enrol", "none.pcap", "--labels", "../labels.csv", "-o", "library.jsonl", "--encoder", str(PACKAGED)],
         "onnxruntime", "ONNX Runtime", EMBED),
        ([*PROBE, "--model", str(PACKAGED)], "onnxruntime", "ONNX Runtime", EMBED),
        ([*PROBE, "--model", "untrained"], "torch", "torch", TRAIN),
        ([*RECONSTRUCT, "--model", "untrained"], "torch", "torch", TRAIN),
        ([*PROBE, "--model", "raw", "--tune"], "torch", "torch", TRAIN),
    ],
    ids=lambda value: " ".join(value[:1] + value[-1:]) if isinstance(value, list) else str(value).split("'")[0],
)  # fmt: skip
def test_what_is_missing_is_said_first(
    command: list[str], without: str, named: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "labels.csv").write_text("device,label\n02:00:5e:00:00:01,camera\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for module in [name for name in sys.modules if name == without or name.startswith(f"{without}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, without, None)  # as if it were not installed
    assert main(command) in {2, 4}
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"needs {named}" in line
    assert advice in line
    assert list((tmp_path / "here").iterdir()) == []


def test_fewer_needs_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kinds without a network are made without torch: what is said is that the input is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main([*PRETRAIN, "--kind", "linear-fields"]) == 3
    assert "none.parquet" in capsys.readouterr().err


def test_plots_are_an_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "matplotlib" else object())
    for command in (["stability", "f.parquet"], ["bench", "report", "rows.jsonl"]):
        assert main([*command, *(["--plots", "p"] if command[0] == "stability" else ["-o", "r"])]) == 2
        assert "needs Matplotlib: pip install 'ethogram[plot]'" in capsys.readouterr().err
