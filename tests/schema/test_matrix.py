"""The sparse matrix of items and services."""

from __future__ import annotations

import numpy as np
import pytest

from ethogram.errors import EthogramError
from ethogram.schema.matrix import ServiceMatrix

ROWS = [{"b": 2.0, "a": 1.0}, {}, {"c": 3.0}]


def test_rows_round_trip() -> None:
    matrix = ServiceMatrix.from_rows(ROWS)
    assert [matrix.row(i) for i in range(len(matrix))] == ROWS
    assert [matrix.take([2, 0, 0]).row(i) for i in range(3)] == [ROWS[2], ROWS[0], ROWS[0]]


def test_coordinates_may_come_in_any_order() -> None:
    items, columns = np.array([2, 0, 0]), np.array([2, 1, 0])
    matrix = ServiceMatrix.from_coordinates(items, columns, np.array([3.0, 2.0, 1.0]), ["a", "b", "c"], 3)
    assert [matrix.row(i) for i in range(3)] == ROWS
    empty = np.zeros(0, dtype=np.int64)
    assert len(ServiceMatrix.from_coordinates(empty, empty, np.zeros(0), [], 4)) == 4


def test_two_matrices_get_the_same_columns() -> None:
    left, right = ServiceMatrix.from_rows(ROWS), ServiceMatrix.from_rows([{"z": 1.0, "b": 4.0}])
    first, two = left.aligned(right)
    assert first.services == two.services == ["a", "b", "c", "z"]
    assert [first.row(i) for i in range(3)] == ROWS
    assert two.row(0) == {"b": 4.0, "z": 1.0}
    with pytest.raises(EthogramError, match="not among the new columns"):
        left.with_services(["a"])


@pytest.mark.parametrize(
    ("indptr", "indices", "weights", "services", "reason"),
    [
        ([0, 2], [0, 0], [1, 1], ["a"], "do not ascend inside"),
        ([0, 1], [1], [1], ["a"], "column without a service"),
        ([0, 1], [0], [-1], ["a"], "negative"),
        ([0, 1], [0], [np.nan], ["a"], "not finite"),
        ([0, 2], [0], [1], ["a"], "lengths"),
        ([1, 1], [0], [1], ["a"], "row pointers"),
        ([0, 1], [0], [1], ["a", "a"], "two columns"),
    ],
)
def test_broken_matrices_are_refused(
    indptr: list[int], indices: list[int], weights: list[float], services: list[str], reason: str
) -> None:
    with pytest.raises(EthogramError, match=reason):
        ServiceMatrix(
            np.array(indptr, dtype=np.int64), np.array(indices, dtype=np.int32), np.array(weights, dtype=np.float64),
            services,
        )  # fmt: skip
