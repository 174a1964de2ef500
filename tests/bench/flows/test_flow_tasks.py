"""Task and method files of flows: each loads, each names corpora of captures, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.bench.counts.task import count_methods, count_tasks
from ethogram.bench.flows.task import FlowTask, flow_methods, flow_tasks
from ethogram.corpora.card import cards
from ethogram.errors import ConfigurationError

PLAIN = {"name": "t", "title": "t", "experiment": "P0", "protocol": "P0", "level": "model"}


@pytest.mark.parametrize("name", sorted(flow_tasks()))
def test_every_task_names_corpora_of_captures_and_asks_raw_numbers(name: str) -> None:
    task = flow_tasks()[name]
    known = cards()
    assert all(known[corpus].kind == "capture" for corpus in task.corpora)
    asked = {method.name for method in flow_methods().values() if task.runs(method)}
    assert "raw-40" in asked
    if task.experiment != "grid":
        assert {"shuffled", "shortcut"} <= asked
    assert set(task.quick_methods) <= asked


def test_tasks_on_flows_and_others_are_told_apart() -> None:
    assert not set(count_tasks()) & set(flow_tasks())
    assert not set(count_methods()) & set(flow_methods())


def test_the_grid_is_whole() -> None:
    grid = [method for method in flow_methods().values() if method.group == "grid"]
    assert len(grid) == (1 + 3) * 3 * 3
    settings = {(m.encoder.kind, m.training.kl_weight if m.encoder.kind == "vae" else 0, m.encoder.view, m.encoder.size)
                for m in grid if m.encoder}  # fmt: skip
    assert len(settings) == len(grid)


def test_a_better_title_changes_no_digest() -> None:
    task = FlowTask.of(**PLAIN, encoder=("a",), test=("a",))
    assert task.model_copy(update={"title": "other", "methods": ("x",)}).digest == task.digest
    assert task.model_copy(update={"early": 0.3}).digest != task.digest


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "name the corpora that test"),
        ({"test": ("a",)}, "name the corpora that encoders learn from"),
        ({"each": ("a", "b")}, "each in turn is for P3 and P4"),
        ({"test": ("a",), "encoder": ("a",), "caps": {"labelled": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_task_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        FlowTask.of(**PLAIN, **values)


def test_a_method_is_one_of_ours_or_of_others(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('[[method]]\nkind = "flows"\nname = "x"\ntitle = "x"\ngroup = "raw"\n')
    with pytest.raises(ConfigurationError, match="an encoder or an adapter"):
        flow_methods(tmp_path)


def test_a_file_says_all_where_a_budget_is_every_label() -> None:
    tasks = flow_tasks()
    assert tasks["p4-family"].settings.budgets == (10, 50, 200, None)
    assert tasks["p3-family"].settings.budgets == (10, 50, 200, 1000, None)
