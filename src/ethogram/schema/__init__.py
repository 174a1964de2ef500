"""Types that packages exchange."""

from ethogram.schema.accounting import Accounting
from ethogram.schema.biflow import (
    BIFLOW,
    END_REASONS,
    NAME_ANSWER,
    NAME_QUESTION,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    TIME,
)
from ethogram.schema.counts import COUNT_KEYS, COUNT_VOLUMES, COUNTS, GROUP
from ethogram.schema.custom import CUSTOM_FLOW, CUSTOM_FORMAT, CustomFlows, ipv4_networks, private_mask
from ethogram.schema.datagram import DatagramBatch, DatagramSource, Exporter
from ethogram.schema.fingerprint import FINGERPRINT, FINGERPRINT_FORMAT, STATUS
from ethogram.schema.flow import FLOW, FLOW_METADATA, INITIATOR, ROLE, SCOPE
from ethogram.schema.identity import FACT, IDENTITY, MAX_VALUE
from ethogram.schema.kind import KINDS, Kind
from ethogram.schema.ladder import LadderEvidence, LadderTerm, TermLevel
from ethogram.schema.ladder_verdict import IdentityFact, LadderLevel, LadderVerdict, LevelEvidence, LevelVerdict
from ethogram.schema.matrix import ServiceMatrix
from ethogram.schema.named_device import NAMED_DEVICE
from ethogram.schema.packet import PacketBatch
from ethogram.schema.packet_flows import PACKET_FLOW, PACKET_FORMAT, PacketFlows
from ethogram.schema.record import Record
from ethogram.schema.service import DYNAMIC_FROM, ICMP, ICMPV6, IGMP, TCP, UDP, service_name
from ethogram.schema.source import FlowSource, PacketSource
from ethogram.schema.table import Column, Table
from ethogram.schema.time_span import ALWAYS, TimeSpan
from ethogram.schema.verdict import UNKNOWN, Evidence, Fallback, Inventory, MethodShare, Verdict, Window
from ethogram.schema.window import ITEM, ITEM_COUNTS, Windows

__all__ = [
    "ALWAYS",
    "BIFLOW",
    "COUNTS",
    "COUNT_KEYS",
    "COUNT_VOLUMES",
    "CUSTOM_FLOW",
    "CUSTOM_FORMAT",
    "DYNAMIC_FROM",
    "END_REASONS",
    "FACT",
    "FINGERPRINT",
    "FINGERPRINT_FORMAT",
    "FLOW",
    "FLOW_METADATA",
    "GROUP",
    "ICMP",
    "ICMPV6",
    "IDENTITY",
    "IGMP",
    "INITIATOR",
    "ITEM",
    "ITEM_COUNTS",
    "KINDS",
    "MAX_VALUE",
    "NAMED_DEVICE",
    "NAME_ANSWER",
    "NAME_QUESTION",
    "PACKET_FLOW",
    "PACKET_FORMAT",
    "ROLE",
    "SCOPE",
    "STATUS",
    "TCP",
    "TCP_ACK",
    "TCP_FIN",
    "TCP_RST",
    "TCP_SYN",
    "TIME",
    "UDP",
    "UNKNOWN",
    "Accounting",
    "Column",
    "CustomFlows",
    "DatagramBatch",
    "DatagramSource",
    "Evidence",
    "Exporter",
    "Fallback",
    "FlowSource",
    "IdentityFact",
    "Inventory",
    "Kind",
    "LadderEvidence",
    "LadderLevel",
    "LadderTerm",
    "LadderVerdict",
    "LevelEvidence",
    "LevelVerdict",
    "MethodShare",
    "PacketBatch",
    "PacketFlows",
    "PacketSource",
    "Record",
    "ServiceMatrix",
    "Table",
    "TermLevel",
    "TimeSpan",
    "Verdict",
    "Window",
    "Windows",
    "ipv4_networks",
    "private_mask",
    "service_name",
]
