"""The flow side of a library: embeddings of the flows each entry was seen with, and which encoder made them.

Embeddings are stored, and not what was learnt from them, as a library stores counts: so every way of telling them can
be learnt anew. An entry is known by its digest; embeddings of another encoder never come together.
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
    """Embeddings by entry.

    Parameters
    ----------
    encoder
        Digest of the encoder's weights.
    d
        Numbers of an embedding.
    z
        Entry digest to float32 [K, d].

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
        """Embeddings of items whose entries are known; items without an entry or without flows are left out."""
        z: dict[str, NDArray[np.float32]] = {}
        for item, digest in enumerate(digests):
            rows = windows.z[windows.owner == item]
            if digest is not None and len(rows):
                z[digest] = np.concatenate([z[digest], rows]) if digest in z else rows
        return cls(encoder, int(windows.z.shape[1]), z)

    def merge(self, other: FlowStore) -> FlowStore:
        """Both stores' entries; of one that both have, the embeddings of that which has more, or of the first.

        Raises
        ------
        LibraryError
            When they are of different encoders.
        """
        if not other.z:
            return self
        if not self.z:
            return other
        if (self.encoder, self.d) != (other.encoder, other.d):
            raise LibraryError(
                f"embeddings of encoder {self.encoder} and of {other.encoder} do not go together: enrol anew"
            )
        z = {**other.z, **self.z}
        z.update({digest: rows for digest, rows in other.z.items() if len(rows) > len(z[digest])})
        return FlowStore(self.encoder, self.d, z)

    def keep(self, digests: Sequence[str]) -> FlowStore:
        """Only these entries."""
        return FlowStore(self.encoder, self.d, {digest: self.z[digest] for digest in digests if digest in self.z})

    def renamed(self, moved: Mapping[str, str]) -> FlowStore:
        """Entries whose digest is another one now, old to new; the first in order where two become one."""
        z: dict[str, NDArray[np.float32]] = {}
        for digest in sorted(self.z):
            z.setdefault(moved.get(digest, digest), self.z[digest])
        return FlowStore(self.encoder, self.d, z)

    def windows(self, digests: Sequence[str]) -> FlowWindows:
        """Embeddings as those of items, in the order of their entries; an entry without any has no flow."""
        parts = [self.z.get(digest, np.zeros((0, self.d), np.float32)) for digest in digests]
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        z = np.concatenate(parts) if parts else np.zeros((0, self.d), np.float32)
        return FlowWindows(z, owner.astype(np.int64), len(parts))
