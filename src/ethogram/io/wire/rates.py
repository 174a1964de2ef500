"""Sampling rates as stated by records, and the rates of the samplers of one exporter."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.records import Records
from ethogram.io.wire.walk import V9

__all__ = ["SAMPLER_IDS", "Sampling", "interface", "interface_scope", "rates_of"]

SAMPLER_IDS = (302, 48)  # selectorId, samplerId
SIZE, POPULATION, PROBABILITY = 309, 310, 311
INTERVAL, SPACE, V9_INTERVAL, RANDOM_INTERVAL = 305, 306, 34, 50
INTERFACES = (10, 14, 252, 253)
V9_INTERFACE_SCOPE = 2


@dataclass
class Sampling:
    """Rates of the samplers of one origin.

    Attributes
    ----------
    rates
        For each sampler (a number; None for records without a sampler; text for an interface), its rates in order of
        statement, each with the row of the message that states it.
    """

    rates: OrderedDict[int | str | None, list[tuple[int, float]]] = field(default_factory=OrderedDict)

    @property
    def by_interface(self) -> bool:
        """Whether any rate is stated for an interface."""
        return any(isinstance(sampler, str) for sampler in self.rates)

    def of(self, sampler: int | str | None) -> list[tuple[int, float]] | None:
        """Rates of a sampler. For records without one, the rate stated without a sampler, or the only rate."""
        rates = self.rates.get(sampler)
        if rates is None and sampler != 0:
            rates = self.rates.get(None)
        if rates is None and sampler is None and len(self.rates) == 1 and not self.by_interface:
            rates = next(iter(self.rates.values()))
        return rates


def interface(number: int) -> str:
    """Sampler key of an interface."""
    return f"interface {number}"


def interface_scope(records: Records) -> int | None:
    """The scope field that identifies the interface of an option."""
    v9 = records.template.version == V9
    numbers = (V9_INTERFACE_SCOPE,) if v9 else INTERFACES
    return next((i for i, field in enumerate(records.template.fields) if field.scope and field.id in numbers), None)


def rates_of(records: Records) -> NDArray[np.float64] | None:
    """Observed packets per selected packet as stated by the records; None if their template cannot state it.

    Parameters
    ----------
    records
        N records, of options or flows.

    Returns
    -------
    float64[N]; 0 if a record states nothing.

    References
    ----------
    RFC 5477 section 8.2 (305 packets are selected, then 306 are not; 309 of 310; probability 311), RFC 3954 section 8
    (34). Some exporters send only 305, meaning one in so many.
    """

    def column(number: int) -> NDArray[np.float64] | None:
        index = records.has(0, number)
        return None if index is None else records.unsigned(index).astype(np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        candidates = []
        size, population = column(SIZE), column(POPULATION)
        if size is not None and population is not None:
            candidates.append(population / size)
        index = records.has(0, PROBABILITY)
        if index is not None:
            candidates.append(1 / records.real(index))
        interval, space = column(INTERVAL), column(SPACE)
        if interval is not None:
            candidates.append(interval if space is None else (interval + space) / interval)
        plain = (column(V9_INTERVAL), column(RANDOM_INTERVAL))
        candidates += [candidate for candidate in plain if candidate is not None]
    if not candidates:
        return None
    rates = np.zeros(len(records))
    for candidate in reversed(candidates):
        usable = np.isfinite(candidate) & (candidate >= 1)
        rates = np.where(usable, candidate, rates)
    return rates
