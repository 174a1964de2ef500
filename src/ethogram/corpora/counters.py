"""Readers of sources without flow records: flow-rule counters to counts, flow features to flows.

Rule counters are totals of a whole capture, so their counts stand at one nominal epoch. A pair of rules, out and in,
that names the same service and remote is one flow.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import polars as pl

from ethogram.config import CountSettings
from ethogram.corpora.card import CardDevice
from ethogram.errors import InputError
from ethogram.flow.names import domains
from ethogram.identify.library import NOMINAL
from ethogram.schema import COUNT_KEYS, COUNTS, FLOW, GROUP, ICMP, ICMPV6, IGMP, TCP, UDP, Accounting

__all__ = ["flow_features", "rule_counters", "scope_of"]

ETHERNET_OCTETS = 14
LOCAL_PRIORITY = 655
"""Rules up to this priority match traffic inside the network."""

NAMED_PORTS = {"DNS": (UDP, 53), "NTP": (UDP, 123), "DHCP": (UDP, 67), "MDNS": (UDP, 5353), "SSDP": (UDP, 1900),
               "TCP": (TCP, 0), "UDP": (UDP, 0), "TLS": (TCP, 443), "HTTPS": (TCP, 443), "HTTP": (TCP, 80)}  # fmt: skip
"""Protocol and port by name of the protocol; TCP and UDP have no port."""


@lru_cache(maxsize=1 << 16)
def scope_of(address: str) -> str:
    """Scope of an address; a text that is not an address is a host name, hence ``wan``.

    >>> scope_of("ff02::fb"), scope_of("192.168.1.255"), scope_of("10.0.0.7"), scope_of("api.example.com")
    ('multicast', 'multicast', 'lan', 'wan')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "wan"
    if parsed.is_multicast or (parsed.version == 4 and parsed.is_private and address.endswith(".255")):
        return "multicast"
    inside = parsed.is_private or parsed.is_link_local or parsed.is_unspecified
    return "multicast" if address == "255.255.255.255" else "lan" if inside else "wan"


def rule_counters(
    device: CardDevice, files: Sequence[Path], instance: str, settings: CountSettings
) -> tuple[pl.DataFrame, Accounting]:
    """Counts of one device from its flow-rule counters.

    Parameters
    ----------
    device, files
        The device, with its MAC, and its files.
    instance
        Name of the device in the counts.
    settings
        Whether other protocols count, and whether inbound rules that were never answered are left out.

    Returns
    -------
    tuple
        Table :data:`ethogram.schema.COUNTS`, and the accounting of all rules with traffic.
    """
    accounting = Accounting("rules")
    rules = pl.concat([_rules(file) for file in files]).filter(pl.col("packetCount") > 0)
    accounting.read = rules.height
    number = pl.col("ipProto").cast(pl.UInt8, strict=False)
    ip = rules.filter(number.is_not_null())
    accounting.ignore("not IP", rules.height - ip.height)
    if not settings.other_protocols:
        with_ports = ip.filter(number.is_in([TCP, UDP]))
        accounting.ignore("protocol", ip.height - with_ports.height)
        ip = with_ports
    transport = number.is_in([TCP, UDP])
    portless = transport & (pl.col("srcPort") == "*") & (pl.col("dstPort") == "*")
    accounting.ignore("no port stated", ip.filter(portless).height)
    named = _service_of_rules(ip.filter(~portless), device.mac or "")
    key = ["protocol", "port", "role", "scope", "name"]
    outward = pl.col("out")
    grouped = named.group_by(key).agg(
        rules_out=outward.sum(), rules_in=(~outward).sum(),
        packets_out=pl.col("packetCount").filter("out").sum(), packets_in=pl.col("packetCount").filter(~outward).sum(),
        octets_out=pl.col("octets").filter("out").sum(), octets_in=pl.col("octets").filter(~outward).sum(),
    )  # fmt: skip
    probed = (pl.col("role") == "server") & (pl.col("packets_out") == 0)
    if settings.drop_probes:
        answered_port = pl.col("packets_out").sum().over("protocol", "port", "role") > 0
        ignored = grouped.filter(probed & ~answered_port)
        accounting.ignore("inbound unanswered", int((ignored["rules_out"] + ignored["rules_in"]).sum()))
        grouped = grouped.filter(~(probed & ~answered_port))
    accounting.used = int((grouped["rules_out"] + grouped["rules_in"]).sum())
    counts = grouped.with_columns(
        device=pl.lit(instance), time=pl.lit(NOMINAL),
        answered=(pl.col("packets_out") > 0) & (pl.col("packets_in") > 0),
        flows=pl.max_horizontal("rules_out", "rules_in"), duration_ms=pl.lit(0),
    )  # fmt: skip
    accounting.check()
    return COUNTS.conform(counts).sort(COUNT_KEYS), accounting


def _rules(file: Path) -> pl.DataFrame:
    try:
        frame = pl.read_csv(file, infer_schema_length=0)
        return frame.with_columns(pl.col("packetCount", "volumeTransmitted").cast(pl.Int64))
    except pl.exceptions.PolarsError as error:
        raise InputError(str(error).splitlines()[0], file=file) from None


