"""Run one case as its user would, in a folder of its own, and summarise what came of it."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cases.live import LIVE
from ethogram.cli import main

__all__ = ["Case", "Outcome", "read_cases", "replay"]

OUTPUTS = ("flows.parquet", "lib.jsonl.gz")


@dataclass(frozen=True)
class Case:
    """One row of ``cases.csv``: a command and what its user may expect; ``verdict`` is that of an earlier version."""

    name: str
    kind: str
    command: str
    expected: str
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """What one run of a command left.

    Parameters
    ----------
    code
        Exit code.
    output, messages
        Standard output and standard error.
    flows
        The flow table written, in order of start; None when there is none.
    """

    code: int
    output: str
    messages: str
    flows: pl.DataFrame | None = None

    @property
    def notable(self) -> list[str]:
        """Lines that say that something was lost, changed or refused; for commands without flows, the output too."""
        lines = [line.strip() for line in self.messages.splitlines() if _notable(line)]
        return lines + ([] if self.flows is not None else [line.rstrip() for line in self.output.splitlines()[:6]])

    @property
    def summary(self) -> str:
        """One line: exit code, flows, devices, and what was said about loss."""
        parts = [f"exit {self.code}"]
        if self.flows is not None:
            devices = self.flows["device"].unique().sort().to_list()
            parts.append(f"{self.flows.height} flows of {', '.join(devices) or 'no device'}")
        return "; ".join([*parts, *self.notable])


def _notable(line: str) -> bool:
    words = ("ethogram:", "skipped", "passed over", "note:", "ignored (", "dropped (", "corrected (", "enrolled",
             "warning")  # fmt: skip
    if "compiling" in line or "the old spelling ends" in line:  # a cold cache, or the wording of an older command
        return False
    return any(word in line for word in words)


def read_cases(folder: Path) -> list[Case]:
    """Every case of the folder, in the order of its table."""
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return [
            Case(row["case"], row["kind"], row["command"], row["expected"], row["verdict"])
            for row in csv.DictReader(stream)
        ]


def replay(folder: Path, case: Case, scratch: Path) -> Outcome:
    """Copy the inputs of a case to ``scratch`` and run its command there, in this process.

    Parameters
    ----------
    folder
        The folder of all cases.
    case
        Live cases have no command; :data:`cases.live.LIVE` plays them.
    scratch
        An empty folder.
    """
    if not case.command.startswith("ethogram "):
        flows, messages = LIVE[case.name](scratch)
        return Outcome(0, "", "\n".join(messages), flows)
    _copy(folder / case.name, scratch, skip=set(OUTPUTS) - set(case.command.split(" -o ")[0].split()))
    output, messages = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(scratch)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(messages):
            code = main([*shlex.split(case.command)[1:], "--verbose"])
    finally:
        os.chdir(before)
    written = scratch / "flows.parquet"
    flows = None
    if written.is_file() and "flows.parquet" not in case.command.split(" -o ")[0]:
        flows = pl.read_parquet(written).sort("start", "device", "local_port", "octets_out")
    return Outcome(code, output.getvalue(), messages.getvalue(), flows)


def _copy(source: Path, target: Path, skip: set[str]) -> None:
    """Copy inputs, writable, without outputs that an earlier run left beside them."""
    for path in source.iterdir():
        if path.is_dir():
            shutil.copytree(path, target / path.name, copy_function=shutil.copyfile)
        elif path.name not in skip:
            shutil.copyfile(path, target / path.name)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
