"""The reference of the command line, made from the Click objects that parse it."""

from __future__ import annotations

import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import typer

from ethogram import errors
from ethogram._parse import duration_text
from ethogram.cli import app

INTRODUCTION = """Every command, argument and option, as `ethogram COMMAND --help` shows them.

An option marked *repeatable* may be given several times. Exit codes are listed [below](#exit-codes)."""

EXIT_CODES = (
    (0, "success", ""),
    (1, "internal error: please report it", "EthogramError"),
    (2, "wrong usage: an unknown option, or arguments that do not fit together", "UsageError"),
    (3, "an input cannot be used, or only a part of it; what could be read has been written", "InputError"),
    (4, "a library or model cannot be used", "LibraryError"),
    (5, "a setting, device file or mapping is wrong", "ConfigurationError"),
    (130, "interrupted (Ctrl-C)", ""),
    (141, "the reader of the output closed the pipe, as `head` does", ""),
)


def click_command(verb: str) -> Any:
    """The Click command of one verb."""
    entry: Any = app.COMMANDS[verb]
    parts = entry if isinstance(entry, tuple) else vars(entry).values()
    module = next(part for part in parts if isinstance(part, str) and part.startswith("ethogram."))
    function = importlib.import_module(module).command
    if isinstance(function, typer.Typer):
        return typer.main.get_command(function)
    application = typer.Typer(add_completion=False, rich_markup_mode=None)
    application.command(name=verb)(function)
    return typer.main.get_command(application)


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command, or each subcommand of a group, with its full name."""
    subcommands = getattr(command, "commands", None)
    if not subcommands:
        yield name, command
        return
    for subname, subcommand in subcommands.items():
        yield from leaves(subcommand, f"{name} {subname}")


def cell(text: str) -> str:
    """Text that is safe in a cell of a Markdown table."""
    parts = re.split(r"(`+[^`]+`+)", " ".join(text.split()))
    plain = [part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts]
    return "".join(plain).replace("|", "\\|")


def choices_of(annotation: Any) -> list[str]:
    """The values of an enumeration or literal inside a type annotation."""
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return [str(member.value) for member in annotation]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in choices_of(part)]


def value_of(parameter: Any, context: typer.Context) -> str:
    """The metavariable of an option, or its choices."""
    if getattr(parameter, "is_flag", False):
        return ""
    choices = choices_of(parameter.type_descriptor.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    return f"`{parameter.metavar or parameter.display_type(context).strip('<>').upper()}`"


def default_of(parameter: Any) -> str:
    """The default as a user would type it; empty for none, for flags and for required parameters."""
    value = parameter.default
    if value is False and getattr(parameter, "secondary_opts", ()):
        return f"`{parameter.secondary_opts[0]}`"
    if parameter.required or value is None or value is False or value in ("", [], ()) or callable(value):
        return ""
    if getattr(parameter, "is_flag", False):
        return f"`{parameter.opts[0]}`" if parameter.secondary_opts else ""
    value = getattr(value, "value", value)
    if parameter.metavar == "DURATION":
        return f"`{duration_text(value)}`"
    values = value if isinstance(value, (list, tuple)) else [value]
    return ", ".join(f"`{getattr(item, 'value', item)}`" for item in values)


def options(parameter: Any) -> str:
    """All spellings of an option."""
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def is_option(parameter: Any) -> bool:
    """Whether a parameter is an option rather than an argument."""
    return parameter.param_type_name == "option"


def rows(command: Any, context: typer.Context) -> Iterator[str]:
    """Tables of the arguments and options of a command."""
    visible = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [p for p in visible if not is_option(p)]
    named = [p for p in visible if is_option(p)]
    if arguments:
        yield from ("", "| argument | meaning |", "|---|---|")
        for parameter in arguments:
            name = parameter.metavar or parameter.name.upper()
            yield f"| `{cell(name)}` | {cell(parameter.help or '')} |"
    if named:
        yield from ("", "| option | value | default | meaning |", "|---|---|---|---|")
        for parameter in named:
            repeatable = " *Repeatable.*" if parameter.multiple and "epeatable" not in (parameter.help or "") else ""
            yield (
                f"| {options(parameter)} | {cell(value_of(parameter, context))} | {cell(default_of(parameter))} "
                f"| {cell(parameter.help or '')}{repeatable} |"
            )


def section(verb: str) -> Iterator[str]:
    """The section of one verb."""
    for name, command in leaves(click_command(verb), f"ethogram {verb}"):
        context = typer.Context(command, info_name=name)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from ("", f"## {name}", "", "```text", f"{name} {usage}", "```", "")
        paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
        yield "\n\n".join(re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split())) for text in paragraphs)
        yield from rows(command, context)


def page() -> str:
    """The whole page."""
    lines = ["# Command line", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION]
    for verb in app.COMMANDS:
        lines += section(verb)
    lines += ["", "## Exit codes", "", "| code | meaning | error class |", "|---|---|---|"]
    for code, meaning, name in EXIT_CODES:
        if name and getattr(errors, name).exit_code != code:
            raise ValueError(f"{name} ends with {getattr(errors, name).exit_code}, not {code}")
        lines.append(f"| {code} | {meaning} | {f'`{name}`' if name else ''} |")
    return "\n".join([*lines, ""])
