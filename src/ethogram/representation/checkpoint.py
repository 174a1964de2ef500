"""Encoder files: weights as safetensors with the header as JSON in the metadata. Nothing is ever unpickled.

A directory made by ``ethogram pretrain`` has one such file and its ONNX export per seed, a model card, and
``model.json``, which names the selected encoder.
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
"""Format of ``model.json``."""

METADATA = "ethogram"
TRAIN = "pip install 'ethogram[train]'"


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], header: bytes) -> str:
    """Write arrays and a header as safetensors; return the SHA-256 of the file."""
    from safetensors.numpy import save as pack

    content = pack({name: np.ascontiguousarray(value) for name, value in arrays.items()}, {METADATA: header.decode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def refuse_pickle(start: bytes, name: str) -> None:
    """Refuse files of torch.save or pickle by their first nine octets.

    A safetensors file may begin with the same octets (the length of its header), but its ninth octet is a brace.
    """
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise LibraryError(f"{name}: a pickle or an archive of pickles; nothing is unpickled")


def read_arrays(path: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Read the header and arrays of a safetensors file of ethogram.

    Raises
    ------
    LibraryError
        When the file is missing, a pickle, truncated, damaged, or has no header of ethogram.
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
        raise LibraryError(f"{path}: not a safetensors file, or truncated: {str(error).splitlines()[0]}") from None
    if METADATA not in metadata:
        raise LibraryError(f"{path}: has no header of ethogram")
    return metadata[METADATA].encode(), arrays


def save(path: Path, header: Header, tensors: Tensors) -> str:
    """Write an encoder whose header states the digest of the weights; return the SHA-256 of the file."""
    if header.weights != digest_of(tensors):
        raise ValueError("the header is of other weights")
    return write_arrays(path, dict(tensors), header.json())


def load(path: Path) -> tuple[Header, dict[str, NDArray[np.float32]]]:
    """Load the header and weights of an encoder, and check that they match.

    Raises
    ------
    LibraryError
        When the file is unusable; the message says why.
    """
    text, arrays = read_arrays(path)
    header = Header.of_json(text, str(path))
    if header.encoder.kind != "fields":
        expected = linear_shapes(header.encoder) if header.encoder.kind == "linear-fields" else shapes(header.encoder)
        odd = sorted(set(arrays) ^ set(expected))
        if odd:
            raise LibraryError(f"{path}: unexpected or missing weights: {', '.join(odd[:3])}")
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise LibraryError(f"{path}: {name} is {list(arrays[name].shape)}, not {list(shape)}")
    if any(value.dtype != np.float32 for value in arrays.values()):
        raise LibraryError(f"{path}: weights that are not float32")
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise LibraryError(f"{path}: weights that are not finite")
    if digest_of(arrays) != header.weights:
        raise LibraryError(f"{path}: its weights do not match the digest in its header")
    return header, arrays


def model_file(path: Path, suffix: str) -> Path:
    """Resolve a path to an encoder file: the file itself, or the selected encoder of a ``pretrain`` directory.

    Raises
    ------
    LibraryError
        When there is no such file.
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
        raise LibraryError(f"{path}: contains neither {here.name} nor model.json")
    try:
        value = orjson.loads(index.read_bytes())
        selected = path / Path(value["encoder"]).name / here.name
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise LibraryError(f"{index}: not a model index of ethogram: {error}") from None
    if value.get("format") != MODEL_FORMAT:
        raise LibraryError(f"{index}: format {value.get('format')!r}, not {MODEL_FORMAT!r}")
    if not selected.exists():
        raise LibraryError(f"{selected}: no such file")
    return selected
