"""Train a network: passes over shuffled flows, early stopping on held-out days, and resumable states.

Everything random (order of the flows, masks, noise) is a function of seed, pass and step. A state therefore consists of
weights, optimiser moments and three counters, and a resumed run ends with the same bits as an uninterrupted one (on the
same machine with the same number of threads).
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from ethogram._files import write_bytes
from ethogram.config import TrainingSettings
from ethogram.errors import ConfigurationError, EthogramError, LibraryError
from ethogram.representation.checkpoint import read_arrays, write_arrays
from ethogram.representation.losses import cosine_lr, kl_weight_at
from ethogram.representation.network import Network, has_bfloat16
from ethogram.schema import CustomFlows

__all__ = ["STATE_FORMAT", "FlowBlocks", "InMemoryBlocks", "Progress", "Training", "order_of"]

STATE_FORMAT = "ethogram.training-state/1"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class FlowBlocks(Protocol):
    """Flows that are read block by block."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of flows of each block."""

    def read(self, block: int) -> CustomFlows:
        """The flows of one block, in a fixed order."""


@dataclass(frozen=True)
class InMemoryBlocks:
    """Flows in memory, as a single block."""

    flows: CustomFlows

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The size of the single block."""
        return np.array([len(self.flows)], np.int64)

    def read(self, block: int) -> CustomFlows:
        """All flows."""
        del block
        return self.flows


@dataclass(frozen=True)
class Progress:
    """Progress of a training run.

    Parameters
    ----------
    seed, pass_number, passes, step, steps
        Counted from 0; ``steps`` is the number of steps per pass.
    loss
        Mean training loss of this pass so far.
    held_out
        Lowest held-out loss so far; NaN before the first.
    seconds_left
        Estimated time to the end of the last pass; early stopping may end the run sooner.
    seconds_a_seed
        Estimated time of all passes of one seed.
    """

    seed: int
    pass_number: int
    passes: int
    step: int
    steps: int
    loss: float
    held_out: float
    seconds_left: float
    seconds_a_seed: float


@dataclass
class TrainState:
    """Counters and losses of a training run; saved with the weights."""

    pass_number: int = 0
    step: int = 0  # in this pass
    total_steps: int = 0
    loss_sum: float = 0.0
    best: float = math.inf
    best_pass: int = -1
    curves: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False


def order_of(
    sizes: NDArray[np.int64], seed: int, pass_number: int, buffer_flows: int
) -> list[tuple[tuple[int, ...], NDArray[np.int64]]]:
    """Order of one pass: groups of blocks that are loaded together, and a permutation of the flows of each group.

    Parameters
    ----------
    sizes
        Number of flows of each block.
    seed, pass_number
        Determine the order.
    buffer_flows
        Maximum number of flows in a group, unless a single block has more.

    Examples
    --------
    >>> [group for group, _ in order_of(np.array([2, 2, 2]), 0, 0, 6)]
    [(0, 1, 2)]
    """
    random = np.random.default_rng([seed, pass_number, 0x0FDE])
    groups: list[list[int]] = []
    held = buffer_flows
    for block in random.permutation(len(sizes)):
        if held + sizes[block] > buffer_flows:
            groups.append([])
            held = 0
        groups[-1].append(int(block))
        held += int(sizes[block])
    # Blocks are sorted within a group, so that a loaded group can be reused in the next pass.
    ordered = [tuple(sorted(group)) for group in groups]
    return [(group, random.permutation(int(sizes[list(group)].sum()))) for group in ordered]


class Training:
    """Trains one seed of a network.

    Parameters
    ----------
    net
        Network with its initial weights; it has the best weights when :meth:`run` returns True.
    settings
        Optimiser, loss and stopping settings.
    seed
        Seed of order, noise and masks.
    data
        Digest of the training flows; a saved state of other flows is refused.
    state
        Folder of the saved state; None to save nothing.
    """

    def __init__(
        self, net: Network, settings: TrainingSettings, *, seed: int = 0, data: str = "", state: Path | None = None
    ) -> None:
        self.net, self.settings, self.seed, self.data, self.state = net, settings, seed, data, state
        self.place = TrainState()
        wanted = settings.arithmetic
        self.arithmetic = ("bfloat16" if has_bfloat16() else "float32") if wanted == "auto" else wanted
        self.threads = settings.threads or os.cpu_count() or 1
        self._names, self._parameters = map(list, zip(*net.named_parameters(), strict=True))
        self._optimizer = torch.optim.Adam(self._parameters, lr=settings.learning_rate, fused=True)
        self._best: dict[str, NDArray[np.float32]] = {}
        self._kept: tuple[tuple[int, ...], CustomFlows] | None = None
        self._saved_at = time.monotonic()
        self._all_steps = 1

    @property
    def curves(self) -> list[dict[str, float]]:
        """One row per pass: training and held-out losses, and seconds."""
        return self.place.curves

    def run(
        self,
        train: FlowBlocks,
        held_out: FlowBlocks | None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Train from the saved state, or from the beginning.

        Parameters
        ----------
        train
            Training flows.
        held_out
            Flows of other days for early stopping; None to make all passes.
        on_progress
            Called after each step.
        should_stop
            Called after each step; if it returns True, the state is saved and False is returned.

        Returns
        -------
        bool
            Whether training is complete.

        Raises
        ------
        ConfigurationError
            When the saved state belongs to other settings or flows.
        LibraryError
            When the saved state is damaged.
        EthogramError
            When the loss diverges.
        """
        torch.set_num_threads(self.threads)
        self._resume()
        started, done_before = time.monotonic(), self.place.total_steps
        steps = self._steps(train)
        self._all_steps = steps * self.settings.passes
        while not self.place.finished:
            pass_started = time.monotonic()
            for prepared in self._batches(train):
                self._step(prepared)
                if on_progress is not None:
                    self._report(on_progress, started, done_before, steps)
                if should_stop is not None and should_stop():
                    self._save()
                    return False
                if self.state is not None and time.monotonic() - self._saved_at >= self.settings.save_s:
                    self._save()
            self._end_pass(held_out, time.monotonic() - pass_started)
            self._save()
        if self._best:
            self.net.load(self._best)
        return True

    def _steps(self, train: FlowBlocks) -> int:
        batch, settings = self.settings.batch, self.settings
        order = order_of(train.sizes, self.seed, self.place.pass_number, settings.buffer_flows)
        return sum(-(-len(rows) // batch) for _, rows in order)

    def _batches(self, train: FlowBlocks) -> Iterator[Any]:
        """Remaining batches of this pass, each prepared while the previous one is used for training."""
        batch, done = self.settings.batch, 0
        order = order_of(train.sizes, self.seed, self.place.pass_number, self.settings.buffer_flows)
        with ThreadPoolExecutor(1) as pool:
            for group, rows in order:
                steps = -(-len(rows) // batch)
                first = min(max(self.place.step - done, 0), steps)
                done += steps
                if first == steps:
                    continue
                flows = self._group(train, group)
                ready = pool.submit(self.net.prepare, flows, rows[first * batch : (first + 1) * batch])
                for i in range(first, steps):
                    prepared = ready.result()
                    if i + 1 < steps:
                        ready = pool.submit(self.net.prepare, flows, rows[(i + 1) * batch : (i + 2) * batch])
                    yield prepared

    def _group(self, train: FlowBlocks, group: tuple[int, ...]) -> CustomFlows:
        """The flows of some blocks; the last group stays in memory."""
        if self._kept is None or self._kept[0] != group:
            self._kept = None
            self._kept = (group, CustomFlows.concat([train.read(block) for block in group]))
        return self._kept[1]

    def _generator(self) -> torch.Generator:
        """The random generator of this step."""
        seed = np.random.SeedSequence([self.seed, self.place.total_steps, 0x0153]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed))

    def _step(self, prepared: Any) -> None:
        settings, place = self.settings, self.place
        weight = kl_weight_at(place.total_steps, settings.kl_weight, settings.kl_warmup_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = cosine_lr(
                place.total_steps, self._all_steps, settings.learning_rate, settings.learning_rate_end
            )
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.arithmetic == "bfloat16"):
            losses = self.net.losses(prepared, loss=settings.loss, kl_weight=weight, generator=self._generator())
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, settings.gradient_norm)
        loss = float(losses["loss"].detach())
        if not math.isfinite(loss) or not bool(torch.isfinite(norm)):
            raise EthogramError(
                f"training diverged in step {place.total_steps} (loss {loss}): try a lower learning rate"
            )
        self._optimizer.step()
        place.loss_sum += loss
        place.step += 1
        place.total_steps += 1

    def _report(self, on_progress: Callable[[Progress], None], started: float, before: int, steps: int) -> None:
        place, passes = self.place, self.settings.passes
        each = (time.monotonic() - started) / max(place.total_steps - before, 1)
        whole = each * passes * steps
        left = whole - each * place.total_steps
        held_out = place.best if math.isfinite(place.best) else math.nan
        loss = place.loss_sum / place.step
        on_progress(Progress(self.seed, place.pass_number, passes, place.step, steps, loss, held_out, left, whole))

    def held_out_losses(self, flows: FlowBlocks) -> dict[str, float]:
        """Mean losses on other flows at the full KL weight, without noise or masks."""
        sums: dict[str, float] = {}
        total = 0
        with torch.inference_mode():
            for block in range(len(flows.sizes)):
                read = flows.read(block)
                for begin in range(0, len(read), 1024):
                    rows = np.arange(begin, min(begin + 1024, len(read)))
                    losses = self.net.losses(
                        self.net.prepare(read, rows), loss=self.settings.loss, kl_weight=self.settings.kl_weight,
                        generator=None,
                    )  # fmt: skip
                    total += len(rows)
                    for name, value in losses.items():
                        sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
        return {name: value / total for name, value in sums.items()}

    def _end_pass(self, held_out: FlowBlocks | None, seconds: float) -> None:
        place, settings = self.place, self.settings
        row = {"pass": float(place.pass_number + 1), "train_loss": place.loss_sum / max(place.step, 1)}
        if held_out is not None:
            losses = self.held_out_losses(held_out)
            row |= {f"held_out_{name}": value for name, value in losses.items()}
            if losses["loss"] < place.best * (1 - settings.least_gain) or place.best_pass < 0:
                place.best, place.best_pass = losses["loss"], place.pass_number
                self._best = self.net.tensors()
        place.curves.append({**row, "seconds": round(seconds, 3)})
        place.pass_number += 1
        place.step, place.loss_sum = 0, 0.0
        waited = place.pass_number - 1 - place.best_pass
        place.finished = place.pass_number >= settings.passes or (held_out is not None and waited >= settings.patience)

    # -- the state

    @property
    def _made_with(self) -> dict[str, Any]:
        return {
            "format": STATE_FORMAT,
            "encoder": self.net.settings.digest,
            # These settings do not affect the weights.
            "training": self.settings.model_copy(update={"save_s": 0.0, "threads": 0, "seeds": 1}).digest,
            "seed": self.seed,
            "data": self.data,
            "arithmetic": self.arithmetic,
            "threads": self.threads,
        }

    def _save(self) -> None:
        """Write the arrays, then the index that names them, so that an interruption leaves the old or the new state."""
        self._saved_at = time.monotonic()
        if self.state is None:
            return
        arrays: dict[str, NDArray[Any]] = {f"weights/{name}": value for name, value in self.net.tensors().items()}
        arrays |= {f"best/{name}": value for name, value in self._best.items()}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            moments = self._optimizer.state.get(parameter)
            if moments:
                arrays |= {f"{moment}/{name}": moments[moment].numpy() for moment in _MOMENTS}
        file = self.state / f"state-{self.place.total_steps}-{self.place.pass_number}.safetensors"
        digest = write_arrays(file, arrays, b"{}")
        state = {**self._made_with, "file": file.name, "sha256": digest, "place": asdict(self.place)}
        write_bytes(
            self.state / "state.json", orjson.dumps(state, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
        )
        for old in self.state.glob("state-*.safetensors"):
            if old != file:
                old.unlink(missing_ok=True)

    def _resume(self) -> None:
        index = None if self.state is None else self.state / "state.json"
        if index is None or not index.exists():
            return
        assert self.state is not None
        try:
            state = orjson.loads(index.read_bytes())
            file = self.state / Path(state["file"]).name
            place = TrainState(**{**state["place"], "best": _number(state["place"]["best"])})
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise LibraryError(f"{index}: no saved training: {error}") from None
        for name, value in self._made_with.items():
            if state.get(name) != value:
                raise ConfigurationError(
                    f"{self.state}: a training with another {name} was begun here ({state.get(name)}, not {value});"
                    " begin anew or choose another directory"
                )
        try:
            whole = hashlib.sha256(file.read_bytes()).hexdigest() == state["sha256"]
        except OSError as error:
            raise LibraryError(f"{file}: {error.strerror or error}") from None
        if not whole:
            raise LibraryError(f"{file}: is not the state that was saved")
        self._take(read_arrays(file)[1], place)

    def _take(self, arrays: dict[str, NDArray[Any]], place: TrainState) -> None:
        def part(prefix: str) -> dict[str, NDArray[np.float32]]:
            return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

        self.net.load(part("weights/"))
        self._best = part("best/")
        moments = {moment: part(f"{moment}/") for moment in _MOMENTS}
        for name, parameter in zip(self._names, self._parameters, strict=True):
            if name in moments[_MOMENTS[0]]:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(place.total_steps)),
                    **{moment: torch.from_numpy(values[name].copy()) for moment, values in moments.items()},
                }
        self.place = place


def _number(value: float | None) -> float:
    """JSON has no infinity."""
    return math.inf if value is None else float(value)
