"""YAF flows as super_mediator writes them in JSON.

One object a line under ``flows``; between them ``stats`` and ``tombstone`` objects and blank lines. Flags, attributes
and TCP sequence numbers are hexadecimal text, times have no zone, MACs may end in a stray colon, and every element
has a ``reverse`` twin. IPv6 flows use other names for the addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from ethogram.config import FlowSettings
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.table import RecordSource, as_time, flags, numbers, protocols, to_biflows
from ethogram.io.table_json import field, objects, text_field

__all__ = ["Source", "recognises"]

_END_REASONS = {
    "idle": 1, "idle timeout": 1, "active": 2, "active timeout": 2, "eof": 3, "end of flow": 3,
    "end of flow detected": 3, "closed": 3, "force": 4, "forced": 4, "forced end": 4, "rsrc": 5, "resource": 5,
    "lack of resources": 5, "lack-of-resources": 5, "udp-uniflow": 0x1F, "udpforce": 0x1F,
}  # fmt: skip
_WRAPPERS = ("flows", "flow")
_STARTS = ("flowStartMilliseconds", "flowStartMicroseconds", "flowStartNanoseconds", "flowStartSeconds")
_ENDS = ("flowEndMilliseconds", "flowEndMicroseconds", "flowEndNanoseconds", "flowEndSeconds")
_NAMES = ("sslServerName", "tlsServerName", "serverName", "httpHost", "quicSNI")
_EMPTY_ADDRESSES = {"::", "0.0.0.0", ""}  # noqa: S104 (an address in data, not one to bind to)


def recognises(head: bytes) -> bool:
    """Whether the first object is one of super_mediator's."""
    line = first_line(head)
    if not line.startswith(b"{"):
        return False
    if any(line.lstrip(b"{ \t").startswith(b'"%s"' % key) for key in (b"flows", b"stats", b"tombstone")):
        return True
    return b'"flowStart' in line[:2048] and b'"protocolIdentifier"' in head


def _end_reason(value: Any) -> int | None:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _END_REASONS:
            return _END_REASONS[text]
        try:
            value = int(text, 0)
        except ValueError:
            return None
    # YAF sets high bits beside the reason of RFC 5102.
    return value & 0x7F if isinstance(value, int) and not isinstance(value, bool) else None


def _address(records: list[dict[str, Any]], side: str) -> pl.Series:
    """IPv4 first; a dual-stack template fills the family that is not used with zeros, which is no address."""
    four, six = field(records, f"{side}IPv4Address"), field(records, f"{side}IPv6Address")
    return pl.Series(
        [
            (a if isinstance(a, str) and (a not in _EMPTY_ADDRESSES or b is None) else b)
            if b is None or isinstance(b, str) else a
            for a, b in zip(four, six, strict=True)
        ],
        dtype=pl.String, strict=False,
    )  # fmt: skip


def _name(record: dict[str, Any]) -> str | None:
    for key in _NAMES:
        value = record.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value:
            return value
    return None


class Source(RecordSource):
    """Reader of super_mediator's JSON.

    Parameters
    ----------
    text
        The input.
    settings
        ``time_zone`` is that of the times.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "yaf.json"
    >>> _ = file.write_text('{"flows":{"flowStartMilliseconds":"2019-05-01 00:00:00.250",'
    ...     '"protocolIdentifier":6,"sourceIPv4Address":"10.0.0.2","destinationIPv4Address":"192.0.2.1",'
    ...     '"sourceTransportPort":40000,"destinationTransportPort":443,"initialTCPFlags":"0x02"}}')
    >>> next(Source(TextInput(file), FlowSettings()).batches())["initial_tcp_flags"].to_list()
    [2]
    """

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._zone = settings.time_zone

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give biflow tables, one for each block of lines."""
        for batch in self._text.batches():
            lines, wrapped = objects(batch, self, self._ignore)
            records = [self._inner(record) for record in wrapped]
            if records:
                yield to_biflows(self._columns(records), self, lines)

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
                # The exporter counts since it began: the last object holds the sum.
                if isinstance(value, int) and ("dropped" in key.lower() or "ignored" in key.lower()):
                    self.exporter_counters[key] = max(value, self.exporter_counters.get(key, 0))
            return "statistics"
        return "tombstone" if "tombstone" in record else "not a flow"

    def _columns(self, records: list[dict[str, Any]]) -> dict[str, pl.Series]:
        def whole(*names: str) -> pl.Series:
            return numbers(field(records, *names))

        def bits(name: str) -> pl.Series:
            return flags(text_field(records, name), hexadecimal=True)

        return {
            "start": as_time(text_field(records, *_STARTS), self._zone),
            "end": as_time(text_field(records, *_ENDS), self._zone),
            "protocol": protocols(text_field(records, "protocolIdentifier")),
            "source_address": _address(records, "source"),
            "destination_address": _address(records, "destination"),
            "source_port": whole("sourceTransportPort"),
            "destination_port": whole("destinationTransportPort"),
            "octets": whole("octetTotalCount", "octetDeltaCount"),
            "packets": whole("packetTotalCount", "packetDeltaCount"),
            "reverse_octets": whole("reverseOctetTotalCount", "reverseOctetDeltaCount"),
            "reverse_packets": whole("reversePacketTotalCount", "reversePacketDeltaCount"),
            "initial_tcp_flags": bits("initialTCPFlags"),
            "reverse_initial_tcp_flags": bits("reverseInitialTCPFlags"),
            "union_tcp_flags": bits("unionTCPFlags"),
            "reverse_union_tcp_flags": bits("reverseUnionTCPFlags"),
            "end_reason": pl.Series([_end_reason(v) for v in field(records, "flowEndReason")], dtype=pl.UInt8),
            "source_mac": text_field(records, "sourceMacAddress"),
            "destination_mac": text_field(records, "destinationMacAddress"),
            "vlan": whole("vlanId"),
            "destination_name": pl.Series([_name(r) for r in records], dtype=pl.String),
        }
