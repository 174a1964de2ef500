"""``ethogram bench``: tasks on labelled corpora to result rows, and rows to a report."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ethogram.bench.suite import Suite
    from ethogram.bench.user_corpus import UserCorpus
    from ethogram.corpora.card import Card

__all__ = ["command"]

CORPUS = "ETHOGRAM_CORPUS"


def command(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="tasks, 'list', 'all', 'quick', or 'report ROWS.jsonl'")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help=f"folder of the corpora (or {CORPUS}), or of your own labelled flows")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="methods or groups of methods, separated by commas")] = None,
    out: Annotated[
        Path, typer.Option("--output", "-o", help="file of rows, appended line by line; for 'report', a folder")
    ] = Path("bench.jsonl"),
    cache: Annotated[Path | None, typer.Option(help="folder for the cache of loaded corpora")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="do not cache loaded corpora")] = False,
    cards: Annotated[Path | None, typer.Option(help="folder of corpus cards; default: the bundled ones")] = None,
    task_files: Annotated[Path | None, typer.Option(help="folder of tasks; default: the bundled ones")] = None,
    method_files: Annotated[Path | None, typer.Option(help="folder of methods; default: the bundled ones")] = None,
    again: Annotated[bool, typer.Option("--rerun", help="measure again what the file already has rows of")] = False,
    jobs: Annotated[
        int,
        typer.Option(
            min=0,
            help="worker processes; 0: one per core, at most 4, each with 4 GiB of free memory",
        ),
    ] = 0,
    threads: Annotated[
        int,
        typer.Option(
            min=0, help="threads per worker for networks and probes; more than 1 slows small probes; 0: one per core"
        ),
    ] = 1,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: weights of a third-party encoder, such as et-bert=FILE")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="for 'report': overwrite pages that Ethogram did not write")
    ] = False,
) -> None:
    """Measure methods on tasks whose splits are proven disjoint.

    ``bench list`` lists tasks and methods. ``bench TASK ...`` appends a row per task and method to -o, and skips those
    that the file already has for the same data and code. ``bench report ROWS.jsonl -o FOLDER`` writes tables and
    plots from the last row of each task and method. It leaves out rows of another definition of the task, of other
    data, or of a method that the task does not run, and marks rows that earlier code made.

    If MYDIR in ``bench --corpus MYDIR`` holds labels.csv and custom flows or captures, it is a corpus with tasks of its
    own, which all run when no task is named.
    """
    from ethogram.bench.suite import Suite, every_method, every_task
    from ethogram.corpora.card import cards as known_cards
    from ethogram.corpora.load import CACHE
    from ethogram.errors import ConfigurationError, UsageError

    known_tasks, known_methods = every_task(task_files), every_method(method_files)
    words = tasks or []
    if words[:1] == ["report"]:
        _report(words[1:], out, known_tasks, known_methods, jobs, force=force)
        return
    root = corpus or (Path(os.environ[CORPUS]) if os.environ.get(CORPUS) else None)
    every_card = known_cards(cards)
    corpus_of_user = _own(root, every_card)
    if corpus_of_user is not None:
        root, every_card, known_tasks = corpus_of_user.root, dict(corpus_of_user.cards), dict(corpus_of_user.tasks)
    if words == ["list"]:
        _list(known_tasks, known_methods)
        if corpus_of_user is None:
            _list_published(root)
        return
    if not words and corpus_of_user is None:
        raise UsageError("no task given; see 'ethogram bench list'")
    if root is None:
        raise UsageError(f"no folder of corpora given; use --corpus FOLDER or {CORPUS}")
    if not root.is_dir():
        raise ConfigurationError(f"no such folder: {root}")
    selected_tasks = _tasks(words or ["all"], known_tasks)
    asked = _methods(methods, known_methods)
    suite = Suite(
        root, every_card, None if no_cache else cache or CACHE, threads, checkpoints=_checkpoints(checkpoint or []),
        quick=words == ["quick"] and methods is None,
    )  # fmt: skip
    _run(suite, selected_tasks, asked, out, again=again, jobs=jobs)


def _own(root: Path | None, known: dict[str, Card]) -> UserCorpus | None:
    """The folder as the user's own corpus; None when it holds known corpora."""
    from ethogram.bench.user_corpus import user_corpus
    from ethogram.cli.terminal import say
    from ethogram.corpora.user_cards import is_user_corpus

    if root is None or not root.is_dir() or not is_user_corpus(root, known):
        return None
    corpus = user_corpus(root)
    for note in corpus.notes:
        say(note)
    return corpus


def _checkpoints(given: list[str]) -> dict[str, Path]:
    from ethogram.errors import UsageError

    checkpoints = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise UsageError(f"invalid --checkpoint {text!r}; expected NAME=FILE")
        checkpoints[name] = Path(file)
    return checkpoints


