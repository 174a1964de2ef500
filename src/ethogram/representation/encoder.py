"""Interface of encoders (vectors to embeddings and back), and the header that records how an encoder was made.

Files with another scaling, other shapes or other names are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram.config import EncoderSettings, TrainingSettings
from ethogram.errors import EthogramError, LibraryError
from ethogram.representation.vector import SCALING
from ethogram.representation.views import View, view_of

__all__ = ["FORMAT", "KL_REDUCTION", "Encoder", "Header", "Tensors", "digest_of", "sized"]

FORMAT = "ethogram.encoder/1"
KL_REDUCTION = "sum over latent units, mean over batch"
"""Reduction of the KL term, without which a KL weight is not comparable."""

Tensors = Mapping[str, NDArray[np.float32]]
"""Weights by name."""


@runtime_checkable
class Encoder(Protocol):
    """Maps vectors to embeddings and back.

    N is the number of flows, W the width of the view, D the number of latent units.
    """

    @property
    def header(self) -> Header:
        """How the encoder was made."""

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]."""

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors, float32 [N, W], reconstructed from embeddings [N, D]."""

    @property
    def digest(self) -> str:
        """Digest of the current weights."""


@dataclass(frozen=True)
class Header:
    """Metadata of an encoder file.

    Parameters
    ----------
    encoder
        Settings of the encoder.
    training
        Settings of the training; None for kinds without gradient descent.
    scaling
        Version of the scaling of its input vectors.
    seed
        Random seed.
    data
        The training flows: digest, number, days, licence, source.
    weights
        Digest of the weights.
    made
        Versions of the libraries, arithmetic, time.
    curves
        One row per pass.
    """

    encoder: EncoderSettings
    training: TrainingSettings | None = None
    scaling: str = SCALING
    seed: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    made: dict[str, str] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)

    @property
    def view(self) -> View:
        """The view of its input."""
        return view_of(self.encoder.view)

    @property
    def d(self) -> int:
        """Dimension of an embedding."""
        return self.view.width if self.encoder.kind == "raw" else self.encoder.latent

    def json(self) -> bytes:
        """Canonical JSON of the header, with the name of the format."""
        value = asdict(self)
        value["encoder"] = self.encoder.model_dump(mode="json")
        value["training"] = None if self.training is None else self.training.model_dump(mode="json")
        value |= {"format": FORMAT, "kl_reduction": KL_REDUCTION}
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def of_json(cls, text: bytes | str, name: str) -> Header:
        """Parse a header; ``name`` is the file name for errors.

        Raises
        ------
        LibraryError
            When the text is not a header, or of another format or scaling.
        """
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise LibraryError(f"{name}: its header is not JSON") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            stated = value.get("format") if isinstance(value, dict) else None
            raise LibraryError(f"{name}: format {stated!r}, not {FORMAT!r}")
        if value.get("scaling") != SCALING:
            raise LibraryError(
                f"{name}: made for scaling version {value.get('scaling')!r}; this program's is {SCALING!r}"
            )
        if value.get("kl_reduction") != KL_REDUCTION:
            raise LibraryError(f"{name}: another reduction of the KL term: {value.get('kl_reduction')!r}")
        known = {f.name for f in fields(cls)}
        try:
            given = {key: content for key, content in value.items() if key in known}
            given["encoder"] = EncoderSettings.of(**given["encoder"])
            given["training"] = None if given.get("training") is None else TrainingSettings.of(**given["training"])
            header = cls(**given)
            view_of(header.encoder.view)
        except (KeyError, TypeError, EthogramError) as error:
            raise LibraryError(f"{name}: its header is wrong: {error}") from None
        if not isinstance(header.weights, str) or not isinstance(header.data, dict):
            raise LibraryError(f"{name}: its header is wrong")
        return header


def digest_of(tensors: Tensors) -> str:
    """Sixteen hexadecimal digits of SHA-256 over names, shapes and values.

    >>> digest_of({"a": np.zeros(2, np.float32)}) == digest_of({"a": np.zeros(3, np.float32)})
    False
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name], np.float32)
        total.update(f"{name} {value.shape}\n".encode())
        total.update(value.tobytes())
    return total.hexdigest()[:16]


def sized(values: NDArray[np.float32], width: int, what: str) -> NDArray[np.float32]:
    """Convert to float32 and check the shape [N, ``width``]; raise :class:`LibraryError` otherwise."""
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or values.shape[1] != width:
        raise LibraryError(f"{what} must be [N, {width}], not {list(values.shape)}")
    return values
