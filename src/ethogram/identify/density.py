"""Kernel densities per label and feature, evaluated in linear time over sorted points and values.

The kernel is a mixture of Laplace densities of one, four and sixteen bandwidths: a sharp peak with a heavy tail for
unusual days. Sums of Laplace kernels over sorted points follow a recurrence, forwards and backwards, so a value costs
two exponentials per label instead of one per point, and the result is exact.

Points are kept in *cells*, one for each feature and label with points. Equal points are stored once with their number,
and equal values are evaluated once. Memory is that of the points, and of one block of values of one feature.

Shapes: P known points, C labels, F features, M cells, Z values, n windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler

__all__ = ["CLIP", "WIDE", "Cells", "Densities", "StoredTerms", "exponential"]

COMPILER = Compiler.of(__file__)
VECTOR = COMPILER.reordered("contract", "nnan", "nsz")

WIDE = 8.0  # range of the uniform part of the background, in log units
CLIP = 3.0  # terms are clipped to this many nats, so that no single value decides
SCALES = (1.0, 4.0, 16.0)
HEIGHTS = (0.5, 0.075, 0.0125)  # weight over scale of each Laplace density; weights .5, .3, .2
LEAST, MOST = float(np.exp(-CLIP)), float(np.exp(CLIP))
TILE = 64
BLOCK = 1 << 16  # densities computed at once, over values and labels of one feature
AWAY = 1e30  # place of a missing point: its kernels are 0
COLUMNS = 8  # of the table of sums, see _carry
FAR = -40.0  # exponents are cut here: e**-40 is nothing beside the uniform background

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Points by feature and label.

    Parameters
    ----------
    labels
        C.
    pointer
        (F + 1) cells of each feature.
    label
        (M) label of each cell, ascending within a feature.
    bandwidth
        (M).
    first
        (M + 1) points of each cell.
    value, number
        (P) distinct points, ascending within a cell, and how often each occurs.
    """

    labels: int
    pointer: Ints
    label: Ints
    bandwidth: Floats
    first: Ints
    value: Floats
    number: Floats

    @property
    def features(self) -> int:
        """F."""
        return len(self.pointer) - 1

    @cached_property
    def total(self) -> Floats:
        """(M) number of points of each cell, with repetitions."""
        if not len(self.label):
            return np.zeros(0)
        return np.add.reduceat(self.number, self.first[:-1])


@dataclass(frozen=True)
class StoredTerms:
    """Terms of the values of some windows, to be weighted many times.

    Parameters
    ----------
    labels
        C.
    feature, owner
        (Z) feature and window of each value, sorted by feature.
    first
        (Z + 1) terms of each value.
    label
        (T) label of each term.
    term
        (T) float32.
    """

    labels: int
    feature: Ints
    owner: Ints
    first: Ints
    label: NDArray[np.int32]
    term: NDArray[np.float32]

    def weighted(self, weights: Floats, windows: int) -> Floats:
        """Sum of weight * term per window and label, (n, C)."""
        out = np.zeros((windows, self.labels))
        _weighted(self.feature, self.owner, self.first, self.label, self.term, weights, out)
        return out

    def slope(self, rest: Floats, features: int) -> Floats:
        """Sum of term * rest by feature, (F); rest is (n, C)."""
        out = np.zeros(features)
        _slope(self.feature, self.owner, self.first, self.label, self.term, rest, out)
        return out


