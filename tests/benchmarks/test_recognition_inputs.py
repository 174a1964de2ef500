"""The pooled figures in the package are learnt on the corpora that are there."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from ethogram.identify.recognition import pooled_figures


def test_the_packaged_figures_are_of_these_corpora(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETHOGRAM_CORPUS", str(corpus))
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    own_library = import_module("own_library")
    figures = pooled_figures("evidence")
    assert figures is not None
    assert figures.provenance["inputs"] == {
        network.task.name: own_library.inputs_digest(network) for network in own_library.NETWORKS
    }, "run: python benchmarks/own_library.py figures > src/ethogram/data/recognition.json"
