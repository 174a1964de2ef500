"""Profiles of Manufacturer Usage Descriptions (RFC 8520): what a device may send and receive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from ethogram.schema.flow import INITIATOR, ROLE, SCOPE
from ethogram.schema.table import Column, Table

__all__ = ["MUD_USE", "MudPlace", "MudProfile", "MudRule", "PortRange"]

PortRange = tuple[int, int]
"""First and last port."""

MudPlace = Literal[
    "", "local-networks", "same-manufacturer", "manufacturer", "model", "controller", "my-controller"
]
"""Classes of other ends that the network resolves (RFC 8520, section 8)."""


@dataclass(frozen=True, slots=True)
class MudRule:
    """One access-control entry, seen from the device. What is empty or None matches everything.

    Parameters
    ----------
    outward
        Whether it is about what the device sends; else about what it receives.
    version
        4 or 6, of IP.
    protocol
        IANA protocol number; None: any.
    name
        Host name of the other end, exact.
    network
        Addresses of the other end, as a prefix.
    place, place_value
        Class of the other end; ``place_value`` is the URI or domain of ``manufacturer``, ``model`` and ``controller``.
    device_ports, remote_ports
        Ports of the device and of the other end.
    initiated
        Which side opened the TCP connection.
    icmp
        Type, and code or None for any.
    action
        What happens to what matches.

    Examples
    --------
    >>> MudRule(True, 4, 17, place="controller", place_value="urn:ietf:params:mud:dns", remote_ports=(53, 53)).protocol
    17
    """

    outward: bool
    version: Literal[4, 6]
    protocol: int | None
    name: str = ""
    network: str = ""
    place: MudPlace = ""
    place_value: str = ""
    device_ports: PortRange | None = None
    remote_ports: PortRange | None = None
    initiated: Literal["", "from-device", "to-device"] = ""
    icmp: tuple[int, int | None] | None = None
    action: Literal["accept", "drop", "reject"] = "accept"


@dataclass(frozen=True, slots=True)
class MudProfile:
    """A MUD file, without what belongs to Ethernet.

    Parameters
    ----------
    url
        MUD URL, which names the profile.
    updated
        When the file was made.
    rules
        Entries in order.
    cache_hours
        Hours for which it is valid, 1 to 168.
    supported
        Whether the manufacturer supports the device.
    system_info, manufacturer, model, documentation
        Texts about the device; empty if not stated.
    """

    url: str
    updated: datetime
    rules: tuple[MudRule, ...]
    cache_hours: int = 48
    supported: bool = True
    system_info: str = ""
    manufacturer: str = ""
    model: str = ""
    documentation: str = ""


MUD_USE = Table(
    "mud_use",
    "Use of services by devices, from which profiles are learnt. Rows with the same key may be added.",
    (
        Column("device", pl.String(), "", "as in the flow table"),
        Column("version", pl.UInt8(), "", "4 or 6, of IP; null if not known", nullable=True),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier"),
        Column("port", pl.UInt16(), "", "service port; 0 where the protocol has none"),
        Column("role", ROLE, "", "the device's side of the service"),
        Column("scope", SCOPE, "", "where the other end is"),
        Column("name", pl.String(), "", "host name of the other end, or its domain if only that is stored",
               nullable=True),
        Column("address", pl.String(), "", "address of the other end, where it has no name", nullable=True),
        Column("initiator", INITIATOR, "", "who began; null if not known", nullable=True),
        Column("answered", pl.Boolean(), "", "whether both sides sent something"),
        Column("flows", pl.UInt64(), "flows", "flows"),
        Column("packets_out", pl.UInt64(), "packets", "packets the device sent"),
        Column("packets_in", pl.UInt64(), "packets", "packets the device received"),
    ),
)  # fmt: skip
