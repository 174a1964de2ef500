"""A linear encoder of semantic fields: what the field-aware encoder reads, without a network. Hard to beat.

The fields of a flow (protocol, classes of ports, sizes, gaps and octets of the first packets) are standardised; the
pieces of text in its payload are weighed by how rare they are; the directions of both together are those of a truncated
singular value decomposition over unlabelled flows. Each direction is scaled to the fourth root of its variance: half
way between as it comes and whitened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import FieldSettings
from ethogram.evaluate.flows.corpus import CorpusFlows
from ethogram.representation.field_columns import CLASSES, FLOW, PACKET, PACKETS, PORTS, FieldPlan, describe
from ethogram.representation.vector import expand
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows

__all__ = ["LINEAR", "LinearFields"]

LINEAR = "linear-fields"
"""Its name as an encoder."""
BATCH = 4096
LIMIT = 4.0
LEAST = 3  # unlabelled flows that have a piece of text, for it to count
PLAN = FieldPlan(FieldSettings(octets=1, grams=128))


class LinearFields:
    """Learns from unlabelled flows; gives float32 [N, d]."""

    def __init__(self, d: int = 48) -> None:
        self.d = d

    def fit(self, unlabelled: Mapping[str, NDArray[np.int64]], corpora: Mapping[str, CorpusFlows]) -> Self:
        """Learn from rows of corpora; no label is read."""
        from sklearn.decomposition import TruncatedSVD

        flows = CustomFlows.concat([corpora[name].flows.take(rows) for name, rows in sorted(unlabelled.items())])
        dense, words = _fields(flows)
        self.mean_, spread = dense.mean(axis=0), dense.std(axis=0)
        self.scale_ = np.where(spread > 1e-8, 2.0 / (np.maximum(spread, 1e-8) * np.sqrt(dense.shape[1])), 0.0)
        have = np.asarray(words.sum(axis=0)).ravel()
        rare = np.maximum(np.log(len(flows) / np.maximum(have + 1, 1)), 0.0)
        self.rare_ = np.where(have >= LEAST, rare, 0.0) / np.sqrt(8)
        joined = self._joined(dense, words)
        self.model_ = TruncatedSVD(min(self.d, joined.shape[1] - 1), random_state=0).fit(joined)
        variance = self.model_.transform(joined).var(axis=0)
        self.turn_ = np.maximum(variance, 1e-12) ** -0.25 * float(variance.max()) ** -0.25
        return self

    def _joined(self, dense: NDArray[np.float32], words: Any) -> Any:
        from scipy import sparse

        limit = LIMIT * 2.0 / np.sqrt(dense.shape[1])
        near = np.clip((dense - self.mean_) * self.scale_, -limit, limit)
        return sparse.hstack([sparse.csr_matrix(near.astype(np.float32)), words.multiply(self.rare_[None, :])]).tocsr()

    def embed(self, loaded: CorpusFlows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings of some rows of a corpus."""
        if not len(rows):
            return np.zeros((0, self.turn_.size), np.float32)
        z = self.model_.transform(self._joined(*_fields(loaded.flows.take(rows)))) * self.turn_
        return np.asarray(z, np.float32)

    @property
    def parameters(self) -> int:
        """Numbers that were learnt."""
        return int(self.model_.components_.size + self.mean_.size * 2 + self.rare_.size + self.turn_.size)


def _fields(flows: CustomFlows) -> tuple[NDArray[np.float32], Any]:
    """Fields of flows [N, F], and their pieces of text as a sparse matrix [N, buckets + 1] of ones."""
    from scipy import sparse

    view = view_of("full")
    numbers = [3, 4, *(FLOW + k * PLAN.packet + j for k in range(PACKETS) for j in range(PACKET + CLASSES))]
    dense, words = [], []
    for begin in range(0, len(flows), BATCH):
        rows = np.arange(begin, min(begin + BATCH, len(flows)))
        found = describe(expand(flows, view, rows), view, PLAN.settings)
        kinds = np.zeros((len(rows), 4 + 2 * PORTS), np.float32)
        at = np.arange(len(rows))
        kinds[at, found[:, 0].astype(np.int64)] = 1.0
        for side in (0, 1):
            kinds[at, 4 + side * PORTS + found[:, 1 + side].astype(np.int64)] = 1.0
        dense.append(np.hstack([found[:, numbers], kinds]))
        grams = found[:, PLAN.grams].astype(np.int64)
        row, column = np.nonzero(grams)
        ones = np.ones(row.size, np.float32)
        words.append(sparse.csr_matrix((ones, (row, grams[row, column])), shape=(len(rows), PLAN.settings.buckets + 1)))
    return np.concatenate(dense), sparse.vstack(words).tocsr()
