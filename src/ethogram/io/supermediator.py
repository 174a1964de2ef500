"""YAF flows as JSON written by super_mediator.

One object per line under ``flows``, mixed with ``stats`` and ``tombstone`` objects and blank lines. Flags, attributes
and TCP sequence numbers are hexadecimal text, times have no zone, MAC addresses can end in a stray colon, and every
element has a ``reverse`` counterpart. IPv6 flows use different names for addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from ethogram._parse_address import parse_address, parse_mac
from ethogram.config import FlowSettings
from ethogram.io.json_records import cells_of, field, loose, objects
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.parse_columns import FINE, UNREADABLE, ParsedColumn, parse_tcp_flags
from ethogram.io.parse_times import parse_times
from ethogram.io.record_reader import RecordReader, to_biflows
from ethogram.schema import IDENTITY, MAX_VALUE

__all__ = ["SupermediatorReader", "sniff"]

_END_REASONS = {
    "idle": 1, "idle timeout": 1, "active": 2, "active timeout": 2, "eof": 3, "end of flow": 3,
    "end of flow detected": 3, "closed": 3, "force": 4, "forced": 4, "forced end": 4, "rsrc": 5, "resource": 5,
    "lack of resources": 5, "lack-of-resources": 5, "udp-uniflow": 0x1F, "udpforce": 0x1F,
}  # fmt: skip
_WRAPPERS = ("flows", "flow")
_UNITS = {"Milliseconds": "ms", "Microseconds": "us", "Nanoseconds": "ns", "Seconds": "s"}
_STARTS = {f"flowStart{word}": unit for word, unit in _UNITS.items()}
_ENDS = {f"flowEnd{word}": unit for word, unit in _UNITS.items()}
_NAMES = ("sslServerName", "tlsServerName", "serverName", "httpHost", "quicSNI")
_DHCP = {"dhcpVendorCode": "dhcp_vendor_class", "dhcpOption": "dhcp_parameters"}
"""Fields of DHCP, and the identity fact that each states; the parameters are a list of option codes."""
MAX_FACTS = 1 << 16
_EMPTY_ADDRESSES = {"::", "0.0.0.0", ""}  # noqa: S104 (address in data, not bound to)


def sniff(head: bytes) -> bool:
    """Whether the first object was written by super_mediator."""
    line = first_line(head)
    if not line.startswith(b"{"):
        return False
    if any(line.lstrip(b"{ \t").startswith(b'"%s"' % key) for key in (b"flows", b"stats", b"tombstone")):
        return True
    return b'"flowStart' in line[:2048] and b'"protocolIdentifier"' in head


def _end_reasons(values: list[Any]) -> ParsedColumn:
    reasons = [_end_reason(value) for value in values]
    faults = [UNREADABLE if reason is None and value not in (None, "") else FINE
              for reason, value in zip(reasons, values, strict=True)]  # fmt: skip
    return ParsedColumn(pl.Series(reasons, dtype=pl.UInt64), pl.Series(faults, dtype=pl.UInt8) if any(faults) else None)


def _end_reason(value: Any) -> int | None:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _END_REASONS:
            return _END_REASONS[text]
        try:
            value = int(text, 0)
        except ValueError:
            return None
    # YAF sets high bits in addition to the reason of RFC 5102.
    return value & 0x7F if isinstance(value, int) and not isinstance(value, bool) else None


def _address(records: list[dict[str, Any]], side: str) -> pl.Series:
    """IPv4 addresses, else IPv6; a dual-stack template fills the unused family with zeros."""
    four, six = field(records, f"{side}IPv4Address"), field(records, f"{side}IPv6Address")
    return loose([a if b is None or not (a is None or _empty(a)) else b for a, b in zip(four, six, strict=True)])


def _empty(address: Any) -> bool:
    return isinstance(address, str) and address in _EMPTY_ADDRESSES


def _name(record: dict[str, Any]) -> str | None:
    for key in _NAMES:
        value = record.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return None


class SupermediatorReader(RecordReader):
    """Reader of super_mediator JSON.

    Parameters
    ----------
    text
        The input.
    settings
        ``time_zone`` is the zone of times without one.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "yaf.json"
    >>> _ = file.write_text('{"flows":{"flowStartMilliseconds":"2019-05-01 00:00:00.250",'
    ...     '"protocolIdentifier":6,"sourceIPv4Address":"10.0.0.2","destinationIPv4Address":"192.0.2.1",'
    ...     '"sourceTransportPort":40000,"destinationTransportPort":443,"initialTCPFlags":"0x02"}}')
    >>> next(SupermediatorReader(TextInput(file), FlowSettings()).batches())["initial_tcp_flags"].to_list()
    [2]
    """

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._zone = settings.time_zone
        self._facts: list[tuple[str | None, str | None, str, str]] = []

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of lines."""
        for batch in self._text.batches():
            lines, wrapped = objects(batch, self, self._ignore)
            records = [self._inner(record) for record in wrapped]
            if records:
                self._note_facts(records)
                yield to_biflows(self._columns(records), self, lines)

    def _note_facts(self, records: list[dict[str, Any]]) -> None:
        """Keep what DHCP clients state, which YAF exports with ``--dhcp``, up to a bound."""
        for record in records:
            if len(self._facts) >= MAX_FACTS or not any(key in record for key in _DHCP):
                continue
            mac = parse_mac(str(record.get("sourceMacAddress", "")))
            address = parse_address(str(record.get("sourceIPv4Address", "")))
            for key, fact in _DHCP.items():
                value = record.get(key)
                text = ",".join(map(str, value[:64])) if isinstance(value, list) else value
                if isinstance(text, str) and text.strip() and (mac or address):
                    self._facts.append((mac, address, fact, text.strip()[:MAX_VALUE]))

    def identity_facts(self) -> pl.DataFrame:
        """What DHCP clients state."""
        rows = [(*fact, "YAF", 1) for fact in self._facts]
        names = ("mac", "address", "fact", "value", "source", "times")
        return IDENTITY.conform(pl.DataFrame(rows, {name: IDENTITY.schema[name] for name in names}, orient="row"))

    @staticmethod
    def _inner(record: dict[str, Any]) -> dict[str, Any]:
        inner = record.get("flows", record.get("flow", record))
        return inner if isinstance(inner, dict) else {}

    def _ignore(self, record: dict[str, Any]) -> str | None:
        if any(key in record for key in _WRAPPERS) or any(key in record for key in _STARTS):
            return None
        if "stats" in record:
            counters = record["stats"]
            for key, value in counters.items() if isinstance(counters, dict) else ():
                # Counters are cumulative: the last object holds the total.
                if isinstance(value, int) and ("dropped" in key.lower() or "ignored" in key.lower()):
                    self.exporter_counters[key] = max(value, self.exporter_counters.get(key, 0))
            return "statistics"
        return "tombstone" if "tombstone" in record else "not a flow"

    def _times(self, records: list[dict[str, Any]], fields: dict[str, str]) -> ParsedColumn:
        """The first of these time fields in each record; the field name states the unit of numbers."""
        column: ParsedColumn | None = None
        for name, unit in fields.items():
            values = field(records, name)
            if column is None or any(value is not None for value in values):
                parsed = parse_times(loose(values), self._zone, unit=unit)
                column = parsed if column is None else column.or_else(parsed)
        assert column is not None
        return column

    def _columns(self, records: list[dict[str, Any]]) -> dict[str, ParsedColumn | pl.Series]:
        def cells(*names: str) -> pl.Series:
            return cells_of(records, *names)

        def bits(name: str) -> ParsedColumn:
            return parse_tcp_flags(cells_of(records, name), hexadecimal=True)

        return {
            "start": self._times(records, _STARTS),
            "end": self._times(records, _ENDS),
            "protocol": cells("protocolIdentifier"),
            "source_address": _address(records, "source"),
            "destination_address": _address(records, "destination"),
            "source_port": cells("sourceTransportPort"),
            "destination_port": cells("destinationTransportPort"),
            "octets": cells("octetTotalCount", "octetDeltaCount"),
            "packets": cells("packetTotalCount", "packetDeltaCount"),
            "reverse_octets": cells("reverseOctetTotalCount", "reverseOctetDeltaCount"),
            "reverse_packets": cells("reversePacketTotalCount", "reversePacketDeltaCount"),
            "initial_tcp_flags": bits("initialTCPFlags"),
            "reverse_initial_tcp_flags": bits("reverseInitialTCPFlags"),
            "union_tcp_flags": bits("unionTCPFlags"),
            "reverse_union_tcp_flags": bits("reverseUnionTCPFlags"),
            "end_reason": _end_reasons(field(records, "flowEndReason")),
            "source_mac": cells("sourceMacAddress"),
            "destination_mac": cells("destinationMacAddress"),
            "vlan": cells("vlanId"),
            "destination_name": pl.Series([_name(r) for r in records], dtype=pl.String),
        }
