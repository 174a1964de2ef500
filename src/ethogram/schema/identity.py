"""Identity facts: what a device says of itself, and what files of the user say of it, beside the flow table.

A fact is a statement with its source, not a verdict: nothing here was judged. Values are foreign text, exactly as they
were read; renderers make them safe (:mod:`ethogram._text`).
"""

from __future__ import annotations

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.table import Column, Table

__all__ = ["FACT", "IDENTITY", "MAX_VALUE"]

MAX_VALUE = 255
"""Characters kept of a value."""

FACT = pl.Enum([
    "mac", "address", "name", "host_name", "vendor", "model", "kind", "service",
    "dhcp_vendor_class", "dhcp_parameters", "mdns_name", "mdns_service", "mdns_model", "mdns_vendor", "mdns_category",
    "ssdp_server", "ssdp_type", "nbns_name", "llmnr_name", "lldp_name", "lldp_system",
])  # fmt: skip
"""Kinds of facts.

``mac``, ``address``
    A MAC (``aa:bb:cc:dd:ee:ff``) or an address the device used, random MACs included.
``name``, ``vendor``, ``model``, ``kind``
    What a file of the user says: an inventory, a controller's list of clients, a device file. Vendor and model are
    also what a device states in LLDP-MED.
``host_name``
    Host name of a DHCP client (options 12 and 81, leases) or of a ``hosts`` file.
``service``
    A service that the device serves, as a passive monitor reports it: ``TCP/80 http``.
``dhcp_vendor_class``, ``dhcp_parameters``
    Option 60; option 55 as numbers in order, ``1,3,6,15`` (RFC 2132).
``mdns_name``, ``mdns_service``, ``mdns_model``, ``mdns_vendor``, ``mdns_category``
    Instance or host name, service type (``_hap._tcp``), and values of the TXT keys for model (``md``, ``model``,
    ``am``, ``ty``) and vendor (``manufacturer``, ``usb_MFG``, ``mf``) that the device announces (RFC 6762, RFC 6763);
    number of the HomeKit accessory category (``ci``).
``ssdp_server``, ``ssdp_type``
    Header SERVER, and NT or ST without a unique id (UPnP Device Architecture 2.0, section 1).
``nbns_name``, ``llmnr_name``
    Name that the device registers or answers for (RFC 1002, RFC 4795).
``lldp_name``, ``lldp_system``
    System name and system description (IEEE 802.1AB).
"""

IDENTITY = Table(
    "identity",
    "Identity facts: one row per device, fact, value and source.",
    (
        Column("device", pl.String(), "", "as in the flow table; null until the flow stages have assigned it",
               nullable=True),
        Column("mac", pl.String(), "", "MAC that the fact was last seen with, aa:bb:cc:dd:ee:ff", nullable=True),
        Column("address", pl.String(), "", "address that the fact was last seen with", nullable=True),
        Column("fact", FACT, "", "kind of fact"),
        Column("value", pl.String(), "", f"as it was read, at most {MAX_VALUE} characters"),
        Column("source", pl.String(), "", "where it was read: flows, DHCP, mDNS, dhcp.log, leases.txt (dnsmasq)"),
        Column("first", TIME, "", "first time it was seen; null if the source has no time", nullable=True),
        Column("last", TIME, "", "last time it was seen; null if the source has no time", nullable=True),
        Column("times", pl.UInt64(), "", "how often it was seen: messages, records, or lines of a file"),
    ),
)  # fmt: skip
