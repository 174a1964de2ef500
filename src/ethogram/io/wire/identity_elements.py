"""Identity facts that flow records carry: DHCP, multicast DNS, SSDP and NetBIOS names in elements of exporters.

YAF exports the options and the vendor class of DHCP clients, the records of DNS messages, and payloads; ipfixprobe has
elements for SSDP, DNS-SD and NetBIOS. Only records of the ports of these protocols are looked at, and of these only
values that differ: devices repeat what they announce.

Reference: RFC 6313; CERT IPFIX registry (enterprise 6871), yafdhcp(1), yafdpi(1); CESNET's elements (enterprise 8057).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import MAC, AddressText
from ethogram.io.identity.mdns import LLMNR, MDNS, facts_of_record
from ethogram.io.identity.packets import IDENTITY_PORTS, PORT_NAMES, read_payload
from ethogram.io.identity.statement import MAX_FACTS as MOST_PER_MESSAGE
from ethogram.io.identity.statement import Statement, decoded
from ethogram.io.wire.element_precedence import MACS, Key, every_field
from ethogram.io.wire.endpoints import endpoints_of
from ethogram.io.wire.plan import Plan
from ethogram.io.wire.records import Records
from ethogram.io.wire.structured import LISTS, StructuredField, read_list
from ethogram.io.wire.template import Field, Template
from ethogram.io.wire.templates import TemplateStore
from ethogram.schema import IDENTITY, UDP, Accounting

__all__ = ["MAX_FACTS", "IdentityElements", "summed_statements"]

YAF, CESNET = 6871, 8057
PAYLOADS = ((YAF, 18), (CESNET, 850))
"""Octets of the first packets of each direction; ipfixprobe has another element for the other direction."""
REVERSE_PAYLOADS = ((CESNET, 851),)
TEXTS: dict[tuple[int, int], tuple[str, str]] = {
    (CESNET, 822): ("ssdp_server", ";"), (CESNET, 824): ("ssdp_type", ";"),
    (CESNET, 827): ("dns-sd", ";"), (CESNET, 831): ("nbns_name", ""),
}  # fmt: skip
"""Elements of text: the fact that they state, and what separates values."""
DHCP_VENDOR, DHCP_OPTION = (YAF, 243), (YAF, 297)
DNS_NAME, DNS_TYPE, DNS_RESPONSE = (YAF, 179), (YAF, 175), (YAF, 174)
DNS_TARGETS = ((YAF, 184), (YAF, 219))
"""Targets of PTR and SRV records."""
DNS_TEXT = (YAF, 208)
MAX_RECORDS = 2048
"""Records looked at in one block."""
MAX_PARSED = 1 << 12
MAX_FACTS = 1 << 16
"""Facts of one segment or input."""
SOURCE_MACS, DESTINATION_MACS = MACS
BEYOND, UNKNOWN = "beyond the bound", "sub-template not known"
NOBODY, NOTHING = "neither address nor MAC", "states nothing"
_T = TypeVar("_T")
_ITEM = tuple[str | None, str | None, str, str, str, int]
"""MAC, address, fact, value, source, microseconds since 1970."""


@dataclass(frozen=True)
class _IdentityPlan:
    """Fields of a template that can state facts, by what they are."""

    flow: Plan
    lists: tuple[tuple[int, Key], ...]
    payloads: tuple[tuple[int, bool], ...]
    texts: tuple[tuple[int, tuple[int, int]], ...]
    source_mac: int | None
    destination_mac: int | None


@lru_cache(1 << 10)
def _plan_of(version: int, fields: tuple[Field, ...]) -> _IdentityPlan | None:
    """The plan of a template; None if nothing in it can state a fact, or it has no addresses and ports."""
    template = Template(version, 0, 0, fields)
    places = every_field(template)
    lists = tuple((i, key) for key in LISTS for i in places.get(key, ()))
    payloads = [(i, reverse) for pen, number in PAYLOADS for reverse in (False, True)
                for i in places.get((pen, number, reverse), ())]  # fmt: skip
    payloads += [(i, True) for pen, number in REVERSE_PAYLOADS for i in places.get((pen, number, False), ())]
    texts = tuple((i, key) for key in TEXTS for i in places.get((*key, False), ()))
    if not lists and not payloads and not texts:
        return None
    flow = Plan(template)
    if flow.ignored is not None or not flow.pairs or not flow.ports:
        return None
    source_mac, destination_mac = (keys[0] if keys else None for keys in flow.macs)
    return _IdentityPlan(flow, lists, tuple(payloads), texts, source_mac, destination_mac)


class IdentityElements:
    """Collects the identity facts of records.

    Parameters
    ----------
    store
        Templates, for records within records.

    Attributes
    ----------
    accounting
        Over records of the ports of identity protocols that have elements which can state facts.
    """

    def __init__(self, store: TemplateStore) -> None:
        self._store = store
        self._text = AddressText()
        self._parsed: dict[tuple[Any, ...], Any] = {}
        self.accounting = Accounting("records")

    def learn(self, record_groups: Sequence[Records]) -> pl.DataFrame:
        """Facts of one block of records (:data:`ethogram.schema.IDENTITY`, ``device`` null), each once.

        Parameters
        ----------
        record_groups
            Records from the decoder.
        """
        items: list[_ITEM] = []
        left = MAX_RECORDS
        for records in record_groups:
            if records.template.options or not len(records):
                continue
            plan = _plan_of(records.template.version, records.template.fields)
            if plan is not None:
                left -= self._read(plan, records, items, left)
        return _table(items)

    def _read(self, plan: _IdentityPlan, records: Records, items: list[_ITEM], left: int) -> int:
        """Add the facts of records of one template; returns how many were looked at."""
        ends = endpoints_of(plan.flow, records)
        of_port = IDENTITY_PORTS[ends.source_port] | IDENTITY_PORTS[ends.destination_port]
        rows = np.flatnonzero(of_port & (ends.protocol == UDP))
        self.accounting.read += rows.size
        self.accounting.drop(BEYOND, max(rows.size - left, 0))
        rows = rows[:left]
        if not rows.size:
            return 0
        ends = ends.of(rows)
        source, destination = (side.text(self._text).to_list() for side in (ends.source, ends.destination))
        macs = [self._macs(records, i, rows) for i in (plan.source_mac, plan.destination_mac)]
        arrival = records.headers["arrival_ns"][records.message[rows]]
        export = records.headers["export_time_s"][records.message[rows]].astype(np.int64) * 1_000_000
        times = np.where(arrival > 0, arrival // 1000, export).tolist()
        ports = zip(ends.source_port.tolist(), ends.destination_port.tolist(), strict=True)
        lookup = self._lookup(records)
        for index, (row, (here, there)) in enumerate(zip(rows.tolist(), ports, strict=True)):
            known = len(items)
            unknown = nobody = False
            for statement, reverse, name, missing in self._statements(plan, records, row, (here, there),
                                                                      source[index], destination[index], lookup):
                unknown |= missing
                if statement is None:
                    continue
                mac = statement.mac or (macs[reverse][index] if statement.by_sender else None)
                address = destination[index] if reverse else source[index]
                address = statement.address or (address if statement.by_sender and not statement.mac else None)
                address = None if address in ("0.0.0.0", "::") else address  # noqa: S104
                if mac is None and address is None:
                    nobody = True
                    continue
                if statement.mac:
                    items.append((mac, address, "mac", statement.mac, name, times[index]))
                items += [(mac, address, fact, value, name, times[index]) for fact, value in statement.facts]
            if len(items) > known:
                self.accounting.used += 1
            elif unknown:
                self.accounting.drop(UNKNOWN)
            else:
                self.accounting.ignore(NOBODY if nobody else NOTHING)
        return int(rows.size)

    def _macs(self, records: Records, place: int | None, rows: NDArray[np.int64]) -> list[str | None]:
        if place is None:
            return [None] * rows.size
        values = records.unsigned(place)[rows]
        texts = self._text(np.full(rows.size, MAC, np.uint8), np.zeros(rows.size, np.uint64), values).to_list()
        return [text if value else None for text, value in zip(texts, values.tolist(), strict=True)]

    def _lookup(self, records: Records) -> Callable[[int], Template | None]:
        template = records.template
        return lambda number: self._store.lookup(records.exporter, template.version, template.domain, number)

    def _statements(
        self, plan: _IdentityPlan, records: Records, row: int, ports: tuple[int, int], source: str, destination: str,
        lookup: Callable[[int], Template | None],
    ) -> Iterator[tuple[Statement | None, bool, str, bool]]:  # fmt: skip
        """Statements of one record: each with whether its sender is the destination, its protocol, what is missing."""
        def octets(place: int) -> bytes:
            offset, length = records.spans(place)
            begin = int(offset[row])
            return records.data[begin : begin + int(length[row])].tobytes()

        name, from_destination = _name_of(ports), _direction(ports)
        for place, reverse in plan.payloads:
            here, there = ports[::-1] if reverse else ports
            sender = destination if reverse else source
            for each in self._remembered(read_payload, here, there, octets(place), sender):
                yield each, reverse, name, False
        for place, text_key in plan.texts:
            for each in self._remembered(_text_statements, octets(place), text_key):
                yield each, False, name, False
        for place, list_key in plan.lists:
            generations = records.template.generation, self._store.generation
            statements, missing = self._remembered(
                _list_statements, octets(place), list_key, ports, generations, lookup
            )
            if missing:
                yield None, False, "", True
            address = destination if from_destination else source
            # The MAC in a sub-template is of the frame, so the address of the record belongs to it.
            yield from ((replace(each, address=address), from_destination, name, False) for each in statements)
            payloads = [] if missing else self._remembered(_list_payloads, octets(place), list_key, generations, lookup)
            for reverse, payload in payloads:
                here, there = ports[::-1] if reverse else ports
                sender = destination if reverse else source
                for each in self._remembered(read_payload, here, there, payload, sender):
                    yield each, reverse, name, False

    def _remembered(
        self, read: Callable[..., _T], *values: Any
    ) -> _T:  # fmt: skip
        """What was read of the same values before."""
        key = (read, *(value for value in values if not callable(value)))
        result: _T | None = self._parsed.get(key)
        if result is None:
            result = read(*values)
            if len(self._parsed) >= MAX_PARSED:
                self._parsed.clear()
            self._parsed[key] = result
        return result


def _direction(ports: tuple[int, int]) -> bool:
    """Whether the device that states something is the destination: of DHCP, the client; else the source."""
    return ports[0] in (67, 547)


def _name_of(ports: tuple[int, int]) -> str:
    return PORT_NAMES.get(ports[0]) or PORT_NAMES.get(ports[1], "IPFIX")


def _text_statements(octets: bytes, key: tuple[int, int]) -> list[Statement]:
    """Statements of an element of text."""
    fact, separator = TEXTS[key]
    text = decoded(octets)
    values = [value.strip() for value in (text.split(separator) if separator else [text])]
    if fact == "dns-sd":
        facts = [each for value in values if value.endswith(".local")
                 for each in facts_of_record(value.split("."), "instance")]  # fmt: skip
    else:
        facts = [(fact, value) for value in values if value and not value.startswith("uuid:")]
    return [Statement(tuple(dict.fromkeys(facts))[:MOST_PER_MESSAGE])] if facts else []


def _list_statements(
    octets: bytes, key: Key, ports: tuple[int, int], _: tuple[int, int], lookup: Callable[[int], Template | None]
) -> tuple[list[Statement], bool]:  # fmt: skip
    """Statements of a list, and whether a template was missing."""
    whole, unknown = read_list(key, octets, lookup)
    facts: dict[tuple[str, str], None] = {}
    mac: str | None = None
    for record in whole.records:
        mac = _mac_of(record, reverse=_direction(ports)) or mac
        facts |= dict.fromkeys(_dhcp_facts(record, reverse=_direction(ports)))
        if MDNS in ports or LLMNR in ports:
            for each in _flattened(record):
                facts |= dict.fromkeys(_dns_facts(each, llmnr=LLMNR in ports))
    return ([Statement(tuple(facts)[:MOST_PER_MESSAGE], mac=mac)] if facts else []), unknown


def _list_payloads(
    octets: bytes, key: Key, _: tuple[int, int], lookup: Callable[[int], Template | None]
) -> list[tuple[bool, bytes]]:  # fmt: skip
    """Payloads in a list, each with whether it is of the reverse direction."""
    whole, _unknown = read_list(key, octets, lookup)
    return [
        (each.key[2], each.values[0]) for record in whole.records for each in record
        if each.key[:2] in PAYLOADS and each.values and each.values[0]
    ]  # fmt: skip


def _mac_of(record: Sequence[StructuredField], *, reverse: bool) -> str | None:
    """MAC of the device, which YAF exports in a template of its own."""
    for each in record:
        if each.key in (DESTINATION_MACS if reverse else SOURCE_MACS) and each.values and len(each.values[0]) == 6:
            return each.values[0].hex(":") if any(each.values[0]) else None
    return None


def _dhcp_facts(record: Sequence[StructuredField], *, reverse: bool) -> Iterator[tuple[str, str]]:
    """Parameter list and vendor class of a client, in the fields of its direction."""
    lists = [each for each in record if each.key[:2] == DHCP_OPTION]
    # The list of the other direction has the same element, and comes second.
    options = lists[int(reverse)] if len(lists) > int(reverse) else None
    if options is not None and options.values:
        yield "dhcp_parameters", ",".join(str(int.from_bytes(value)) for value in options.values[:64])
    for each in record:
        if each.key == (*DHCP_VENDOR, reverse) and each.values and (text := decoded(each.values[0])):
            yield "dhcp_vendor_class", text


def _flattened(record: Sequence[StructuredField], depth: int = 0) -> Iterator[Sequence[StructuredField]]:
    """Records within a record that have a DNS name."""
    if any(each.key[:2] == DNS_NAME for each in record):
        yield record
    elif depth < 4:
        for each in record:
            for inner in each.records:
                yield from _flattened(inner, depth + 1)


def _dns_facts(record: Sequence[StructuredField], *, llmnr: bool) -> Iterator[tuple[str, str]]:
    """Facts of one resource record of an answer."""
    values = {each.key[:2]: each.values[0] for each in record if each.values}
    if int.from_bytes(values.get(DNS_RESPONSE, b"")) != 1:
        return
    owner = [label for label in decoded(values.get(DNS_NAME, b"")).split(".") if label]
    kind = int.from_bytes(values.get(DNS_TYPE, b""))
    if llmnr:
        if kind in (1, 28) and owner:
            yield "llmnr_name", ".".join(owner)
        return
    inner = {each.key[:2]: each.values[0] for field in record for row in field.records for each in row if each.values}
    if kind in (1, 28):
        yield from facts_of_record(owner, "host")
    elif kind == 12:
        target = [label for label in decoded(inner.get(DNS_TARGETS[0], b"")).split(".") if label]
        yield from facts_of_record(owner, "pointer", target)
    elif kind == 33:
        target = [label for label in decoded(inner.get(DNS_TARGETS[1], b"")).split(".") if label]
        yield from facts_of_record(owner, "instance")
        yield from facts_of_record(target, "host")
    elif kind == 16:
        yield from facts_of_record(owner, "instance")
        yield from facts_of_record(owner, "text", text=inner.get(DNS_TEXT, b""))


def summed_statements(tables: Sequence[pl.DataFrame], most: int = MAX_FACTS) -> pl.DataFrame:
    """Facts of several blocks, one row for each sender, fact, value and source, at most ``most``."""
    keys = ["device", "mac", "address", "fact", "value", "source"]
    sums = [pl.col("first").min(), pl.col("last").max(), pl.col("times").sum()]
    frame = pl.concat(tables).group_by(keys, maintain_order=True).agg(sums)
    return IDENTITY.conform(frame).head(most)


def _table(items: Sequence[_ITEM]) -> pl.DataFrame:
    if not items:
        return IDENTITY.empty()
    names = ("mac", "address", "fact", "value", "source", "first")
    types = {name: pl.String() for name in names[:5]} | {"first": pl.Int64()}
    frame = pl.DataFrame(items, schema=types, orient="row")
    frame = frame.group_by(names[:5], maintain_order=True).agg(
        pl.col("first").min(), last=pl.col("first").max(), times=pl.len()
    )
    time = IDENTITY.schema["first"]
    return IDENTITY.conform(frame.with_columns(pl.col("first", "last").cast(time), pl.col("times").cast(pl.UInt64)))
