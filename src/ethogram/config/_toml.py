"""Reading a TOML file of settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ethogram.errors import ConfigurationError, InputError

__all__ = ["read_toml"]


def read_toml(file: Path, most_octets: int = 0) -> tuple[str, dict[str, Any]]:
    """The text of a file and its values; ``most_octets``: the largest size, 0 for any.

    Raises
    ------
    InputError
        If it cannot be read, or is larger.
    ConfigurationError
        If it is not TOML.
    """
    try:
        if most_octets and file.stat().st_size > most_octets:
            raise InputError(f"more than {most_octets:,} octets", file=file)
        text = file.read_text("utf-8")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise InputError("there is no such file", file=file) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from None
