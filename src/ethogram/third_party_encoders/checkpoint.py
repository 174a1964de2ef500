"""Read the user's weights into a known list of names and shapes, without running code from the file.

This is the only module that opens torch files. It uses the restricted reader (``weights_only=True``), which builds
tensors and plain containers and refuses everything else in a pickle.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from ethogram.errors import LibraryError

__all__ = ["Checkpoint", "read_checkpoint", "shapes_of", "take"]

OUTER = ("model", "state_dict")
"""Keys of the weights in a file that holds more than weights."""

PARALLEL = "module."
"""Prefix of all names of a network that was trained in parallel."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_MAX_HEADER_OCTETS = 100_000_000  # of safetensors; its own reader's bound


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file.

    Parameters
    ----------
    tensors
        float32, by name.
    sha256
        SHA-256 of the file, 64 hexadecimal digits.
    ignored
        Names of heads that were in the file, without their values.
    """

    tensors: dict[str, Tensor]
    sha256: str
    ignored: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Source of the weights, as in tables.

        >>> Checkpoint({}, "ab" * 32, ("target.bias",)).origin
        'checkpoint sha256:abababababababab, 1 weight of heads ignored'
        """
        text = f"checkpoint sha256:{self.sha256[:16]}"
        if self.ignored:
            text += f", {len(self.ignored)} weight{'s' if len(self.ignored) > 1 else ''} of heads ignored"
        return text


def shapes_of(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network; no memory is allocated for them.

    >>> shapes_of(lambda: nn.Linear(1_000_000, 1_000_000, bias=False))
    {'weight': (1000000, 1000000)}
    """
    with torch.device("meta"):
        net = make()
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def take(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load checked weights into a network."""
    with torch.no_grad():
        for name, value in net.state_dict().items():
            value.copy_(tensors[name])


def read_checkpoint(
    path: Path,
    expected: Mapping[str, Sequence[int]],
    *,
    heads: tuple[str, ...] = (),
    optional: Collection[str] = (),
) -> Checkpoint:
    """Read weights from safetensors or a file of torch.

    Parameters
    ----------
    path
        The file. Its weights may be under ``model`` or ``state_dict``, and all names may begin with ``module.``.
    expected
        Names and shapes of all weights of the network.
    heads
        Prefixes of weights that are not needed; they are ignored, and counted in ``origin``.
    optional
        Expected names that may be absent; the caller fills them.

    Raises
    ------
    LibraryError
        When the file is missing or damaged, holds more than weights, or its weights have other names, shapes or types,
        or are not finite.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            tensors = _tensors(file, path)
    except OSError as error:
        raise LibraryError(f"{path}: {error.strerror or error}") from None
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    of_heads = [name for name in tensors if name.startswith(heads) and name not in expected] if heads else []
    ignored = tuple(sorted(of_heads))
    weights = {name: value for name, value in tensors.items() if name not in ignored}
    _same_names(weights, expected, optional, path)
    for name, value in weights.items():
        shape = tuple(expected[name])
        if tuple(value.shape) != shape:
            raise LibraryError(f"{path}: {name} is {list(value.shape)}, not {list(shape)}")
        if value.layout != torch.strided or value.dtype not in _FLOATS:
            raise LibraryError(f"{path}: {name} holds {str(value.dtype).removeprefix('torch.')}, not plain floats")
        value = value.detach().to(torch.float32).contiguous()  # noqa: PLW2901
        if not bool(torch.isfinite(value).all()):
            raise LibraryError(f"{path}: {name} has numbers that are not finite")
        weights[name] = value
    return Checkpoint(weights, sha256, ignored)


def _same_names(
    weights: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], optional: Collection[str], path: Path
) -> None:
    missing = sorted(set(expected) - set(weights) - set(optional))
    if missing:
        raise LibraryError(f"{path}: {len(missing)} of {len(expected)} weights are missing: {_some(missing)}")
    odd = sorted(set(weights) - set(expected))
    if odd:
        raise LibraryError(f"{path}: {len(odd)} weights of other names: {_some(odd)}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _tensors(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """Tensors by name, of either file format."""
    start = file.read(9)
    file.seek(0)
    # The first eight octets of safetensors are the length of its header, which is JSON.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_HEADER_OCTETS:
        return _of_safetensors(file, path)
    return _weights(_of_torch(file, start, path), path)


def _of_safetensors(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError:
        raise LibraryError(f"{path}: safetensors is not installed: pip install 'ethogram[train]'") from None
    try:
        tensors: dict[str, Tensor] = load(file.read())
    except (SafetensorError, TypeError, ValueError, KeyError, RuntimeError) as error:
        raise LibraryError(f"{path}: no safetensors file, or cut short: {_line(error)}") from None
    return tensors


def _of_torch(file: BinaryIO, start: bytes, path: Path) -> Any:
    if start[:2] == b"PK":
        _check_archive(file, path)
    elif start[:1] != b"\x80":
        raise LibraryError(f"{path}: neither safetensors nor a file of torch")
    try:
        # Several authors saved the namespace of their command line beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises errors of many types
        asked = re.search(r"GLOBAL\s+([\w.]+)", str(error))
        if asked:
            raise LibraryError(f"{path}: holds more than weights: it asks for {asked[1]}, which was not run") from None
        raise LibraryError(f"{path}: no file of torch, or cut short: {_line(error)}") from None


def _check_archive(file: BinaryIO, path: Path) -> None:
    """Refuse a compressed archive: torch only stores, so such a file is not from torch and could grow when read."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise LibraryError(f"{path}: no file of torch, or cut short: {_line(error)}") from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise LibraryError(f"{path}: its archive is packed, which torch never does")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise LibraryError(f"{path}: its archive says it is larger than the file")
    file.seek(0)


def _weights(value: Any, path: Path) -> dict[str, Tensor]:
    """The dict of weights in the content of a file."""
    if isinstance(value, Mapping) and not all(isinstance(entry, Tensor) for entry in value.values()):
        inner = [value[name] for name in OUTER if isinstance(value.get(name), Mapping)]
        value = inner[0] if inner else value
    if not isinstance(value, Mapping) or not value:
        raise LibraryError(f"{path}: has no weights by name")
    for name, entry in value.items():
        if not isinstance(name, str) or not isinstance(entry, Tensor):
            raise LibraryError(f"{path}: {name!r} is no weight but {type(entry).__name__}")
    return dict(value)


def _line(error: BaseException) -> str:
    """First line of an error message."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
