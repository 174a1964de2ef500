"""Digests of the source code that result rows depend on.

A class whose results depend on code outside its own module lists those modules, packages and classes in
``CODE_DEPENDENCIES``; :func:`code_digest` reads the list there. Nothing else knows which code a row depends on.

A digest is that of code, not of its place: a module that moves to another folder, or whose documentation is rewritten,
has the same digest as before. One that is renamed has another.
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

__all__ = ["CodePart", "code_digest", "code_text", "imported_modules"]

CodePart = ModuleType | type | str
"""A module, a package (the modules directly in it), a class (its module and its ``CODE_DEPENDENCIES``), or the dotted
name of a module that is not imported here because it loads an optional library, or the path of a data file, as
``ethogram/data/knowledge/parents.tsv``."""


def code_digest(*parts: CodePart) -> str:
    """Twelve hexadecimal digits of the package version and the :func:`code_text` of these parts.

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
    for digest in sorted({digest for name in names for digest in _file_digests(name)}):
        text.update(digest)
    return text.hexdigest()[:12]


@cache
def _file_digests(name: str) -> tuple[bytes, ...]:
    """Digest of each file of a module, of a package or of data."""
    digests = []
    for file in _files(name):
        content = file.read_bytes()
        if file.name.endswith(".py"):
            content = code_text(content.decode("utf-8")).encode()
        digests.append(hashlib.sha256(f"{file.name}\0".encode() + content).digest())
    return tuple(digests)


def code_text(source: str) -> str:
    """The lines of a module that decide what it does.

    Left out are docstrings, empty lines, ``CODE_DEPENDENCIES`` (what it names is digested itself), and the packages of
    imported modules: an import is its module's last name and the names that it gives, in alphabetical order.

    Examples
    --------
    >>> print(code_text("'Documentation.'\\nfrom package.room.module import name\\nvalue = name()"))
    from module import name
    value = name()
    """
    lines = source.splitlines()
    imports = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = "" if isinstance(node, ast.Import) else f"from {(node.module or '').rpartition('.')[2]} "
            imports += [f"{origin}import {alias.name if origin else alias.name.rpartition('.')[2]}"
                        + (f" as {alias.asname}" if alias.asname else "") for alias in node.names]  # fmt: skip
        elif not (isinstance(node, ast.stmt) and (_is_text(node) or _is_dependencies(node))):
            continue
        lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(sorted(imports) + [line.rstrip() for line in lines if line.strip()])


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string alone, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_dependencies(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CODE_DEPENDENCIES"


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
