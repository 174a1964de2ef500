"""Packages whose public names load their modules when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Parameters
    ----------
    package
        Name of the package.
    modules
        Module of each public name.

    Examples
    --------
    >>> load, names = lazy_names("ethogram.knowledge", {"Knowledge": "ethogram.knowledge.tables"})
    >>> load("Knowledge").__name__, names()
    ('Knowledge', ['Knowledge'])
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return load, lambda: sorted(modules)
