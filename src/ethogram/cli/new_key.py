"""``ethogram new-key``: make a key file for pseudonyms."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.terminal import report
from ethogram.errors import InputError

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to create; only you can read it.")],
) -> int:
    """Make a key file for --pseudonymise: 256 random bits, readable by you alone.

    An existing file is never replaced: with another key, the same devices have other pseudonyms. Anyone with the key
    can find out which address or name has which pseudonym. Keep it apart from the files that you write.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise InputError("exists already; a key file is never replaced", file=file) from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=file) from None
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{secrets.token_hex(32)}\n")
    report(f"key written to {file}")
    return 0
