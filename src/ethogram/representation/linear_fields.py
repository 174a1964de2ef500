"""A linear encoder of semantic fields: the input of the field-aware encoder, without a network.

The fields of a flow (protocol, port classes, sizes, gaps and octets of the first packets) are standardised, and the
text fragments of its payload are weighted by inverse document frequency. A truncated singular value decomposition over
unlabelled flows gives the directions, each scaled by the fourth root of its variance (half whitened). The fit is
deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import EncoderSettings
from ethogram.errors import InputError, LibraryError
from ethogram.representation.encoder import Header, Tensors, digest_of, sized
from ethogram.representation.field_columns import CLASSES, FLOW, PACKET, PACKETS, PORTS, FieldPlan, describe
from ethogram.representation.payload_length import expand_payload_prefix, payload_symbols
from ethogram.representation.views import view_of
from ethogram.schema import CustomFlows

__all__ = ["LinearFieldEncoder", "field_limit", "linear_fields", "linear_shapes", "number_columns"]

PROTOCOLS = 4  # hidden, TCP, UDP, other
BATCH = 2048

Floats = NDArray[np.float64]
Reader = Callable[[], Iterable[CustomFlows]]
"""Yields the same flows, batch by batch, each time it is called."""


def number_columns(plan: FieldPlan) -> NDArray[np.int64]:
    """Columns of :func:`~ethogram.representation.field_columns.describe` that are numeric: totals, then per packet.

    >>> from ethogram.config import FieldSettings
    >>> number_columns(FieldPlan(FieldSettings(octets=1)))[:4].tolist()
    [3, 4, 6, 7]
    """
    packets = (FLOW + k * plan.packet + j for k in range(PACKETS) for j in range(PACKET + CLASSES))
    return np.array([3, 4, *packets], np.int64)


def _plan(settings: EncoderSettings) -> FieldPlan:
    fields = settings.reads
    assert fields is not None
    return FieldPlan(fields)


def linear_shapes(settings: EncoderSettings) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight.

    >>> sum(int(np.prod(shape)) for shape in linear_shapes(EncoderSettings(kind="linear-fields")).values())
    115608
    """
    d, numbers = settings.latent, number_columns(_plan(settings)).size
    return {
        "middle": (numbers,), "scale": (numbers,), "numbers": (d, numbers), "protocol": (PROTOCOLS, d),
        "remote_port": (PORTS, d), "device_port": (PORTS, d), "text": (settings.linear.buckets, d), "bias": (d,),
    }  # fmt: skip


@dataclass(frozen=True)
class LinearFieldEncoder:
    """z = bias + numbers . clip((x - middle) scale), plus a table row for protocol, each port and each text fragment.

    Examples
    --------
    >>> settings = EncoderSettings(kind="linear-fields", d=3)
    >>> tensors = {name: np.ones(shape, np.float32) for name, shape in linear_shapes(settings).items()}
    >>> LinearFieldEncoder(Header(settings), tensors).encode(np.zeros((2, 3040), np.float32)).shape
    (2, 3)
    """

    header: Header
    tensors: Tensors

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings, float32 [N, D], of vectors [N, W]."""
        x = sized(x, self.header.view.width, "vectors")
        parts = [self._of(describe(x[i : i + BATCH], self.header.view, self._plan.settings))
                 for i in range(0, len(x), BATCH)]  # fmt: skip
        return np.concatenate(parts) if parts else np.zeros((0, self.header.d), np.float32)

    def embed(self, flows: CustomFlows, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Embeddings of custom flows (or some rows), the same as of their vectors, without making the vectors."""
        parts = [self._of(columns) for columns in _described(flows, self.header.encoder, rows)]
        return np.concatenate(parts) if parts else np.zeros((0, self.header.d), np.float32)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Always raises :class:`LibraryError`: the encoder has no decoder."""
        del z
        raise LibraryError("a linear encoder of fields has no decoder")

    @property
    def digest(self) -> str:
        """Digest of the current weights."""
        return digest_of(self.tensors)

    @cached_property
    def _plan(self) -> FieldPlan:
        return _plan(self.header.encoder)

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return number_columns(self._plan)

    def _of(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of fields [N, F]."""
        weights, kinds = self.tensors, columns[:, :3].astype(np.int64)
        limit = field_limit(self.header.encoder)
        near = np.clip((columns[:, self._numbers] - weights["middle"]) * weights["scale"], -limit, limit)
        z = near @ weights["numbers"].T + weights["bias"]
        tables = ("protocol", "remote_port", "device_port")
        z += sum(weights[table][kinds[:, i]] for i, table in enumerate(tables))
        return np.asarray(z + _pieces(columns, self._plan) @ weights["text"], np.float32)


