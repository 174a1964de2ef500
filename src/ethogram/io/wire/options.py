"""Metadata that exporters send in options records: sampling rates, start times, and names of numbers.

A later value replaces an earlier one. A rate applies from the message that states it; records before the first
statement use that rate too.
"""

from __future__ import annotations

import bisect
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.elements import Element, element
from ethogram.io.wire.rates import INTERFACES, SAMPLER_IDS, Sampling, interface, interface_scope, rates_of
from ethogram.io.wire.records import Records
from ethogram.io.wire.text_fields import texts

__all__ = ["ExporterMetadata", "Origin", "origin_of"]

Origin = tuple[str, int, int, int]
"""Owner of metadata: address of the exporter, session, protocol version, observation domain."""

MAX_ORIGINS = 1 << 14
MAX_DOMAINS = 1 << 6  # domains of one exporter in which a sampler is looked up
MAX_NAMES = 1 << 14  # names of each kind and origin
MAX_SAMPLERS = 1 << 12  # samplers of each origin
MAX_STATED = 1 << 10  # rate statements of one sampler in one block of messages
MAX_HELD = 1 << 17  # samplers and names of all origins
NAME_MOST = 128  # maximum characters of a name

SYSTEM_INIT = 160

NAMES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "interface": (INTERFACES, (82, 83)),
    "VRF": ((234, 235), (236,)),
    "application": ((95,), (96, 94)),
    "sampler": (SAMPLER_IDS, (335, 84)),
}
"""Kind of name: the elements of the number, and those of the name."""


@dataclass
class _OriginMetadata:
    """Metadata of one origin."""

    sampling: Sampling = field(default_factory=Sampling)
    system_init_us: int | None = None
    names: dict[str, OrderedDict[object, str]] = field(default_factory=dict)
    held: int = 0  # samplers and names


def origin_of(records: Records) -> Origin:
    """Origin to which metadata in, or for, these records belongs."""
    template, exporter = records.template, records.exporter
    return exporter.address, exporter.session, template.version, template.domain


