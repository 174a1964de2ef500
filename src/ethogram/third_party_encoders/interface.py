"""Interface of third-party traffic encoders, and the registry of them.

An adapter builds the native input of its encoder from the packets of a flow, runs the network with frozen weights, and
gives one embedding per flow. Its module is imported when it is used.

Each module of the registry has a function ``build(*, checkpoint, seed, widths) -> PacketEncoder`` and a function
``expected(widths=None) -> dict[str, tuple[int, ...]]``: names and shapes of the weights, without allocating any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.representation.kinds import EncoderKind
from ethogram.schema.packet_flows import PacketFlows

__all__ = [
    "ADAPTERS",
    "PRETRAINING",
    "Facts",
    "OnProgress",
    "PacketEncoder",
    "Rows",
    "adapter",
    "adapter_kind",
    "asked_rows",
    "expected",
    "load_module",
    "random_weights",
]  # fmt: skip

Rows = NDArray[np.integer[Any]]
"""Row numbers of flows."""
OnProgress = Callable[[int, int], None]
"""Called with the number of flows done and the number of all."""

_ROOM = "ethogram.third_party_encoders"
PRETRAINING = f"{_ROOM}.pretraining"
"""Module of the training loop of encoders that are pretrained here; needs torch."""

ADAPTERS = {
    kind.name: kind
    for kind in (
        EncoderKind("et-bert", f"{_ROOM}.et_bert", "file", decodes=False),
        EncoderKind("traffic-former", f"{_ROOM}.traffic_former", "file", decodes=False),
        EncoderKind("yatc", f"{_ROOM}.yatc", "file", decodes=False),
        EncoderKind("netmamba", f"{_ROOM}.netmamba", "file", decodes=False),
        EncoderKind("netfound", f"{_ROOM}.netfound", "file", decodes=False),
        EncoderKind("nprint", f"{_ROOM}.nprint", "file", decodes=False),
        EncoderKind("et-bert-small", f"{_ROOM}.et_bert_small", "gradient", decodes=False),
        EncoderKind("yatc-small", f"{_ROOM}.yatc_small", "gradient", decodes=False),
        EncoderKind("netmamba-small", f"{_ROOM}.netmamba_small", "gradient", decodes=False),
        EncoderKind("flowsem", f"{_ROOM}.flowsem", "gradient", decodes=False),
    )
}
"""Third-party encoders by name. The weights of some are a file of the user, or random; the others, of reduced size, are
pretrained here by gradient descent."""

_WITH_VOCABULARY = frozenset({"et-bert", "traffic-former"})


def adapter_kind(name: str, *, trained: bool | None = None) -> EncoderKind:
    """The entry of a third-party encoder.

    Parameters
    ----------
    name
        A name of :data:`ADAPTERS`.
    trained
        True: only those that are pretrained here; False: only the others; None: any.

    Raises
    ------
    ConfigurationError
        When there is no such encoder.

    Examples
    --------
    >>> adapter_kind("yatc-small").trained
    True
    """
    kind = ADAPTERS.get(name)
    if kind is None or trained not in (None, kind.trained):
        usable = [other for other, entry in ADAPTERS.items() if trained in (None, entry.trained)]
        what = {None: "third-party encoder", True: "encoder that is pretrained here", False: "published encoder"}
        raise ConfigurationError(f"no {what[trained]} {name!r}; there are {', '.join(usable)}")
    return kind


@dataclass(frozen=True)
class Facts:
    """Facts about an encoder, shown beside its figures.

    Parameters
    ----------
    name
        Name in tables; it states a reduced size.
    parameters
        Number of weights of the encoder, without heads.
    d
        Dimensions of an embedding.
    packets
        Number of packets of a flow that it reads.
    licence
        SPDX name of the licence of the authors' code and weights, or "none stated".
    source
        Paper: arXiv number or venue.
    """

    name: str
    parameters: int
    d: int
    packets: int
    licence: str
    source: str


@runtime_checkable
class PacketEncoder(Protocol):
    """Encoder of the packets of flows, with frozen weights."""

    @property
    def facts(self) -> Facts:
        """Facts about the encoder."""

    @property
    def digest(self) -> str:
        """Digest of the weights."""

    @property
    def origin(self) -> str:
        """Source of the weights: "random weights, seed 0", "checkpoint sha256:…", "pretrained here, …"."""

    def embed(
        self, flows: PacketFlows, rows: Rows | None = None, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Embed flows in batches of bounded size; the batch size does not change the result.

        Parameters
        ----------
        flows
            Packets of N flows.
        rows
            K flows to embed; None: all.
        on_progress
            Called with the number of flows done and the number of all.

        Returns
        -------
        array
            float32 [K, d].
        """


