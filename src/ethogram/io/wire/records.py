"""Records of one template as columns, decoded on access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._arrays import read_only
from ethogram.io.wire.gather import locate_fixed, locate_variable, read_halves, read_unsigned, read_unsigned_spans
from ethogram.io.wire.template import VARIABLE, Template
from ethogram.io.wire.walk import V9
from ethogram.schema import Exporter

__all__ = ["Records"]


class Records:
    """N records of one template, in message order.

    Columns are accessed by the index of a field in ``template.fields``; each is decoded once and cached.

    Parameters
    ----------
    template
        Their template.
    exporter
        Sender of the template; records can come from other ports of the same address.
    exporters
        Exporters indexed by ``headers["exporter"]``.
    data
        Octets that contain the sets.
    headers
        Messages, a structured array of :data:`~ethogram.io.wire.walk.HEADER`: version, domain, sequence,
        export_time_s, residual_ns, uptime_ms, arrival_ns, exporter, sampling.
    message, offset, octets
        For each of S sets: its row in ``headers``, and the position of its body in ``data``.

    Attributes
    ----------
    set_message, set_octets, set_records
        For each set: its row in ``headers``, its octets and its number of records.
    broken
        Sets whose rest is not a record: a variable-length field extends beyond the set.
    """

    def __init__(
        self,
        template: Template,
        exporter: Exporter,
        exporters: Sequence[Exporter],
        data: NDArray[np.uint8],
        headers: NDArray[np.void],
        message: NDArray[np.int32],
        offset: NDArray[np.int64],
        octets: NDArray[np.int32],
    ) -> None:
        self.template = template
        self.exporter = exporter
        self.exporters = exporters
        self.data = read_only(data)
        self.headers = headers
        self.broken = 0
        self.set_octets = octets
        self.set_message = message
        self._kept: dict[tuple[str, int], Any] = {}
        self._whole: Records | None = None  # the records of which this is a part
        self._slice = slice(None)
        if template.variable:
            self._locate(offset, octets)
        else:
            self.set_records = np.asarray(octets // template.shortest, np.int64)
            self._offset = offset
        self._rows = int(self.set_records.sum())

    def _locate(self, offset: NDArray[np.int64], octets: NDArray[np.int32]) -> None:
        most = int((octets // self.template.shortest).sum())
        fields = len(self.template.variable)
        starts = np.empty(most, np.int64)
        at, length = np.empty((fields, most), np.int64), np.empty((fields, most), np.int32)
        self.set_records = np.zeros(offset.shape[0], np.int64)
        rows, self.broken = locate_variable(
            self.data, offset, octets, self.template.runs, self.set_records, starts, at, length
        )
        self._kept["starts", 0] = starts[:rows]
        self._at, self._length = at[:, :rows], length[:, :rows]

    def parts(
        self, templates: Sequence[Template], exporters: Sequence[Exporter], bounds: NDArray[np.int64]
    ) -> Iterator[Records]:
        """Split records of several templates with the same fields that were decoded together.

        Parameters
        ----------
        templates, exporters
            For each part.
        bounds
            First set of each part, and the number of sets.
        """
        rows = np.concatenate([[0], np.cumsum(self.set_records)])[bounds].tolist()
        for i, (template, exporter) in enumerate(zip(templates, exporters, strict=True)):
            part = copy(self)
            part.template, part.exporter, part.broken = template, exporter, 0
            sets = slice(int(bounds[i]), int(bounds[i + 1]))
            part.set_message, part.set_octets = self.set_message[sets], self.set_octets[sets]
            part.set_records = self.set_records[sets]
            part._whole, part._slice, part._rows = self, slice(rows[i], rows[i + 1]), rows[i + 1] - rows[i]
            yield part

    def __len__(self) -> int:
        return self._rows

    @property
    def starts(self) -> NDArray[np.int64]:
        """Start of each record in ``data``."""
        if self._whole is not None:
            return self._whole.starts[self._slice]
        if ("starts", 0) not in self._kept:
            starts = np.empty(self._rows, np.int64)
            locate_fixed(self._offset, self.set_records, self.template.shortest, starts)
            self._kept["starts", 0] = starts
        return self._kept["starts", 0]  # type: ignore[no-any-return]

    @cached_property
    def message(self) -> NDArray[np.int32]:
        """Row of ``headers`` of each record."""
        if self._whole is not None:
            return self._whole.message[self._slice]
        return np.repeat(self.set_message, self.set_records)

    def has(self, enterprise: int, id: int, reverse: bool = False) -> int | None:  # noqa: A002 (the field's word)
        """Index of the first field of an element; None if the template has none."""
        whole = self if self._whole is None else self._whole
        return whole._index.get((enterprise, id, reverse))

    @cached_property
    def _index(self) -> dict[tuple[int, int, bool], int]:
        """First field of each element, cached here because templates live longer."""
        index: dict[tuple[int, int, bool], int] = {}
        for i, field in enumerate(self.template.fields):
            if not (field.scope and self.template.version == V9):  # scope types of v9 are not elements
                index.setdefault((field.enterprise, field.id, field.reverse), i)
        return index

    def _place(self, i: int) -> tuple[NDArray[np.int64], int]:
        """Base position and distance of field ``i`` (for variable-length fields, of the content)."""
        if self.template.fields[i].length == VARIABLE:
            return self._at[self.template.variable.index(i)], 0
        passed, distance = self.template.places[i].tolist()
        if not passed:
            return self.starts, distance
        key = ("ends", passed)
        if key not in self._kept:
            self._kept[key] = self._at[passed - 1] + self._length[passed - 1]
        return self._kept[key], distance

    def spans(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Offset in ``data`` and length in octets of a field in each record; int64[N], int32[N]."""
        if self._whole is not None:
            offset, octets = self._whole.spans(i)
            return offset[self._slice], octets[self._slice]
        base, distance = self._place(i)
        length = self.template.fields[i].length
        if length == VARIABLE:
            return base, self._length[self.template.variable.index(i)]
        return base + distance, np.full(self._rows, length, np.int32)

    def unsigned(self, i: int) -> NDArray[np.uint64]:
        """A field as unsigned numbers of any length (RFC 7011 section 6.2); the last 8 octets of longer ones."""
        if self._whole is not None:
            return self._whole.unsigned(i)[self._slice]
        key = ("unsigned", i)
        if key not in self._kept:
            values = np.empty(self._rows, np.uint64)
            base, distance = self._place(i)
            length = self.template.fields[i].length
            if length == VARIABLE:
                read_unsigned_spans(self.data, base, self.spans(i)[1], values)
            else:
                read_unsigned(self.data, base, distance, length, values)
            self._kept[key] = values
        return self._kept[key]  # type: ignore[no-any-return]

    def signed(self, i: int) -> NDArray[np.int64]:
        """A field as signed numbers; shorter ones are sign-extended."""
        if self._whole is not None:
            return self._whole.signed(i)[self._slice]
        key = ("signed", i)
        if key not in self._kept:
            values = self.unsigned(i).view(np.int64)
            length = self.template.fields[i].length
            octets: NDArray[np.int64] | int = self.spans(i)[1].astype(np.int64) if length == VARIABLE else length
            unused = 64 - 8 * np.clip(octets, 1, 8)
            self._kept[key] = (values << unused) >> unused
        return self._kept[key]  # type: ignore[no-any-return]

    def real(self, i: int) -> NDArray[np.float64]:
        """A field as floating-point numbers of 4 or 8 octets (IEEE 754); NaN for other lengths."""
        if self._whole is not None:
            return self._whole.real(i)[self._slice]
        key = ("real", i)
        if key not in self._kept:
            values = self.unsigned(i)
            length = self.template.fields[i].length
            short = values.astype(np.uint32).view(np.float32)
            with np.errstate(invalid="ignore"):
                octets = self.spans(i)[1] if length == VARIABLE else np.int32(length)
                self._kept[key] = np.select(
                    [np.broadcast_to(octets == 4, self._rows), np.broadcast_to(octets == 8, self._rows)],
                    [short.astype(np.float64), values.view(np.float64)],
                    np.nan,
                )
        return self._kept[key]  # type: ignore[no-any-return]

    def address(self, i: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """A field of up to 16 octets as two halves, high and low; uint64[N] each. IPv4 is in the low half."""
        if self._whole is not None:
            high, low = self._whole.address(i)
            return high[self._slice], low[self._slice]
        key = ("address", i)
        if key not in self._kept:
            length = self.template.fields[i].length
            if length <= 8:
                self._kept[key] = np.zeros(self._rows, np.uint64), self.unsigned(i)
            else:
                high, low = np.empty(self._rows, np.uint64), np.empty(self._rows, np.uint64)
                base, distance = self._place(i)
                lengths = self.spans(i)[1] if length == VARIABLE else np.array([length], np.int32)
                read_halves(self.data, base, distance, lengths, high, low)
                self._kept[key] = high, low
        return self._kept[key]  # type: ignore[no-any-return]
