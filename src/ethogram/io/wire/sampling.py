"""The sampling rate in force for each record: of how many packets observed one was counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.options import SAMPLER_IDS, Facts, origin_of, rates_of
from ethogram.io.wire.records import Records
from ethogram.io.wire.walk import V5

__all__ = ["HEADER_INTERVAL", "rate_of", "scaled"]

HEADER_INTERVAL = 0x3FFF  # of the field in NetFlow v5's header; the two bits above are the mode
MOST = np.uint64((1 << 63) - 1)

Rate = NDArray[np.float64] | float


def rate_of(records: Records, facts: Facts) -> tuple[Rate, int]:
    """Rate of each record.

    Parameters
    ----------
    records
        N records.
    facts
        What their exporter's options said.

    Returns
    -------
    rate, unknown
        One number for all, or float64[N]; 1 where nothing is sampled. And how many records name a sampler whose rate
        nobody has stated.
    """
    if records.template.version == V5:
        return _single(np.maximum(records.headers["sampling"] & HEADER_INTERVAL, 1).astype(np.float64)[records.message])
    own = rates_of(records)
    if own is not None and (own > 0).all():
        return _single(own)
    rate, unknown = _stated(records, facts)
    if own is not None and own.any():
        rate = np.where(own > 0, own, rate)
    return _single(rate)[0], unknown


def _stated(records: Records, facts: Facts) -> tuple[Rate, int]:
    """By options: the rate of the record's sampler that was in force when its message came."""
    sampling = facts.sampling(origin_of(records))
    index = next((i for i in (records.has(0, number) for number in SAMPLER_IDS) if i is not None), None)
    if sampling is None:
        return 1.0, 0 if index is None else int(np.count_nonzero(records.unsigned(index)))
    if index is None:
        stated = sampling.of(None)
        return (1.0, 0) if stated is None else (_in_force(records.message, stated), 0)
    samplers = records.unsigned(index)
    if samplers.size and (samplers == samplers[0]).all():
        distinct, inverse = samplers[:1], np.zeros(samplers.size, np.int64)
    else:
        distinct, inverse = np.unique(samplers, return_inverse=True)
    rate, unknown = np.ones(len(records)), 0
    for place, sampler in enumerate(distinct.tolist()):
        rows = inverse == place
        stated = sampling.of(sampler)
        if stated is not None:
            found = _in_force(records.message, stated)
            rate[rows] = found if isinstance(found, float) else found[rows]
        elif sampler:  # number 0 stands for no sampler
            unknown += int(rows.sum())
    return rate, unknown


def _in_force(message: NDArray[np.int32], stated: list[tuple[int, float]]) -> Rate:
    if len(stated) == 1:
        return stated[0][1]
    at = np.array([row for row, _ in stated])
    values = np.array([rate for _, rate in stated])
    return values[np.maximum(np.searchsorted(at, message, side="right") - 1, 0)]


def _single(rate: Rate) -> tuple[Rate, int]:
    """One number where all are the same."""
    if isinstance(rate, float) or not rate.size:
        return (rate if isinstance(rate, float) else 1.0), 0
    return (float(rate[0]) if (rate == rate[0]).all() else rate), 0


def scaled(counts: NDArray[np.uint64], rate: Rate) -> NDArray[np.uint64]:
    """Counts times rate, rounded; at most what 63 bits hold.

    >>> scaled(np.array([3], np.uint64), 2.5).tolist()
    [8]
    """
    if isinstance(rate, float) and rate.is_integer():
        step = np.uint64(min(rate, 2**62))
        return np.minimum(counts, MOST // step) * step
    product = np.floor(counts.astype(np.float64) * rate + 0.5)
    return np.where(product < 2.0**63, product, 2.0**63 - 1024).astype(np.uint64)
