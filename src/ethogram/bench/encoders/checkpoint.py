"""Weights that a user brings: read without running anything in the file, into a known list of names and shapes.

This is the one place where a file of torch is opened, and only by its restricted reader (``weights_only=True``), which
builds tensors and plain containers and refuses whatever else a pickle asks for.
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
"""Where the weights stand when the file's dict holds more than them."""

PARALLEL = "module."
"""Before every name when the network was trained on several processors at once."""

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_MAX_HEADER_OCTETS = 100_000_000  # of safetensors; its own reader's bound


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file, as asked for.

    Parameters
    ----------
    tensors
        float32, by the names asked for.
    sha256
        Of the file, 64 hexadecimal digits.
    ignored
        Names of heads that were in the file, without their values.
    """

    tensors: dict[str, Tensor]
    sha256: str
    ignored: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """What stands in tables.

        >>> Checkpoint({}, "ab" * 32, ("target.bias",)).origin
        'checkpoint sha256:abababababababab, 1 weight of heads ignored'
        """
        text = f"checkpoint sha256:{self.sha256[:16]}"
        if self.ignored:
            text += f", {len(self.ignored)} weight{'s' if len(self.ignored) > 1 else ''} of heads ignored"
        return text


def shapes_of(make: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network that is made without memory for them.

    >>> shapes_of(lambda: nn.Linear(1_000_000, 1_000_000, bias=False))
    {'weight': (1000000, 1000000)}
    """
    with torch.device("meta"):
        net = make()
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def take(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put checked weights into a network."""
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
        Of the file. Its weights may stand under ``model`` or ``state_dict``, and each name may begin with ``module.``.
    expected
        Names and shapes of all weights of the network.
    heads
        Names that begin so are of no use here: they are ignored, and said.
    optional
        Expected names that may be absent; the caller then has to fill them.

    Raises
    ------
    LibraryError
        In one line: the file is missing, cut short, holds more than weights, or weights of other names, shapes or
        kinds, or numbers that are none.
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
    """Tensors by name, of either form of file."""
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
        # A namespace is what command lines are parsed to; several authors left theirs beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways, and none of them is ours
        asked = re.search(r"GLOBAL\s+([\w.]+)", str(error))
        if asked:
            raise LibraryError(f"{path}: holds more than weights: it asks for {asked[1]}, which was not run") from None
        raise LibraryError(f"{path}: no file of torch, or cut short: {_line(error)}") from None


def _check_archive(file: BinaryIO, path: Path) -> None:
    """An archive of torch is stored, not packed: one that would grow when read was made by something else."""
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
    """The dict of weights in what a file holds."""
    if isinstance(value, Mapping) and not all(isinstance(entry, Tensor) for entry in value.values()):
        inner = [value[name] for name in OUTER if isinstance(value.get(name), Mapping)]
        value = inner[0] if inner else value
    if not isinstance(value, Mapping) or not value:
        raise LibraryError(f"{path}: holds no weights by name")
    for name, entry in value.items():
        if not isinstance(name, str) or not isinstance(entry, Tensor):
            raise LibraryError(f"{path}: {name!r} is no weight but {type(entry).__name__}")
    return dict(value)


def _line(error: BaseException) -> str:
    """First line of what a library says."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
