"""The sampling rate that applies to each record: observed packets per counted packet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.options import ExporterMetadata, origin_of
from ethogram.io.wire.rates import SAMPLER_IDS, Sampling, interface, rates_of
from ethogram.io.wire.records import Records
from ethogram.io.wire.walk import V5

__all__ = ["HEADER_INTERVAL", "rate_of", "scaled"]

UNKNOWN, ELSEWHERE = "sampler rate unknown, not scaled", "sampler rate from another observation domain"

HEADER_INTERVAL = 0x3FFF  # of the NetFlow v5 header field; the two higher bits are the mode
INGRESS, EGRESS, DIRECTION = 10, 14, 61
MOST = np.uint64((1 << 63) - 1)

Rate = NDArray[np.float64] | float


def rate_of(records: Records, metadata: ExporterMetadata) -> tuple[Rate, dict[str, int]]:
    """Sampling rate of each record.

    Parameters
    ----------
    records
        N records.
    metadata
        Metadata from the options of their exporter.

    Returns
    -------
    rate, corrected
        One number for all, or float64[N]; 1 without sampling. And, by reason, the number of records whose sampler has
        no stated rate, or only one from another observation domain of the exporter.
    """
    if records.template.version == V5:
        return _single(
            np.maximum(records.headers["sampling"] & HEADER_INTERVAL, 1).astype(np.float64)[records.message]
        ), {}
    stated = rates_of(records)
    if stated is not None and (stated > 0).all():
        return _single(stated), {}
    rate, corrected = _from_options(records, metadata)
    if stated is not None and stated.any():
        rate = np.where(stated > 0, stated, rate)
    return _single(rate), corrected


def _from_options(records: Records, metadata: ExporterMetadata) -> tuple[Rate, dict[str, int]]:
    """Rates from options: the rate of the record's sampler that applied when its message arrived."""
    origin = origin_of(records)
    sampling = metadata.sampling(origin)
    index = next((i for i in (records.has(0, number) for number in SAMPLER_IDS) if i is not None), None)
    if index is None:
        return 1.0 if sampling is None else _without_sampler(records, sampling), {}
    rate, corrected = np.ones(len(records)), {UNKNOWN: 0, ELSEWHERE: 0}
    for sampler, rows in _distinct(records.unsigned(index)):
        message = records.message[rows]
        stated = None if sampling is None else sampling.of(sampler)
        if stated is None and sampler:  # 0 means no sampler
            stated = metadata.rate_elsewhere(origin, sampler)
            corrected[UNKNOWN if stated is None else ELSEWHERE] += message.size
        if stated is not None:
            rate[rows] = _in_force(message, stated)
    return rate, corrected


def _without_sampler(records: Records, sampling: Sampling) -> Rate:
    """Records without a sampler: the rate of the flow's interface, or the rate stated for all."""
    stated = sampling.of(None)
    rate: Rate = 1.0 if stated is None else _in_force(records.message, stated)
    place, out, direction = records.has(0, INGRESS), records.has(0, EGRESS), records.has(0, DIRECTION)
    if place is None or not sampling.by_interface:
        return rate
    seen_on = records.unsigned(place)
    if out is not None and direction is not None:
        seen_on = np.where(records.unsigned(direction) == 1, records.unsigned(out), seen_on)
    rates = np.full(len(records), rate) if isinstance(rate, float) else rate.copy()
    for number, rows in _distinct(seen_on):
        interface_rates = sampling.rates.get(interface(number))
        if interface_rates is not None:
            rates[rows] = _in_force(records.message[rows], interface_rates)
    return rates


def _distinct(values: NDArray[np.uint64]) -> Iterator[tuple[int, slice | NDArray[np.bool_]]]:
    """Yield each distinct value and its rows."""
    if values.size and (values == values[0]).all():
        yield int(values[0]), slice(None)
        return
    distinct, inverse = np.unique(values, return_inverse=True)
    for place, value in enumerate(distinct.tolist()):
        yield value, inverse == place


def _in_force(message: NDArray[np.int32], stated: list[tuple[int, float]]) -> Rate:
    if len(stated) == 1:
        return stated[0][1]
    at = np.array([row for row, _ in stated])
    values = np.array([rate for _, rate in stated])
    return values[np.maximum(np.searchsorted(at, message, side="right") - 1, 0)]


def _single(rate: Rate) -> Rate:
    """A single number if all rates are equal."""
    if isinstance(rate, float) or not rate.size:
        return rate if isinstance(rate, float) else 1.0
    return float(rate[0]) if (rate == rate[0]).all() else rate


def scaled(counts: NDArray[np.uint64], rate: Rate) -> NDArray[np.uint64]:
    """Multiply counts by the rate and round; limited to 63 bits.

    >>> scaled(np.array([3], np.uint64), 2.5).tolist()
    [8]
    """
    if isinstance(rate, float) and rate.is_integer():
        step = np.uint64(min(rate, 2**62))
        return np.minimum(counts, MOST // step) * step
    product = np.floor(counts.astype(np.float64) * rate + 0.5)
    return np.where(product < 2.0**63, product, 2.0**63 - 1024).astype(np.uint64)
