"""Packages that load their modules late say the same names to readers, to type checkers and at run time."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("ethogram.config", "ethogram.knowledge", "ethogram.schema")


def checked_imports(package: str) -> dict[str, str]:
    """Names and modules that a type checker sees."""
    text = Path(str(importlib.import_module(package).__file__)).read_text()
    names = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                names.update({alias.name: str(statement.module) for alias in statement.names})
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_late_package_has_one_list_of_names(package: str) -> None:
    module = importlib.import_module(package)
    assert checked_imports(package) == module._MODULES
    assert sorted(module.__all__) == sorted(module._MODULES) == dir(module)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_late_name_loads(package: str) -> None:
    module = importlib.import_module(package)
    missing = [name for name in module.__all__ if getattr(module, name, None) is None]
    assert missing == []
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        module.nothing_of_this_name  # noqa: B018


def test_reading_a_capture_loads_no_types_of_the_service() -> None:
    code = "import ethogram.pipeline.identify, sys; print(*sorted(m for m in sys.modules if m.startswith('ethogram.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ethogram.schema.verdict" in loaded
    unneeded = {"ethogram.schema.live", "ethogram.schema.alert", "ethogram.config.serve", "ethogram.config.sinks"}
    assert unneeded.isdisjoint(loaded)
