"""The reference of the public API, made from the docstrings of everything in ``__all__`` of the public packages."""

from __future__ import annotations

import enum
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import ethogram

INTRODUCTION = """Everything that `import ethogram` offers, then the public names of `ethogram.bench` and
`ethogram.knowledge`. Names that are not on this page are private and may change without notice. Importing these
packages is fast: each name loads its module when it is first used."""
PACKAGES = ("ethogram.bench", "ethogram.knowledge")
"""Public packages beside ``ethogram`` itself."""

UNDERLINED = re.compile(r"^(\w[\w ]*)\n-{3,}$", flags=re.MULTILINE)
ROLE = re.compile(r":(?:\w+:)?\w+:`~?(?:[\w.]+\.)?([\w]+)`")
DEFINITIONS = {"Parameters", "Returns", "Yields", "Raises", "Attributes", "Warns", "Other Parameters"}
MAX_DEFAULT = 40  # a longer representation of a default is not shown
MAX_LINE = 100
MAX_CONSTANT = 80


def inline(text: str) -> str:
    """Inline reStructuredText as Markdown."""
    text = ROLE.sub(r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def definitions(text: str) -> Iterator[str]:
    """Entries of a numpydoc section as list items."""
    entries: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            entries.append((line.strip(), []))
        elif entries:
            entries[-1][1].append(line.strip())
    for name, words in entries:
        meaning = inline(" ".join(word for word in words if word))
        if meaning:
            yield f"- `{name}`: {meaning}"
        else:
            yield f"- {inline(name)}" if " " in name else f"- `{name}`"


def prose(text: str) -> str:
    """Paragraphs and doctests as Markdown."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if block.lstrip().startswith(">>>"):
            example = re.sub(r"\s*# doctest: .*", "", textwrap.dedent(block))
            blocks.append(f"```pycon\n{example}\n```")
        elif block.strip():
            blocks.append(inline(block))
    return "\n\n".join(blocks)


def markdown(docstring: str) -> str:
    """A numpydoc docstring as Markdown."""
    parts = UNDERLINED.split(inspect.cleandoc(docstring))
    lines = [prose(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        content = "\n".join(definitions(body)) if title in DEFINITIONS else prose(body)
        lines += [f"**{title}**", content]
    return "\n\n".join(line for line in lines if line)


def annotation(value: object) -> str:
    """A type as it is written in the source, without modules."""
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    text = re.sub(r"Annotated\[([^,\]]+)(?:, \w+\([^)]*\))+\]", r"\1", text)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text).strip("'\"")


def default(value: object) -> str:
    """The representation of a default, if it is short and the same in every run."""
    text = str(value) if isinstance(value, enum.Enum) else repr(str(value) if isinstance(value, Path) else value)
    return "..." if len(text) > MAX_DEFAULT or " at 0x" in text else text


def signature(name: str, function: Any) -> str:
    """The signature of a function or class."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return name
    parts, star = [], False
    for parameter in found.parameters.values():
        if parameter.name in {"self", "cls"}:
            continue
        text = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            text, star = f"*{text}", True
        elif parameter.kind is parameter.VAR_KEYWORD:
            text = f"**{text}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}"
        parts.append(text)
    result = "" if found.return_annotation is found.empty else f" -> {annotation(found.return_annotation)}"
    if inspect.isclass(function):
        result = ""
    line = f"{name}({', '.join(parts)}){result}"
    if len(line) <= MAX_LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public documented methods and properties of a class and of its bases in this package."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("ethogram"):
            continue
        for name, value in vars(base).items():
            target = getattr(value, "__func__", value)
            documented = isinstance(value, property) or inspect.isfunction(target)
            if name.startswith("_") or name in seen or not documented or not inspect.getdoc(value):
                continue
            seen.add(name)
            yield name, value


def constant(value: object) -> str:
    """A constant or alias of a type, as one line."""
    if isinstance(value, types.GenericAlias) or typing.get_origin(value) is not None:
        return f"A type: `{annotation(value)}`."
    text = repr(value)
    return f"A constant: `{text}`." if len(text) <= MAX_CONSTANT else f"A constant of type `{type(value).__name__}`."


def section(name: str, package: ModuleType = ethogram) -> Iterator[str]:
    """The section of one public name."""
    value = getattr(package, name)
    prefix = "" if package is ethogram else f"{package.__name__}."
    yield from ("", f"## {prefix}{name}", "")
    if inspect.ismodule(value):
        yield markdown(value.__doc__ or "")
        return
    if inspect.isclass(value) and issubclass(value, BaseException):
        yield from ("```python", f"class {name}({value.__base__.__name__})", "```", "")
    elif inspect.isclass(value) or inspect.isroutine(value):
        yield from ("```python", ("class " if inspect.isclass(value) else "") + signature(name, value), "```", "")
    else:
        yield constant(value)
        return
    yield markdown(inspect.getdoc(value) or "")
    if not inspect.isclass(value):
        return
    fields = getattr(value, "model_fields", {})
    if fields:
        yield ""
        yield from (f"- `{field}`: {info.description}" for field, info in fields.items() if info.description)
    for member, target in members(value):
        yield from ("", f"### {prefix}{name}.{member}", "")
        if not isinstance(target, property):
            yield from ("```python", signature(member, getattr(target, "__func__", target)), "```", "")
        yield markdown(inspect.getdoc(target) or "")


def public_names() -> list[str]:
    """Names of the API in the order of ``__all__``."""
    return [name for name in ethogram.__all__ if name != "__version__"]


def page() -> str:
    """The whole page."""
    lines = ["# Python API", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION]
    if not public_names():
        lines += ["", "This version exports `__version__` only."]
    for name in public_names():
        lines += section(name)
    for package in map(import_module, PACKAGES):
        lines += ["", f"## {package.__name__}", "", markdown(package.__doc__ or "")]
        for name in package.__all__:
            lines += section(name, package)
    return "\n".join([*lines, ""])