class ExporterMetadata:
    """Metadata of exporters from their options records.

    Attributes
    ----------
    forgotten
        Evicted entries, by kind.
    elements
        Names and types of enterprise elements stated by exporters (RFC 5610), by enterprise and id.

    Examples
    --------
    >>> metadata = ExporterMetadata()
    >>> metadata.system_init_us(("192.0.2.1", 0, 10, 0)) is None
    True
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Origin, _OriginMetadata] = OrderedDict()
        self._domains: dict[tuple[str, int, int], dict[int, None]] = {}  # of each exporter, as in ``_known``
        self._table: weakref.ref[NDArray[np.void]] | None = None
        self._fresh: list[list[tuple[int, float]]] = []  # stated in this table
        self._held = 0
        self.forgotten: dict[str, int] = {}
        self.elements: OrderedDict[tuple[int, int], str] = OrderedDict()

    def begin(self, table: NDArray[np.void]) -> None:
        """Start a message table; later times are row numbers in it.

        Parameters
        ----------
        table
            ``headers`` of the records that follow.
        """
        if self._table is not None and self._table() is table:
            return
        self._table = weakref.ref(table)
        for stated in self._fresh:
            stated[:] = [(-1, stated[-1][1])]
        self._fresh = []

    def _of(self, origin: Origin) -> _OriginMetadata:
        known = self._known.get(origin)
        if known is None:
            known = self._known[origin] = _OriginMetadata()
            self._domains.setdefault(origin[:3], {})[origin[3]] = None
            if len(self._known) > MAX_ORIGINS:
                self._leave()
        self._known.move_to_end(origin)
        return known

    def _leave(self) -> None:
        """Evict the least recently updated exporter."""
        origin, gone = self._known.popitem(last=False)
        domains = self._domains[origin[:3]]
        del domains[origin[3]]
        if not domains:
            del self._domains[origin[:3]]
        self._held -= gone.held
        self._forget("exporters")

    def _hold(self, known: _OriginMetadata) -> None:
        """Count a new entry; evicts others above the limit."""
        known.held += 1
        self._held += 1
        while self._held > MAX_HELD and len(self._known) > 1:
            self._leave()

    def _forget(self, kind: str) -> None:
        self.forgotten[kind] = self.forgotten.get(kind, 0) + 1

    def sampling(self, origin: Origin) -> Sampling | None:
        """Sampling rates; None if the exporter stated none."""
        known = self._known.get(origin)
        return known.sampling if known is not None and known.sampling.rates else None

    def rate_elsewhere(self, origin: Origin, sampler: int | str) -> list[tuple[int, float]] | None:
        """Rates of a sampler stated in other observation domains of the exporter; None unless they agree.

        Some exporters (such as IOS XR) send sampler options in a separate domain.
        """
        address, session, version, _ = origin
        domains = self._domains.get((address, session, version), ())
        if len(domains) > MAX_DOMAINS:
            return None
        stated = [
            rates[sampler]
            for domain in domains
            if (rates := self._known[address, session, version, domain].sampling.rates) and sampler in rates
        ]
        return stated[0] if len({rates[-1][1] for rates in stated}) == 1 else None

    def system_init_us(self, origin: Origin) -> int | None:
        """Start time of the exporter, microseconds since 1970."""
        known = self._known.get(origin)
        return None if known is None else known.system_init_us

    def names(self, origin: Origin) -> dict[str, dict[object, str]]:
        """Names of interfaces, VRFs, applications and samplers, by kind and number."""
        known = self._known.get(origin)
        return {} if known is None else {kind: dict(names) for kind, names in known.names.items()}

    @property
    def origins(self) -> list[Origin]:
        """All origins with metadata."""
        return list(self._known)

    def element(self, enterprise: int, id: int) -> Element:  # noqa: A002 (the word of RFC 7011)
        """An element; unknown ones have the name stated by an exporter."""
        known = element(enterprise, id)
        name = None if known.known else self.elements.get((enterprise, id))
        return Element(enterprise, id, name, known.type, known=False) if name else known

    def state(self) -> list[list[Any]]:
        """Current rates and start times as plain data for :meth:`restore`. Exporters repeat names."""
        return [
            [list(origin), known.system_init_us, [[sampler, stated[-1][1]] for sampler, stated in rates.items()]]
            for origin, known in self._known.items()
            if (rates := known.sampling.rates) or known.system_init_us is not None
        ]

    def restore(self, state: list[list[Any]]) -> None:
        """Restore :meth:`state`; sessions have ended in the meantime."""
        for (address, session, version, domain), system_init_us, rates in state:
            if not session:
                known = self._of((address, session, version, domain))
                known.system_init_us = system_init_us
                for sampler, rate in rates:
                    self._hold(known)
                    known.sampling.rates[sampler] = [(-1, float(rate))]

    def learn(self, records: Records) -> None:
        """Learn metadata from records.

        Parameters
        ----------
        records
            Options records, or records without addresses, which some exporters use for the same purpose.
        """
        if not len(records):
            return
        self.begin(records.headers)
        origin = origin_of(records)
        self._learn_rates(records, origin)
        index = records.has(0, SYSTEM_INIT)
        if index is not None:
            value = int(records.unsigned(index)[-1])
            if 0 < value < 1 << 47:
                self._of(origin).system_init_us = value * 1000
        for kind, (numbers, names) in NAMES.items():
            self._learn_names(records, origin, kind, numbers, names)
        self._learn_elements(records)

    def _learn_rates(self, records: Records, origin: Origin) -> None:
        rates = rates_of(records)
        if rates is None or not rates.any():
            return
        indices = (records.has(0, number) for number in SAMPLER_IDS)
        index = next((place for place in indices if place is not None), None)
        samplers: list[int | str | None] = [None] * len(records)
        if index is not None:
            samplers = records.unsigned(index).tolist()
        elif (place := interface_scope(records)) is not None:
            samplers = [interface(number) for number in records.unsigned(place).tolist()]
        origin_known = self._of(origin)
        known = origin_known.sampling.rates
        # The first of repeated statements is enough: it applies until another one arrives.
        for sampler, rate, row in zip(samplers, rates.tolist(), records.message.tolist(), strict=True):
            if rate < 1:
                continue
            stated = known.get(sampler)
            if stated is None:
                if len(known) >= MAX_SAMPLERS:
                    known.popitem(last=False)
                    self._forget("samplers")
                else:
                    self._hold(origin_known)
                stated = known[sampler] = []
            if not stated or stated[-1][1] != rate:
                # Templates are processed one after another, so statements can be out of order.
                bisect.insort(stated, (row, rate), key=lambda statement: statement[0])
                self._fresh.append(stated)
                if len(stated) > MAX_STATED:
                    del stated[0]
                    self._forget("rates")

    def _learn_names(
        self, records: Records, origin: Origin, kind: str,
        numbers: tuple[int, ...], names: tuple[int, ...],
    ) -> None:  # fmt: skip
        text = next((i for i in (records.has(0, number) for number in names) if i is not None), None)
        keys = [i for i in (records.has(0, number) for number in numbers) if i is not None][:1]
        if not keys and kind == "interface" and (place := interface_scope(records)) is not None:
            keys = [place]
        if text is None or not keys:
            return
        origin_known = self._of(origin)
        known = origin_known.names.setdefault(kind, OrderedDict())
        names_of = texts(records, text).str.slice(0, NAME_MOST).to_list()
        for key, name in zip(records.unsigned(keys[0]).tolist(), names_of, strict=True):
            if not name:
                continue
            if key not in known:
                if len(known) >= MAX_NAMES:
                    known.popitem(last=False)
                    self._forget(f"{kind} names")
                else:
                    self._hold(origin_known)
            known[key] = name

    def _learn_elements(self, records: Records) -> None:
        places = [records.has(0, number) for number in (346, 303, 341)]
        if any(place is None for place in places):
            return
        enterprise, number, name = (place for place in places if place is not None)
        text_of = texts(records, name).str.slice(0, NAME_MOST).to_list()
        columns = (records.unsigned(enterprise).tolist(), records.unsigned(number).tolist(), text_of)
        for pen, identifier, text in zip(*columns, strict=True):
            if text:
                self.elements[pen, identifier & 0x7FFF] = text
        while len(self.elements) > MAX_NAMES:
            self.elements.popitem(last=False)
            self._forget("elements")
