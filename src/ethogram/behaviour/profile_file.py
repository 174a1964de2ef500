"""Learnt profiles in a file: one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from ethogram._files import write_bytes
from ethogram._text import visible
from ethogram.errors import InputError
from ethogram.schema import BehaviourProfile

__all__ = ["PROFILES_FORMAT", "dump_profiles", "read_profiles", "write_profiles"]

PROFILES_FORMAT = "ethogram.profiles/1"
MOST_OCTETS = 256 << 20


def dump_profiles(profiles: Sequence[BehaviourProfile]) -> bytes:
    """The content of a file of profiles."""
    rows = [profile.to_dict() for profile in profiles]
    return orjson.dumps({"format": PROFILES_FORMAT, "profiles": rows}, option=orjson.OPT_INDENT_2) + b"\n"


def write_profiles(profiles: Sequence[BehaviourProfile], path: str | Path) -> None:
    """Write profiles; the file is replaced whole."""
    write_bytes(Path(path), dump_profiles(profiles))


def read_profiles(path: str | Path) -> list[BehaviourProfile]:
    """Read a file of profiles.

    Raises
    ------
    InputError
        With the file, the place and the reason, if it cannot be read or is not a file of profiles.
    """
    try:
        if Path(path).stat().st_size > MOST_OCTETS:
            raise InputError(f"more than {MOST_OCTETS:,} octets", file=path)
        document = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", file=path, line=error.lineno) from None
    if not isinstance(document, dict) or document.get("format") != PROFILES_FORMAT:
        raise InputError(f"neither a MUD file nor profiles ({PROFILES_FORMAT!r})", file=path)
    rows = document.get("profiles")
    if not isinstance(rows, list):
        raise InputError("profiles: expected an array", file=path)
    profiles = []
    for number, row in enumerate(rows):
        try:
            profiles.append(BehaviourProfile.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in ("profiles", number, *first["loc"]))
            raise InputError(f"{visible(place)}: {visible(first['msg'])}", file=path) from None
    return profiles
