"""``python -m studies``: write the report of the project's own study from result rows."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ethogram import EthogramError, UsageError
from ethogram.bench import MAX_JOBS, every_method, every_task, is_report, read_rows, rows_of_tasks, write_report
from studies.sections import STUDY


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    report = commands.add_parser("report", help="write the pages of docs/results")
    report.add_argument("rows", nargs="+", help="files of result rows, .jsonl or .jsonl.gz")
    report.add_argument("-o", "--output", type=Path, default=Path("docs/results"), help="folder of the pages")
    report.add_argument("--jobs", type=int, default=0, help="processes; 0: one for each core, at most 4")
    report.add_argument("--force", action="store_true", help="overwrite pages that Ethogram did not write")
    given = parser.parse_args(arguments)
    try:
        jobs = given.jobs or min(MAX_JOBS, os.cpu_count() or 1)
        for path in _write(given.rows, given.output, jobs, force=given.force):
            print(path, file=sys.stderr)  # noqa: T201 (a command)
    except EthogramError as error:
        print(f"studies: {error}", file=sys.stderr)  # noqa: T201 (a command)
        return error.exit_code
    return 0


def _write(files: Sequence[str], folder: Path, jobs: int, *, force: bool) -> list[Path]:
    rows = [row for name in files for row in read_rows(Path(name))]
    shown = rows_of_tasks(rows, every_task(), every_method())
    if len(shown) < len(rows):
        left_out = len(rows) - len(shown)
        print(f"{left_out} rows left out: their task has changed, or does not run their method", file=sys.stderr)  # noqa: T201 (a command)
    if not force and not is_report(folder):
        raise UsageError(f"{folder / 'README.md'}: exists and has no mark of Ethogram: --force replaces it")
    return write_report(shown, folder, jobs, STUDY)


if __name__ == "__main__":
    sys.exit(main())