def _tasks(names: list[str], known: dict[str, Any]) -> list[Any]:
    from ethogram.errors import UsageError

    if names == ["all"]:
        return list(known.values())
    if names == ["quick"]:
        return [task for task in known.values() if task.quick]
    for name in names:
        if name not in known:
            raise UsageError(f"no task {name!r}; see 'ethogram bench list'")
    return [known[name] for name in names]


def _methods(text: str | None, known: dict[str, Any]) -> list[Any]:
    from ethogram.errors import UsageError

    if text is None:
        return list(known.values())
    methods: dict[str, Any] = {}
    for word in text.split(","):
        named = {n: m for n, m in known.items() if word in (n, m.name, m.group)}
        if not named:
            raise UsageError(f"no method or group {word!r}; see 'ethogram bench list'")
        methods |= named
    return list(methods.values())


def _list(tasks: dict[str, Any], methods: dict[str, Any]) -> None:
    _table("Tasks", [(t.name, t.experiment, t.title) for t in tasks.values()])
    from ethogram.bench.suite import applicable

    asked = [m for m in methods.values() if any(applicable(t, m) for t in tasks.values())]
    _table("Methods", [(m.name, m.group, m.title) for m in asked])


def _list_published(root: Path | None) -> None:
    """List published sets, and what each lacks in the folder of the corpora."""
    from ethogram.corpora.published import missing, published

    rows = []
    for published_set in published().values():
        gone = missing(published_set, root)
        what = f"{published_set.title}. {published_set.read_by}. Licence: {published_set.licence}"
        rows.append((published_set.name, what,
                     f"missing: {gone}. {published_set.where[0]}" if gone else "available"))  # fmt: skip
    _table("Published sets", rows)


def _table(title: str, rows: list[tuple[str, str, str]]) -> None:
    from rich.table import Table

    from ethogram.cli.run import results

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    results().print(table)


def _run(suite: Suite, tasks: list[Any], methods: list[Any], out: Path, *, again: bool, jobs: int) -> None:
    import orjson

    from ethogram._files import is_ours
    from ethogram.bench.parallel import run_parallel, worker_count
    from ethogram.bench.row import cut_half_line, read_rows
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
        raise UsageError(f"{out}: exists and is not a file of result rows; choose another file")
    quiet()
    if not stdout and (cut := cut_half_line(out)) > 0:
        say(f"{out}: removed {cut} octets of an unfinished row")
    held = {} if again or stdout or not out.exists() else {str(row["key"]): row for row in read_rows(out)}
    measured = skipped = 0
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
            measured, skipped = measured + fresh, skipped + (not fresh)
            say(_line(row, fresh))
            advance(1)
    say(f"{measured} rows measured, {skipped} already in {out}")


def _line(row: dict[str, object], fresh: bool) -> str:
    head = f"{row['task']:<24} {row['method']:<24}"
    if "absent" in row:
        return f"{head} {'failed' if row.get('failed') else 'not applicable'}: {row['absent']}"
    values: dict[str, float] = row["values"]  # type: ignore[assignment]
    shown = "  ".join(f"{name} {value:.3f}" for name, value in list(values.items())[:3] if value is not None)
    return f"{head} n {row['n']:<5} {shown}  {row['wall_s']} s{'' if fresh else ' (already in the file)'}"


def _report(
    files: list[str], out: Path, tasks: dict[str, Any], methods: dict[str, Any], jobs: int, *, force: bool
) -> None:
    """Write a report of files of rows, and print the path of each page.

    Parameters
    ----------
    files
        Files of rows.
    out
        Folder of the pages; one that holds other files is refused unless ``force``.
    tasks, methods
        Known definitions; see :func:`ethogram.bench.suite.rows_of_tasks`.
    jobs
        Processes; 0: one per core, at most four.
    force
        Overwrite pages that Ethogram did not write.
    """
    from ethogram.representation.needs import need

    need("a report", "matplotlib")
    from ethogram._files import require_ours
    from ethogram.bench.parallel import MAX_JOBS
    from ethogram.bench.row import read_rows
    from ethogram.bench.suite import rows_of_tasks
    from ethogram.cli.outputs import check_folder
    from ethogram.cli.terminal import say
    from ethogram.errors import UsageError
    from ethogram.report import is_report, write_report

    if not files:
        raise UsageError("no file of rows given: ethogram bench report ROWS.jsonl -o FOLDER")
    rows = [row for name in files for row in read_rows(Path(name))]
    shown = rows_of_tasks(rows, tasks, methods)
    if len(shown) < len(rows):
        say(f"{len(rows) - len(shown)} rows left out: their task has changed, or does not run their method")
    folder = Path("results") if out == Path("bench.jsonl") else out
    check_folder(folder, inputs=files, force=force)
    if not is_report(folder):
        require_ours(folder / "README.md")
    for path in write_report(shown, folder, jobs or min(MAX_JOBS, os.cpu_count() or 1)):
        say(str(path))
