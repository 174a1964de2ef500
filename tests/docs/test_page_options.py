"""Commands and options that the pages written by hand name exist."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest

from docs.running import ROOT
from ethogram.cli.app import COMMANDS

sys.path.insert(0, str(ROOT / "docs"))

import cli_page

PAGES = [
    *ROOT.glob("*.md"),
    *(path for part in ("tutorial", "howto", "explanation") for path in (ROOT / "docs" / part).glob("*.md")),
    ROOT / "docs" / "reference" / "output-files.md",
]
PAGES = [path for path in PAGES if path.name != "CHANGELOG.md"]
CALL = re.compile(r"ethogram ([a-z-]+)\b([^`|#\n]*(?:\\\n[^`|#\n]*)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


@cache
def options(verb: str) -> frozenset[str]:
    """Every spelling of every option of a command."""
    names = {"--help"}
    for _, command in cli_page.leaves(cli_page.click_command(verb), verb):
        for parameter in command.params:
            names |= {*parameter.opts, *parameter.secondary_opts}
    if "--format" in names:
        names.add("--json")  # added to every such command (ethogram.cli.run)
    return frozenset(names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    every = frozenset().union(*map(options, COMMANDS), {"--version"})
    for name in re.findall(r"`(--[a-z][a-z-]*)", text):
        assert name in every, name
    for verb, rest in CALL.findall(text):
        if verb in COMMANDS:
            for name in OPTION.findall(rest):
                assert name in options(verb), f"ethogram {verb} {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_code_exist(path: Path) -> None:
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        for verb in re.findall(r"^(?:\$ )?ethogram ([a-z-]+)", block, re.MULTILINE):
            assert verb in COMMANDS, verb
