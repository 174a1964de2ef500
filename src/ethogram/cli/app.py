"""The ``ethogram`` command: a table of verbs, each loaded when it is called, and one place where errors end."""

from __future__ import annotations

import contextlib
import difflib
import errno
import gc
import importlib
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence

from ethogram._text import visible
from ethogram._version import __version__
from ethogram.errors import EthogramError

__all__ = ["COMMANDS", "GROUPS", "main"]

# group -> verb -> (module, summary). A module has one function ``command`` that Typer turns into the command.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Identify": {
        "identify": ("ethogram.cli.identify", "name the device behind each address, and say why"),
        "unknown": ("ethogram.cli.unknown", "group unknown devices, and name and enrol the groups"),
        "changes": ("ethogram.cli.changes", "say what is new, silent or different since an earlier time"),
        "monitor": ("ethogram.cli.monitor", "compare traffic with profiles of what devices may do"),
        "deviations": ("ethogram.cli.deviations", "score how devices keep to their own behaviour, epoch by epoch"),
        "enrol": ("ethogram.cli.enrol", "build or extend a library of known devices"),
        "label": ("ethogram.cli.label", "write what a device is to a label file"),
        "library": ("ethogram.cli.library", "list, merge, prune or rename the contents of libraries"),
        "export": ("ethogram.cli.export", "write the devices in the format of another tool"),
        "knowledge": ("ethogram.cli.knowledge", "show public facts about a name, port, MAC or vendor"),
    },
    "Collect": {
        "serve": ("ethogram.cli.serve", "collect, judge and show an inventory that keeps itself"),
        "collect": ("ethogram.cli.collect", "receive NetFlow and IPFIX, and write flows and fingerprints"),
        "flows": ("ethogram.cli.flows", "convert captures and flow records of any kind to one flow table"),
        "fingerprint": ("ethogram.cli.fingerprint", "export service-level fingerprints of flows"),
        "wire": ("ethogram.cli.wire", "show what NetFlow and IPFIX exports contain, template by template"),
    },
    "Learn": {
        "vectors": ("ethogram.cli.vectors", "convert captures to one-minute custom flows, the input of encoders"),
        "pretrain": ("ethogram.cli.pretrain", "train an encoder on unlabelled custom flows"),
        "embed": ("ethogram.cli.embed", "embed custom flows with an encoder"),
    },
    "Research": {
        "stability": ("ethogram.cli.stability", "measure convergence, recurrence and distinguishability"),
        "reconstruct": ("ethogram.cli.reconstruct", "measure reconstruction error on this network and another"),
        "probe": ("ethogram.cli.probe", "train classifiers on frozen embeddings under leakage-safe splits"),
        "bench": ("ethogram.cli.bench", "run leakage-safe tasks on labelled corpora"),
    },
    "Look after": {
        "rejudge": ("ethogram.cli.rejudge", "judge the devices of the live service again from stored counts"),
        "alerts": ("ethogram.cli.alerts", "list open alerts of the live service, or what rules would raise"),
        "sinks": ("ethogram.cli.sinks", "list where the live service sends alerts, and test it"),
        "users": ("ethogram.cli.users", "list, add and remove users of the live service, and replace tokens"),
        "forget": ("ethogram.cli.forget", "remove everything about a device from the live service"),
        "new-key": ("ethogram.cli.new_key", "make a key file for pseudonyms"),
        "backup": ("ethogram.cli.backup", "write the store of the live service to one file"),
        "restore": ("ethogram.cli.restore", "make a store of the live service from a backup"),
        "demo": ("ethogram.cli.demo", "identify real devices and a simulated home"),
        "simulate": ("ethogram.cli.simulate", "simulate a home, and export its flows as IPFIX or NetFlow"),
        "doctor": ("ethogram.cli.doctor", "check the installation"),
    },
}
COMMANDS: dict[str, tuple[str, str]] = {verb: entry for verbs in GROUPS.values() for verb, entry in verbs.items()}
YOUNG_OBJECTS = 50_000
"""New objects after which Python looks for cycles. The default of 700 costs a short command a seventh of its CPU time:
importing makes half a million objects that stay."""
_COMPLETION = ("--install-completion", "--show-completion")


