"""Learnt models as files: arrays in an npz archive, and everything else as JSON in its first member.

A file cannot execute code: it names classes of :data:`CLASSES` and fills in their attributes, its arrays hold numbers,
and nothing is unpickled. Sizes are bounded before anything is read, a checksum covers every array, and indices that
compiled code follows are checked against the arrays that they point into.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from ethogram._files import atomic_write
from ethogram.config import IdentifySettings
from ethogram.errors import LibraryError
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.density import Cells
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.identify.quantities import QUANTITIES
from ethogram.identify.recognition import FIGURES_FILE
from ethogram.identify.tokens import Tokens

__all__ = ["CLASSES", "LEARNT_FORMAT", "code_digest", "header_of", "read_learnt", "write_learnt"]

LEARNT_FORMAT = "ethogram.learnt/1"
HEADER = "header"
MAX_HEADER = 1 << 28  # octets of JSON
MAX_OCTETS = 1 << 33  # of all arrays
MAX_ARRAYS = 1 << 16
MAX_DEPTH = 40
PIECE = 1 << 20  # octets decompressed at once
DTYPES = frozenset({"float64", "float32", "int64", "int32", "int16", "uint8", "uint16", "uint32", "bool"})

CLASSES: dict[str, str] = {
    "Averaged": "aggregate", "Behaviour": "behaviour", "Calibration": "calibrate", "CrossNetwork": "cross_network",
    "CrossNetworkKind": "cross_network_kind", "Cells": "density", "WeightOfEvidence": "evidence",
    "LikelihoodRatios": "likelihood", "Coverage": "openset", "Thresholds": "openset",
    "PooledFigures": "recognition", "Recognition": "recognition", "ServiceVocabulary": "quantities",
    "Tokens": "tokens", "VerdictModel": "verdict",
}  # fmt: skip
"""Module of each class that a file may name."""

FITTING_ONLY: dict[str, frozenset[str]] = {
    "Averaged": frozenset({"_parts"}),
    "LikelihoodRatios": frozenset({"known_", "y_", "groups_", "window_keys_", "densities_", "_term_kinds", "_scored",
                                   "_whole_ratios"}),
    "VerdictModel": frozenset({"held_", "groups_"}),
    "Cells": frozenset({"total"}),
}
"""Attributes that are not written: those that only fitting needs, and those that cache the last windows."""

CODE = (*sorted(set(CLASSES.values())), "identifier", "isotonic", "leave_group_out", "nearest", "ports")
"""Modules whose code decides what is learnt."""


@cache
def code_digest() -> str:
    """Twelve hexadecimal digits of SHA-256 over the modules and pooled figures that decide what is learnt."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update(name.encode() + (Path(__file__).parent / f"{name}.py").read_bytes())
    digest.update((Path(__file__).parent.parent / "data" / FIGURES_FILE).read_bytes())
    return digest.hexdigest()[:12]


@cache
def _class(name: str) -> type:
    cls: type = getattr(importlib.import_module(f"ethogram.identify.{CLASSES[name]}"), name)
    return cls


