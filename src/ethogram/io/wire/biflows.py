"""Convert records of any template to biflows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import AddressText
from ethogram.config import WireSettings
from ethogram.io.wire.assemble import RAW, Piece, assembled
from ethogram.io.wire.columns import Counts, counts_of, extra_columns, flags_of, names_of
from ethogram.io.wire.cumulative_counters import CumulativeCounters
from ethogram.io.wire.endpoints import Endpoints, endpoints_of
from ethogram.io.wire.options import ExporterMetadata, origin_of
from ethogram.io.wire.plan import Plan
from ethogram.io.wire.record_times import Times
from ethogram.io.wire.records import Records
from ethogram.io.wire.sampling import Rate, rate_of, scaled
from ethogram.io.wire.template import Field, Template
from ethogram.schema import BIFLOW, Accounting

__all__ = ["Biflows"]

MAX_PLANS = 1 << 10
IMPLAUSIBLE = np.uint64(1 << 56)
"""Implausible octet or packet count: at 400 Gbit/s, this takes 16 days.

Exporters write all ones or a negative number for *unknown*.
"""
FIREWALL_REASONS = {1: "firewall event: flow created", 3: "firewall event: flow denied"}


@lru_cache(maxsize=MAX_PLANS)
def plan_of(version: int, fields: tuple[Field, ...]) -> Plan:
    """The plan for templates with these fields, shared by all exporters."""
    return Plan(Template(version, 0, 0, fields))


class Biflows:
    """Converts records to biflows.

    Parameters
    ----------
    settings
        Whether to scale sampled counters.
    metadata
        Metadata from options records. Options records passed to this object are added to it.

    Attributes
    ----------
    accounting
        Over data records.

    Notes
    -----
    Cumulative counters of flows that are reported repeatedly count by their increase. A record without octets and
    packets is not a flow: a firewall's *created* and *denied* events, a NAT event. *Deleted* and *updated* events are
    flows, and so is a *created* event with packets.

    References
    ----------
    RFC 7011, RFC 7012, RFC 5103.
    """

    def __init__(self, settings: WireSettings | None = None, metadata: ExporterMetadata | None = None) -> None:
        self._settings = settings or WireSettings()
        self.metadata = metadata or ExporterMetadata()
        self.accounting = Accounting("records")
        self._text = AddressText()
        self._totals = CumulativeCounters()

    def batch(self, record_groups: Sequence[Records]) -> pl.DataFrame:
        """Convert all records of a batch of messages. Options are learned before flows are scaled.

        Parameters
        ----------
        record_groups
            Records from the decoder.

        Returns
        -------
        The biflow table (:data:`ethogram.schema.BIFLOW`), grouped by template.
        """
        pieces: list[Piece | None] = []
        begin = 0
        while begin < len(record_groups):
            end = begin + 1
            while end < len(record_groups) and record_groups[end].headers is record_groups[begin].headers:
                end += 1
            self.metadata.begin(record_groups[begin].headers)
            for records in record_groups[begin:end]:
                if records.template.options:
                    self.metadata.learn(records)
            pieces += [self._piece(records) for records in record_groups[begin:end] if not records.template.options]
            begin = end
        return self._table(pieces)

    def of(self, records: Records) -> pl.DataFrame:
        """Convert the records of one template; options records are learned and give no biflows.

        Parameters
        ----------
        records
            N records.

        Returns
        -------
        At most N rows of :data:`ethogram.schema.BIFLOW`.
        """
        return self.batch([records])

    def _table(self, pieces: list[Piece | None]) -> pl.DataFrame:
        flows = [piece for piece in pieces if piece is not None and len(piece)]
        self.accounting.used += sum(map(len, flows))
        return assembled(flows, self._text) if flows else BIFLOW.empty()

    def _piece(self, records: Records) -> Piece | None:
        """Columns of the records that are flows."""
        self.accounting.read += len(records)
        if not len(records):
            return None
        plan = plan_of(records.template.version, records.template.fields)
        if plan.ignored is not None:
            if not plan.pairs:
                self.metadata.learn(records)
            self.accounting.ignore(plan.ignored, len(records))
            return None
        ends = endpoints_of(plan, records)
        counts = counts_of(plan, records)
        times = plan.times.times(records, self.metadata.system_init_us(origin_of(records)))
        start = times.start
        if plan.totals:
            counts, start = self._since(plan, records, ends, counts, times)
        rows = self._flow_rows(plan, records, ends, counts)
        if rows is not None and not rows.size:
            return None
        for reason, number in times.corrected.items():
            self.accounting.correct(reason, number)
        piece = Piece(ends, {"start": start, "end": times.end}, plan.one_way)
        self._scale(piece, records, counts)
        piece.numbers |= flags_of(plan, records, ends.level)
        piece.numbers |= extra_columns(plan, records)
        piece.texts = names_of(plan, records, ends)
        return piece if rows is None else piece.of(rows)

    def _since(
        self, plan: Plan, records: Records, ends: Endpoints, counts: Counts, times: Times
    ) -> tuple[Counts, NDArray[np.int64]]:
        """Replace cumulative counters by their increase since the previous record."""
        origin = np.full(len(records), hash(origin_of(records)) & 0xFFFF_FFFF_FFFF_FFFF, np.uint64)
        sides = (ends.source, ends.destination)
        ports = ends.source_port.astype(np.uint64) << np.uint64(16) | ends.destination_port
        key = [origin, ports, ends.protocol, times.start, *(half for side in sides for half in (side.high, side.low))]
        key += [records.unsigned(place) for place in plan.flow_id]
        known = self._totals.again
        increase = self._totals.since(key, counts, times.start, times.end)
        self.accounting.correct("total reduced to the change since the previous record", self._totals.again - known)
        return increase

    def _scale(self, piece: Piece, records: Records, counts: Counts) -> None:
        """Scale counters by the sampling rate, and keep the exported values if they differ."""
        rate: Rate = 1.0
        if self._settings.scale_sampling:
            rate, corrected = rate_of(records, self.metadata)
            for reason, number in corrected.items():
                self.accounting.correct(reason, number)
        if isinstance(rate, float) and rate == 1:
            piece.numbers |= counts
            return
        piece.scaled = np.full(len(records), rate != 1) if isinstance(rate, float) else rate != 1
        for name, raw in RAW.items():
            values = counts.get(name)
            if values is None:
                values = np.zeros(len(records), np.uint64)
            piece.numbers[raw] = values
            piece.numbers[name] = scaled(values, rate)

    def _flow_rows(self, plan: Plan, records: Records, ends: Endpoints, counts: Counts) -> NDArray[np.int64] | None:
        """Rows that are flows; None if all are."""
        absurd = np.zeros(len(records), bool)
        for values in counts.values():
            if values.size and values.max() >= IMPLAUSIBLE:
                absurd |= values >= IMPLAUSIBLE
        nothing = (counts["octets"] == 0) & ~absurd
        if nothing.any():
            for name in ("packets", "reverse_octets", "reverse_packets"):
                if name in counts:
                    nothing &= counts[name] == 0
        nowhere = ends.source.zero() & ends.destination.zero()
        if not nothing.any() and not nowhere.any() and not absurd.any():
            return None
        self.accounting.drop("implausible counters", int(absurd.sum()))
        nowhere &= ~absurd
        self.accounting.ignore("no address", int(nowhere.sum()))
        nothing &= ~nowhere
        for place in plan.firewall[:1]:
            event = records.unsigned(place)
            for value, reason in FIREWALL_REASONS.items():
                rows = nothing & (event == value)
                self.accounting.ignore(reason, int(rows.sum()))
                nowhere |= rows
                nothing &= ~rows
        reason = f"{'NAT event' if plan.nat_event else 'record'} without octets and packets"
        if plan.totals:
            reason = "total without change"
        self.accounting.ignore(reason, int(nothing.sum()))
        return np.flatnonzero(~(nowhere | nothing | absurd))
