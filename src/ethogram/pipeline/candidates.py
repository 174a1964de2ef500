"""Encoders to compare: models by path and baselines by name behind one interface, one encoder per seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram.config import EncoderSettings
from ethogram.errors import LibraryError, UsageError
from ethogram.pipeline.representations import PACKAGED
from ethogram.representation.build import fit_encoder, load_encoder
from ethogram.representation.checkpoint import load, model_file
from ethogram.representation.encoder import Encoder, Header, Tensors
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.kinds import KINDS, kind_of
from ethogram.representation.needs import need
from ethogram.representation.vector import expand
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows

__all__ = ["BASELINES", "Candidate", "Embedding", "candidates", "supervised"]

BASELINES = ("raw", "raw:full", "pca", "random-projection", "untrained")
"""All baselines: raw 40 and raw 3,040 features, PCA, a random projection and an untrained network."""

BATCH = 2048
KEPT_OCTETS = 1 << 28  # maximum size in bytes of embeddings that stay in memory


class Embedding:
    """Embeddings of some flows by one encoder, batch by batch; computed once if they are small.

    Parameters
    ----------
    embed
        Maps flows to embeddings.
    flows
        N flows.
    d
        Dimension of an embedding.
    """

    def __init__(self, embed: Callable[[CustomFlows], NDArray[np.float32]], flows: CustomFlows, d: int) -> None:
        self._embed, self._flows = embed, flows
        self._kept = embed(flows) if len(flows) * d * 4 <= KEPT_OCTETS else None

    def whole(self) -> NDArray[np.float32]:
        """All embeddings, [N, D]."""
        return self._embed(self._flows) if self._kept is None else self._kept

    def batches(self) -> Iterator[NDArray[np.float32]]:
        """All embeddings in order, in parts of bounded size."""
        for begin in range(0, len(self._flows), 4 * BATCH):
            part = slice(begin, begin + 4 * BATCH)
            yield self._embed(self._flows.take(part)) if self._kept is None else self._kept[part]


@dataclass(frozen=True)
class Candidate:
    """An encoder as named by the user.

    Parameters
    ----------
    name
        Name in the tables.
    paths
        Directories or files of a model, one per seed; empty for a baseline.
    settings
        Settings of a baseline.
    """

    name: str
    paths: tuple[Path, ...] = ()
    settings: EncoderSettings | None = None

    def header(self, seed: int) -> Header:
        """The header of a model; for a baseline a header with its settings."""
        if self.settings is not None:
            return Header(encoder=self.settings, seed=seed)
        return OnnxEncoder(self._path(seed)).header if self.exported else self.weights(seed)[0]

    def weights(self, seed: int) -> tuple[Header, Tensors]:
        """Header and weights of a model.

        Raises
        ------
        UsageError
            When the model is exported, so that its weights cannot be trained.
        """
        if self.exported:
            raise UsageError(f"{self._path(seed)}: an exported encoder has no weights to train: name its directory")
        return load(model_file(self._path(seed), ".safetensors"))

    @property
    def exported(self) -> bool:
        """Whether the model is an ``.onnx`` file, which has neither a decoder nor weights to train."""
        return bool(self.paths) and self.paths[0].suffix == ".onnx"

    def check_needs(self) -> None:
        """Check that the libraries that the encoder needs are installed, before flows are read.

        Raises
        ------
        UsageError
            When one is not installed.
        """
        purpose = f"the encoder {self.name}"
        if self.exported:
            need(purpose, "onnxruntime")
        elif self.paths:
            need(purpose, "safetensors")
            if self.header(0).encoder.kind == "fields":
                need(purpose, "torch")
        elif self.settings is not None and kind_of(self.settings).network:
            need(purpose, "torch")

    def _path(self, seed: int) -> Path:
        return self.paths[seed % len(self.paths)]

    @property
    def seeds(self) -> int:
        """Number of encoders that differ by the seed alone; 0: any number."""
        if self.settings is None:
            return len(self.paths)
        return 1 if kind_of(self.settings).deterministic else 0

    def open(self, seed: int, train: CustomFlows) -> Encoder:
        """Open or make the encoder of a seed; closed-form kinds are fitted to the training flows without labels."""
        if self.settings is None:
            return OnnxEncoder(self._path(seed)) if self.exported else load_encoder(self._path(seed))
        return fit_encoder(
            self.settings, seed, lambda: (train.take(slice(i, i + BATCH)) for i in range(0, len(train), BATCH))
        )

    def embedder(self, encoder: Encoder, seed: int) -> Callable[[CustomFlows], NDArray[np.float32]]:
        """A function that embeds flows, with ONNX Runtime if the model has an export (same numbers, faster)."""
        if self.paths:
            try:
                fast = OnnxEncoder(self._path(seed))
            except LibraryError:
                fast = None
            if fast is not None and fast.digest == encoder.digest:
                return fast.embed

        def embed(flows: CustomFlows) -> NDArray[np.float32]:
            parts = [
                encoder.encode(expand(flows, encoder.header.view, np.arange(i, min(i + BATCH, len(flows)))))
                for i in range(0, len(flows), BATCH)
            ]
            return np.concatenate(parts) if parts else np.zeros((0, encoder.header.d), np.float32)

        return embed


def supervised() -> ModuleType:
    """The module of networks with a label head; it loads torch.

    Raises
    ------
    UsageError
        When torch is not installed.
    """
    need("a network", "torch")
    from ethogram.representation import supervised as module

    return module


def candidates(names: list[str]) -> list[Candidate]:
    """Encoders by name.

    Parameters
    ----------
    names
        Paths of models (a directory with several seeds counts as one model, an ``.onnx`` file is an exported one),
        ``packaged`` for the bundled encoder, or baselines: ``raw``, ``pca``, ``random-projection``, ``untrained``,
        optionally with a view after a colon (``raw:full``). ``baselines`` stands for all of them. ``linear-fields`` is
        the linear encoder of fields, fitted to the training flows like PCA.

    Raises
    ------
    LibraryError
        When a model does not exist or is invalid.
    UsageError
        When no encoder is named, one is named twice, or a library is not installed.
    """
    expanded = [each for name in names for each in (BASELINES if name == "baselines" else (name,))]
    encoders = [_candidate(name) for name in expanded]
    if not encoders:
        raise UsageError("no encoder is named")
    twice = {candidate.name for candidate in encoders if sum(c.name == candidate.name for c in encoders) > 1}
    if twice:
        raise UsageError(f"the encoder {min(twice)} is named twice")
    for candidate in encoders:
        candidate.check_needs()
    return encoders


def _candidate(name: str) -> Candidate:
    path = PACKAGED if name == "packaged" else Path(name)
    if path.suffix == ".onnx":
        OnnxEncoder(path)  # raises if the model is invalid
        return Candidate(name if name == "packaged" else path.stem, (path,))
    kind, _, view = name.partition(":")
    if not path.exists() and kind in KINDS and not KINDS[kind].trained:
        settings = EncoderSettings.of(kind=kind, **({"view": view_of(view).name} if view else {}))
        wanted = view_of(settings.view)
        label = f"raw {wanted.width:,}" if kind == "raw" and wanted.name in {"full", "meta+packets"} else name
        return Candidate(label, settings=settings)
    index = path / "model.json"
    if not index.exists():
        return Candidate(path.stem if path.suffix else path.name, (path,))
    model_file(path, ".safetensors")  # raises if the model is invalid
    try:
        seeds = [path / Path(str(seed["name"])).name for seed in orjson.loads(index.read_bytes())["seeds"]]
    except (KeyError, TypeError) as error:
        raise LibraryError(f"{index}: not a model index of ethogram: {error}") from None
    return Candidate(path.name, tuple(seeds))