class _Encoder:
    """Convert objects to JSON and collect their arrays; each array is written once."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._place: dict[int, int] = {}
        self._alive: list[NDArray[Any]] = []  # an identity holds only as long as its object

    def array(self, values: NDArray[Any]) -> int:
        if values.dtype.name not in DTYPES:
            raise LibraryError(f"an array of {values.dtype.name} cannot be kept")
        if id(values) not in self._place:
            self._place[id(values)] = len(self.arrays)
            self._alive.append(values)
            self.arrays.append(np.ascontiguousarray(values))
        return self._place[id(values)]

    def encode(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float | np.floating):
            number = float(value)
            return number if math.isfinite(number) else {"$": "float", "v": repr(number)}
        if isinstance(value, np.integer | np.bool_):
            return value.item()
        if isinstance(value, np.ndarray):
            return {"$": "array", "v": self.array(value)}
        if isinstance(value, list) and value and all(isinstance(part, np.ndarray) and part.ndim == 1 for part in value):
            return self._arrays(value)
        if isinstance(value, list):
            return [self.encode(part) for part in value]
        if isinstance(value, tuple):
            return {"$": "tuple", "v": [self.encode(part) for part in value]}
        if isinstance(value, set | frozenset):
            return {"$": "set", "v": sorted(value)}
        if isinstance(value, Mapping):
            keys, values = list(value), list(value.values())
            return {"$": "dict", "k": [self.encode(key) for key in keys], "v": [self.encode(part) for part in values]}
        if isinstance(value, pl.DataFrame):
            columns = [self.array(value[name].to_numpy()) for name in value.columns]
            return {"$": "frame", "k": value.columns, "v": columns}
        if isinstance(value, IdentifySettings):
            return {"$": "settings", "v": value.model_dump(mode="json")}
        name = type(value).__name__
        if name in CLASSES and type(value) is _class(name):
            skipped = FITTING_ONLY.get(name, frozenset())
            fields = {key: self.encode(field) for key, field in vars(value).items() if key not in skipped}
            return {"$": "object", "c": name, "v": fields}
        raise LibraryError(f"what was learnt holds a {name}, which cannot be kept")

    def _arrays(self, parts: list[NDArray[Any]]) -> Any:
        """Many short arrays as one."""
        distinct = {id(part): part for part in parts}
        place = {key: i for i, key in enumerate(distinct)}
        flat = np.concatenate(list(distinct.values()))
        return {"$": "arrays", "v": self.array(flat), "lengths": [len(part) for part in distinct.values()],
                "which": [place[id(part)] for part in parts]}  # fmt: skip


class _Decoder:
    """The inverse of :class:`_Encoder`."""

    def __init__(self, arrays: Callable[[int], NDArray[Any]]) -> None:
        self.arrays = arrays

    def decode(self, node: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise LibraryError("nested too deeply")
        if node is None or isinstance(node, bool | int | float | str):
            return node
        if isinstance(node, list):
            return [self.decode(part, depth + 1) for part in node]
        kind, value = node["$"], node["v"]
        if kind == "float":
            return float(value)
        if kind == "array":
            return self.arrays(value)
        if kind == "arrays":
            parts = np.split(self.arrays(value), np.cumsum(node["lengths"])[:-1])
            return [parts[i] for i in node["which"]]
        if kind == "tuple":
            return tuple(self.decode(part, depth + 1) for part in value)
        if kind == "set":
            return set(value)
        if kind == "dict":
            keys = [self.decode(key, depth + 1) for key in node["k"]]
            return dict(zip(keys, [self.decode(part, depth + 1) for part in value], strict=True))
        if kind == "frame":
            return pl.DataFrame({name: self.arrays(i) for name, i in zip(node["k"], value, strict=True)})
        if kind == "settings":
            return IdentifySettings.of(**value)
        if kind != "object" or node["c"] not in CLASSES:
            raise LibraryError(f"an unknown kind of value: {kind!r:.20}")
        instance: Any = object.__new__(_class(node["c"]))
        for name, field in value.items():
            if not str(name).isidentifier() or str(name).startswith("__"):
                raise LibraryError(f"an invalid attribute: {name!r:.40}")
            object.__setattr__(instance, name, self.decode(field, depth + 1))
        check = CHECKS.get(node["c"])
        if check is not None and not check(instance):
            raise LibraryError(f"the arrays of {node['c']} do not fit together")
        return instance


def _pointer(pointer: NDArray[np.int64], first: int, last: int) -> bool:
    """Whether offsets ascend from ``first`` to ``last``."""
    return bool(
        pointer.ndim == 1 and pointer.dtype == np.int64 and len(pointer) > 0 and pointer[0] == first
        and pointer[-1] == last and (np.diff(pointer) >= 0).all()
    )  # fmt: skip


def _within(index: NDArray[np.int64], end: int) -> bool:
    return bool(index.dtype == np.int64 and (not len(index) or (index.min() >= 0 and index.max() < end)))


def _floats(*arrays: NDArray[Any]) -> bool:
    return all(array.dtype == np.float64 for array in arrays)


def _cells_fit(cells: Cells) -> bool:
    count, points = len(cells.label), len(cells.value)
    return bool(
        _pointer(cells.pointer, 0, count) and _within(cells.label, cells.labels) and _pointer(cells.first, 0, points)
        and len(cells.first) == count + 1 and (np.diff(cells.first) > 0).all() and len(cells.bandwidth) == count
        and len(cells.number) == points and (cells.bandwidth > 0).all() and np.isfinite(cells.value).all()
        and (cells.number > 0).all() and _floats(cells.bandwidth, cells.value, cells.number)
    )  # fmt: skip


def _tokens_fit(tokens: Tokens) -> bool:
    size = len(tokens.index)
    return bool(
        _pointer(tokens.indptr, 0, size) and _within(tokens.index, len(tokens.names))
        and all(len(values) == size for values in (tokens.value, tokens.out, tokens.back, tokens.compare_back))
        and _floats(tokens.value, tokens.out, tokens.back)
    )  # fmt: skip


def _likelihood_fits(model: LikelihoodRatios) -> bool:
    labels, keys, q = len(model.labels_), len(model.keys_), len(QUANTITIES)
    return bool(
        model.cells_.labels == labels and model.cells_.features == keys * q and model.keys_ == model.vocabulary_.keys_
        and model.weights_.shape == (keys * (q + 1),) and model.seen_.shape == (labels, keys)
        and model.windows_.shape == (labels,) and len(model.cell_) == len(model.median_) == len(model.cells_.label)
        and _floats(model.weights_, model.seen_, model.windows_, model.median_)
    )  # fmt: skip


def _cross_network_fits(model: CrossNetwork) -> bool:
    count = len(model.order_)
    return bool(
        np.array_equal(np.sort(model.order_), np.arange(count)) and len(model.starts_) == len(model.labels_)
        and count and model.starts_[0] == 0 and (np.diff(model.starts_) > 0).all() and model.starts_[-1] < count
        and set(model.parts_) == set(model.weights_) == set(model.parts)
        and all(len(tokens) == count for tokens in model.parts_.values())
        and all(
            set(by_part) == set(model.parts_) and _floats(*by_part.values())
            and all(len(by_part[part]) == len(tokens.names) for part, tokens in model.parts_.items())
            for by_part in (model.weights_, model.bounds_)
        )
    )  # fmt: skip


CHECKS: dict[str, Callable[[Any], bool]] = {
    "Cells": _cells_fit, "Tokens": _tokens_fit, "LikelihoodRatios": _likelihood_fits,
    "CrossNetwork": _cross_network_fits,
}  # fmt: skip
"""Checks of what compiled code relies on, by class."""


def write_learnt(path: Path, value: Any, key: Mapping[str, str], *, compress: bool = False) -> None:
    """Write what was learnt, atomically.

    Parameters
    ----------
    path
        The file.
    value
        Objects of :data:`CLASSES`, arrays and plain values.
    key
        What it was learnt from, kept in the header.
    compress
        Smaller, and slower to read.

    Raises
    ------
    LibraryError
        If the value holds something that cannot be kept.
    OSError
        If the file cannot be written.
    """
    encoder = _Encoder()
    tree = encoder.encode(value)
    members = {f"a{i}": array for i, array in enumerate(encoder.arrays)}
    header = {"format": LEARNT_FORMAT, **key, "arrays": len(members), "sum": _checksum(encoder.arrays), "tree": tree}
    text = np.frombuffer(orjson.dumps(header), np.uint8)
    save = np.savez_compressed if compress else np.savez
    with atomic_write(path) as part, part.open("wb") as file:
        save(file, allow_pickle=False, **{HEADER: text}, **members)


def _checksum(arrays: list[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.name} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def header_of(path: Path) -> dict[str, Any]:
    """The header of a file, without what was learnt.

    Raises
    ------
    LibraryError
        If the file is missing, damaged or of another format.
    """
    try:
        with _Archive(path) as archive:
            return archive.header
    except Exception as error:  # of a damaged archive, readers raise whatever they meet
        raise LibraryError(_line(path, error)) from None


def read_learnt(path: Path) -> tuple[dict[str, Any], Any]:
    """Read the header, and what was learnt.

    Raises
    ------
    LibraryError
        If the file is missing, damaged or of another format, or its arrays do not fit together.
    """
    try:
        with _Archive(path) as archive:
            arrays = [archive.array(i) for i in range(archive.count)]
            if _checksum(arrays) != archive.header.get("sum"):
                raise LibraryError("its checksum does not match")

            def at(index: Any) -> NDArray[Any]:
                if not isinstance(index, int) or not 0 <= index < len(arrays):
                    raise LibraryError("an array is missing")
                return arrays[index]

            return archive.header, _Decoder(at).decode(archive.header["tree"])
    except Exception as error:  # of a damaged archive, readers raise whatever they meet
        raise LibraryError(_line(path, error)) from None


def _line(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: there is no such file"
    return f"{path}: cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


class _Archive:
    """An npz archive whose sizes are checked before it is read."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        try:
            self.header = self._open(path)
        except BaseException:
            self._zip.close()
            raise

    def _open(self, path: Path) -> dict[str, Any]:
        infos = self._zip.infolist()
        if len(infos) > MAX_ARRAYS or sum(info.file_size for info in infos) > MAX_OCTETS:
            raise LibraryError(f"more than {MAX_ARRAYS:,} arrays or {MAX_OCTETS:,} octets")
        if self._zip.getinfo(f"{HEADER}.npy").file_size > MAX_HEADER:
            raise LibraryError(f"a header of more than {MAX_HEADER:,} octets")
        header = orjson.loads(self._read(HEADER).tobytes())
        if not isinstance(header, dict) or header.get("format") != LEARNT_FORMAT:
            raise LibraryError(f"{path.name} is not of format {LEARNT_FORMAT}")
        self.count = header["arrays"]
        if not isinstance(self.count, int) or not 0 <= self.count < len(infos):
            raise LibraryError("an array is missing")
        return header

    def _read(self, name: str) -> NDArray[Any]:
        info = self._zip.getinfo(f"{name}.npy")
        with self._zip.open(info) as member:
            if np.lib.format.read_magic(member) != (1, 0):
                raise LibraryError("an array of another format")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype.name not in DTYPES or fortran:
                raise LibraryError(f"an array of {dtype.name}")
            size = info.file_size - member.tell()
            if math.prod(shape) * dtype.itemsize != size or min(shape, default=0) < 0:
                raise LibraryError("an array of another size than it states")
            octets = bytearray(size)
            view, at = memoryview(octets), 0
            while at < size:  # in pieces, so that nothing large is in memory twice
                piece = member.read(min(PIECE, size - at))
                if not piece:
                    raise LibraryError("an array is shorter than it states")
                view[at : at + len(piece)] = piece
                at += len(piece)
            return np.frombuffer(octets, dtype).reshape(shape)

    def array(self, index: int) -> NDArray[Any]:
        """One array."""
        return self._read(f"a{index}")

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
