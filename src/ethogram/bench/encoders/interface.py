"""What a pretrained traffic encoder is here, and the table of those there are.

An adapter builds the native input of its encoder from the packets of a flow, runs the network with frozen weights, and
gives one embedding per flow. Its module is loaded when it is asked for, so that this table costs nothing.

Each module of the table has a function ``build(*, checkpoint, seed, widths) -> PacketEncoder`` and a function
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
from ethogram.schema.packet_flows import PacketFlows

__all__ = [
    "NAMES",
    "PRETRAINED_HERE",
    "PRETRAINING",
    "TRAINABLE",
    "Facts",
    "PacketEncoder",
    "adapter",
    "expected",
    "module_of",
    "random_weights",
]  # fmt: skip

_MODULES = {
    "et-bert": "et_bert",
    "traffic-former": "traffic_former",
    "yatc": "yatc",
    "netmamba": "netmamba",
    "netfound": "netfound",
    "nprint": "nprint",
}

NAMES: tuple[str, ...] = tuple(_MODULES)
"""Encoders of others, of which the user may bring a checkpoint."""

PRETRAINED_HERE = {
    "et-bert-small": "et_bert_small",
    "yatc-small": "yatc_small",
    "netmamba-small": "netmamba_small",
    "flowsem": "flowsem",
}
"""Encoders of reduced size that learn here, and their modules; what those must have is said beside the loop."""

TRAINABLE: tuple[str, ...] = tuple(PRETRAINED_HERE)
"""Encoders that are pretrained here; their checkpoint is a file that was written here."""

_WITH_VOCABULARY = frozenset({"et-bert", "traffic-former"})


@dataclass(frozen=True)
class Facts:
    """What is declared of an encoder, beside every score of it.

    Parameters
    ----------
    name
        As in tables; one of reduced size says so.
    parameters
        Of the encoder, without heads.
    d
        Numbers of an embedding.
    packets
        Packets of a flow that it looks at.
    licence
        SPDX name of the authors' code and weights, or "none stated".
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
    """Packets of flows to embeddings, with weights that never change."""

    @property
    def facts(self) -> Facts:
        """What is declared of it."""

    @property
    def digest(self) -> str:
        """Of its weights."""

    @property
    def origin(self) -> str:
        """Where its weights are from: "random weights, seed 0", "checkpoint sha256:…", "pretrained here, …"."""

    def embed(
        self,
        flows: PacketFlows,
        rows: NDArray[np.integer[Any]] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Embeddings of flows, made in batches of bounded memory; the same in any batching.

        Parameters
        ----------
        flows
            Packets of N flows.
        rows
            Which of them, length K; None: all.
        on_progress
            Called with the number of flows done and of all to do.

        Returns
        -------
        array
            float32 [K, d].
        """


PRETRAINING = "ethogram.bench.encoders.pretraining"
"""Module of the training loop of :data:`TRAINABLE`; needs torch."""


def module_of(name: str) -> str:
    """Dotted name of the module that implements an encoder; nothing is imported.

    >>> module_of("yatc-small")
    'ethogram.bench.encoders.yatc_small'
    """
    modules = _MODULES | PRETRAINED_HERE
    if name not in modules:
        raise ConfigurationError(f"no pretrained encoder {name!r}; there are {', '.join(modules)}")
    return f"ethogram.bench.encoders.{modules[name]}"


def random_weights(seed: int) -> str:
    """Origin of an encoder without a checkpoint."""
    return f"random weights, seed {seed}"


def _module(name: str) -> Any:
    if name not in _MODULES:
        raise ConfigurationError(f"no pretrained encoder {name!r}; there are {', '.join((*NAMES, *TRAINABLE))}")
    return _loaded(_MODULES[name], name)


def _loaded(module: str, name: str) -> Any:
    """A module of this folder, when it is needed."""
    try:
        return import_module(f"ethogram.bench.encoders.{module}")
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
        One of :data:`NAMES` or :data:`TRAINABLE`.
    checkpoint
        The user's file of weights; None: random weights, and the origin says so.
    seed
        Of random weights, and of what the paper randomises in the input.
    widths
        Other sizes than the paper's, by name; for tests and reduced sizes.
    vocabulary
        The user's vocabulary file, of encoders that have one; None: the one beside the checkpoint (its name with
        ``.vocab.txt`` at its end), else pairs of octets in the order of their numbers, and the origin says so.

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
    ethogram.errors.ConfigurationError: no pretrained encoder 'gpt'; there are et-bert, traffic-former, ...
    """
    if name in PRETRAINED_HERE:
        return _pretrained_here(name, checkpoint, given=widths is not None or vocabulary is not None)
    if vocabulary is not None and name in NAMES and name not in _WITH_VOCABULARY:
        raise ConfigurationError(f"{name} has no vocabulary")
    options = {} if vocabulary is None else {"vocabulary": vocabulary}
    built: PacketEncoder = _module(name).build(checkpoint=checkpoint, seed=seed, widths=widths, **options)
    return built


def _pretrained_here(name: str, checkpoint: Path | None, *, given: bool) -> PacketEncoder:
    if checkpoint is None or given:
        raise ConfigurationError(f"{name} is pretrained here: give the file that pretraining wrote, and nothing else")
    found: PacketEncoder = _loaded("pretraining", name).load_packets(checkpoint, name)
    return found


def expected(name: str, widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an encoder; no weight is allocated.

    Raises
    ------
    ConfigurationError
        When there is no such encoder or width.
    """
    found: dict[str, tuple[int, ...]] = _module(name).expected(widths)
    return found
