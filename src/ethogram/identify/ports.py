"""Baseline: multinomial naive Bayes over a bag of ports.

References
----------
A. Sivanathan et al., Classifying IoT Devices in Smart Environments Using Network Traffic Characteristics, IEEE
Transactions on Mobile Computing, 2018 (bag of remote ports).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.schema import ServiceMatrix, Windows

__all__ = ["BagOfPorts", "port_matrix", "port_name"]


def port_name() -> pl.Expr:
    """The plain service of a row of counts: TCP/443, UDP/53, IP/2."""
    protocol, port = pl.col("protocol"), pl.col("port").cast(pl.String)
    return (
        pl.when(protocol == 6).then("TCP/" + port).when(protocol == 17).then("UDP/" + port)
        .otherwise("IP/" + protocol.cast(pl.String))
    )  # fmt: skip


def port_matrix(windows: Windows, service: pl.Expr | None = None) -> ServiceMatrix:
    """Flows per item and service, shape (n, services); the services sorted by name."""
    named = (port_name() if service is None else service).alias("service")
    rows = windows.counts.select("item", named, "flows").group_by("item", "service").agg(pl.col("flows").sum())
    services = sorted(rows["service"].unique().to_list())
    column = pl.DataFrame({"service": pl.Series(services, dtype=pl.String)}).with_row_index("column")
    rows = rows.join(column, on="service")
    return ServiceMatrix.from_coordinates(
        rows["item"].to_numpy().astype(np.int64), rows["column"].to_numpy().astype(np.int64),
        rows["flows"].to_numpy().astype(np.float64), services, len(windows),
    )  # fmt: skip


class BagOfPorts(Identifier):
    """Multinomial naive Bayes over ports; a raw score is the mean log likelihood ratio of a flow, in nats.

    Parameters
    ----------
    smoothing
        Pseudo-count of flows for every port of every label (Laplace). Ports that no label has are ignored.
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        self.smoothing = smoothing

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit the port frequencies of each label."""
        self.labels_ = require_labels(windows, labels)
        matrix = port_matrix(windows)
        self.services_ = matrix.services
        owner = np.searchsorted(self.labels_, np.array(labels))
        sums = np.full((len(self.labels_), len(self.services_)), self.smoothing)
        np.add.at(sums, (np.repeat(owner, np.diff(matrix.indptr)), matrix.indices), matrix.weights)
        self.shares_ = sums / sums.sum(axis=1, keepdims=True)
        return self

    def _counts(self, windows: Windows) -> NDArray[np.float64]:
        matrix = port_matrix(windows)
        at = {name: j for j, name in enumerate(self.services_)}
        columns = np.array([at.get(name, -1) for name in matrix.services], dtype=np.int64)
        rows = np.repeat(np.arange(len(windows)), np.diff(matrix.indptr))
        counts = np.zeros((len(windows), len(self.services_)))
        target = columns[matrix.indices] if matrix.indices.size else np.zeros(0, dtype=np.int64)
        known = target >= 0
        counts[rows[known], target[known]] = matrix.weights[known]
        shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        return shares

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Mean log likelihood of a flow less that under all labels' mean, shape (n, L)."""
        self.require_fit()
        result: NDArray[np.float64] = self._counts(windows) @ self._weights().T
        return result

    def _weights(self) -> NDArray[np.float64]:
        """How much each port speaks for each label, shape (L, services)."""
        logs = np.log(self.shares_)
        weights: NDArray[np.float64] = logs - logs.mean(axis=0, keepdims=True)
        return weights

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """One term per port: its share of the flows times how much a flow to it speaks for the label."""
        self.require_fit()
        weights = self._weights()
        explained = []
        for shares, label in zip(self._counts(windows), labels, strict=True):
            at = self.labels_.index(label)
            explained.append(
                [
                    Term(
                        self.services_[j],
                        "flow share",
                        float(shares[j]),
                        float(self.shares_[at, j]),
                        float(shares[j] * weights[at, j]),
                    )
                    for j in np.flatnonzero(shares)
                ]
            )
        return explained
