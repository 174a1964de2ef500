"""``ethogram bench``: tasks on labelled corpora to result rows, and rows to a report."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ethogram.bench.corpora.card import Card
    from ethogram.bench.corpora.user_corpus import UserCorpus
    from ethogram.bench.report.write import Sections

__all__ = ["command", "write_pages"]

CORPUS = "ETHOGRAM_CORPUS"


def command(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="tasks, 'list', 'all', 'quick', or 'report ROWS.jsonl'")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help=f"folder of the corpora (also {CORPUS}), or of one's own labelled flows")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="methods, by comma; a group's name stands for all of it")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="rows, added line by line; for 'report' a folder")] = Path(
        "bench.jsonl"
    ),
    cache: Annotated[Path | None, typer.Option(help="where loaded corpora are kept")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="keep no loaded corpora")] = False,
    cards: Annotated[Path | None, typer.Option(help="folder of corpus cards instead of the package's")] = None,
    task_files: Annotated[Path | None, typer.Option(help="folder of tasks instead of the package's")] = None,
    method_files: Annotated[Path | None, typer.Option(help="folder of methods instead of the package's")] = None,
    again: Annotated[bool, typer.Option("--again", help="make rows again that are there already")] = False,
    jobs: Annotated[
        int,
        typer.Option(
            min=0,
            help="tasks side by side, each in a process of its own; 0: one for each core, at most 4, with 4 GiB of "
            "free memory for each",
        ),
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="of each job's networks and probes; more than 1 slows small probes; 0: one for each core"
        ),
    ] = 1,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: weights of an encoder of others, such as et-bert=FILE")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="for 'report': write over pages that Ethogram did not write")
    ] = False,
) -> None:
    """Measure methods on tasks that cannot leak.

    ``bench list`` names tasks and methods. ``bench TASK ...`` adds one row for each task and method to --out; rows
    that are there already, for the same data and code, are not made again. ``bench report ROWS.jsonl -o FOLDER``
    writes tables and plots from rows alone: the last of each task and method; those of another definition of the task,
    of other data, or of a method that the task no longer asks are left out, those of earlier code are marked.

    ``bench --corpus MYDIR`` with labels.csv and custom flows or captures in it is a corpus of its own: it has its own
    tasks, all of which run when none is named.
    """
    from ethogram.bench.corpora.card import cards as known_cards
    from ethogram.bench.suite import every_method, every_task
    from ethogram.errors import ConfigurationError, UsageError

    known_tasks, known_methods = every_task(task_files), every_method(method_files)
    words = tasks or []
    if words[:1] == ["report"]:
        write_pages(words[1:], out, known_tasks, known_methods, jobs, force=force)
        return
    root = corpus or (Path(os.environ[CORPUS]) if os.environ.get(CORPUS) else None)
    every_card = known_cards(cards)
    own = _own(root, every_card)
    if own is not None:
        root, every_card, known_tasks = own.root, dict(own.cards), dict(own.tasks)
    if words == ["list"]:
        _list(known_tasks, known_methods)
        if own is None:
            _list_published(root)
        return
    if not words and own is None:
        raise UsageError("say which tasks: 'ethogram bench list' names them")
    if root is None:
        raise UsageError(f"say where the corpora are: --corpus FOLDER, or {CORPUS}")
    if not root.is_dir():
        raise ConfigurationError(f"no such folder: {root}")
    chosen = _tasks(words or ["all"], known_tasks)
    asked = _methods(methods, known_methods)
    _run(
        chosen,
        asked,
        root,
        out,
        cards=every_card,
        cache=cache,
        keep=not no_cache,
        again=again,
        jobs=jobs,
        threads=threads,
        checkpoints=_checkpoints(checkpoint or []),
        quick=words == ["quick"] and methods is None,
    )


def _own(root: Path | None, known: dict[str, Card]) -> UserCorpus | None:
    """The folder as a corpus of its own, when it is one."""
    from ethogram.bench.corpora.user_corpus import is_user_corpus, user_corpus
    from ethogram.cli.terminal import say

    if root is None or not root.is_dir() or not is_user_corpus(root, known):
        return None
    own = user_corpus(root)
    for note in own.notes:
        say(note)
    return own


def _checkpoints(given: list[str]) -> dict[str, Path]:
    from ethogram.errors import UsageError

    found = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise UsageError(f"--checkpoint {text!r}: write NAME=FILE")
        found[name] = Path(file)
    return found


def _tasks(names: list[str], known: dict[str, Any]) -> list[Any]:
    from ethogram.errors import UsageError

    if names == ["all"]:
        return list(known.values())
    if names == ["quick"]:
        return [task for task in known.values() if task.quick]
    for name in names:
        if name not in known:
            raise UsageError(f"no task {name!r}; 'ethogram bench list' names them")
    return [known[name] for name in names]


def _methods(text: str | None, known: dict[str, Any]) -> list[Any]:
    from ethogram.errors import UsageError

    if text is None:
        return list(known.values())
    found: dict[str, Any] = {}
    for word in text.split(","):
        named = {n: m for n, m in known.items() if word in (n, m.name, m.group)}
        if not named:
            raise UsageError(f"no method or group {word!r}; 'ethogram bench list' names them")
        found |= named
    return list(found.values())


def _list(tasks: dict[str, Any], methods: dict[str, Any]) -> None:
    _table("Tasks", [(t.name, t.experiment, t.title) for t in tasks.values()])
    from ethogram.bench.suite import applicable

    asked = [m for m in methods.values() if any(applicable(t, m) for t in tasks.values())]
    _table("Methods", [(m.name, m.group, m.title) for m in asked])


def _list_published(root: Path | None) -> None:
    """Published sets, and what is missing of each below the folder of the corpora."""
    from ethogram.bench.corpora.published import missing, published

    rows = []
    for one in published().values():
        gone = missing(one, root)
        rows.append((one.name, f"{one.title}. {one.read_by}. Licence: {one.licence}",
                     f"missing: {gone}. {one.where[0]}" if gone else "there"))  # fmt: skip
    _table("Published sets", rows)


def _table(title: str, rows: list[tuple[str, str, str]]) -> None:
    from rich.table import Table

    from ethogram.cli.run import results

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    results().print(table)


def _run(
    tasks: list[Any], methods: list[Any], root: Path, out: Path, *, cards: dict[str, Card], cache: Path | None,
    keep: bool, again: bool, jobs: int, threads: int, checkpoints: dict[str, Path], quick: bool,
) -> None:  # fmt: skip
    import orjson

    from ethogram._files import is_ours
    from ethogram.bench.corpora.load import CACHE
    from ethogram.bench.parallel import run_parallel, worker_count
    from ethogram.bench.row import cut_half_line, read_rows
    from ethogram.bench.suite import Suite
    from ethogram.bench.worker import quiet
    from ethogram.cli.outputs import ROWS, check_output, is_standard_output
    from ethogram.cli.run import say, stages
    from ethogram.cli.terminal import write_json
    from ethogram.errors import UsageError

    stdout = is_standard_output(out)
    if not stdout:
        out.parent.mkdir(parents=True, exist_ok=True)
    check_output(out, ROWS, force=True)
    if not stdout and not is_ours(out):
        raise UsageError(f"{out}: exists and holds no result rows; rows are only added to a file of rows")
    quiet()
    if not stdout and (cut := cut_half_line(out)) > 0:
        say(f"{out}: {cut} octets of a row that was not finished are cut off")
    held = {} if again or stdout or not out.exists() else {str(row["key"]): row for row in read_rows(out)}
    made = kept = 0
    suite = Suite(root, cards, (cache or CACHE) if keep else None, threads, checkpoints, quick=quick)
    total = sum(suite.asks(task, method) for task in tasks for method in methods)
    with contextlib.ExitStack() as stack:
        file = None if stdout else stack.enter_context(out.open("ab"))
        advance, stage = stack.enter_context(stages("measuring", total))
        suite = replace(suite, on_stage=stage)
        workers = worker_count(jobs, suite, tasks, methods, held)
        every = suite.rows(tasks, methods, held)
        if workers > 1:
            every = run_parallel(suite, tasks, methods, held, workers, on_trouble=say)
        for row, fresh in every:
            if fresh:
                if file is None:
                    write_json(row, indent=False)
                else:
                    file.write(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
                    file.flush()
            made, kept = made + fresh, kept + (not fresh)
            say(_line(row, fresh))
            advance(1)
    say(f"{made} rows made, {kept} were there already: {out}")


def _line(row: dict[str, object], fresh: bool) -> str:
    head = f"{row['task']:<24} {row['method']:<24}"
    if "absent" in row:
        return f"{head} {'failed' if row.get('failed') else 'not applicable'}: {row['absent']}"
    values: dict[str, float] = row["values"]  # type: ignore[assignment]
    shown = "  ".join(f"{name} {value:.3f}" for name, value in list(values.items())[:3] if value is not None)
    return f"{head} n {row['n']:<5} {shown}  {row['wall_s']} s{'' if fresh else ' (there already)'}"


def write_pages(
    arguments: list[str], out: Path, tasks: dict[str, Any], methods: dict[str, Any], jobs: int, *, force: bool,
    sections: Sections | None = None,
) -> None:  # fmt: skip
    """Write a report of files of rows, and print the path of each page.

    Parameters
    ----------
    arguments
        Files of rows.
    out
        Folder of the pages; one that holds other files is refused unless ``force``.
    tasks, methods
        Those known: rows of a task that has changed since, or no longer asks their method, are left out.
    jobs
        Processes; 0: one for each core, at most four.
    force
        Overwrite pages that this program did not write.
    sections
        What a study adds to the pages.
    """
    from ethogram._files import require_ours
    from ethogram.bench.parallel import MOST
    from ethogram.bench.report.write import REPORT_MARKS, write_report
    from ethogram.bench.row import read_rows
    from ethogram.bench.suite import applicable
    from ethogram.cli.outputs import check_folder
    from ethogram.cli.terminal import say
    from ethogram.errors import UsageError

    if not arguments:
        raise UsageError("bench report needs the file of rows: ethogram bench report ROWS.jsonl -o FOLDER")
    rows = [row for name in arguments for row in read_rows(Path(name))]
    # A known task has changed, no longer asks some methods, or they are no more.
    asked = {(t.name, m.name, t.digest) for t in tasks.values() for m in methods.values() if applicable(t, m)}
    kept = [r for r in rows if r["task"] not in tasks or (r["task"], r["method"], r["task_digest"]) in asked]
    if len(kept) < len(rows):
        say(f"{len(rows) - len(kept)} rows of tasks or methods that are no longer so are left out")
    folder = Path("results") if out == Path("bench.jsonl") else out
    check_folder(folder, inputs=arguments, force=force)
    index = folder / "README.md"
    if index.exists() and not any(mark in index.read_bytes() for mark in REPORT_MARKS):
        require_ours(index)
    for path in write_report(kept, folder, jobs or min(MOST, os.cpu_count() or 1), sections):
        say(str(path))
