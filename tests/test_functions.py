"""Functions stay short and take few parameters; the exceptions are named here with their reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ethogram

SOURCE = Path(__file__).parent.parent / "src" / "ethogram"
COMPILED = ("compiled", "COMPILER", "VECTOR", "inner", "inlined")
"""Decorators of kernels: a compiled loop is one function, and takes arrays."""
MOST_LINES, MOST_PARAMETERS = 80, 8

OPTIONS = "the options of a command are its parameters"
BUILDER = "turns options into the object that all others take"
FILTERS = "each filter of a list is one optional parameter of the API"
VERB = "each parameter is an option of the command; settings are objects already"
LONG = {
    "cli/collect.py:command": OPTIONS,
    "cli/export.py:command": OPTIONS,
    "cli/pretrain.py:command": OPTIONS,
    "cli/simulate.py:command": OPTIONS,
    "serve/store/migrations/versions/0001_first_schema.py:upgrade": "a released migration does not change",
}
MANY = {
    "_api.py:_reading": BUILDER,
    "cli/reading_options.py:_reading": BUILDER,
    "pipeline/probe.py:probe": VERB,
    "pipeline/reconstruct.py:reconstructions": VERB,
    "pipeline/representations.py:pretrain": VERB,
    "serve/page/routes.py:change": "fields of one form",
    "serve/store/alerts.py:alerts": FILTERS,
    "serve/store/reads.py:devices": FILTERS,
    "serve/store/store.py:devices": FILTERS,
    "identify/probe.py:select": "arrays of one split, and the settings",
    "identify/density.py:_stored": "arrays that go to one kernel",
}


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions that are not compiled, as ``path:name``."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorators = " ".join(map(ast.unparse, node.decorator_list))
                if not any(word in decorators for word in COMPILED):
                    yield f"{path.relative_to(SOURCE).as_posix()}:{node.name}", node


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without those of the docstring."""
    first = node.body[0]
    docstring = 0 if ast.get_docstring(node) is None else (first.end_lineno or 0) - first.lineno + 1
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of parameters without ``self`` and ``cls``."""
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return sum(argument.arg not in ("self", "cls") for argument in arguments)


def test_functions_fit_on_two_screens() -> None:
    long = {name for name, node in functions() if lines_of(node) > MOST_LINES}
    assert long == LONG.keys()


def test_functions_take_few_parameters() -> None:
    many = {name for name, node in functions() if parameters_of(node) > MOST_PARAMETERS}
    commands = {name for name in many if name.startswith("cli/") and name.endswith(":command")}
    assert commands, "Typer reads the options of a command from its signature"
    verbs = {f"{module}.py:{name}" for module in ("_api", "_research") for name in ethogram.__all__}
    assert many & verbs, "a public function has the options of the command of the same name"
    assert many - commands - verbs == MANY.keys()
