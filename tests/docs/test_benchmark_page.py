"""The page about the benchmark: its example runs, and the tasks, methods and files that it names exist."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs.running import run_shell
from ethogram.bench.counts.task import CountMethod, CountTask, count_methods, count_tasks
from ethogram.bench.flows.task import FlowMethod, FlowTask, flow_methods, flow_tasks
from ethogram.bench.fused.task import fused_methods, fused_tasks
from ethogram.bench.user_corpus import user_corpus
from ethogram.corpora.card import Card
from ethogram.corpora.published import published
from ethogram.corpora.user_labels import LABELS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "howto" / "benchmark.md").read_text("utf-8")
sys.path.insert(0, str(ROOT / "tests" / "bench"))

from user_corpus_made import write_networks  # noqa: E402


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_example_runs_on_synthetic_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_networks(tmp_path / "mine", 300)
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("sh")
    done = run_shell(example, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "home-encodes-office" in done.stdout
    page = (tmp_path / "results" / "flows" / "home-to-office.md").read_text()
    assert "`raw-40`" in page
    assert "## Leak detectors" in page
    assert (tmp_path / "results" / "flows" / "README.md").exists()


def test_example_in_python_names_a_task_that_runs_its_method() -> None:
    (program,) = blocks("python")
    imports, _, rest = program.partition("\nsuite = ")
    names: dict[str, Any] = {}
    exec(compile(imports, "benchmark.md", "exec"), names)
    task, method = (re.search(rf'every_{kind}\(\)\["([^"]+)"\]', rest) for kind in ("task", "method"))
    assert task is not None and method is not None
    assert names["every_task"]()[task[1]].runs(names["every_method"]()[method[1]])


def test_label_file_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("csv")
    assert set(text.splitlines()[0].split(",")) < set(LABELS)
    (tmp_path / "labels.csv").write_text(text)
    (tmp_path / "x.pcap").touch()
    card = user_corpus(tmp_path).cards[tmp_path.name]
    assert [device.family for device in card.devices] == ["acme/camera", "bolt/plug"]
    assert card.devices[1].addresses == ("192.168.1.7",)


def test_cards_tasks_and_methods_are_valid() -> None:
    card, task, method, flow_task, flow_method = (tomllib.loads(text) for text in blocks("toml"))
    assert Card.model_validate(card).kind == "flow_table"
    assert CountTask.of(**task).level == "model"
    assert CountMethod.of(**method["method"][0]).key.name
    assert FlowTask.of(**flow_task).protocol == "P3"
    result = FlowMethod.of(**flow_method["method"][0])
    assert result.encoder is not None
    assert result.encoder.view == "meta+packets/no-address"


def test_every_published_set_is_listed() -> None:
    assert published()
    for name in published():
        assert f"| `{name}` |" in PAGE


def test_tasks_and_groups_exist() -> None:
    known = {**count_tasks(), **flow_tasks(), **fused_tasks()}
    words = {"list", "quick", "all", "report", "home-days"}
    for name in re.findall(r"^\$ ethogram bench ([a-z0-9-]+)", PAGE, flags=re.MULTILINE):
        assert name in words or name in known, name
    kinds = (count_methods(), flow_methods(), fused_methods())
    groups = {method.group for of_kind in kinds for method in of_kind.values()}
    table = "".join(re.findall(r"^\| (?:fingerprints|flows|both) \|.*\n", PAGE, flags=re.MULTILINE)[:3])
    assert groups <= set(re.findall(r"`([a-z]+)`", table))