def overview() -> str:
    """The text of ``ethogram --help``, as wide as the terminal."""
    width = max(map(len, COMMANDS))
    columns = max(40, min(shutil.get_terminal_size((100, 24)).columns, 100))
    purpose = "Identify the devices on a network from its flow records alone, and explain why."
    lines = ["Usage: ethogram COMMAND [OPTIONS] ...", "", *textwrap.wrap(purpose, columns)]
    for group, verbs in GROUPS.items():
        lines += ["", f"{group}:"]
        for verb, (_, text) in verbs.items():
            lines += textwrap.wrap(
                text, columns, initial_indent=f"  {verb:<{width}}  ", subsequent_indent=" " * (width + 4)
            )
    lines += ["", "Options:"]
    for names, text in (
        ("--version", "Show the version."),
        ("--install-completion", "Install shell completion for the current shell."),
        ("--show-completion", "Print the completion script."),
    ):
        lines += textwrap.wrap(text, columns, initial_indent=f"  {names:<22}", subsequent_indent=" " * 24)
    closing = ("Run 'ethogram COMMAND --help' for the options of a command. Exit codes: 0 success, 1 internal error, "
               "2 usage, 3 input, 4 model or library, 5 configuration, 141 closed pipe.")  # fmt: skip
    return "\n".join([*lines, "", *textwrap.wrap(closing, columns)])


CLOSED_PIPE = 141
"""The exit code that shells report for a program ended by a closed pipe: 128 + SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error is one line on standard error.

    If the reader has closed the pipe, as ``head`` does, the command ends silently.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    _prepare_streams()
    warnings.showwarning = _show_warning
    try:
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except OSError as error:
        _drop_output()
        _complain(f"standard output cannot be written: {error.strerror or error}")
        return 3
    return code


def _drop_output() -> None:
    """Discard buffered output: Python would flush it at exit and fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _prepare_streams() -> None:
    """Make output work when the caller closed a stream or its encoding lacks a character."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (until the process ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning as one line, without its place in the code."""
    _complain(f"warning: {message}")


def _complain(text: str) -> None:
    sys.stderr.write(f"ethogram: {visible(text)}\n")


def _main(given: Sequence[str]) -> int:
    if "_ETHOGRAM_COMPLETE" in os.environ or (given and given[0].split("=")[0] in _COMPLETION):
        return _complete(given)
    if not given or given[0] in {"-h", "--help", "help"}:
        if len(given) > 1 and given[0] == "help" and given[1] in COMMANDS:
            return _main([given[1], "--help"])
        sys.stdout.write(overview() + "\n")
        return 0 if given else 2
    if given[0] in {"-V", "--version"}:
        sys.stdout.write(f"ethogram {__version__}\n")
        return 0
    if given[0] not in COMMANDS:
        close = difflib.get_close_matches(given[0], COMMANDS, 1)
        advice = f"did you mean {close[0]!r}?" if close else "'ethogram --help' lists the commands"
        _complain(f"no command {given[0]!r}; {advice}")
        return 2
    try:
        from ethogram.cli.run import run

        return run(importlib.import_module(COMMANDS[given[0]][0]).command, given[0], given[1:])
    except EthogramError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.ENOSPC:
            raise
        if os.environ.get("ETHOGRAM_TRACE"):
            raise
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        _complain(f"Internal error; please report it: {type(error).__name__}: {reason} (ETHOGRAM_TRACE=1 shows where)")
        return EthogramError.exit_code


def _complete(given: Sequence[str]) -> int:
    """Let Typer complete a command line, or install or print the completion script."""
    import typer

    from ethogram.cli.run import CONTEXT, add_verbosity

    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    for verb, (module, summary) in COMMANDS.items():
        app.command(name=verb, help=summary, context_settings=CONTEXT)(importlib.import_module(module).command)
    group = typer.main.get_command(app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        add_verbosity(command)
    try:
        group(args=list(given), prog_name="ethogram")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
