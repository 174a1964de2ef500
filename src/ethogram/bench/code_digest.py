"""Digests of the source code that result rows depend on.

A class whose results depend on code outside its own module lists those modules, packages and classes in
``CODE_DEPENDENCIES``; :func:`code_digest` reads the list there. Nothing else knows which code a row depends on.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib import resources
from types import ModuleType

from ethogram._version import __version__

__all__ = ["CodePart", "code_digest", "imported_modules"]

CodePart = ModuleType | type | str
"""A module, a package (the modules directly in it), a class (its module and its ``CODE_DEPENDENCIES``), or the dotted
name of a module that is not imported here because it loads an optional library, or the path of a data file, as
``ethogram/data/knowledge/parents.tsv``."""


def code_digest(*parts: CodePart) -> str:
    """Twelve hexadecimal digits of the package version and the source of these parts.

    The order of the parts does not matter, and a module that several parts name is read once.

    Raises
    ------
    FileNotFoundError
        When a dotted name is not that of a module of this package.

    Examples
    --------
    >>> import ethogram.errors
    >>> code_digest(ethogram.errors) == code_digest("ethogram.errors", ethogram.errors)
    True
    """
    return _digest(tuple(sorted(set(_names(parts)))))


def _names(parts: Iterable[CodePart]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, ModuleType):
            yield part.__name__
        else:
            yield part.__module__
            yield from _names(getattr(part, "CODE_DEPENDENCIES", ()))


@cache
def _digest(names: tuple[str, ...]) -> str:
    text = hashlib.sha256(__version__.encode())
    for name in names:
        for file in _files(name):
            text.update(f"{name}/{file.name} ".encode() + file.read_bytes())
    return text.hexdigest()[:12]


def _files(name: str) -> list[resources.abc.Traversable]:
    """The file of a module or of data; the files directly in a package, sorted."""
    if "/" in name:
        package, _, path = name.partition("/")
        return [resources.files(package).joinpath(path)]
    parts = name.split(".")
    place = resources.files(parts[0]).joinpath(*parts[1:])
    if place.is_dir():
        return sorted((file for file in place.iterdir() if file.name.endswith(".py")), key=lambda file: file.name)
    file = resources.files(parts[0]).joinpath(*parts[1:-1], f"{parts[-1]}.py")
    if not file.is_file():
        raise FileNotFoundError(name)
    return [file]


@cache
def imported_modules(name: str) -> tuple[str, ...]:
    """A module and all modules of its own package that it imports, directly or indirectly, sorted.

    The source is parsed, not run, so modules that need an optional library can be listed without it.

    Parameters
    ----------
    name
        Dotted name of the module.

    Examples
    --------
    >>> imported_modules("ethogram.representation.losses")
    ('ethogram.representation.losses',)
    """
    package = name.rpartition(".")[0]
    reached: set[str] = set()
    pending = {name}
    while pending:
        current = pending.pop()
        reached.add(current)
        (file,) = _files(current)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                targets = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                pending |= {target for target in targets if _is_module(target, package)} - reached
    return tuple(sorted(reached))


def _is_module(name: str, package: str) -> bool:
    if name.rpartition(".")[0] != package:
        return False
    return name in sys.modules or resources.files(package).joinpath(f"{name.rpartition('.')[2]}.py").is_file()
