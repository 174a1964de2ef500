"""Settings of captures and meters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ethogram.config._base import Settings
from ethogram.schema.packet_flows import LATER_OCTETS, MOST_PACKETS, PAYLOAD_OCTETS, PAYLOAD_PACKETS

__all__ = ["CaptureSettings", "CustomFlowSettings", "MeterSettings", "PacketFlowSettings"]


class CaptureSettings(Settings):
    """Captures to packets."""

    strict: bool = Field(default=False, description="raise an error on damage, instead of a warning and a count")
    tunnels: bool = Field(default=False, description="read the inner packet of IP in IP, GRE, GTP-U and CAPWAP")
    block_octets: int = Field(default=1 << 22, ge=1 << 12, description="octets of a capture in memory at once")
    max_octets: int = Field(default=1 << 42, gt=0, description="decompressed octets read of one file at most")
    max_ratio: float = Field(
        default=1000.0, gt=1, description="largest ratio of decompressed to compressed octets; more counts as an attack"
    )


class MeterSettings(Settings):
    """Packets to biflows."""

    idle_timeout_s: float = Field(default=120.0, gt=0, description="a flow ends after this time without packets")
    active_timeout_s: float = Field(default=1800.0, gt=0, description="a flow is cut after this time")
    max_flows: int = Field(default=1 << 22, gt=0, description="live flows at once; beyond, the oldest are ended")
    octets: Literal["ip", "frame"] = Field(default="ip", description="count octets of the IP packet or of the frame")
    vlan_key: bool = Field(default=False, description="make the VLAN tag part of a flow's key")


class CustomFlowSettings(Settings):
    """Packets to custom flows. A record holds 3,000 symbols, ten packets, and 1,000 octets of each."""

    direction: Literal["outgoing", "bidirectional"] = Field(
        default="outgoing", description="meter packets sent by devices, or both directions"
    )
    interval_s: float = Field(default=60.0, gt=0, le=3600, description="time from a record's first packet to its end")
    packets: int = Field(default=10, ge=1, le=10, description="packets described individually")
    packet_octets: int = Field(default=1000, ge=0, le=1000, description="payload octets kept of each of them")
    protocols: tuple[int, ...] = Field(default=(6, 17), description="IANA numbers of the protocols to meter")
    private: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        description="prefixes of remote addresses that are replaced by 0.0.0.0",
    )
    fragment_s: float = Field(
        default=30.0, ge=0, description="how long later fragments are assigned to the flow of the first; 0: never"
    )
    max_fragments: int = Field(default=4096, ge=1, le=1 << 20, description="fragmented packets remembered at once")
    lateness_s: float = Field(default=5.0, ge=0, description="packets may be out of order by this much")
    leap_s: float = Field(
        default=60.0, gt=0, description="all records end when time goes back by more than this, as in another capture"
    )
    max_flows: int = Field(default=1 << 18, ge=1, description="live records at once; beyond, the oldest are ended")
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 14,
        le=1 << 34,
        description="payload octets of live records in memory; beyond, the oldest records are ended",
    )
    block_flows: int = Field(default=1 << 14, ge=1, description="records per block of named and written records")


class PacketFlowSettings(Settings):
    """Packets of both directions, kept beside outgoing custom flows with complete headers."""

    packets: int = Field(default=MOST_PACKETS, ge=1, le=255, description="packets kept of a flow, its first ones")
    payload_packets: int = Field(
        default=PAYLOAD_PACKETS, ge=0, le=255, description="packets of which more payload is kept, the first ones"
    )
    payload_octets: int = Field(
        default=PAYLOAD_OCTETS, ge=0, le=1500, description="octets of transport payload kept of such a packet"
    )
    later_octets: int = Field(
        default=LATER_OCTETS, ge=0, le=1500, description="octets of transport payload kept of the others"
    )
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 12,
        le=1 << 34,
        description="octets of live flows in memory; beyond, further packets of a flow are counted but not kept",
    )
