"""The ``ethogram`` command: a table of verbs, each loaded when it is called, and one place where errors end."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from ethogram import __version__
from ethogram._text import visible
from ethogram.errors import EthogramError

__all__ = ["COMMANDS", "main"]

# verb -> (module, what it does). A module has one function ``command`` that Typer turns into the command.
COMMANDS: dict[str, tuple[str, str]] = {
    "flows": ("ethogram.cli.flows", "captures and flow records of any kind to one flow table"),
    "collect": ("ethogram.cli.collect", "NetFlow and IPFIX from the network, live: flows and fingerprints"),
    "wire": ("ethogram.cli.wire", "what NetFlow and IPFIX exports hold, template by template"),
    "fingerprint": ("ethogram.cli.fingerprint", "the fingerprint exporter: flows to fingerprints"),
    "stability": ("ethogram.cli.stability", "convergence, recurrence, distinguishability: tables and plots"),
    "enrol": ("ethogram.cli.enrol", "build or extend a library of known devices"),
    "library": ("ethogram.cli.library", "list, merge, thin out or rename what a library holds"),
    "identify": ("ethogram.cli.identify", "what each device is, or unknown, and why"),
    "unknown": ("ethogram.cli.unknown", "unknown devices in groups, to be named and enrolled"),
    "vectors": ("ethogram.cli.vectors", "captures to one-minute custom flows, the input of the encoders"),
    "pretrain": ("ethogram.cli.pretrain", "unlabelled custom flows to an encoder"),
    "embed": ("ethogram.cli.embed", "custom flows to embeddings by an encoder"),
    "reconstruct": ("ethogram.cli.reconstruct", "how well encoders give back flows, here and on another network"),
    "probe": ("ethogram.cli.probe", "classifiers on frozen embeddings, under splits that cannot leak"),
    "bench": ("ethogram.cli.bench", "leakage-safe tasks on labelled corpora"),
    "simulate": ("ethogram.cli.simulate", "a home that does not exist, sent as IPFIX or NetFlow"),
    "demo": ("ethogram.cli.demo", "real devices and a simulated home, identified"),
    "doctor": ("ethogram.cli.doctor", "what is installed and reachable, and why something is not"),
}


def overview() -> str:
    """The text of ``ethogram --help``."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in COMMANDS.items())
    return (
        "Usage: ethogram COMMAND [OPTIONS] ...\n\n"
        "Tells which IoT devices are on a network from its flow records alone, and why.\n\n"
        f"Commands:\n{rows}\n\n"
        "'ethogram COMMAND --help' says how to use one. 'ethogram --version' prints the version.\n"
        "Exit codes: 0 done, 1 bug, 2 usage, 3 input, 4 model or library, 5 configuration, 141 nobody reads the output."
    )


CLOSED_PIPE = 141
"""What a shell reports of a program that a closed pipe has ended: 128 and SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; an error of ours is one line on standard error.

    When the reader of our output has closed the pipe, as ``head`` does, the command ends without a word.
    """
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
    """Send what is still to be written nowhere: Python writes it at exit, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _prepare_streams() -> None:
    """Let no output fail because a stream was closed by the caller or has an encoding that lacks a character."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (until the process ends)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line, without its place in the code."""
    _complain(f"warning: {message}")


def _complain(text: str) -> None:
    sys.stderr.write(f"ethogram: {visible(text)}\n")


def _main(given: Sequence[str]) -> int:
    if not given or given[0] in {"-h", "--help", "help"}:
        sys.stdout.write(overview() + "\n")
        return 0 if given else 2
    if given[0] in {"-V", "--version"}:
        sys.stdout.write(f"ethogram {__version__}\n")
        return 0
    if given[0] not in COMMANDS:
        _complain(f"no command {given[0]!r}; 'ethogram --help' lists them")
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
