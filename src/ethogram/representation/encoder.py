"""What an encoder is: vectors to embeddings and back, behind one interface, with a header that says how it was made.

The bottleneck is the only way from x to x_hat. A file of another scaling, shape or set of names is refused.
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
"""A KL weight means nothing without it."""

Tensors = Mapping[str, NDArray[np.float32]]
"""Weights by name."""


@runtime_checkable
class Encoder(Protocol):
    """Vectors to embeddings and back.

    N is the number of flows, W the width of the view, D the number of latent units.
    """

    @property
    def header(self) -> Header:
        """How it was made."""

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]."""

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors, float32 [N, W], that embeddings [N, D] stand for."""

    @property
    def digest(self) -> str:
        """Of the weights as they are now."""


@dataclass(frozen=True)
class Header:
    """What a file says of the encoder in it.

    Parameters
    ----------
    encoder
        The network.
    training
        How it learnt; None where nothing was learnt by gradients.
    scaling
        Version of the scaling of its vectors.
    seed
        Of everything random in it.
    data
        The flows it learnt from: digest, flows, days, licence, source.
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
        """The numbers it sees."""
        return view_of(self.encoder.view)

    @property
    def d(self) -> int:
        """Numbers of an embedding."""
        return self.view.width if self.encoder.kind == "raw" else self.encoder.latent

    def json(self) -> bytes:
        """Canonical JSON of it, with the format's name."""
        value = asdict(self)
        value["encoder"] = self.encoder.model_dump(mode="json")
        value["training"] = None if self.training is None else self.training.model_dump(mode="json")
        value |= {"format": FORMAT, "kl_reduction": KL_REDUCTION}
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def of_json(cls, text: bytes | str, name: str) -> Header:
        """Read one; ``name`` is the file's, for errors.

        Raises
        ------
        LibraryError
            When it is none, of another version, or of another scaling.
        """
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise LibraryError(f"{name}: its header is no JSON") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else None
            raise LibraryError(f"{name}: format {found!r}, not {FORMAT!r}")
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
    """Sixteen hexadecimal digits of SHA-256 over names, shapes and numbers.

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
    """``values`` as float32, when they are [N, ``width``]; else a :class:`LibraryError` that says what was given."""
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or values.shape[1] != width:
        raise LibraryError(f"{what} must be [N, {width}], not {list(values.shape)}")
    return values
