"""The reference of settings, made from the classes in ``ethogram.config``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ethogram import config

INTRODUCTION = """Every choice that affects a result is a named setting with a default. Settings are immutable, unknown
names are rejected, and `digest` identifies the values that produced a result.

Commands expose the common settings as options ([command line](cli.md)); `pretrain`, `probe` and `bench` accept any
setting by name (`--set NAME=VALUE`, or a method file). In Python, pass a settings object:

```python
from ethogram.config import ExporterSettings

settings = ExporterSettings.of(epoch_s=3600, threshold=0.8)
print(settings.digest)
```"""

ENVIRONMENT = (
    ("ETHOGRAM_CACHE_DIR", "folder of compiled code; must be writable by its owner and root only"),
    ("ETHOGRAM_CORPUS", "folder of the labelled corpora, as `ethogram bench --corpus`; also used by the tests"),
    ("ETHOGRAM_SERVE_", "prefix of settings of `ethogram serve`: `..._JUDGE__EPOCH_S` is `judge.epoch_s`"),
    ("ETHOGRAM_QUIET", "`1`: do not report on standard error that code is being compiled"),
    ("ETHOGRAM_TRACE", "`1`: show the Python traceback of an internal error"),
    ("ETHOGRAM_WIRE", "folder of captures with reference outputs; used by the tests only"),
    ("ETHOGRAM_CASES", "folder of captures for regression cases; used by the tests only"),
    ("ETHOGRAM_SEED", "seed of the property tests"),
    ("ETHOGRAM_LAWS", "number of examples of each property test"),
    ("NUMBA_CACHE_DIR", "folder of compiled code, if `ETHOGRAM_CACHE_DIR` is not set"),
    ("CACHE_DIRECTORY", "set by systemd (`CacheDirectory=`); used after the folders beside the package"),
    ("ETHOGRAM_NETBOX_TOKEN", "token of NetBox's API, for `ethogram export netbox`"),
    ("XDG_CACHE_HOME", "base of the user's cache; default: `~/.cache`"),
)


def modules() -> list[ModuleType]:
    """The module of settings, and its submodules if it is a package."""
    submodules = pkgutil.iter_modules(getattr(config, "__path__", []))
    return [config, *(importlib.import_module(f"ethogram.config.{entry.name}") for entry in submodules)]


def settings_classes() -> list[type[BaseModel]]:
    """Every class of settings, in the order of the source."""
    classes: dict[str, type[BaseModel]] = {}
    for module in modules():
        for name, value in vars(module).items():
            public = inspect.isclass(value) and not name.startswith("_") and value.__module__ == module.__name__
            if public and issubclass(value, config.Settings) and value is not config.Settings:
                classes[name] = value
    return list(classes.values())


def type_of(annotation: object) -> str:
    """A type as people write it, without constraints and validators."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value!r}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(map(type_of, arguments))
    if annotation is Ellipsis:
        return "..."
    if annotation is None or annotation is NoneType:
        return "None"
    if origin is not None:
        return f"{origin.__name__} of " + ", ".join(type_of(each) for each in arguments if each is not Ellipsis)
    return getattr(annotation, "__name__", str(annotation))


def row(name: str, field: FieldInfo, classes: dict[str, type[BaseModel]]) -> str:
    """The row of one setting."""
    nested = getattr(field.annotation, "__name__", "")
    if nested in classes:
        return f"| `{name}` | [{nested}](#{nested.lower()}) |  | {field.description or 'nested settings'} |"
    default = repr(field.get_default(call_default_factory=True)).replace("|", "\\|")
    shown = "" if field.is_required() else f"`{default}`"
    meaning = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| `{name}` | {type_of(field.annotation)} | {shown} | {meaning} |"


def page() -> str:
    """The whole page."""
    classes = {cls.__name__: cls for cls in settings_classes()}
    lines = ["# Settings", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION]
    for name, cls in classes.items():
        summary = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(cls.__doc__ or "")).replace("``", "`")
        lines += ["", f"## {name}", "", summary, "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        lines += [row(key, field, classes) for key, field in cls.model_fields.items()]
    lines += ["", "## Environment variables", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT]
    return "\n".join([*lines, ""])
