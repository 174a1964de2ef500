"""Baseline: a locality-sensitive hash (Nilsimsa) of a window as text; similar windows have similar digests.

References
----------
E. Damiani et al., An Open Digest-based Technique for Spam Detection, 2004 (Nilsimsa); B. Charyyev and M. H. Gunes,
Locality-Sensitive IoT Network Traffic Fingerprinting for Device Identification, IEEE Internet of Things Journal, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.identify.identifier import Identifier, require_labels
from ethogram.identify.nearest import best_of_labels
from ethogram.identify.ports import port_name
from ethogram.schema import Windows

__all__ = ["LocalitySensitiveHash", "nilsimsa", "written"]

COMPILER = Compiler.of(__file__)


def _permutation() -> NDArray[np.uint8]:
    """A fixed permutation of the 256 octets for the trigram hash; any permutation would do."""
    return np.random.default_rng(53).permutation(256).astype(np.uint8)


_ORDER = _permutation()


@COMPILER.checked
def _accumulate(text: NDArray[np.uint8], order: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the hash values of all trigrams in a sliding window of five octets."""
    counts = np.zeros(256, dtype=np.int64)
    for i in range(2, len(text)):
        a = np.int64(text[i])
        for pair in range(6):
            # The pairs (j, k) of earlier octets, 1 <= j < k <= 4.
            j = 1 if pair < 3 else 2 if pair < 5 else 3
            k = pair + 2 if pair < 3 else pair if pair < 5 else 4
            if i < k:
                continue
            b, c = np.int64(text[i - j]), np.int64(text[i - k])
            n = pair
            first = np.int64(order[(a + n) & 255])
            second = np.int64(order[b]) * (2 * n + 1)
            third = np.int64(order[c ^ np.int64(order[n])])
            counts[((first ^ second) + third) & 255] += 1
    return counts


def nilsimsa(text: bytes) -> NDArray[np.bool_]:
    """The digest: 256 bits, each set if its count is above the mean.

    >>> int((nilsimsa(b"TCP/443 TCP/443 UDP/53") == nilsimsa(b"TCP/443 TCP/443 UDP/53")).sum())
    256
    """
    counts = _accumulate(np.frombuffer(text, dtype=np.uint8), _ORDER)
    result: NDArray[np.bool_] = counts > counts.mean()
    return result


def written(windows: Windows) -> list[bytes]:
    """Each item as text: its services with flows and mean sizes rounded to powers of two."""

    def power(value: pl.Expr) -> pl.Expr:
        return value.cast(pl.Float64).log1p().truediv(float(np.log(2))).round().cast(pl.Int64).cast(pl.String)

    rows = (
        windows.counts.group_by("item", port_name().alias("service"))
        .agg(pl.col("flows", "octets_out", "octets_in").sum())
        .sort("item", "service")
        .select(
            "item",
            pl.concat_str(
                "service",
                power(pl.col("flows")),
                power(pl.col("octets_out") / pl.col("flows")),
                power(pl.col("octets_in") / pl.col("flows")),
                separator=" ",
            ).alias("text"),
        )
        .group_by("item", maintain_order=True)
        .agg(pl.col("text").str.join("\n"))
    )
    texts = [b""] * len(windows)
    for item, text in rows.iter_rows():
        texts[item] = text.encode()
    return texts


class LocalitySensitiveHash(Identifier):
    """Score of a label: correlation of bits with its nearest digest; 0 for unrelated digests."""

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Compute the hashes of the enrolled windows."""
        self.labels_ = require_labels(windows, labels)
        owner = np.searchsorted(self.labels_, np.array(labels))
        order = np.argsort(owner, kind="stable")
        self.digests_ = _digests(windows)[order]
        self.starts_ = np.searchsorted(owner[order], np.arange(len(self.labels_)))
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Bit correlations, shape (n, L), in [-1, 1]."""
        self.require_fit()
        return best_of_labels(_digests(windows) @ self.digests_.T / 256.0, self.starts_)


def _digests(windows: Windows) -> NDArray[np.float64]:
    """Digests as rows of -1 and 1, shape (n, 256), so that a dot product counts equal bits."""
    bits = [nilsimsa(text) for text in written(windows)]
    return np.where(np.array(bits, dtype=bool).reshape(len(bits), 256), 1.0, -1.0)
