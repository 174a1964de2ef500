"""Definitions of tasks and methods: TOML files in which ``kind`` names what a task measures.

A definition is a :class:`~ethogram.config.Settings`, so it has a digest. Each kind has one class of tasks and one of
methods; a definition that names none of :data:`KINDS` is one on counts of services.
"""

from __future__ import annotations

import tomllib
from abc import abstractmethod
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ethogram.config import Settings
from ethogram.errors import ConfigurationError, UsageError

__all__ = ["KINDS", "Kind", "MethodDefinition", "TaskDefinition"]

Kind = Literal["counts", "flows", "both", "groups", "ladder"]

KINDS = ("flows", "both", "groups", "ladder")
"""Kinds that a definition names; the kind of a task on counts says how it is scored."""

Table = dict[str, Any]


class MethodDefinition(Settings):
    """Base class of methods; each kind adds the field ``group`` with its own values."""

    KIND: ClassVar[Kind]

    name: str
    title: str

    @classmethod
    def expand(cls, table: Table) -> Iterable[Table]:
        """The tables that one ``[[method]]`` stands for."""
        return [table]

    @classmethod
    def read(cls, folder: Path | None = None) -> dict[str, Self]:
        """Methods of this kind by name, in the order of their files; a file holds several as ``[[method]]``.

        Parameters
        ----------
        folder
            Folder of the definitions; None: those of the package.

        Raises
        ------
        ConfigurationError
            When a file is not valid TOML, or a field is unknown or has a wrong value.
        UsageError
            When a file has no ``[[method]]``.
        """
        methods: dict[str, Self] = {}
        for file, content in _files("methods", folder).items():
            tables = content.get("method")
            if not isinstance(tables, list):
                raise UsageError(f"{file}: no [[method]]")
            for table in tables:
                if _is_of(cls.KIND, table):
                    definitions = [cls.of(**expanded) for expanded in cls.expand(table)]
                    methods |= {method.name: method for method in definitions}
        return methods


class TaskDefinition(Settings):
    """Base class of tasks; each kind adds the fields ``experiment``, ``kind`` and ``level``, with its own values."""

    KIND: ClassVar[Kind]
    METHOD: ClassVar[type[MethodDefinition]]
    """Class of the methods that tasks of this kind run."""

    name: str
    title: str
    seed: int = 0

    @abstractmethod
    def runs(self, method: Any, *, quick: bool = False) -> bool:
        """Whether the task runs a method of its kind; ``quick``: in the quick set."""

    @classmethod
    def read(cls, folder: Path | None = None) -> dict[str, Self]:
        """Tasks of this kind by name, in the order of their files; parameters and errors as for methods."""
        tables = _files("tasks", folder).values()
        tasks = [cls.of(**table) for table in tables if _is_of(cls.KIND, table)]
        return {task.name: task for task in tasks}


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
