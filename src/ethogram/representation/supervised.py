"""Supervised training of an encoder with a linear head: fine-tuned, or from scratch.

The baseline that frozen encoders are compared with.
"""

from __future__ import annotations

import math
import os
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.config import ProbeSettings
from ethogram.errors import EthogramError
from ethogram.representation.network import Network
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

__all__ = ["LabelledNetwork"]

BATCH = 4096


class LabelledNetwork:
    """An encoder with a linear classification head, trained together.

    Parameters
    ----------
    net
        The encoder; training changes it.
    types
        Number of types.
    settings
        Passes, learning rate, batch size, patience, and whether types have equal weight.
    seed
        Seed of the head and of the order of the flows.
    """

    def __init__(self, net: Network, types: int, settings: ProbeSettings, seed: int = 0) -> None:
        self.net, self.types, self.settings, self.seed = net, types, settings, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(net.settings.latent, types)

    def fit(
        self, flows: CustomFlows, truth: NDArray[np.int64], rows: NDArray[np.int64], held_out: NDArray[np.int64]
    ) -> Self:
        """Train on some rows, with early stopping on others.

        Parameters
        ----------
        flows, truth
            N flows and their types, coded 0, 1, ...
        rows
            Training rows.
        held_out
            Rows of later days for early stopping; empty to make all passes.

        Raises
        ------
        EthogramError
            When the loss diverges.
        """
        torch.set_num_threads(os.cpu_count() or 1)
        settings = self.settings
        parameters = [*self.net.parameters(), *self.head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=settings.tune_rate)
        counts = np.bincount(truth[rows], minlength=self.types)
        weight = np.where(counts > 0, rows.size / (np.sum(counts > 0) * np.maximum(counts, 1)), 0.0)
        weights = torch.from_numpy((weight if settings.balanced else np.ones(self.types)).astype(np.float32))
        passes = max(settings.tune_passes, settings.tune_steps // -(-rows.size // settings.tune_batch))
        patience = settings.tune_patience * -(-passes // settings.tune_passes)
        best, best_pass, best_weights = math.inf, 0, self._weights()
        for number in range(passes):
            order = np.random.default_rng([self.seed, number, 0x7E57]).permutation(rows)
            for begin in range(0, len(order), settings.tune_batch):
                batch = order[begin : begin + settings.tune_batch]
                optimizer.zero_grad(set_to_none=True)
                loss = functional.cross_entropy(
                    self._scores(flows, batch), torch.from_numpy(truth[batch]), weight=weights
                )
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 5.0)
                optimizer.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise EthogramError("supervised training diverged: try a lower tune_rate")
            if held_out.size:
                value = self._held_out_loss(flows, truth, held_out, weights)
                if value < best:
                    best, best_pass, best_weights = value, number, self._weights()
                elif number - best_pass >= patience:
                    break
        if held_out.size:
            self._take(best_weights)
        return self

    def _scores(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Tensor:
        z = self.net.embed_vectors(expand(flows, self.net.view, rows))
        return torch.as_tensor(self.head(z))

    def _held_out_loss(
        self, flows: CustomFlows, truth: NDArray[np.int64], rows: NDArray[np.int64], weights: Tensor
    ) -> float:
        with torch.inference_mode():
            parts = [self._scores(flows, rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
            known = torch.from_numpy(truth[rows])
            return float(functional.cross_entropy(torch.cat(parts), known, weight=weights))

    def _weights(self) -> list[Tensor]:
        return [value.detach().clone() for value in (*self.net.parameters(), *self.head.parameters())]

    def _take(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip((*self.net.parameters(), *self.head.parameters()), weights, strict=True):
                parameter.copy_(value)

    def predict_log_proba(self, flows: CustomFlows) -> NDArray[np.float64]:
        """Log probability of each type, [N, types]."""
        with torch.inference_mode():
            parts = [
                self._scores(flows, np.arange(i, min(i + BATCH, len(flows)))).log_softmax(1).double().numpy()
                for i in range(0, len(flows), BATCH)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, self.types))
