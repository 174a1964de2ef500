"""What a fuzz target is, and what counts as a finding.

A parser may raise :class:`ethogram.errors.EthogramError` with a text of one line. Anything else it raises is a
finding, and so are sums that do not hold, a read outside the octets it was given, a hang, and memory that grows.
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
"""Compiled code runs as the Python it is written in: it can be instrumented, and a read outside an array raises."""


@dataclass(frozen=True)
class Target:
    """One parser to be fuzzed.

    Parameters
    ----------
    name
        What it is called on the command line.
    seeds
        Makes sound inputs, which mutations start from.
    check
        Gives one input to the parser; raises only when that is a finding.
    compiled
        Whether compiled code reads the octets: such a target is run interpreted and compiled.
    words
        Octets that mean something to the parser, for mutations to insert.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    check: Callable[[bytes], object]
    compiled: bool = False
    words: tuple[bytes, ...] = ()


class OutsideError(IndexError):
    """Octets were read or written outside what a parser was given; as an IndexError it also ends a loop over them."""


class Octets(np.ndarray):
    """Octets that can be read inside their bounds alone: Python's negative places and cut slices are findings.

    Only a slice may begin or end at the end itself.
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
    """The octets up to ``end`` (all of them without it) as :class:`Octets`."""
    return data[:end].view(Octets)


def replace_in(modules: Iterable[ModuleType], name: str, make: Callable[[Any], Any]) -> None:
    """Put ``make(function)`` in the place of a function in every module that holds it under ``name``."""
    for module in modules:
        if hasattr(module, name):
            setattr(module, name, make(getattr(module, name)))


@cache
def scratch() -> Path:
    """A folder for inputs, in memory where the machine has that."""
    memory = Path("/dev/shm")
    folder = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    _KEEP.append(folder)
    return Path(folder.name)


_KEEP: list[Any] = []


def written(name: str, octets: bytes) -> Path:
    """A file of the scratch folder that holds these octets."""
    file = scratch() / name
    file.write_bytes(octets)
    return file


def allowed(call: Callable[[], object]) -> object:
    """Call a parser; an error of ours is fine when its text is one line. Gives what the parser gave, or None."""
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
    """What tells one finding from another: the kind of error and the last places of ours that it went through."""
    places = [
        f for f in traceback.extract_tb(error.__traceback__) if "ethogram" in f.filename or "/fuzz/" in f.filename
    ]
    return f"{type(error).__name__} at " + " < ".join(f"{Path(p.filename).name}:{p.lineno}" for p in places[:-4:-1])


def shortened(data: bytes, same: Callable[[bytes], bool], tries: int = 600) -> bytes:
    """A shorter input that is still the same finding: pieces of halving length are left out while it stays so."""
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
    """Memory of this process."""
    fields = Path("/proc/self/statm").read_text().split() if sys.platform == "linux" else ["0", "0"]
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
