"""Embeddings of the flows of each library entry, and the encoder that made them.

Embeddings are stored rather than fitted classifiers, as a library stores counts, so that every classifier can be fitted
again. Entries are identified by their digests. Embeddings of different encoders are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import LibraryError
from ethogram.identify.flow_windows import FlowWindows

__all__ = ["FlowStore"]


@dataclass(frozen=True)
class FlowStore:
    """Embeddings by library entry.

    Parameters
    ----------
    encoder
        Digest of the encoder's weights.
    d
        Dimensions of an embedding.
    z
        float32 [K, d] by entry digest.

    Examples
    --------
    >>> one = FlowStore("e", 2, {"a": np.ones((3, 2), np.float32)})
    >>> one.merge(FlowStore("e", 2, {"b": np.zeros((1, 2), np.float32)})).windows(["b", "c", "a"]).flows.tolist()
    [1, 0, 3]
    """

    encoder: str
    d: int
    z: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for digest, rows in self.z.items():
            if rows.ndim != 2 or rows.shape[1] != self.d or rows.dtype != np.float32:
                raise LibraryError(f"entry {digest}: embeddings {list(rows.shape)}, not [K, {self.d}] of float32")

    def __len__(self) -> int:
        return len(self.z)

    @classmethod
    def of(cls, encoder: str, windows: FlowWindows, digests: Sequence[str | None]) -> FlowStore:
        """Store the embeddings of items by the digests of their entries; items without entry or flows are skipped."""
        z: dict[str, NDArray[np.float32]] = {}
        order = np.argsort(windows.owner, kind="stable")
        first = np.searchsorted(windows.owner[order], np.arange(len(digests) + 1))
        for item, digest in enumerate(digests):
            rows = windows.z[order[first[item] : first[item + 1]]]
            if digest is not None and len(rows):
                z[digest] = np.concatenate([z[digest], rows]) if digest in z else rows
        return cls(encoder, int(windows.z.shape[1]), z)

    def merge(self, other: FlowStore) -> FlowStore:
        """The union of both stores; of a common entry, the larger set of embeddings, or that of ``self`` in a tie.

        Raises
        ------
        LibraryError
            When the encoders differ.
        """
        if not other.z:
            return self
        if not self.z:
            return other
        if (self.encoder, self.d) != (other.encoder, other.d):
            raise LibraryError(
                f"embeddings of encoder {self.encoder} and of {other.encoder} cannot be merged: "
                "enrol again with one encoder"
            )
        z = {**other.z, **self.z}
        z.update({digest: rows for digest, rows in other.z.items() if len(rows) > len(z[digest])})
        return FlowStore(self.encoder, self.d, z)

    def keep(self, digests: Sequence[str]) -> FlowStore:
        """A store of these entries only."""
        return FlowStore(self.encoder, self.d, {digest: self.z[digest] for digest in digests if digest in self.z})

    def renamed(self, moved: Mapping[str, str]) -> FlowStore:
        """Replace digests, old to new; if two entries become one, the first in order of old digests is kept."""
        z: dict[str, NDArray[np.float32]] = {}
        for digest in sorted(self.z):
            z.setdefault(moved.get(digest, digest), self.z[digest])
        return FlowStore(self.encoder, self.d, z)

    def windows(self, digests: Sequence[str]) -> FlowWindows:
        """Embeddings as items in the order of the digests; a digest that is not stored has no flows."""
        parts = [self.z.get(digest, np.zeros((0, self.d), np.float32)) for digest in digests]
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        z = np.concatenate(parts) if parts else np.zeros((0, self.d), np.float32)
        return FlowWindows(z, owner.astype(np.int64), len(parts))
