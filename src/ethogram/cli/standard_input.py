"""Standard input as an input of a command."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from ethogram.errors import UsageError

__all__ = ["input_path"]


def input_path(text: str) -> str:
    """The path of an input; ``-`` gives a temporary file with the content of standard input.

    Readers look at the first octets of a file, and some read it twice, so a pipe is written to disk first. The file is
    removed when the process ends.
    """
    return str(_standard_input()) if text == "-" else text


@cache
def _standard_input() -> Path:
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    if stream is None or stream.isatty():
        raise UsageError("-: standard input is a terminal: redirect a file or a pipe to it")
    folder = Path(tempfile.mkdtemp(prefix="ethogram-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return path
