"""Every benchmark can be loaded, and those that need nothing from elsewhere run on a small input."""

from __future__ import annotations

import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.py"))
NEEDS_TORCH = {"packaged_encoder.py", "speed/embedding.py", "speed/training.py", "speed/pretrained.py"}

SMALL = [
    "serve/rate.py --rate 2000 --seconds 4 --homes 5 --segment-s 1 --output rate.json",
    "serve/peers.py --rate 2000 --seconds 2 --homes 5 --settle-s 2 --segment-s 1 --output peers.json",
    "serve/scale.py --devices 20 60 --days 2 --limit-s 20 --output scale.json",
    "speed/captures.py --sizes 0.002 --peers-at 0.001",
    "speed/embedding.py --flows 200",
    "speed/fingerprints.py --flows 5000 --repeat 1",
    "speed/floods.py --records 2000 --points 2 --flood names --way collector",
    "speed/floods.py --records 2000 --points 2 --flood ports --way files",
    "speed/identify.py",
    "speed/startup.py --runs 1 --corpus .",
    "speed/library.py --labels 3 --days 2 --later 1",
    "speed/orientation.py --records 2000 --repeat 1",
    "speed/training.py --flows 200 --steps 2 --batch 64",
    "speed/vectors.py --sizes 0.002 --twin 0.001",
    "wire/decode.py --only ours --kind 'fixed, v9' --datagrams 20",
    "wire/memory.py --share 0.0005 --only 'a million devices'",
]  # fmt: skip
"""Smallest runs of those that make their own input. The others need a corpus, wire material, root or the network."""


def need_torch(script: str) -> None:
    if script in NEEDS_TORCH and find_spec("torch") is None:
        pytest.skip("torch is not installed")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_can_be_loaded(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need_torch(script)
    monkeypatch.syspath_prepend(FOLDER / Path(script).parent)
    module = runpy.run_path(str(FOLDER / script), run_name="loaded")
    assert module["__doc__"]


@pytest.mark.parametrize("command", SMALL)
def test_a_benchmark_runs_on_a_small_input(command: str, tmp_path: Path) -> None:
    script, *arguments = shlex.split(command)
    need_torch(script)
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    assert "Traceback" not in done.stdout  # of a process inside, whose error becomes a cell of the table
