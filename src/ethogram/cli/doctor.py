"""``ethogram doctor``: what is installed and reachable, and why something is not."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ethogram.cli.options import Json
from ethogram.cli.terminal import write_json, write_line

__all__ = ["Check", "checks", "command"]

_NEEDED = ("polars", "pyarrow", "numpy", "numba", "narwhals", "orjson", "pydantic", "publicsuffixlist", "typer",
           "rich")  # fmt: skip
_FITTING = {"scipy": "scipy.optimize", "scikit-learn": "sklearn"}
"""Libraries that only fitting needs, and what is loaded of them: they take over a second to load."""
_OPTIONAL = {
    "matplotlib": ("plot", "drawing plots"),
    "lightgbm": ("bench", "the gradient boosting baselines"),
    "torch": ("train", "training encoders"),
    "safetensors": ("train", "training encoders and reading their weights"),
    "onnx": ("train", "writing encoders for other programs"),
    "onnxruntime": ("embed", "embedding flows"),
    "duckdb": ("speed", "the comparison of speed"),
    "nfstream": ("speed", "the comparison of speed"),
}
_FOLDERS = {
    "ETHOGRAM_CORPUS": "labelled traffic for 'ethogram bench' and the corpus tests",
    "ETHOGRAM_WIRE": "captures with reference outputs for the wire tests",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "absent", "broken"]
    detail: str


def checks(*, load: bool = False) -> Iterator[Check]:
    """Look at everything; nothing is changed and no network is asked.

    Parameters
    ----------
    load
        Also load the libraries that only fitting needs; otherwise they are looked up.

    >>> next(checks()).subject
    'python'
    """
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("ethogram", "ok", importlib.metadata.version("ethogram"))
    for name in _NEEDED:
        yield _library(name, name)
    for name, module in _FITTING.items():
        yield _library(name, module, load=load)
    for name, (extra, purpose) in _OPTIONAL.items():
        try:
            yield Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, "absent", f"for {purpose}: pip install 'ethogram[{extra}]'")
    yield _suffix_list()
    yield _compiled_cache()
    for variable, purpose in _FOLDERS.items():
        yield _folder(variable, purpose)


def _library(name: str, module: str, *, load: bool = True) -> Check:
    try:
        if load:
            importlib.import_module(module)
        elif importlib.util.find_spec(module.partition(".")[0]) is None:
            return Check(name, "broken", "its package is missing")
        return Check(name, "ok", importlib.metadata.version(name))
    except Exception as error:  # a library may fail in any way when it is loaded; that is what is asked
        return Check(name, "broken", f"{type(error).__name__}: {error}".splitlines()[0])


def _suffix_list() -> Check:
    from ethogram.flow.names import suffix_list_date, suffix_list_works

    try:
        if suffix_list_works():
            return Check("public suffix list", "ok", f"snapshot of {suffix_list_date() or 'unknown date'}, no network")
    except Exception as error:
        return Check("public suffix list", "broken", f"{type(error).__name__}: {error}".splitlines()[0])
    return Check("public suffix list", "broken", "the snapshot does not know co.uk")


def _compiled_cache() -> Check:
    from ethogram._numba_cache import OWN_FOLDER, compiled_folder

    folder = compiled_folder(Path(__file__).resolve().parent.parent / "meter")
    if folder.refused:
        return Check("compiled code", "broken", "; ".join(folder.refused))
    if folder.writable:
        return Check("compiled code", "ok", f"kept in {folder.path}")
    advice = f"set {OWN_FOLDER} to a folder that this user alone can write"
    if folder.path is not None:
        return Check("compiled code", "absent", f"read from {folder.path}, nothing is added: {advice}")
    return Check("compiled code", "absent", f"compiled again at every start, up to a minute: {advice}")


def _folder(variable: str, purpose: str) -> Check:
    value = os.environ.get(variable)
    if not value:
        return Check(variable, "absent", f"not set; {purpose}")
    if not Path(value).is_dir():
        return Check(variable, "broken", f"{value} is no folder")
    return Check(variable, "ok", value)


def command(
    as_json: Json = False,
    load: Annotated[
        bool, typer.Option("--load", help="Also load scipy and scikit-learn, which takes over a second.")
    ] = False,
) -> int:
    """Say what is installed and reachable, and why something is not. Exit code 1 when something needed is broken."""
    results_of_checks = list(checks(load=load))
    if as_json:
        document = {"format": "ethogram.doctor/1", "checks": [asdict(check) for check in results_of_checks]}
        write_json(document)
    else:
        width = max(len(check.subject) for check in results_of_checks)
        for check in results_of_checks:
            write_line(f"{check.state:<7} {check.subject:<{width}}  {check.detail}")
    return 1 if any(check.state == "broken" for check in results_of_checks) else 0
