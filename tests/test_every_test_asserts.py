"""Every test asserts something, by itself or through a function that does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
ASSERTING = ("raises", "warns", "fail", "deprecated_call", "expect")
"""Functions that fail a test; so do those whose names begin with ``assert``, ``to_be`` or ``to_have``."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def calls(function: Function) -> Iterator[str]:
    """Names of called functions and methods."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            called = node.func
            yield called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def asserts(function: Function) -> bool:
    """Whether the function itself can fail a test."""
    return any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(function)) or any(
        name in ASSERTING or name.startswith(("assert", "to_be", "to_have")) for name in calls(function)
    )


def always_true(condition: ast.expr) -> bool:
    """Whether a condition is a constant or a tuple, or compares the same name with itself."""
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        same = ast.dump(condition.left) == ast.dump(condition.comparators[0])
        return same and not any(isinstance(node, ast.Call) for node in ast.walk(condition.left))
    return isinstance(condition, ast.Tuple) or (isinstance(condition, ast.Constant) and bool(condition.value))


def functions() -> list[tuple[Path, Function]]:
    """All functions of all test modules."""
    return [
        (path, node)
        for path in sorted(FOLDER.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, Function)
    ]


def test_every_test_asserts() -> None:
    every = functions()
    asserting = {node.name for _, node in every if asserts(node)}
    before = 0
    while before != len(asserting):
        before = len(asserting)
        asserting |= {node.name for _, node in every if asserting.intersection(calls(node))}
    tests = [(path, node) for path, node in every if node.name.startswith("test_")]
    silent = [f"{path.relative_to(FOLDER)}:{node.name}" for path, node in tests if node.name not in asserting]
    assert len(tests) > 2000
    assert silent == []


def test_no_assertion_is_always_true() -> None:
    idle = [
        f"{path.relative_to(FOLDER)}:{node.lineno}"
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Assert) and always_true(node.test)
    ]
    assert idle == []
