"""``python -m studies``: write the report of the project's own study from result rows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ethogram.bench.suite import every_method, every_task
from ethogram.cli.bench import write_pages
from ethogram.errors import EthogramError
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
        tasks, methods = every_task(), every_method()
        write_pages(given.rows, given.output, tasks, methods, given.jobs, force=given.force, sections=STUDY)
    except EthogramError as error:
        print(f"studies: {error}", file=sys.stderr)  # noqa: T201 (a command)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
