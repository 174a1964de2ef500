"""Biflow columns that are read directly from the fields chosen by a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.io.wire.endpoints import Endpoints
from ethogram.io.wire.plan import Plan
from ethogram.io.wire.records import Records
from ethogram.io.wire.text_fields import host_names
from ethogram.schema import END_REASONS

__all__ = ["Counts", "Numbers", "counts_of", "extra_columns", "flags_of", "names_of"]

Counts = dict[str, NDArray[np.uint64]]
Numbers = dict[str, NDArray[np.generic]]


def first_of(records: Records, places: Sequence[int]) -> NDArray[np.uint64] | None:
    """The first non-zero value of these fields in each record; None if there are no such fields."""
    values: NDArray[np.uint64] | None = None
    for place in places:
        if values is None:
            values = records.unsigned(place)
        elif not values.all():
            values = np.where(values == 0, records.unsigned(place), values)
    return values


def counts_of(plan: Plan, records: Records) -> Counts:
    """Exported counters of each direction; counters missing from the template are omitted, except octets."""
    fields = {
        "octets": plan.octets, "packets": plan.packets,
        "reverse_octets": plan.reverse_octets, "reverse_packets": plan.reverse_packets,
    }  # fmt: skip
    counts = {name: records.unsigned(place) for name, place in fields.items() if place is not None}
    if plan.initiator is not None:
        names = ("octets", "reverse_octets", "packets", "reverse_packets")
        both = {name: records.unsigned(p) for name, p in zip(names, plan.initiator, strict=True) if p is not None}
        empty = (both["octets"] == 0) & (both["reverse_octets"] == 0)
        if counts and empty.any():
            none = np.zeros(len(records), np.uint64)
            both = {
                name: np.where(empty, counts.get(name, none), both.get(name, none))
                for name in dict.fromkeys((*both, *counts))
            }
        counts = both
    counts.setdefault("octets", np.zeros(len(records), np.uint64))
    return counts


def flags_of(plan: Plan, records: Records, level: NDArray[np.int64] | None) -> Numbers:
    """TCP flags. 0 means unknown: only probe packets have no flags, and other protocols have none."""
    columns: Numbers = {}
    for side, prefix in enumerate(("", "reverse_")):
        initial, union = first_of(records, plan.initial_flags[side]), first_of(records, plan.flags[side])
        if level is not None and union is not None and not side:
            for depth, place in enumerate(plan.inner_flags):
                if depth:
                    union = np.where(level == depth, records.unsigned(place), union)
        rest = first_of(records, plan.union_flags[side])
        if union is None and rest is not None:
            union = rest if initial is None else rest | initial
        for name, values in (("initial", initial), ("union", union)):
            if values is not None:
                columns[f"{prefix}{name}_tcp_flags"] = values.astype(np.uint8)
    return columns


def extra_columns(plan: Plan, records: Records) -> Numbers:
    """Columns that only some exporters provide."""
    columns: Numbers = {}
    for name, places in (("source_mac", plan.macs[0]), ("destination_mac", plan.macs[1])):
        mac = first_of(records, places)
        if mac is not None:
            columns[name] = mac & np.uint64((1 << 48) - 1)
    vlan = first_of(records, plan.vlan)
    if vlan is not None:
        columns["vlan"] = (vlan & np.uint64(0xFFF)).astype(np.uint16)
    reason = first_of(records, plan.end_reason)
    if reason is not None:
        columns["end_reason"] = np.where(reason <= max(END_REASONS), reason, 0).astype(np.uint8)
    direction = first_of(records, plan.direction)
    if direction is not None:
        columns["direction"] = np.where(direction <= 1, direction, 255).astype(np.uint8)
    if plan.biflow_direction:
        columns["_biflow_direction"] = records.unsigned(plan.biflow_direction[0]).astype(np.uint8)
    return columns


def names_of(plan: Plan, records: Records, ends: Endpoints) -> dict[str, pl.Series]:
    """Server names: of the destination, or in one-way records of the endpoint with the smaller port."""
    name: pl.Series | None = None
    for place in plan.names:
        other = host_names(records, place)
        name = other if name is None else name.zip_with(name.is_not_null(), other)
    if name is None or name.null_count() == len(name):
        return {}
    if not plan.one_way:
        return {"destination_name": name}
    answer = pl.Series(ends.source_port < ends.destination_port)
    return {"source_name": name.set(~answer, None), "destination_name": name.set(answer, None)}
