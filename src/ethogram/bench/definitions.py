"""Definitions of tasks and methods: TOML files in which ``kind`` names what a task measures.

A definition is a :class:`~ethogram.config.Settings`, so it has a digest. Each kind has one class of tasks and one of
methods; a definition that names none of :data:`KINDS` is one on counts of services.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from ethogram.config import Settings
from ethogram.errors import ConfigurationError, UsageError

__all__ = ["KINDS", "Kind", "MethodDefinition", "TaskDefinition", "method_definitions", "task_definitions"]

Kind = Literal["counts", "flows", "both", "groups"]

KINDS = ("flows", "both", "groups")
"""Kinds that a definition names; the kind of a task on counts says how it is scored."""

Table = dict[str, Any]


class TaskDefinition(Settings):
    """What every task has.

    Each kind adds the fields ``experiment``, ``kind`` and ``level``, each with its own values.
    """

    name: str
    title: str
    seed: int = 0


class MethodDefinition(Settings):
    """What every method has; each kind adds the field ``group`` with its own values."""

    name: str
    title: str


T = TypeVar("T", bound=TaskDefinition)
M = TypeVar("M", bound=MethodDefinition)


def task_definitions(kind: Kind, of: type[T], folder: Path | None) -> dict[str, T]:
    """Tasks of a kind by name, in the order of their files.

    Parameters
    ----------
    kind
        Which of the tasks to read.
    of
        Their class.
    folder
        Folder of the definitions; None: those of the package.

    Raises
    ------
    ConfigurationError
        When a file is not valid TOML, or a field is unknown or has a wrong value.
    """
    tables = _files("tasks", folder).values()
    tasks = [of.of(**table) for table in tables if _is_of(kind, table)]
    return {task.name: task for task in tasks}


def method_definitions(
    kind: Kind, of: type[M], folder: Path | None, expand: Callable[[Table], Iterable[Table]] = lambda table: [table]
) -> dict[str, M]:
    """Methods of a kind by name, in the order of their files; a file holds any number of them as ``[[method]]``.

    Parameters
    ----------
    kind, of, folder
        As in :func:`task_definitions`.
    expand
        Gives the tables that one table stands for.

    Raises
    ------
    ConfigurationError
        As in :func:`task_definitions`.
    UsageError
        When a file has no ``[[method]]``.
    """
    methods: dict[str, M] = {}
    for file, content in _files("methods", folder).items():
        tables = content.get("method")
        if not isinstance(tables, list):
            raise UsageError(f"{file}: no [[method]]")
        for table in tables:
            if _is_of(kind, table):
                methods |= {method.name: method for method in (of.of(**one) for one in expand(table))}
    return methods


def _is_of(kind: Kind, table: Table) -> bool:
    named = table.get("kind")
    return named == kind if kind in KINDS else named not in KINDS


def _files(what: str, folder: Path | None) -> dict[str, Table]:
    """Content of the TOML files of ``tasks`` or ``methods``, by name."""
    root = resources.files("ethogram.bench") / what if folder is None else folder
    content: dict[str, Table] = {}
    for file in sorted(root.iterdir(), key=lambda path: path.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            content[file.name] = tomllib.loads(file.read_text())
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{file.name}: {error}") from None
    return content
