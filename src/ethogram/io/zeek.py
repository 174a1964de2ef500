"""Zeek connection logs: tab-separated with a header, JSON lines, or CSV with Zeek column names.

Octets are ``orig_ip_bytes``; where Zeek did not count them, the payload size ``orig_bytes`` is used and counted as
corrected. Names come from neighbouring logs (``ssl``, ``http`` by connection; ``dns`` answers with their TTL).
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ethogram.config import FlowSettings
from ethogram.errors import InputError
from ethogram.io.open_text import TextInput
from ethogram.io.parse_columns import ParsedColumn, parse_integers, parse_protocols
from ethogram.io.parse_times import parse_times
from ethogram.io.record_reader import RecordReader, first_of, to_biflows
from ethogram.io.zeek_identity import neighbour_facts
from ethogram.io.zeek_log import log_frames
from ethogram.io.zeek_log_types import CONN, NEEDED, Kinds, kinds_in, other_log
from ethogram.io.zeek_names import NeighbourNames
from ethogram.schema import TCP, TCP_ACK, TCP_SYN

__all__ = ["ZeekReader", "sniff"]

_ORIGINATOR_SYN = ["S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "SH"]
_RESPONDER_SYN_ACK = ["RSTRH", "SHR"]
_ENDED = ["SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH"]


def sniff(head: bytes) -> bool:
    """Whether the text contains, or may contain, records of the conn log.

    Records of several logs can be mixed in one stream.
    """
    kinds = kinds_in(head, "")
    return CONN in kinds or (bool(kinds) and other_log(head, "") is None)


class ZeekReader(RecordReader):
    """Reader of connection logs, with names from neighbouring logs. Records of other logs are ignored by name.

    Zeek never splits a connection at a timeout, so each record ends with *end of flow* or *idle timeout*.
    """

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._zone = settings.time_zone
        self._names = NeighbourNames(text, settings.time_zone) if settings.names.enabled else None

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of lines."""
        for frame, lines in log_frames(self._text, self, Kinds(self._text.file_name)):
            missing = NEEDED - set(frame.columns)
            if missing:
                raise InputError(f"not a Zeek conn log: no column {', '.join(sorted(missing))}", file=self.name,
                                 line=lines[0] if lines else None)  # fmt: skip
            yield to_biflows(self._columns(frame), self, lines)

    def name_answers(self) -> pl.DataFrame:
        """Answers of the neighbouring ``dns`` log."""
        return self._names.answers() if self._names is not None else super().name_answers()

    def identity_facts(self) -> pl.DataFrame:
        """Facts of the neighbouring ``dhcp`` and ``known_*`` logs."""
        return neighbour_facts(self._text, self._zone)

    def _columns(self, frame: pl.DataFrame) -> dict[str, ParsedColumn | pl.Series]:
        source = first_of(frame, "id.orig_h")
        protocol = _protocol(frame, source)
        columns: dict[str, ParsedColumn | pl.Series] = {
            "start": parse_times(frame["ts"], self._zone),
            "duration": first_of(frame, "duration"),
            "protocol": protocol,
            "source_address": source,
            "destination_address": first_of(frame, "id.resp_h"),
            "source_port": first_of(frame, "id.orig_p"),
            "destination_port": first_of(frame, "id.resp_p"),
            "octets": self._octets(frame, "orig"),
            "packets": first_of(frame, "orig_pkts"),
            "reverse_octets": self._octets(frame, "resp"),
            "reverse_packets": first_of(frame, "resp_pkts"),
            "source_mac": first_of(frame, "orig_l2_addr"),
            "destination_mac": first_of(frame, "resp_l2_addr"),
            "vlan": first_of(frame, "vlan"),
        }
        columns |= _states(frame, protocol.values)
        if self._names is not None and "uid" in frame.columns:
            columns["destination_name"] = self._names.by_connection(frame["uid"])
        return columns

    def _octets(self, frame: pl.DataFrame, side: str) -> ParsedColumn:
        whole = parse_integers(first_of(frame, f"{side}_ip_bytes"))
        payload = parse_integers(first_of(frame, f"{side}_bytes"))
        stands_in = whole.unset & payload.values.is_not_null()
        self.accounting.correct("payload octets used as IP octets", int(stands_in.sum()))
        return whole.or_else(payload)


def _protocol(frame: pl.DataFrame, source: pl.Series) -> ParsedColumn:
    """The protocol number if the log has one; Zeek writes ``icmp`` for both IP versions."""
    # Zeek writes "unknown" where it does not state the protocol.
    named = parse_protocols(frame["proto"].replace({"unknown_transport": None}))
    six = source.str.contains(":", literal=True).fill_null(False)
    version_6 = (named.values == 1).fill_null(False) & six
    named = ParsedColumn(named.values.set(version_6, 58), named.faults)
    return parse_protocols(first_of(frame, "ip_proto")).or_else(named)


def _states(frame: pl.DataFrame, protocol: pl.Series) -> dict[str, pl.Series]:
    """First TCP flags and end reason from ``history`` (upper case: originator), else from ``conn_state``.

    A ``^`` means that Zeek reversed the connection; the letters already refer to the new direction.
    """
    history, state = pl.col("history").fill_null(""), pl.col("state").fill_null("")
    frame = pl.DataFrame(
        {"history": first_of(frame, "history"), "state": first_of(frame, "conn_state"), "protocol": protocol}
    )
    # Without a history, the connection state decides.
    has_history = history != ""
    first = (
        pl.when(
            pl.when(has_history)
            .then(history.str.contains("S", literal=True))
            .otherwise(state.is_in(_ORIGINATOR_SYN))
        )
        .then(TCP_SYN)
        .when(history.str.contains("H", literal=True)).then(TCP_SYN | TCP_ACK)
        .when(history.str.contains("[ADFR]")).then(TCP_ACK)
    )  # fmt: skip
    reverse = (
        pl.when(history.str.contains("s", literal=True)).then(TCP_SYN)
        .when(history.str.contains("h", literal=True) | (~has_history & state.is_in(_RESPONDER_SYN_ACK)))
        .then(TCP_SYN | TCP_ACK)
        .when(history.str.contains("[adfr]")).then(TCP_ACK)
    )  # fmt: skip
    is_tcp = pl.col("protocol") == TCP
    columns = frame.select(
        initial_tcp_flags=pl.when(is_tcp).then(first),
        reverse_initial_tcp_flags=pl.when(is_tcp).then(reverse),
        end_reason=pl.when(is_tcp & state.is_in(_ENDED)).then(3).otherwise(1),
    )
    return {name: columns[name] for name in columns.columns}