def field_limit(settings: EncoderSettings) -> float:
    """Clipping limit of scaled numeric fields, from the limit in standard deviations."""
    return settings.linear.limit * settings.linear.numbers / float(np.sqrt(_width(settings)))


def _width(settings: EncoderSettings) -> int:
    """Number of dense columns: numeric fields, and one-hot protocol and ports."""
    return number_columns(_plan(settings)).size + PROTOCOLS + 2 * PORTS


def _described(
    flows: CustomFlows, settings: EncoderSettings, rows: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Fields [N, F] of flows, in batches."""
    view, fields = view_of(settings.view), _plan(settings).settings
    numbers = np.arange(len(flows)) if rows is None else np.asarray(rows, np.int64)
    used = payload_symbols(flows)
    for begin in range(0, len(numbers), BATCH):
        some = numbers[begin : begin + BATCH]
        yield describe(expand_payload_prefix(flows, view, some, int(used[some].max(initial=1))), view, fields)


def _pieces(columns: NDArray[np.float32], plan: FieldPlan) -> Any:
    """Text fragments of flows as a sparse 0/1 matrix [N, buckets]."""
    from scipy import sparse

    grams = columns[:, plan.grams].astype(np.int64)
    row, column = np.nonzero(grams)
    ones = np.ones(row.size, np.float32)
    return sparse.csr_array((ones, (row, grams[row, column] - 1)), shape=(len(columns), plan.settings.buckets))


# -- learning


def linear_fields(settings: EncoderSettings, read: Reader) -> LinearFieldEncoder:
    """Fit to unlabelled flows in two passes: first the variance of the fields, then the directions.

    Memory is bounded by a matrix of (354 + buckets) squared, whatever the number of flows.

    Parameters
    ----------
    settings
        View, number of directions, and fields.
    read
        Yields the same flows, batch by batch, at each of two calls. Devices are not used.

    Raises
    ------
    InputError
        When there are fewer flows or columns than directions.

    Examples
    --------
    >>> linear_fields(EncoderSettings(kind="linear-fields"), lambda: [CustomFlows.empty()])
    Traceback (most recent call last):
    ethogram.errors.InputError: 0 flows are too few for 48 directions
    """
    spread = _Spread(settings)
    for flows in read():
        for columns in _described(flows, settings):
            spread.add(columns)
    if spread.count <= settings.latent:
        raise InputError(f"{spread.count} flows are too few for {settings.latent} directions")
    learnt = _Weights.of(settings, spread)
    count, total, products = 0, np.zeros(learnt.width), np.zeros((learnt.width, learnt.width))
    for flows in read():
        for columns in _described(flows, settings):
            x = learnt.joined(columns)
            # Products of one batch in single precision, their sums in double.
            products += x.T @ x
            total += x.sum(0, dtype=np.float64)
            count += len(x)
    if count != spread.count:
        raise ValueError(f"{spread.count} flows at the first reading, {count} at the second")
    tensors = learnt.tensors(_directions(products / count, total / count, settings))
    return LinearFieldEncoder(Header(encoder=settings, weights=digest_of(tensors)), tensors)


class _Spread:
    """Running mean and variance of the dense columns, and document frequency of each text fragment."""

    def __init__(self, settings: EncoderSettings) -> None:
        self.plan, width = _plan(settings), _width(settings)
        self.count = 0
        self.mean, self.squares = np.zeros(width), np.zeros(width)
        self.have = np.zeros(settings.linear.buckets)

    def add(self, columns: NDArray[np.float32]) -> None:
        """Chan's parallel update, which avoids cancellation; a constant column keeps the variance 0."""
        x = _dense(columns, self.plan).astype(np.float64)
        n, both = len(x), self.count + len(x)
        if n:
            mean = x.mean(0)
            step = mean - self.mean
            self.squares += ((x - mean) ** 2).sum(0) + step**2 * (self.count * n / both)
            self.mean += step * (n / both)
            self.count = both
            self.have += np.asarray(_pieces(columns, self.plan).sum(0)).ravel()


def _dense(columns: NDArray[np.float32], plan: FieldPlan) -> NDArray[np.float32]:
    """Dense columns [N, width]: numeric fields, and one-hot protocol and ports."""
    kinds = np.zeros((len(columns), PROTOCOLS + 2 * PORTS), np.float32)
    at = np.arange(len(columns))
    for column, first in enumerate((0, PROTOCOLS, PROTOCOLS + PORTS)):
        kinds[at, first + columns[:, column].astype(np.int64)] = 1.0
    return np.hstack([columns[:, number_columns(plan)], kinds])


@dataclass(frozen=True)
class _Weights:
    """Scaling and weights of the fields before the decomposition."""

    plan: FieldPlan
    limit: float
    middle: Floats  # [F]
    scale: Floats  # [F]
    text: Floats  # [buckets], 0 for fragments that are not used
    kept: NDArray[np.int64]  # fragments that are used

    @classmethod
    def of(cls, settings: EncoderSettings, statistics: _Spread) -> _Weights:
        linear, deviation = settings.linear, np.sqrt(statistics.squares / statistics.count)
        wide = np.sqrt(deviation.size)
        scale = np.where(deviation > 1e-8, linear.numbers / (np.maximum(deviation, 1e-8) * wide), 0.0)
        rare = np.maximum(np.log(statistics.count / np.maximum(statistics.have + 1, 1)), 0.0)
        text = np.where(statistics.have >= linear.least, rare, 0.0) * linear.text
        return cls(statistics.plan, field_limit(settings), statistics.mean, scale, text, np.flatnonzero(text))

    @property
    def width(self) -> int:
        """Columns of :meth:`joined`."""
        return self.middle.size + self.kept.size

    def joined(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weighted fields and text fragments, [N, width]."""
        near = np.clip((_dense(columns, self.plan) - self.middle) * self.scale, -self.limit, self.limit)
        pieces = _pieces(columns, self.plan)[:, self.kept].toarray() * self.text[self.kept]
        return np.hstack([near, pieces]).astype(np.float32)

    def tensors(self, directions: Floats) -> Tensors:
        """Weights of the encoder from directions [d, width]; one-hot columns become table rows."""
        numbers = number_columns(self.plan).size
        zero, ones = (
            np.clip((value - self.middle) * self.scale, -self.limit, self.limit)[numbers:] for value in (0.0, 1.0)
        )
        kinds = directions[:, numbers : self.middle.size]
        table = (kinds * (ones - zero)).T
        text = np.zeros((self.text.size, len(directions)))
        text[self.kept] = (directions[:, self.middle.size :] * self.text[self.kept]).T
        weights = {
            "middle": self.middle[:numbers], "scale": self.scale[:numbers], "numbers": directions[:, :numbers],
            "protocol": table[:PROTOCOLS], "remote_port": table[PROTOCOLS : PROTOCOLS + PORTS],
            "device_port": table[PROTOCOLS + PORTS :], "text": text, "bias": kinds @ zero,
        }  # fmt: skip
        return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _directions(products: Floats, mean: Floats, settings: EncoderSettings) -> Floats:
    """The leading singular directions [d, width], scaled so that the first has standard deviation 1."""
    from scipy.linalg import eigh

    width, d = mean.size, settings.latent
    if d > width:
        raise InputError(f"{d} directions of {width} fields and text fragments")
    _, vectors = eigh(products, subset_by_index=[width - d, width - 1])
    directions = vectors.T[::-1]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    largest = directions[np.arange(d), np.abs(directions).argmax(1)]
    directions = directions * np.where(largest < 0, -1, 1)[:, None]
    variance = np.maximum(np.einsum("dw,wv,dv->d", directions, products, directions, optimize=True)
                          - (directions @ mean) ** 2, 0.0)  # fmt: skip
    most = max(float(variance.max()), 1e-12)
    some = variance > 1e-9 * most  # constant directions are dropped
    turn = np.where(some, np.maximum(variance / most, 1e-9) ** (-settings.linear.whiten / 2), 0.0) / np.sqrt(most)
    return np.asarray(directions * turn[:, None], np.float64)
