"""A network with frozen weights as an encoder of packets: batches, digest, origin, and sizes by name."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ethogram.errors import ConfigurationError
from ethogram.representation.encoder import digest_of
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import Facts, OnProgress, Rows, asked_rows

__all__ = ["FrozenEncoder", "copy_weights", "parameters_of", "seeded", "sizes_of"]

S = TypeVar("S")
N = TypeVar("N", bound=nn.Module)


class FrozenEncoder:
    """Runs a network with frozen weights over flows, in batches of bounded size.

    Parameters
    ----------
    facts
        Facts about the encoder.
    net
        The network.
    origin
        Source of the weights.
    given
        Everything else that an embedding depends on.
    """

    batch = 64  # flows per batch
    """Bounds the memory; the activations of a batch fit the cache."""

    def __init__(self, facts: Facts, net: nn.Module, origin: str, given: str = "") -> None:
        self.facts = facts
        self.net = net.eval().requires_grad_(False)
        self.origin = origin
        weights = digest_of({name: value.numpy() for name, value in net.state_dict().items()})
        self.digest = hashlib.sha256(f"{weights} {given}".encode()).hexdigest()[:16]

    @abstractmethod
    def run(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Embeddings [K, d] of some flows."""

    def embed(
        self, flows: PacketFlows, rows: Rows | None = None, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Embeddings, float32 [K, d]; parameters as of :class:`.interface.PacketEncoder`."""
        asked = asked_rows(flows, rows)
        z = np.empty((len(asked), self.facts.d), np.float32)
        with torch.inference_mode():
            for begin in range(0, len(asked), self.batch):
                some = asked[begin : begin + self.batch]
                z[begin : begin + len(some)] = self.run(flows, some).float().numpy()
                if on_progress is not None:
                    on_progress(begin + len(some), len(asked))
        return z


def sizes_of(paper: S, widths: Mapping[str, int] | None, name: str) -> S:
    """The paper's sizes, with some replaced by name.

    Raises
    ------
    ConfigurationError
        When there is no such size, or it is not a positive number.
    """
    known = {field.name: getattr(paper, field.name) for field in fields(paper)}  # type: ignore[arg-type]
    for size, value in (widths or {}).items():
        if size not in known:
            raise ConfigurationError(f"{name} has no size {size!r}; there are {', '.join(known)}")
        least = 0 if isinstance(known[size], bool) or known[size] == 0 else 1
        if value < least:
            raise ConfigurationError(f"{name}: {size} must be at least {least}, not {value}")
    given = {size: type(known[size])(value) for size, value in (widths or {}).items()}
    return replace(paper, **given)  # type: ignore[type-var]


def seeded(make: Callable[[], N], seed: int) -> N:
    """A network with random weights; the state of the global generator is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def copy_weights(source: nn.Module, target: nn.Module) -> int:
    """Copy the weights of a network to a part of it with the same names; return their number."""
    weights = source.state_dict()
    target.load_state_dict({name: weights[name] for name in target.state_dict()})
    return parameters_of({name: tuple(value.shape) for name, value in target.state_dict().items()})


def parameters_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Number of weights of these shapes.

    >>> parameters_of({"weight": (2, 3), "bias": (2,)})
    8
    """
    return sum(int(np.prod(shape)) for shape in shapes.values())
