"""Interface of a fuzz target, and what counts as a finding.

A parser may raise :class:`ethogram.errors.EthogramError` with a one-line message. Any other exception is a finding, and
so are sums that do not add up, reads outside the given octets, hangs, and growing memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ethogram.errors import EthogramError, EthogramWarning

TESTS = Path(__file__).parent.parent
INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
"""Whether compiled code runs interpreted: it can then be instrumented, and a read outside an array raises."""


@dataclass(frozen=True)
class Target:
    """A parser to fuzz.

    Parameters
    ----------
    name
        Name on the command line.
    seeds
        Creates valid inputs, from which mutations start.
    check
        Passes one input to the parser; raises only for a finding.
    compiled
        Whether compiled code reads the octets; such a target runs interpreted and compiled.
    words
        Octets with a meaning to the parser, which mutations insert.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], object]
    compiled: bool = False
    words: tuple[bytes, ...] = ()


class OutsideError(IndexError):
    """An access outside the octets given to a parser; as an IndexError it also ends loops over them."""


class Octets(np.ndarray):
    """Octets that can only be read inside their bounds: negative indices and truncated slices are findings.

    Only slices may begin or end at the end.
    """

    def _inside(self, key: Any) -> Any:
        if isinstance(key, slice):
            for place in (key.start, key.stop):
                if place is not None and not 0 <= place <= len(self):
                    raise OutsideError(f"slice {key.start}:{key.stop} of {len(self)} octets")
        elif isinstance(key, int | np.integer) and not 0 <= key < len(self):
            raise OutsideError(f"octet {key} of {len(self)}")
        return key

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._inside(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._inside(key), value)


def bounded(data: np.ndarray, end: int | None = None) -> np.ndarray:
    """The octets up to ``end`` (by default all) as :class:`Octets`."""
    return data[:end].view(Octets)


def replace_in(modules: Iterable[ModuleType], name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function by ``make(function)`` in every module that has it under ``name``."""
    for module in modules:
        if hasattr(module, name):
            setattr(module, name, make(getattr(module, name)))


@cache
def scratch() -> Path:
    """A folder for inputs, in memory if possible."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    _KEEP.append(folder)
    return Path(folder.name)


_KEEP: list[Any] = []


def written(name: str, octets: bytes) -> Path:
    """Write these octets to a file in the scratch folder."""
    file = scratch() / name
    file.write_bytes(octets)
    return file


def allowed(call: Callable[[], object]) -> object:
    """Call a parser; our errors are allowed if they have one line. Returns the result, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EthogramWarning)
        if INTERPRETED:  # numbers of fixed width wrap round when compiled, too, and are meant to
            warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return call()
        except EthogramError as error:
            assert str(error), "an error that says nothing"
            assert "\n" not in str(error), f"an error of several lines: {error!s}"
            return None


def signature(error: BaseException) -> str:
    """Identity of a finding: the type of error and its last frames in this project."""
    places = [
        f for f in traceback.extract_tb(error.__traceback__) if "ethogram" in f.filename or "/fuzz/" in f.filename
    ]
    return f"{type(error).__name__} at " + " < ".join(f"{Path(p.filename).name}:{p.lineno}" for p in places[:-4:-1])


def shortened(data: bytes, same: Callable[[bytes], bool], tries: int = 600) -> bytes:
    """Shorten an input that gives the same finding, by omitting pieces of decreasing length."""
    piece = max(len(data) // 2, 1)
    while piece and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            tries -= 1
            less = data[:at] + data[at + piece :]
            if same(less):
                data = less
            else:
                at += piece
        piece //= 2
    return data


def resident_octets() -> int:
    """Memory of this process in octets."""
    fields = Path("/proc/self/statm").read_text().split() if sys.platform == "linux" else ["0", "0"]
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
