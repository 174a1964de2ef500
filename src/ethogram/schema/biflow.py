"""The biflow table: output of meters and record readers, addressed by endpoints; devices are assigned later.

The source is the initiator as the meter observed it (RFC 5103); ``reverse_`` columns are the opposite direction. A
reader that knows one direction only sets the reverse columns to 0.
"""

from __future__ import annotations

import polars as pl

from ethogram.schema.table import Column, Table

__all__ = ["BIFLOW", "END_REASONS", "NAME_ANSWER", "NAME_QUESTION", "TCP_ACK", "TCP_FIN", "TCP_RST", "TCP_SYN", "TIME"]

TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK = 0x01, 0x02, 0x04, 0x10

END_REASONS = {
    1: "idle timeout",
    2: "active timeout",
    3: "end of flow",
    4: "forced end",
    5: "lack of resources",
}
"""flowEndReason, RFC 5102 section 5.11.3."""

TIME = pl.Datetime("us", "UTC")

BIFLOW = Table(
    "biflow",
    "One row per flow record, both directions, addressed by its endpoints.",
    (
        Column("start", TIME, "", "first packet of either direction"),
        Column("end", TIME, "", "last packet of either direction"),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier (IANA protocol number)"),
        Column("source_address", pl.String(), "", "initiator's address, canonical text (RFC 5952 for IPv6)"),
        Column("destination_address", pl.String(), "", "responder's address"),
        Column("source_port", pl.UInt16(), "", "initiator's port; 0 where the protocol has none"),
        Column("destination_port", pl.UInt16(), "", "responder's port; 0 where the protocol has none"),
        Column("octets", pl.UInt64(), "octets", "IP octets from source to destination"),
        Column("packets", pl.UInt64(), "packets", "packets from source to destination"),
        Column("reverse_octets", pl.UInt64(), "octets", "IP octets from destination to source"),
        Column("reverse_packets", pl.UInt64(), "packets", "packets from destination to source"),
        Column("initial_tcp_flags", pl.UInt8(), "", "flags of the source's first TCP packet", nullable=True),
        Column("reverse_initial_tcp_flags", pl.UInt8(), "", "flags of the destination's first TCP packet",
               nullable=True),
        Column("union_tcp_flags", pl.UInt8(), "", "all flags the source sent", nullable=True),
        Column("reverse_union_tcp_flags", pl.UInt8(), "", "all flags the destination sent", nullable=True),
        Column("end_reason", pl.UInt8(), "", "flowEndReason", nullable=True),
        Column("source_mac", pl.String(), "", "aa:bb:cc:dd:ee:ff, lower case", nullable=True),
        Column("destination_mac", pl.String(), "", "aa:bb:cc:dd:ee:ff, lower case", nullable=True),
        Column("vlan", pl.UInt16(), "", "802.1Q VLAN identifier", nullable=True),
        Column("source_name", pl.String(), "", "the source's host name, where the record itself names it",
               nullable=True),
        Column("destination_name", pl.String(), "", "the destination's host name (TLS server name, HTTP host, "
               "a meter's name field), where the record itself names it", nullable=True),
        Column("raw_octets", pl.UInt64(), "octets", "octets as exported, if sampling was scaled",
               nullable=True),
        Column("raw_packets", pl.UInt64(), "packets", "packets as exported, if sampling was scaled",
               nullable=True),
        Column("reverse_raw_octets", pl.UInt64(), "octets", "the same for the other direction", nullable=True),
        Column("reverse_raw_packets", pl.UInt64(), "packets", "the same for the other direction", nullable=True),
        Column("direction", pl.UInt8(), "", "flowDirection: 0 seen on the way into the exporter, 1 on the way out",
               nullable=True),
        Column("one_way", pl.Boolean(), "", "whether the other direction is a separate record; null: as usual for the "
               "format", nullable=True),
    ),
)  # fmt: skip

NAME_ANSWER = Table(
    "name_answer",
    "Passive DNS: one row per address in an answer that a host on the network received.",
    (
        Column("time", TIME, "", "when the answer was seen"),
        Column("client", pl.String(), "", "address that received the answer"),
        Column("address", pl.String(), "", "address in the answer"),
        Column("name", pl.String(), "", "the name in the question, lower case, without the final dot"),
        Column("ttl_s", pl.UInt32(), "s", "the answer's lifetime (the smallest along a CNAME chain)"),
    ),
)

NAME_QUESTION = Table(
    "name_question",
    "Passive DNS: one row per name in a DNS question, whatever the answer.",
    (
        Column("time", TIME, "", "when the response was seen"),
        Column("client", pl.String(), "", "address that asked"),
        Column("client_port", pl.UInt16(), "", "its port; null where a log does not state it", nullable=True),
        Column("server", pl.String(), "", "address that responded; null where a log does not state it", nullable=True),
        Column("name", pl.String(), "", "the name in the question, lower case, without the final dot"),
    ),
)