def asked_rows(flows: PacketFlows, rows: Rows | None) -> NDArray[np.int64]:
    """The given row numbers, or those of all flows."""
    return np.arange(len(flows)) if rows is None else np.ascontiguousarray(rows, np.int64)


def random_weights(seed: int) -> str:
    """Source of the weights of an encoder without a checkpoint."""
    return f"random weights, seed {seed}"


def load_module(kind: EncoderKind) -> Any:
    """Import the module of a third-party encoder.

    Raises
    ------
    LibraryError
        When torch or safetensors is not installed.
    """
    return _import(kind.module, kind.name)


def _import(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name in {"torch", "safetensors"}:
            raise LibraryError(f"{name} needs {error.name}: pip install 'ethogram[train]'") from None
        raise


def adapter(
    name: str,
    *,
    checkpoint: Path | None = None,
    seed: int = 0,
    widths: Mapping[str, int] | None = None,
    vocabulary: Path | None = None,
) -> PacketEncoder:
    """A pretrained traffic encoder.

    Parameters
    ----------
    name
        A name of :data:`ADAPTERS`.
    checkpoint
        File with the user's weights, or with those that pretraining wrote; None: random weights, as ``origin`` states.
    seed
        Seed of random weights, and of what the paper randomises in the input.
    widths
        Sizes that differ from the paper's, by name; for tests and reduced sizes.
    vocabulary
        The user's vocabulary file, for encoders that have one; None: the file beside the checkpoint (its name with
        ``.vocab.txt`` appended), else pairs of octets in numerical order, as ``origin`` states.

    Raises
    ------
    ConfigurationError
        When there is no such encoder, width, or vocabulary.
    LibraryError
        When the checkpoint cannot be used, or torch is not installed.

    Examples
    --------
    >>> adapter("gpt")
    Traceback (most recent call last):
        ...
    ethogram.errors.ConfigurationError: no third-party encoder 'gpt'; there are et-bert, traffic-former, ...
    """
    kind = adapter_kind(name)
    if kind.trained:
        return _pretrained_here(name, checkpoint, given=widths is not None or vocabulary is not None)
    if vocabulary is not None and name not in _WITH_VOCABULARY:
        raise ConfigurationError(f"{name} has no vocabulary")
    options = {} if vocabulary is None else {"vocabulary": vocabulary}
    built: PacketEncoder = load_module(kind).build(checkpoint=checkpoint, seed=seed, widths=widths, **options)
    return built


def _pretrained_here(name: str, checkpoint: Path | None, *, given: bool) -> PacketEncoder:
    if checkpoint is None or given:
        raise ConfigurationError(f"{name} is pretrained here: give the file that pretraining wrote, and nothing else")
    encoder: PacketEncoder = _import(PRETRAINING, name).load_packets(checkpoint, name)
    return encoder


def expected(name: str, widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an encoder; no weight is allocated.

    Raises
    ------
    ConfigurationError
        When there is no such encoder or width.
    """
    shapes: dict[str, tuple[int, ...]] = load_module(adapter_kind(name, trained=False)).expected(widths)
    return shapes
