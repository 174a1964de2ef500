"""Look up a query in any form: a name, port, MAC, vendor, multicast group, service type or text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ethogram._parse_address import parse_address, parse_mac
from ethogram.knowledge.tables import Fact, Knowledge, mac_of_eui64
from ethogram.schema import KINDS

__all__ = ["Answer", "look_up"]

_PORT = re.compile(r"(?:(tcp|udp)[/ ])?(\d{1,5})(?:[/ ](tcp|udp))?", flags=re.IGNORECASE)
_PREFIX = re.compile(r"[0-9a-f]{6,12}", flags=re.IGNORECASE)
_MAX_PORT = 65_535
_MAX_TEXT = 512
_TEXTS = ("ssdp-server", "ssdp-type", "ssdp-manufacturer", "mdns-model", "mdns-name", "homekit-model", "http-server",
          "sip-agent", "lldp")  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Facts of a query under one interpretation.

    Parameters
    ----------
    read_as
        ``name``, ``port``, ``MAC``, ``vendor``, ``platform``, ``kind``, ``multicast group``, ``service type``,
        ``host name``, ``DHCP vendor class`` or a kind of text.
    facts
        Facts, best first.
    """

    read_as: str
    facts: tuple[Fact, ...]


def look_up(knowledge: Knowledge, query: str) -> list[Answer]:
    """Facts of a query, interpreted in every way that it can be; interpretations without facts are left out.

    Examples
    --------
    >>> [(answer.read_as, answer.facts[0].value) for answer in look_up(Knowledge.bundled(), "tcp/9100")]
    [('port', 'printer')]
    >>> [answer.read_as for answer in look_up(Knowledge.bundled(), "Sonos")]
    ['vendor']
    """
    readings = _readings(knowledge, query[:_MAX_TEXT].strip())
    return [Answer(read_as, tuple(facts)) for read_as, facts in readings if facts]


def _readings(knowledge: Knowledge, query: str) -> Iterator[tuple[str, list[Fact]]]:
    port = _PORT.fullmatch(query)
    if port and int(port[2]) <= _MAX_PORT:
        protocols = [(port[1] or port[3]).lower()] if port[1] or port[3] else ["tcp", "udp"]
        yield "port", [fact for protocol in protocols for fact in knowledge.port(protocol, int(port[2]))]
        return
    address = parse_address(query)
    if address is not None:
        yield "multicast group", knowledge.group(address)
        mac = mac_of_eui64(address)
        if mac:
            yield "MAC", knowledge.mac(mac)
        return
    separated = query.count(":") + query.count("-") >= 2
    prefix = re.sub(r"[:-]", "", query) if separated else query
    if parse_mac(query) or _PREFIX.fullmatch(prefix):
        yield "MAC", knowledge.mac(query if parse_mac(query) else prefix)
    if query.startswith("_"):
        yield "service type", knowledge.mdns(query)
        return
    vendor = knowledge.vendor(query)
    if vendor:
        yield "vendor", knowledge.vendor_facts(vendor) + knowledge.kind_facts(vendor)
    platform = query.lower()
    yield "platform", knowledge.platform_facts(platform)
    if platform in KINDS:
        yield "kind", knowledge.facts_of("kind", platform)
    if vendor and query.isalpha():
        return
    if "." in query and " " not in query:
        yield "name", knowledge.name(query) + knowledge.name_word(query)
    yield "host name", knowledge.host_name(query)
    yield "DHCP vendor class", knowledge.dhcp_vendor_class(query)
    for kind in _TEXTS:
        facts = knowledge.text(kind, query)
        yield kind, [fact for fact in facts if fact.table == "texts"]
