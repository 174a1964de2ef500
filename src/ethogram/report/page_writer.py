"""Write the pages of a report in parallel, since drawing plots takes most of the time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat, starmap
from pathlib import Path
from typing import Any, Protocol

__all__ = ["WritePages", "one_by_one", "page_writer"]

WORTH = 8
"""Number of pages from which a second process is worth its start-up time."""


class WritePages(Protocol):
    """Call a module-level function with each tuple of arguments; return the files that each call wrote."""

    def __call__(self, write: Callable[..., list[Path]], calls: Sequence[tuple[Any, ...]]) -> list[list[Path]]: ...


def one_by_one(write: Callable[..., list[Path]], calls: Sequence[tuple[Any, ...]]) -> list[list[Path]]:
    """Write pages in this process."""
    return list(starmap(write, calls))


@contextmanager
def page_writer(jobs: int, pages: int) -> Iterator[WritePages]:
    """A function that writes pages in ``jobs`` processes, or in this process if there are few pages.

    Processes are spawned rather than forked, since loaded libraries have threads. With more than one job the main
    module must be importable without side effects.
    """
    if jobs < 2 or pages < WORTH:
        yield one_by_one
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:

        def side_by_side(write: Callable[..., list[Path]], calls: Sequence[tuple[Any, ...]]) -> list[list[Path]]:
            return list(pool.map(_call, repeat(write), calls))

        yield side_by_side


def _call(write: Callable[..., list[Path]], arguments: tuple[Any, ...]) -> list[Path]:
    return write(*arguments)