class Densities:
    """Log ratio of the density of each label and that of the background.

    Parameters
    ----------
    feature, label, group, value
        (P) the known points; points of one group can be held out together.
    bandwidth
        (C, F), or (M) of the cells in order of feature and label.
    pseudo
        Pseudo-count of background points added to each label.
    labels, features
        C and F; needed if the bandwidths are those of cells.
    """

    def __init__(
        self, feature: Ints, label: Ints, group: Ints, value: Floats, bandwidth: Floats, pseudo: float,
        labels: int = 0, features: int = 0,
    ) -> None:  # fmt: skip
        if bandwidth.ndim == 2:
            labels, features = bandwidth.shape
        self.pseudo = pseudo
        self.labels, self.features = labels, features
        order = np.lexsort((value, label, feature))
        self._cell = feature[order] * labels + label[order]
        self._value, self._group = value[order], group[order]
        cells = distinct_sorted(self._cell)
        self._bandwidth = bandwidth[cells % labels, cells // labels] if bandwidth.ndim == 2 else bandwidth
        self._cells_all = cells

    @cached_property
    def cells(self) -> Cells:
        """All points."""
        return self._merge(None)

    def without(self, group: int) -> Cells:
        """The points outside a group, with the bandwidths of all."""
        return self._merge(self._group != group)

    def _merge(self, selected: NDArray[np.bool_] | None) -> Cells:
        cell = self._cell if selected is None else self._cell[selected]
        value = self._value if selected is None else self._value[selected]
        new = np.ones(len(cell), bool)
        new[1:] = (cell[1:] != cell[:-1]) | (value[1:] != value[:-1])
        start = np.flatnonzero(new)
        number = np.diff(np.append(start, len(cell))).astype(np.float64)
        cell, value = cell[start], value[start]
        cells = distinct_sorted(cell)
        first = np.append(np.searchsorted(cell, cells), len(cell)).astype(np.int64)
        bandwidth = self._bandwidth[np.searchsorted(self._cells_all, cells)]
        pointer = np.searchsorted(cells, np.arange(self.features + 1) * self.labels).astype(np.int64)
        return Cells(self.labels, pointer, cells % self.labels, bandwidth, first, value, number)

    def terms(self, indptr: Ints, features: Ints, values: Floats, held: Ints) -> NDArray[np.float32]:
        """Terms of the values, (Z, C), clipped; 0 for a label without the feature.

        Parameters
        ----------
        indptr, features, values
            Windows in sparse rows.
        held
            Group to hold out, per window; -1 for none.
        """
        out = np.zeros((len(values), self.labels), np.float32)
        held_of = np.repeat(held, np.diff(indptr))
        for group in np.unique(held_of).tolist():
            rows = np.flatnonzero(held_of == group)
            cells = self.cells if group < 0 else self.without(group)
            stored = stored_terms(cells, features[rows], values[rows], rows, self.pseudo)
            position = np.repeat(stored.owner, np.diff(stored.first))
            out[position, stored.label] = stored.term
        return out

    def left_out_terms(self, features: Ints, values: Floats, owner: Ints, group: Ints, label: Ints) -> StoredTerms:
        """Terms of enrolled values without the points of their group, of which all have the same label.

        Parameters
        ----------
        features, values, owner
            (Z) values and their windows.
        group, label
            (n) group and label of each window.
        """
        selected = np.flatnonzero(np.isin(self._group, np.unique(group)))
        feature = self._cell[selected] // self.labels
        order = np.lexsort((feature, self._group[selected]))
        key = (self._group[selected] * self.features + feature)[order]
        sorted_z = np.lexsort((values, features))
        feature, x, window = features[sorted_z], values[sorted_z], owner[sorted_z]
        asked = group[window] * self.features + feature
        begin, end = np.searchsorted(key, asked), np.searchsorted(key, asked, side="right")
        return _stored(self.cells, feature, x, window, self.pseudo, begin, end, self._value[selected][order],
                       label[window])  # fmt: skip


def distinct_sorted(values: Ints) -> Ints:
    """Distinct values of a sorted array."""
    if not len(values):
        return values
    result: Ints = values[np.append(True, values[1:] != values[:-1])]
    return result


def add_scores(
    cells: Cells, features: Ints, values: Floats, owner: Ints, weights: Floats, pseudo: float, out: Floats
) -> Floats:  # fmt: skip
    """Add weight * term of values to the windows of ``out``, (n, C); returns the background of each value, (Z).

    Parameters
    ----------
    cells
        Known points.
    features, values, owner
        (Z) values and their windows.
    weights
        (F) weight of each feature; values of features with weight 0 are skipped.
    pseudo
        As for :class:`Densities`.
    out
        (n, C), changed in place.
    """
    selected = np.flatnonzero(weights[features] != 0.0)
    order = selected[_by_feature(features[selected], values[selected], cells.features)]
    sorted_background, background = np.zeros(len(order)), np.zeros(len(values))
    _add(features[order], values[order], owner[order], cells.pointer, cells.label, cells.bandwidth, cells.first,
         cells.value, cells.number, cells.total, weights, pseudo, out, sorted_background)  # fmt: skip
    background[order] = sorted_background
    return background


def _by_feature(features: Ints, values: Floats, count: int) -> Ints:
    """Order by feature, below ``count``, and value."""
    order = np.argsort(values, kind="stable")
    # NumPy sorts numbers of 16 bits by their digits.
    small = features[order].astype(np.uint16 if count <= 1 << 16 else np.int64)
    result: Ints = order[np.argsort(small, kind="stable")]
    return result


def terms_of_labels(
    cells: Cells, features: Ints, values: Floats, labels: Ints, pseudo: float, background: Floats | None = None
) -> Floats:
    """Term of each value under one label, (Z).

    If the background of each value is given, which depends on all labels, only the points of its label are read.
    """
    out = np.zeros(len(values))
    if background is not None:
        order = np.argsort(features * cells.labels + labels, kind="stable")
        _of_label(features[order], values[order], labels[order], background[order], order, cells.pointer, cells.label,
                  cells.bandwidth, cells.first, cells.value, cells.number, cells.total, pseudo, out)  # fmt: skip
        return out
    order = np.lexsort((values, features))
    _single(features[order], values[order], labels[order], order, cells.pointer, cells.label, cells.bandwidth,
            cells.first, cells.value, cells.number, cells.total, pseudo, out)  # fmt: skip
    return out


def stored_terms(cells: Cells, features: Ints, values: Floats, owner: Ints, pseudo: float) -> StoredTerms:
    """Terms of values, for repeated use."""
    order = np.lexsort((values, features))
    none = np.zeros(len(order), np.int64)
    return _stored(cells, features[order], values[order], owner[order], pseudo, none, none, np.zeros(0), none)


def stored_size(cells: Cells, features: Ints) -> int:
    """Number of terms that :func:`stored_terms` would store."""
    return int(np.diff(cells.pointer)[features].sum())


def _stored(
    cells: Cells, feature: Ints, x: Floats, owner: Ints, pseudo: float, begin: Ints, end: Ints, held: Floats,
    label: Ints,
) -> StoredTerms:  # fmt: skip
    counts = np.diff(cells.pointer)[feature]
    first = np.append(0, np.cumsum(counts)).astype(np.int64)
    labels, terms = np.zeros(first[-1], np.int32), np.zeros(first[-1], np.float32)
    _store(feature, x, first, cells.pointer, cells.label, cells.bandwidth, cells.first, cells.value, cells.number,
           cells.total, pseudo, begin, end, held, label, labels, terms)  # fmt: skip
    return StoredTerms(cells.labels, feature, owner, first, labels, terms)


@COMPILER.inner
def _power4(e: float) -> float:
    """The fourth power: a kernel of four times the bandwidth to one of the bandwidth."""
    square = e * e
    return square * square


@COMPILER.inner
def _carry(value: Floats, number: Floats, first: Ints, bandwidth: Floats, c0: int, c1: int, table: Floats) -> None:
    """Sums of the kernels on both sides of each gap between points, for cells c0 to c1.

    A cell of m points has m + 1 gaps, each a row of ``table``: the point to the left and the point to the right, then
    for each scale the sum of the kernels of all points up to the left one, at that point (columns 2 to 4), and of all
    from the right one on, at that point (5 to 7). Beyond the outermost points, a point is far away and sums are 0.
    """
    row = 0
    for c in range(c0, c1):
        width = -1.0 / (SCALES[2] * bandwidth[c])
        begin, size = first[c], first[c + 1] - first[c]
        one = two = three = 0.0
        table[row, 0] = -AWAY
        table[row, 2] = table[row, 3] = table[row, 4] = 0.0
        for i in range(size):
            if i > 0:
                wide = np.exp((value[begin + i] - value[begin + i - 1]) * width)
                table[row + i, 5] = wide  # for the way back
                middle = _power4(wide)
                one, two, three = one * _power4(middle), two * middle, three * wide
            one, two, three = one + number[begin + i], two + number[begin + i], three + number[begin + i]
            table[row + i + 1, 0] = value[begin + i]
            table[row + i + 1, 2], table[row + i + 1, 3], table[row + i + 1, 4] = one, two, three
        one = two = three = wide = 0.0
        table[row + size, 1] = AWAY
        table[row + size, 5] = table[row + size, 6] = table[row + size, 7] = 0.0
        for i in range(size - 1, -1, -1):
            middle = _power4(wide)
            one, two, three = one * _power4(middle), two * middle, three * wide
            one, two, three = one + number[begin + i], two + number[begin + i], three + number[begin + i]
            wide = table[row + i, 5]
            table[row + i, 1] = value[begin + i]
            table[row + i, 5], table[row + i, 6], table[row + i, 7] = one, two, three
        row += size + 1


@VECTOR
def exponential(x: float) -> float:
    """Exponential of x <= 0, within 1e-10: in arithmetic alone, so that a loop becomes vector code."""
    y = max(x, FAR) * (1.0 / 1024.0)
    e = 1.0 + y * (1.0 + y * (0.5 + y * (1.0 / 6.0 + y * (1.0 / 24.0 + y * (1.0 / 120.0 + y * (1.0 / 720.0))))))
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    e = e * e
    return e * e


@VECTOR
def _clipped_logs(x: Floats) -> None:
    """Replace each x > 0 by its natural logarithm clipped to +-CLIP, within 1e-9, as vector code."""
    for q in range(len(x)):
        root = np.sqrt(np.sqrt(min(max(x[q], LEAST), MOST)))
        u = (root - 1.0) / (root + 1.0)
        v = u * u
        series = 1.0 / 11.0 + v * (1.0 / 13.0 + v * (1.0 / 15.0 + v * (1.0 / 17.0 + v * (1.0 / 19.0))))
        series = 1.0 + v * (1.0 / 3.0 + v * (1.0 / 5.0 + v * (1.0 / 7.0 + v * (1.0 / 9.0 + v * series))))
        x[q] = 8.0 * u * series


@COMPILER.inner
def _gather(x: Floats, value: Floats, table: Floats, sides: Floats) -> None:
    """Row of the table for each ascending x, as columns; distances instead of points. ``value`` are the points."""
    after = np.searchsorted(value, x[0]) if len(x) else 0
    for q in range(len(x)):
        while after < len(value) and value[after] <= x[q]:
            after += 1
        sides[0, q] = table[after, 0] - x[q]
        sides[1, q] = x[q] - table[after, 1]
        sides[2, q] = table[after, 2]
        sides[3, q] = table[after, 3]
        sides[4, q] = table[after, 4]
        sides[5, q] = table[after, 5]
        sides[6, q] = table[after, 6]
        sides[7, q] = table[after, 7]


@VECTOR
def _mix(sides: Floats, width: float, factor: float, density: Floats) -> None:
    """Kernels of three scales on both sides, times a factor."""
    to_left, to_right = sides[0], sides[1]
    left_narrow, left_middle, left_wide = sides[2], sides[3], sides[4]
    right_narrow, right_middle, right_wide = sides[5], sides[6], sides[7]
    for q in range(len(density)):
        wide = exponential(to_left[q] * width)
        middle = (wide * wide) * (wide * wide)
        narrow = (middle * middle) * (middle * middle)
        left = HEIGHTS[0] * left_narrow[q] * narrow + HEIGHTS[1] * left_middle[q] * middle
        left += HEIGHTS[2] * left_wide[q] * wide
        wide = exponential(to_right[q] * width)
        middle = (wide * wide) * (wide * wide)
        narrow = (middle * middle) * (middle * middle)
        right = HEIGHTS[0] * right_narrow[q] * narrow + HEIGHTS[1] * right_middle[q] * middle
        right += HEIGHTS[2] * right_wide[q] * wide
        density[q] = (left + right) * factor


@COMPILER.inner
def _side(narrow: float, middle: float, wide: float, e: float) -> float:
    """Kernels of three scales on one side; e is the exponential of the widest."""
    e4 = _power4(e)
    return HEIGHTS[0] * narrow * _power4(e4) + HEIGHTS[1] * middle * e4 + HEIGHTS[2] * wide * e


@VECTOR
def _add_part(density: Floats, part: float, background: Floats) -> None:
    for q in range(len(background)):
        background[q] += density[q] * part


@VECTOR
def _ratio(density: Floats, inverse: Floats, number: float, pseudo: float) -> None:
    """Replace densities by densities with pseudo-points of the background, over the background."""
    scale = 1.0 / (number + pseudo)
    for q in range(len(inverse)):
        density[q] = (density[q] * inverse[q] + pseudo) * scale


@COMPILER.inner
def _evaluate(
    x: Floats, value: Floats, first: Ints, bandwidth: Floats, total: Floats, c0: int, c1: int, table: Floats,
    density: Floats, background: Floats, sides: Floats,
) -> None:  # fmt: skip
    """Density of the cells c0 to c1 times their number of points, and the background, at ascending x.

    ``density`` is (cells, >= len(x)), ``background`` (>= len(x)) and the scratch ``sides`` (COLUMNS, >= len(x)).
    """
    count = len(x)
    background[:count] = 1.0 / WIDE
    for c in range(c0, c1):
        begin, end = first[c], first[c + 1]
        row = begin - first[c0] + c - c0
        _gather(x, value[begin:end], table[row : row + end - begin + 1], sides)
        _mix(sides, 1.0 / (SCALES[2] * bandwidth[c]), 0.5 / bandwidth[c], density[c - c0, :count])
        _add_part(density[c - c0, :count], 1.0 / total[c], background[:count])
    background[:count] /= c1 - c0 + 1.0


@COMPILER.inner
def _term(density: float, number: float, background: float, pseudo: float) -> float:
    term = np.log((density + pseudo * background) / ((number + pseudo) * background))
    return float(min(max(term, -CLIP), CLIP))


@COMPILER.inner
def _transpose(density: Floats, label: Ints, count: int, weight: float, out: Floats) -> None:
    """Write weight * density[c, q] to out[q, label[c]], in tiles that stay in the cache."""
    for begin in range(0, count, TILE):
        for c in range(len(label)):
            column = label[c]
            for q in range(begin, min(begin + TILE, count)):
                out[q, column] = weight * density[c, q]


@VECTOR
def _add_row(row: Floats, out: Floats) -> None:
    for c in range(len(out)):
        out[c] += row[c]


@COMPILER.inner
def _feature_end(feature: Ints, z: int) -> int:
    end = z
    while end < len(feature) and feature[end] == feature[z]:
        end += 1
    return end


@COMPILER.inner
def _take_distinct(x: Floats, z: int, end: int, most: int, distinct: Floats, of: Ints) -> tuple[int, int]:
    """Take at most ``most`` distinct values from the sorted x[z:end]; returns their number, and where to go on."""
    count = 0
    at = z
    while at < end:
        if count == 0 or x[at] != distinct[count - 1]:
            if count == most:
                break
            distinct[count] = x[at]
            count += 1
        of[at - z] = count - 1
        at += 1
    return count, at


@COMPILER.checked
def _add(
    feature: Ints, x: Floats, owner: Ints, pointer: Ints, label: Ints, bandwidth: Floats, first: Ints, value: Floats,
    number: Floats, total: Floats, weights: Floats, pseudo: float, out: Floats, grounds: Floats,
) -> None:  # fmt: skip
    most = max(1, BLOCK // max(out.shape[1], 1))
    distinct, background, inverse = np.empty(most), np.empty(most), np.empty(most)
    sides = np.empty((COLUMNS, most))
    density, terms = np.empty((out.shape[1], most)), np.zeros((most, out.shape[1]))
    of = np.empty(len(x), np.int64)
    largest, z = 0, 0
    for f in range(len(pointer) - 1):
        largest = max(largest, first[pointer[f + 1]] - first[pointer[f]] + pointer[f + 1] - pointer[f])
    table = np.empty((largest, COLUMNS))
    while z < len(x):
        end = _feature_end(feature, z)
        c0, c1 = pointer[feature[z]], pointer[feature[z] + 1]
        if c0 == c1:
            z = end
            continue
        _carry(value, number, first, bandwidth, c0, c1, table)
        cells = c1 - c0
        while z < end:
            count, after = _take_distinct(x, z, end, most, distinct, of)
            _evaluate(distinct[:count], value, first, bandwidth, total, c0, c1, table, density, background, sides)
            inverse[:count] = 1.0 / background[:count]
            for c in range(cells):
                _ratio(density[c, :count], inverse[:count], total[c0 + c], pseudo)
                _clipped_logs(density[c, :count])
            if cells < out.shape[1]:
                terms[:count] = 0.0
            _transpose(density, label[c0:c1], count, weights[feature[z]], terms)
            for at in range(z, after):
                _add_row(terms[of[at - z]], out[owner[at]])
                grounds[at] = background[of[at - z]]
            z = after


@COMPILER.checked
def _single(
    feature: Ints, x: Floats, wanted: Ints, place: Ints, pointer: Ints, label: Ints, bandwidth: Floats, first: Ints,
    value: Floats, number: Floats, total: Floats, pseudo: float, out: Floats,
) -> None:  # fmt: skip
    z = 0
    while z < len(x):
        end = _feature_end(feature, z)
        c0, c1 = pointer[feature[z]], pointer[feature[z] + 1]
        if c0 == c1:
            z = end
            continue
        cells = c1 - c0
        table = np.empty((first[c1] - first[c0] + cells, COLUMNS))
        _carry(value, number, first, bandwidth, c0, c1, table)
        most = max(1, min(BLOCK // cells, end - z))
        distinct, of = np.empty(most), np.empty(end - z, np.int64)
        density, background = np.empty((cells, most)), np.empty(most)
        sides = np.empty((COLUMNS, most))
        while z < end:
            count, after = _take_distinct(x, z, end, most, distinct, of)
            _evaluate(distinct[:count], value, first, bandwidth, total, c0, c1, table, density, background, sides)
            for at in range(z, after):
                c = c0 + np.searchsorted(label[c0:c1], wanted[at])
                if c < c1 and label[c] == wanted[at]:
                    q = of[at - z]
                    out[place[at]] = _term(density[c - c0, q], total[c], background[q], pseudo)
            z = after


@COMPILER.checked
def _of_label(
    feature: Ints, x: Floats, wanted: Ints, ground: Floats, place: Ints, pointer: Ints, label: Ints, bandwidth: Floats,
    first: Ints, value: Floats, number: Floats, total: Floats, pseudo: float, out: Floats,
) -> None:  # fmt: skip
    """As :func:`_single`, with the background of each value given; values are sorted by feature and label."""
    largest = 0
    for c in range(len(label)):
        largest = max(largest, first[c + 1] - first[c])
    table = np.empty((largest + 1, COLUMNS))
    z = 0
    while z < len(x):
        end = z
        while end < len(x) and feature[end] == feature[z] and wanted[end] == wanted[z]:
            end += 1
        c0, c1 = pointer[feature[z]], pointer[feature[z] + 1]
        c = c0 + np.searchsorted(label[c0:c1], wanted[z])
        if c == c1 or label[c] != wanted[z]:
            z = end
            continue
        _carry(value, number, first, bandwidth, c, c + 1, table)
        points, width = value[first[c] : first[c + 1]], 1.0 / (SCALES[2] * bandwidth[c])
        for at in range(z, end):
            row = np.searchsorted(points, x[at], side="right")
            left, right = exponential((table[row, 0] - x[at]) * width), exponential((x[at] - table[row, 1]) * width)
            density = _side(table[row, 2], table[row, 3], table[row, 4], left)
            density += _side(table[row, 5], table[row, 6], table[row, 7], right)
            out[place[at]] = _term(density * 0.5 / bandwidth[c], total[c], ground[at], pseudo)
        z = end


@COMPILER.checked
def _store(
    feature: Ints, x: Floats, offset: Ints, pointer: Ints, label: Ints, bandwidth: Floats, first: Ints, value: Floats,
    number: Floats, total: Floats, pseudo: float, begin: Ints, until: Ints, held: Floats, held_label: Ints,
    labels: NDArray[np.int32], terms: NDArray[np.float32],
) -> None:  # fmt: skip
    z = 0
    while z < len(x):
        end = _feature_end(feature, z)
        c0, c1 = pointer[feature[z]], pointer[feature[z] + 1]
        if c0 == c1:
            z = end
            continue
        cells = c1 - c0
        table = np.empty((first[c1] - first[c0] + cells, COLUMNS))
        _carry(value, number, first, bandwidth, c0, c1, table)
        most = max(1, min(BLOCK // cells, end - z))
        distinct, of = np.empty(most), np.empty(end - z, np.int64)
        density, background = np.empty((cells, most)), np.empty(most)
        sides = np.empty((COLUMNS, most))
        while z < end:
            count, after = _take_distinct(x, z, end, most, distinct, of)
            _evaluate(distinct[:count], value, first, bandwidth, total, c0, c1, table, density, background, sides)
            for at in range(z, after):
                q = of[at - z]
                ground = background[q]
                own, own_density, own_number = -1, 0.0, 0.0
                if until[at] > begin[at]:
                    own = np.searchsorted(label[c0:c1], held_label[at])
                    kernel = 0.0
                    for p in range(begin[at], until[at]):
                        e = np.exp(-abs(x[at] - held[p]) / (SCALES[2] * bandwidth[c0 + own]))
                        middle = _power4(e)
                        kernel += HEIGHTS[0] * _power4(middle) + HEIGHTS[1] * middle + HEIGHTS[2] * e
                    own_number = total[c0 + own] - (until[at] - begin[at])
                    own_density = max(density[own, q] - kernel / (2.0 * bandwidth[c0 + own]), 0.0)
                    have = cells + 1.0
                    ground = ground * have - density[own, q] / total[c0 + own]
                    if own_number > 0:
                        ground += own_density / own_number
                    else:
                        have -= 1.0
                    ground /= have
                for c in range(cells):
                    labels[offset[at] + c] = label[c0 + c]
                    if c != own:
                        terms[offset[at] + c] = _term(density[c, q], total[c0 + c], ground, pseudo)
                    elif own_number > 0:
                        terms[offset[at] + c] = _term(own_density, own_number, ground, pseudo)
            z = after


@COMPILER.checked
def _weighted(
    feature: Ints, owner: Ints, first: Ints, label: NDArray[np.int32], term: NDArray[np.float32], weights: Floats,
    out: Floats,
) -> None:  # fmt: skip
    for z in range(len(feature)):
        w = weights[feature[z]]
        if w != 0.0:
            row = owner[z]
            for t in range(first[z], first[z + 1]):
                out[row, label[t]] += w * term[t]


@COMPILER.checked
def _slope(
    feature: Ints, owner: Ints, first: Ints, label: NDArray[np.int32], term: NDArray[np.float32], rest: Floats,
    out: Floats,
) -> None:  # fmt: skip
    for z in range(len(feature)):
        row = owner[z]
        total = 0.0
        for t in range(first[z], first[z + 1]):
            total += term[t] * rest[row, label[t]]
        out[feature[z]] += total