def _service_of_rules(rules: pl.DataFrame, mac: str) -> pl.DataFrame:
    """Service, role, scope and name of each rule, seen from the device."""
    out = pl.col("srcMac").str.to_lowercase() == mac
    source, destination = (pl.col(c).cast(pl.UInt16, strict=False) for c in ("srcPort", "dstPort"))
    far, near = (pl.when("out").then(a).otherwise(b) for a, b in ((destination, source), (source, destination)))
    # A rule states the port of the service alone; one that states none matches any port and is written 0.
    frame = rules.with_columns(out=out).with_columns(
        protocol=pl.col("ipProto").cast(pl.UInt8), port=pl.coalesce(far, near, pl.lit(0)),
        role=pl.when(far.is_null() & near.is_not_null()).then(pl.lit("server")).otherwise(pl.lit("client")),
        peer=pl.when("out").then("dstIp").otherwise("srcIp").str.split("|").list.first().str.to_lowercase(),
        peer_mac=pl.when("out").then("dstMac").otherwise("srcMac").str.to_lowercase(),
        octets=pl.max_horizontal(pl.col("volumeTransmitted") - ETHERNET_OCTETS * pl.col("packetCount"), pl.lit(0)),
    )  # fmt: skip
    peers = frame["peer"].unique().to_list()
    scopes = {peer: scope_of(peer) for peer in peers}
    names = _names(peers)
    nobody = pl.col("peer").is_in(["*", ""])
    inside = (pl.col("peer_mac") == "*") | (pl.col("priority").cast(pl.Int32, strict=False) <= LOCAL_PRIORITY)
    return frame.with_columns(
        scope=pl.when(nobody & pl.col("peer_mac").str.starts_with("ff:ff")).then(pl.lit("multicast"))
        .when(nobody & inside).then(pl.lit("lan")).when(nobody).then(pl.lit("wan"))
        .otherwise(pl.col("peer").replace_strict(scopes)),
        name=pl.col("peer").replace_strict(names, return_dtype=pl.String),
    )  # fmt: skip


def _names(peers: Sequence[str]) -> dict[str, str | None]:
    """Registrable domain of each host name; None for addresses and empty names."""
    registrable = domains(pl.Series(peers, dtype=pl.String).str.strip_chars_start("*."))["remote_domain"]
    domain = dict(zip(peers, registrable.to_list(), strict=True))
    return domain | {peer: peer for peer in peers if re.match(GROUP, peer)}


def flow_features(files: Sequence[Path], instance: str) -> tuple[pl.DataFrame, Accounting]:
    """Flows of one device from features with protocol, remote name and volumes, but without ports."""
    accounting = Accounting("flows")
    try:
        rows = pl.concat([pl.read_csv(file, infer_schema_length=0) for file in files])
    except pl.exceptions.PolarsError as error:
        raise InputError(str(error).splitlines()[0], file=files[0]) from None
    accounting.read = accounting.used = rows.height

    def number(column: str) -> pl.Expr:
        return pl.col(column).cast(pl.Float64)

    def packets(way: str) -> pl.Expr:
        return (number(f"network_{way}") + number(f"network_{way}_local")).round()

    def octets(way: str) -> pl.Expr:
        each = pl.max_horizontal(number(f"meanBytes_{way}_external"), number(f"meanBytes_{way}_local"))
        return (packets(way) * pl.max_horizontal(each - ETHERNET_OCTETS, pl.lit(0.0))).round()

    protocol = pl.col("protocol")
    known = {name: p for name, (p, _) in NAMED_PORTS.items()} | {"ICMP": ICMP, "IGMP": IGMP, "ICMPV6": ICMPV6}
    ports = {name: port for name, (_, port) in NAMED_PORTS.items()}
    rows = rows.with_columns(pl.col("hosts").fill_null("").str.to_lowercase())
    host = pl.col("hosts")
    hosts = rows["hosts"].unique().to_list()
    # A MAC address in place of a host is somebody in the same network.
    scopes = {h: "multicast" if h.startswith("ff:ff") else "lan" if h.count(":") == 5 else scope_of(h) for h in hosts}
    domain = _names(hosts)
    local = number("network_local") > number("network_external")
    place = host.replace_strict(scopes)
    start = (number("start_time") * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    port = protocol.replace_strict(ports, default=0)
    frame = rows.select(
        device=pl.lit(instance), device_address=pl.lit(""), remote=host, local_port=pl.lit(0), remote_port=port,
        protocol=protocol.str.to_uppercase().replace_strict(known, default=0), start=start, end=start,
        octets_out=octets("out"), octets_in=octets("in"), packets_out=packets("out"), packets_in=packets("in"),
        initiator=pl.lit("device"), service_port=port, role=pl.lit("client"),
        scope=pl.when(place == "multicast").then(pl.lit("multicast")).when(local).then(pl.lit("lan")).otherwise(place),
        answered=(packets("out") > 0) & (packets("in") > 0), joined=pl.lit(1),
        remote_name=pl.when(host.str.contains(r"[a-z]") & ~host.str.contains(":", literal=True))
        .then(host.str.strip_chars_start("*.")),
        remote_domain=host.replace_strict(domain, return_dtype=pl.String),
    )  # fmt: skip
    return FLOW.conform(frame), accounting
