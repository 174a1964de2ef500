"""Pages of a report, written side by side: drawing their plots takes nearly all of the time."""

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
"""Pages from which on a second process is worth its start."""


class WritePages(Protocol):
    """Writes pages by calling a function of a module with each tuple of arguments; gives what each call wrote."""

    def __call__(self, write: Callable[..., list[Path]], calls: Sequence[tuple[Any, ...]]) -> list[list[Path]]: ...


def one_by_one(write: Callable[..., list[Path]], calls: Sequence[tuple[Any, ...]]) -> list[list[Path]]:
    """Write pages in this process."""
    return list(starmap(write, calls))


@contextmanager
def page_writer(jobs: int, pages: int) -> Iterator[WritePages]:
    """Give what writes pages in so many processes; in this one alone where they are few.

    Processes are started anew and not forked, since libraries that are loaded have threads. So more than one job needs
    a program that can be loaded without running.
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
