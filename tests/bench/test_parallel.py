"""Workers side by side: the same rows as one process gives, whatever ends one of them."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import made_up_home as home
import pytest
from user_corpus_made import write_captures

from ethogram.bench import parallel, worker
from ethogram.bench.flows.task import flow_methods, flow_tasks
from ethogram.bench.parallel import run_parallel, worker_count
from ethogram.bench.row import Row, read_rows
from ethogram.bench.schedule import WorkUnit, needs_of, next_unit, work_units
from ethogram.bench.suite import Suite, every_method, every_task
from ethogram.cli import main
from ethogram.config import CountSettings, MeterSettings
from ethogram.corpora import custom_flows, load
from ethogram.corpora.card import Card, CardDevice, cards
from ethogram.errors import EthogramError

MADE_EACH_TIME = ("made", "wall_s", "cpu_s")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def asked(root: Path, tmp_path: Path) -> tuple[Suite, list[Any], list[Any]]:
    suite = Suite(root, cards(root / "cards"), tmp_path / "cache", 1)
    return suite, list(every_task(root / "tasks").values()), list(every_method(root / "methods").values())


def call(root: Path, *arguments: str) -> int:
    folders = ["--corpus", str(root), "--cards", str(root / "cards"), "--task-files", str(root / "tasks"),
               "--method-files", str(root / "methods")]  # fmt: skip
    return main(["bench", "all", *arguments, *folders])


def of(rows: list[Row]) -> dict[str, Row]:
    return {row["key"]: {name: value for name, value in row.items() if name not in MADE_EACH_TIME} for row in rows}


def test_two_jobs_give_the_rows_of_one_and_make_none_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    assert call(root, "--jobs", "1", "--no-cache", "-o", str(first)) == 0
    assert call(root, "--jobs", "2", "--no-cache", "-o", str(two)) == 0
    assert of(read_rows(first)) == of(read_rows(two)) and len(read_rows(two)) == 9
    assert all(row["cpu_s"] >= 0 and row["wall_s"] >= 0 for row in read_rows(two))
    capsys.readouterr()
    before = two.read_bytes()
    assert call(root, "--jobs", "2", "--cache", str(tmp_path / "cache"), "-o", str(two)) == 0
    assert "0 rows measured, 9 already in" in " ".join(capsys.readouterr().err.split())
    assert two.read_bytes() == before
    assert list((tmp_path / "cache" / "corpus").glob("home-*.flows.parquet"))


def test_a_worker_that_dies_leaves_the_other_rows(
    asked: tuple[Suite, list[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "work", _killed_by_list)
    collected: list[str] = []
    result = []
    suite, tasks, methods = asked[0], asked[1][:1], asked[2]
    with pytest.raises(EthogramError, match="method list: worker was killed by signal 9"):
        result += run_parallel(suite, tasks, methods, {}, 2, on_trouble=collected.append)
    every = {(t.name, m.name) for t in tasks for m in methods if suite.asks(t, m)}
    lost = {name for name in every if name[1] == "list"}
    assert lost and len(collected) == len(lost)
    assert {(row["task"], row["method"]) for row, _ in result} == every - lost


def _killed_by_list(pipe: Any, given: Any) -> None:
    """What a worker does, which the system ends when it comes to one method."""
    from ethogram.bench.row import rows  # the suite of this process alone is changed

    def deadly(self: Suite, tasks: Any, methods: Any, known: Any) -> Any:
        if methods[0].name == "list":
            os.kill(os.getpid(), signal.SIGKILL)
        return rows(self._benches[type(tasks[0])], tasks, methods, known)

    Suite.rows = deadly  # type: ignore[method-assign]
    WORK(pipe, given)


WORK = worker.work


def test_what_ends_one_task_is_a_line_and_the_others_go_on(
    asked: tuple[Suite, list[Any], list[Any]], root: Path
) -> None:
    suite, tasks, methods = asked[0], asked[1][:1], asked[2]
    broken = tasks[0].model_copy(update={"name": "elsewhere", "corpora": ("nowhere",)})
    collected: list[str] = []
    result: list[Row] = []
    with pytest.raises(EthogramError, match=r"task elsewhere.*no corpus card 'nowhere'"):
        for row, _ in run_parallel(suite, [broken, *tasks], methods, {}, 2, on_trouble=collected.append):
            result.append(row)
    assert len(collected) == 1 and {row["task"] for row in result} == {tasks[0].name}


def test_workers_end_when_nobody_listens(asked: tuple[Suite, list[Any], list[Any]]) -> None:
    import multiprocessing

    run = run_parallel(*asked, {}, 2)
    next(run)
    assert multiprocessing.active_children()
    run.close()
    assert not multiprocessing.active_children()


def test_little_work_is_done_by_one(asked: tuple[Suite, list[Any], list[Any]]) -> None:
    assert worker_count(0, *asked, {}) == 1
    assert worker_count(3, *asked, {}) == 3
    assert worker_count(99, *asked, {}) == 9


def test_two_that_want_one_corpus_read_it_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = cards(root / "cards")["home"]
    read: list[str] = []
    make = load._load
    monkeypatch.setattr(load, "_load", lambda *given: (read.append(given[0].name), make(*given))[1])
    with ThreadPoolExecutor(3) as pool:
        items = list(pool.map(lambda _: load.load(card, root, cache_folder=tmp_path), range(3)))
    assert read == ["home"]
    assert all(item.flows.equals(items[0].flows) and item.digest == items[0].digest for item in items)
    # A fresh copy of the files has the digest of the files, so that results on both belong together.
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    assert load.load(card, copy, cache_folder=None).digest == items[0].digest
    # Other settings of the same files stand beside, and what is counted is not asked where flows are read.
    other = load.load(card, root, cache_folder=tmp_path, meter=MeterSettings(idle_timeout_s=7.0))
    load.load(card, root, cache_folder=tmp_path, counts=CountSettings(other_protocols=True))
    assert read == ["home"] * 3 and other.digest != items[0].digest
    assert len(list((tmp_path / "corpus").glob("home-*.flows.parquet"))) == 2


def test_flows_that_two_want_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_captures(tmp_path, ("one",), days=2)
    device = CardDevice(id="camera", model="m", vendor="v", type="camera", mac="02:00:00:00:00:01", files=("*.pcap",))
    card = Card(name="one", title="one", years="", network="one", kind="capture", runs="day", source="", citation="",
                licence="", traps=(), devices=(device,))  # fmt: skip
    read: list[str] = []
    make = custom_flows._load
    monkeypatch.setattr(custom_flows, "_load", lambda *given: (read.append(given[0].name), make(*given))[1])
    with ThreadPoolExecutor(2) as pool:
        first, two = pool.map(
            lambda _: custom_flows.load_flows(card, tmp_path, cache_folder=tmp_path / "cache"), range(2)
        )
    assert read == ["one"] and first.digest == two.digest and len(first) == len(two) > 0


def test_nothing_that_learns_groups_in_the_quick_set() -> None:
    task, method = every_task()["groups-stevens"], every_method()["groups/groups-embeddings"]
    assert Suite(Path(), {}).asks(task, method)
    assert not Suite(Path(), {}, quick=True).asks(task, method)
    assert Suite(Path(), {}, quick=True).asks(task, every_method()["groups/groups-fingerprints"])


def test_units_hold_every_row_once_and_methods_of_one_encoder_together() -> None:
    tasks = [task for name, task in flow_tasks().items() if name in ("p0-stevens", "p3-family", "grid-p0-stevens")]
    methods = list(flow_methods().values())
    suite = Suite(Path(), {})
    asked = [[j for j, method in enumerate(methods) if suite.asks(task, method)] for task in tasks]
    result = work_units(tasks, methods, asked, {}, {}, 2)
    given = sorted((unit.task, j) for unit in result for j in unit.methods)
    assert given == sorted((i, j) for i, own in enumerate(asked) for j in own)
    assert len(result) > 2 * len(tasks)
    by_name = {method.name: method for method in methods}
    both = [needs_of(tasks[0], by_name[name], {}) for name in ("fields", "fields-knn")]
    assert both[0] == both[1] != needs_of(tasks[0], by_name["vae"], {})
    assert needs_of(tasks[0], by_name["raw-40"], {}) < both[0]


def test_a_worker_takes_what_waits_for_nobody_then_its_own_task_then_what_nobody_does() -> None:
    a, b, c, d = (WorkUnit(task, (0,), frozenset(needs), seconds) for task, needs, seconds in (
        (0, {"x"}, 90.0), (1, {"y"}, 20.0), (2, {"x", "z"}, 80.0), (1, {"z"}, 30.0)))  # fmt: skip
    none: frozenset[str] = frozenset()
    assert next_unit([a, b, c, d], [], none, None) is a
    assert next_unit([b, c, d], [a], none, None) is d
    assert next_unit([b, c, d], [a], frozenset({"x"}), None) is c
    assert next_unit([b, c, d], [a], none, 1) is d
    assert next_unit([c], [a], none, None) is c
