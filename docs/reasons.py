"""Find the reasons under which the package counts packets, messages, records and flows, by reading its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

COUNTING = {"ignore", "drop", "correct"}
COUNTS = re.compile(r"(?:^|\.)_?(?:accounting|sets|records|recorded|meter|own|time|source|labels)$")
TABLES = re.compile(r"(?:REASONS|DROPPED|IGNORED|CORRECTED|CORRECTIONS|FAULTS|COUNTERS)$")
NOT_TABLES = re.compile(r"END_REASONS?$")
LOCALS = re.compile(r"^(?:reasons?|corrected)$")
SKIPPED = {"bench", "evaluate", "cli", "corpora", "report", "simulate"}
"""Rooms whose counters are not part of the product's accounting."""
NOT_REASONS = {
    "responses", "answers", "malformed", "unrelated record", "over tcp",  # DNS messages, not printed
    "counters.json", "octets", "packets", "reverse_octets", "reverse_packets",
}  # fmt: skip


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Values assigned to names at the top of a module, also in tuples."""
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                values[target.id] = value
            elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                names = [element.id for element in target.elts if isinstance(element, ast.Name)]
                values |= dict(zip(names, value.elts, strict=False))
    return values


def strings(node: ast.expr | None) -> Iterator[str]:
    """Texts that an expression can be; an f-string with ``*`` in place of what it formats."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from strings(node.body)
        yield from strings(node.orelse)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from strings(value)
    elif isinstance(node, (ast.Tuple, ast.List)):
        for element in node.elts:
            yield from strings(element)


def reasons_in(path: Path, shared: dict[str, ast.expr]) -> set[str]:
    """Reasons that one module counts under."""
    tree = ast.parse(path.read_text("utf-8"))
    own = {**shared, **constants(tree)}
    found: set[str] = set()
    for name, value in constants(tree).items():
        if TABLES.search(name) and not NOT_TABLES.search(name):
            found |= set(strings(value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COUNTING:
            if not node.args or not COUNTS.search(ast.unparse(node.func.value)):
                continue
            reason = node.args[0]
            found |= set(strings(own.get(reason.id) if isinstance(reason, ast.Name) else reason))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and LOCALS.match(ast.unparse(target.value)):
                    found |= set(strings(target.slice)) | set(strings(node.value))
    return found


def reasons(source: Path) -> set[str]:
    """Every reason that the package counts under."""
    paths = [path for path in sorted(source.rglob("*.py")) if not SKIPPED & set(path.relative_to(source).parts)]
    shared: dict[str, ast.expr] = {}
    for path in paths:
        shared |= constants(ast.parse(path.read_text("utf-8")))
    return set().union(*(reasons_in(path, shared) for path in paths)) - NOT_REASONS
