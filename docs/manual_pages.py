"""Manual pages and completion files, made from the Click objects that parse the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli_page
import typer

from ethogram._version import __version__
from ethogram.cli import app

FOLDER = Path(__file__).parents[1] / "packaging"
MANUAL = FOLDER / "man"
COMPLETIONS = {
    "bash": FOLDER / "completions" / "ethogram",
    "zsh": FOLDER / "completions" / "_ethogram",
    "fish": FOLDER / "completions" / "ethogram.fish",
}
"""The file of each shell, under the name by which the shell finds it."""
PURPOSE = "identify the devices on a network from its flow records"


def roff(text: str) -> str:
    """One paragraph as roff: backslashes and hyphens are escaped, and no line starts a request."""
    text = re.sub(r"``?([^`]+)``?", r"\1", " ".join(text.split()))
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text, each after a request that starts one."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield roff(paragraph)


def parameters(command: Any, context: typer.Context, heading: str) -> Iterator[str]:
    """The arguments and options of a command."""
    visible = [each for each in command.params if not getattr(each, "hidden", False) and each.name != "help"]
    for title, chosen in (
        ("ARGUMENTS", [each for each in visible if not cli_page.is_option(each)]),
        ("OPTIONS", [each for each in visible if cli_page.is_option(each)]),
    ):
        if chosen:
            yield f".{heading} {title}"
        for parameter in chosen:
            yield ".TP"
            yield term(parameter, context)
            default = cli_page.default_of(parameter)
            yield roff(f"{parameter.help or ''}{f' Default: {default}.' if default else ''}")


def term(parameter: Any, context: typer.Context) -> str:
    """The spellings of a parameter in bold, and its value in italics."""
    if not cli_page.is_option(parameter):
        return f"\\fI{roff(parameter.metavar or parameter.name.upper())}\\fR"
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in (*parameter.opts, *parameter.secondary_opts))
    value = cli_page.value_of(parameter, context)
    return f"{names} \\fI{roff(value)}\\fR" if value else names


def header(name: str, summary: str) -> list[str]:
    """The title and the section NAME of one page."""
    source = f'"Ethogram {__version__}" "Ethogram manual"'
    return [
        '.\\" made by docs/generate.py; do not edit', f'.TH "{roff(name.upper())}" 1 "" {source}',
        ".SH NAME", f"{roff(name)} \\- {roff(summary)}",
    ]  # fmt: skip


def page_of_verb(verb: str) -> str:
    """The page of one verb, with its subcommands."""
    _, summary = app.COMMANDS[verb]
    commands = list(cli_page.leaves(cli_page.click_command(verb), f"ethogram {verb}"))
    lines = [*header(f"ethogram-{verb}", summary), ".SH SYNOPSIS"]
    contexts = {name: typer.Context(command, info_name=name) for name, command in commands}
    for number, (name, command) in enumerate(commands):
        if number:
            lines.append(".br")
        lines.append(f"\\fB{roff(name)}\\fR {roff(' '.join(command.collect_usage_pieces(contexts[name])))}")
    lines.append(".SH DESCRIPTION")
    if len(commands) == 1:
        name, command = commands[0]
        lines += [*paragraphs(command.help or summary), *parameters(command, contexts[name], "SH")]
    else:
        for name, command in commands:
            lines += [f".SS {roff(name)}", *paragraphs(command.help or ""), *parameters(command, contexts[name], "SS")]
    return "\n".join([*lines, ".SH SEE ALSO", "\\fBethogram\\fR(1)", ""])


def main_page() -> str:
    """The page of the command itself."""
    lines = [*header("ethogram", PURPOSE), ".SH SYNOPSIS", "\\fBethogram\\fR \\fICOMMAND\\fR [OPTIONS] ..."]
    lines += [".SH DESCRIPTION", roff("Each command has a page of its own, such as ethogram-identify(1).")]
    for group, verbs in app.GROUPS.items():
        lines.append(f".SS {roff(group)}")
        for verb, (_, summary) in verbs.items():
            lines += [".TP", f"\\fBethogram\\-{roff(verb)}\\fR(1)", roff(summary)]
    lines.append(".SH EXIT STATUS")
    for code, meaning, _ in cli_page.EXIT_CODES:
        lines += [".TP", f"\\fB{code}\\fR", roff(meaning)]
    return "\n".join([*lines, ""])


def completion(shell: str) -> str:
    """The completion file of a shell."""
    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="ethogram", complete_var="_ETHOGRAM_COMPLETE", shell=shell)
    return script.rstrip() + "\n"


def files() -> dict[Path, str]:
    """Every manual page and completion file, and what belongs into it."""
    pages = {MANUAL / "ethogram.1": main_page()}
    pages |= {MANUAL / f"ethogram-{verb}.1": page_of_verb(verb) for verb in app.COMMANDS}
    return pages | {path: completion(shell) for shell, path in COMPLETIONS.items()}
