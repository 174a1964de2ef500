"""Pretrain third-party encoders of reduced size with their own objective on the user's unlabelled flows.

All networks share one training loop: a fixed number of steps of AdamW with a warm-up, a linear decay and a bounded
gradient norm. Random numbers are a function of seed and step, so the same seed, flows, machine and number of threads
give the same weights. The file is written atomically at the end.

The module of an encoder that is pretrained here has ``new(flows, settings, seed) -> PacketNetwork``, which makes a
network with initial weights, and ``load(described) -> PacketNetwork``, which makes a network for the weights of a file.
"""

from __future__ import annotations

import hashlib
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from ethogram.config import Settings
from ethogram.errors import ConfigurationError, EthogramError, LibraryError
from ethogram.representation.checkpoint import read_arrays, write_arrays
from ethogram.representation.network import has_bfloat16
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import PacketEncoder, adapter_kind, load_module

__all__ = ["FORMAT", "PacketNetwork", "PretrainingSettings", "Step", "load_packets", "pretrain_packets",
           "train_packets"]  # fmt: skip

FORMAT = "ethogram.packet-encoder/1"


class PretrainingSettings(Settings):
    """Settings of pretraining. The objective is that of the paper; steps, batch and sizes are ours."""

    steps: int = Field(default=600, ge=0, description="steps; none: the first weights stay")
    batch: int = Field(default=64, ge=1, description="flows in one step")
    learning_rate: float | None = Field(
        default=None, gt=0, description="of AdamW, at the end of the warm-up; none: the network's own"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps over which it rises from nothing")
    weight_decay: float = Field(default=0.01, ge=0, description="of matrices; not of biases and norms")
    gradient_norm: float = Field(default=1.0, gt=0, description="a longer gradient is cut to this")
    hidden: float | None = Field(default=None, gt=0, lt=1, description="share of the input hidden; none: the paper's")
    arithmetic: str = Field(
        default="auto", pattern="^(auto|float32|bfloat16)$", description="of products; auto: bfloat16 where it is fast"
    )
    widths: dict[str, int] = Field(default={}, description="other sizes than the reduced ones, by name")


@dataclass(frozen=True)
class Step:
    """Progress of pretraining: steps done and in total, mean loss of the last fifty steps, seconds left."""

    step: int
    steps: int
    loss: float
    seconds_left: float


class PacketNetwork(nn.Module):
    """A network over packets that learns by predicting masked parts of its input."""

    name: str
    """Name in the registry."""

    learning_rate: float = 1e-3
    """Default learning rate."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Everything needed to rebuild the network without its weights, as JSON."""

    @abstractmethod
    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Any:
        """Input of a step for some flows; does not use the weights."""

    @abstractmethod
    def loss(self, prepared: Any, generator: torch.Generator) -> Tensor:
        """Loss of a batch; masking and other random choices use the generator."""

    @abstractmethod
    def encoder(self, origin: str) -> PacketEncoder:
        """The encoder with frozen weights, without the parts that only the objective needs."""


def _module(name: str) -> Any:
    return load_module(adapter_kind(name, trained=True))


def pretrain_packets(
    name: str,
    flows: PacketFlows,
    settings: PretrainingSettings | None = None,
    seed: int = 0,
    on_progress: Callable[[Step], None] | None = None,
    *,
    save: Path | None = None,
) -> PacketEncoder:
    """Pretrain an encoder on unlabelled flows.

    Parameters
    ----------
    name
        An encoder of :data:`~ethogram.third_party_encoders.interface.ADAPTERS` that is pretrained here.
    flows
        Training flows.
    settings
        Settings of pretraining.
    seed
        Seed of initial weights, order and masking.
    on_progress
        Called after each step.
    save
        File to write; None: none.

    Raises
    ------
    ConfigurationError
        When there is no such encoder or width, or there are no flows.
    EthogramError
        When the loss is no longer a number.
    """
    settings = PretrainingSettings() if settings is None else settings
    if not len(flows):
        raise ConfigurationError(f"no flows to pretrain {name} on")
    module = _module(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: PacketNetwork = module.new(flows, settings, seed)
    begun = time.monotonic()
    curve = train_packets(net, flows, settings, seed, on_progress)
    header = {
        "format": FORMAT, "name": name, "network": net.described(), "settings": settings.model_dump(mode="json"),
        "seed": seed, "data": {"digest": digest_of_flows(flows), "flows": len(flows)}, "curve": curve,
        "weights": _digest(net), "seconds": round(time.monotonic() - begun, 1),
        "made": {"torch": version("torch"), "ethogram": version("ethogram")},
    }  # fmt: skip
    if save is not None:
        arrays = {key: value.detach().numpy() for key, value in net.state_dict().items()}
        write_arrays(save, arrays, orjson.dumps(header, option=orjson.OPT_SORT_KEYS))
    return net.encoder(_origin(header))


def _origin(header: dict[str, Any]) -> str:
    how = header["settings"]
    return (
        f"pretrained here, {how['steps']:,} steps of {how['batch']} from {header['data']['flows']:,} flows, "
        f"seed {header['seed']}"
    )


def load_packets(path: Path, name: str | None = None) -> PacketEncoder:
    """Load an encoder that was pretrained here.

    Parameters
    ----------
    path
        File of the encoder.
    name
        Required name of the encoder; None: any.

    Raises
    ------
    LibraryError
        When it cannot be used.
    """
    text, arrays = read_arrays(path)
    try:
        header = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise LibraryError(f"{path}: its header is no JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        file_format = header.get("format") if isinstance(header, dict) else None
        raise LibraryError(f"{path}: format {file_format!r}, not {FORMAT!r}")
    if name is not None and header.get("name") != name:
        raise LibraryError(f"{path}: holds {header.get('name')!r}, not {name!r}")
    try:
        net: PacketNetwork = _module(header["name"]).load(header["network"])
        origin = _origin(header)
        weights = header["weights"]
    except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, ConfigurationError) as error:
        raise LibraryError(f"{path}: its header is wrong: {str(error).splitlines()[0]}") from None
    state = net.state_dict()
    odd = sorted(set(state) ^ set(arrays))
    if odd:
        raise LibraryError(f"{path}: weights of other names: {', '.join(odd[:3])}")
    with torch.no_grad():
        for key, value in state.items():
            given = torch.from_numpy(np.array(arrays[key]))
            if given.shape != value.shape or given.dtype != value.dtype:
                raise LibraryError(f"{path}: {key} is {list(given.shape)} of {given.dtype}, not {list(value.shape)}")
            value.copy_(given)
    if _digest(net) != weights:
        raise LibraryError(f"{path}: its weights are not those its header names")
    return net.encoder(origin)


def digest_of_flows(flows: PacketFlows) -> str:
    """Sixteen hexadecimal digits of SHA-256 over all columns."""
    total = hashlib.sha256()
    for name, value in sorted(vars(flows).items()):
        total.update(f"{name} {value.shape} {value.dtype}\n".encode())
        total.update(np.ascontiguousarray(value).data)
    return total.hexdigest()[:16]


def _digest(net: nn.Module) -> str:
    total = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        total.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        total.update(np.ascontiguousarray(value.detach().numpy()).data)
    return total.hexdigest()[:16]


def train_packets(
    net: PacketNetwork,
    flows: PacketFlows,
    settings: PretrainingSettings,
    seed: int = 0,
    on_progress: Callable[[Step], None] | None = None,
) -> list[dict[str, float]]:
    """Train a network in place with its own objective.

    Parameters
    ----------
    net
        The network with its initial weights.
    flows
        Training flows; each pass has its own random order.
    settings
        Steps, rates and arithmetic.
    seed
        Seed of order and masking.
    on_progress
        Called after each step.

    Returns
    -------
    list
        Rows of the training curve: mean loss of each twentieth of the steps.

    Raises
    ------
    EthogramError
        When the loss is no longer a number.
    """
    named = [(name, value) for name, value in net.named_parameters() if value.requires_grad]
    groups = [
        {"params": [v for _, v in named if v.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [v for _, v in named if v.ndim < 2], "weight_decay": 0.0},
    ]
    rate = net.learning_rate if settings.learning_rate is None else settings.learning_rate
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate)
    bfloat16 = settings.arithmetic == "bfloat16" or (settings.arithmetic == "auto" and has_bfloat16())
    order = _Order(len(flows), settings.batch, seed)
    losses: list[float] = []
    begun = time.monotonic()
    net.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_at(step, settings.steps, settings.warmup)
        prepared = net.prepare(flows, order.next())
        drawn = np.random.SeedSequence([seed, step, 0xBE27]).generate_state(1, np.uint64)[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = net.loss(prepared, torch.Generator().manual_seed(int(drawn)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([value for _, value in named], settings.gradient_norm)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or not bool(torch.isfinite(norm)):
            raise EthogramError(f"pretraining came apart in step {step} (loss {losses[-1]}): try a lower learning rate")
        optimizer.step()
        if on_progress is not None:
            each = (time.monotonic() - begun) / (step + 1)
            recent = sum(losses[-50:]) / len(losses[-50:])
            on_progress(Step(step + 1, settings.steps, recent, each * (settings.steps - step - 1)))
    net.eval()
    return _curve(losses)


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: a linear rise over the warm-up, then a linear decay to 0.

    >>> [round(rate_at(step, 10, 0.2), 3) for step in range(10)]
    [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    """
    rising = max(1, round(steps * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / max(steps - rising, 1)


class _Order:
    """Batches of rows over several passes, each in its own random order; a batch may extend into the next pass."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self._rows, self._batch, self._seed = rows, batch, seed
        self._pass = 0
        self._left = np.zeros(0, np.int64)

    def next(self) -> NDArray[np.int64]:
        """Rows of the next batch."""
        while len(self._left) < self._batch:
            random = np.random.default_rng([self._seed, self._pass, 0x0FDE])
            self._left = np.concatenate([self._left, random.permutation(self._rows)])
            self._pass += 1
        taken, self._left = self._left[: self._batch], self._left[self._batch :]
        return taken


def _curve(losses: list[float]) -> list[dict[str, float]]:
    parts = np.array_split(np.array(losses), min(20, len(losses))) if losses else []
    ends = np.cumsum([len(part) for part in parts])
    return [{"step": float(end), "loss": round(float(part.mean()), 5)} for end, part in zip(ends, parts, strict=True)]
