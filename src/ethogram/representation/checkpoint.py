"""Encoders on disk: weights as safetensors, the header as JSON in its metadata. Nothing is ever unpickled.

A directory made by ``ethogram pretrain`` has one such file per seed, the same network as ONNX beside it, a card for
people, and ``model.json``, which says which of them is the encoder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram._files import write_bytes
from ethogram.errors import LibraryError
from ethogram.representation.dense import shapes
from ethogram.representation.encoder import Header, Tensors, digest_of
from ethogram.representation.linear_fields import linear_shapes

__all__ = ["MODEL_FORMAT", "load", "model_file", "read_arrays", "refuse_pickle", "save",
           "write_arrays"]  # fmt: skip

MODEL_FORMAT = "ethogram.model/1"
"""Form of ``model.json``."""

METADATA = "ethogram"
TRAIN = "pip install 'ethogram[train]'"


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], header: bytes) -> str:
    """Write arrays and their header as safetensors; returns the SHA-256 of the file."""
    from safetensors.numpy import save as pack

    content = pack({name: np.ascontiguousarray(value) for name, value in arrays.items()}, {METADATA: header.decode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def refuse_pickle(start: bytes, name: str) -> None:
    """Refuse what torch.save or pickle wrote, by its first nine octets.

    A safetensors file may begin with the same octets, which are the length of its header; that begins with a brace.
    """
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise LibraryError(f"{name}: a pickle or an archive of pickles; nothing is unpickled")


def read_arrays(path: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Header and arrays of a safetensors file of ours.

    Raises
    ------
    LibraryError
        When it is missing, a pickle, cut short, damaged, or not ours.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise LibraryError(f"{path}: safetensors is not installed: {TRAIN}") from None
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise LibraryError(f"{path}: {error.strerror or error}") from None
    refuse_pickle(start, str(path))
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = opened.keys()
            arrays = {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise LibraryError(f"{path}: no safetensors file, or cut short: {str(error).splitlines()[0]}") from None
    if METADATA not in metadata:
        raise LibraryError(f"{path}: has no header of ethogram")
    return metadata[METADATA].encode(), arrays


def save(path: Path, header: Header, tensors: Tensors) -> str:
    """Write an encoder; its header must name the weights. Returns the file's SHA-256."""
    if header.weights != digest_of(tensors):
        raise ValueError("the header is of other weights")
    return write_arrays(path, dict(tensors), header.json())


def load(path: Path) -> tuple[Header, dict[str, NDArray[np.float32]]]:
    """Header and weights of an encoder, checked against one another.

    Raises
    ------
    LibraryError
        When it cannot be used: the text says why.
    """
    text, arrays = read_arrays(path)
    header = Header.of_json(text, str(path))
    if header.encoder.kind != "fields":
        expected = linear_shapes(header.encoder) if header.encoder.kind == "linear-fields" else shapes(header.encoder)
        odd = sorted(set(arrays) ^ set(expected))
        if odd:
            raise LibraryError(f"{path}: weights of other names: {', '.join(odd[:3])}")
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise LibraryError(f"{path}: {name} is {list(arrays[name].shape)}, not {list(shape)}")
    if any(value.dtype != np.float32 for value in arrays.values()):
        raise LibraryError(f"{path}: weights that are not float32")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise LibraryError(f"{path}: weights that are not finite")
    if digest_of(arrays) != header.weights:
        raise LibraryError(f"{path}: its weights are not those its header names")
    return header, arrays


def model_file(path: Path, suffix: str) -> Path:
    """The file a user means: itself, or the encoder of a directory that ``ethogram pretrain`` made.

    Raises
    ------
    LibraryError
        When there is none.
    """
    if not path.exists():
        raise LibraryError(f"{path}: no such file")
    if not path.is_dir():
        return path
    here = path / f"encoder{suffix}"
    if here.exists():
        return here
    index = path / "model.json"
    if not index.exists():
        raise LibraryError(f"{path}: neither {here.name} nor model.json is in it")
    try:
        value = orjson.loads(index.read_bytes())
        chosen = path / Path(value["encoder"]).name / here.name
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LibraryError(f"{index}: is none of ours: {error}") from None
    if value.get("format") != MODEL_FORMAT:
        raise LibraryError(f"{index}: format {value.get('format')!r}, not {MODEL_FORMAT!r}")
    if not chosen.exists():
        raise LibraryError(f"{chosen}: no such file")
    return chosen
