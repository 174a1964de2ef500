"""A MUD profile (RFC 8520) from the services that a device uses.

References
----------
RFC 8520; A. Hamza, D. Ranathunga, H. Habibi Gharakheili, M. Roughan, V. Sivaraman, Clear as MUD: Generating,
Validating and Applying IoT Behavioral Profiles, 2018.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import polars as pl

from ethogram.schema import DYNAMIC_FROM, GROUP, MUD_USE, TCP, UDP, MudPlace, MudProfile, MudRule, PortRange

__all__ = ["MOST_RULES", "learn_profile", "learn_rules", "sum_uses"]

MOST_RULES = 2000
"""Rules of a profile; those of services with fewest flows are left out."""
MOST_ADDRESSES, MOST_DYNAMIC, MOST_PORTS = 8, 3, 16
"""Addresses without a name, dynamic ports, and ports at all that one end may have until any address, or a range of
ports, stands for them."""
DNS, NTP = "urn:ietf:params:mud:dns", "urn:ietf:params:mud:ntp"
_DYNAMIC: PortRange = (DYNAMIC_FROM, 65_535)
_GROUPS = {4: "224.0.0.0/4", 6: "ff00::/8"}
_KEYS = ["device", "version", "protocol", "port", "role", "scope", "name", "address", "initiator"]


def sum_uses(uses: pl.DataFrame) -> pl.DataFrame:
    """Add rows of the same key (:data:`ethogram.schema.MUD_USE`), in order of the key."""
    grouped = uses.group_by(_KEYS).agg(
        pl.col("answered").any(), pl.col("flows", "packets_out", "packets_in").sum()
    )
    return MUD_USE.conform(grouped).sort(_KEYS)


def learn_rules(uses: pl.DataFrame) -> tuple[tuple[MudRule, ...], int]:
    """The rules that permit what one device did.

    Parameters
    ----------
    uses
        Services that it used (:data:`ethogram.schema.MUD_USE`), of one device.

    Returns
    -------
    The rules, those of what the device sends first; and how many were left out because there are too many.

    Notes
    -----
    What others sent without an answer is no behaviour of the device and gives no rule. Other ends are stated by host
    name where one is known; on the local network as ``local-networks``; DNS and NTP of the local network as the
    controllers of the RFC; multicast and broadcast by group. Ends without a name are stated by address, or as any end
    if there are more than :data:`MOST_ADDRESSES`. Rules have the service's port alone: the other one is dynamic. More
    than :data:`MOST_DYNAMIC` dynamic ports of one end are one range, and so are more than :data:`MOST_PORTS` ports
    from the smallest to the largest. Where the version of IP is not known, it is 4.

    Examples
    --------
    >>> learn_rules(MUD_USE.empty())
    ((), 0)
    """
    asked = (pl.col("initiator") == "remote") | (pl.col("initiator").is_null() & (pl.col("role") == "server"))
    behaviour = uses.filter(pl.col("answered") | ~asked)
    flows: dict[MudRule, int] = {}
    for row in _generalised(behaviour).iter_rows(named=True):
        for rule in _rules(row):
            flows[rule] = flows.get(rule, 0) + int(row["flows"])
    ranked = sorted(flows, key=lambda rule: (-flows[rule], _order(rule)))
    return tuple(sorted(ranked[:MOST_RULES], key=_order)), max(len(ranked) - MOST_RULES, 0)


def _order(rule: MudRule) -> tuple[object, ...]:
    return (
        not rule.outward, rule.version, rule.place, rule.place_value, rule.name, rule.network, rule.protocol or -1,
        rule.remote_ports or (-1, -1), rule.device_ports or (-1, -1), rule.initiated,
    )  # fmt: skip


def _generalised(uses: pl.DataFrame) -> pl.DataFrame:
    """Uses with the end that a rule states, and first and last port, one row for each rule or pair of rules."""
    port, local = pl.col("port"), pl.col("scope") != "wan"
    lan = pl.col("scope") == "lan"
    service = pl.col("protocol").is_in([TCP, UDP])
    # A flow of DNS has the name in the question, which is not that of the resolver.
    dns = service & (port == 53) & (pl.col("role") == "client")
    ntp = (pl.col("protocol") == UDP) & (port == 123) & (pl.col("role") == "client")
    group = pl.col("name").str.contains(GROUP).fill_null(value=False)
    ends = uses.with_columns(
        place=pl.when(dns & (lan | pl.col("address").is_null())).then(pl.lit(DNS))
        .when(ntp & (lan | (pl.col("address").is_null() & pl.col("name").is_null()))).then(pl.lit(NTP))
        .when(lan).then(pl.lit("local-networks")).otherwise(pl.lit("")),
        name=pl.when(local | dns).then(None).otherwise("name"),
        address=pl.when(pl.col("scope") == "multicast").then(pl.when(group).then("name").otherwise("address"))
        .when(lan | (pl.col("name").is_not_null() & ~dns)).then(None).otherwise("address"),
        version=pl.when(group).then(pl.when(pl.col("name").str.contains(":")).then(6).otherwise(4))
        .otherwise(pl.col("version").fill_null(4)),
        first="port", last="port",
    ).with_columns(address=pl.when(pl.col("place") == "").then("address"))  # fmt: skip
    many = (pl.col("address").n_unique() > MOST_ADDRESSES).over("version", "protocol", "port", "role", "scope", "place")
    ends = ends.with_columns(address=pl.when(many & (pl.col("scope") == "wan")).then(None).otherwise("address"))
    end = ["version", "protocol", "role", "scope", "place", "name", "address"]
    dynamic = service & (port >= DYNAMIC_FROM)
    several = dynamic & (pl.col("port").filter(dynamic).n_unique() > MOST_DYNAMIC).over(end)
    many_ports = (service & (pl.col("port").n_unique() > MOST_PORTS)).over(end)
    ends = ends.with_columns(
        first=pl.when(many_ports).then(pl.col("port").min().over(end)).when(several).then(_DYNAMIC[0]).otherwise("first"),
        last=pl.when(many_ports).then(pl.col("port").max().over(end)).when(several).then(_DYNAMIC[1]).otherwise("last"),
    )
    initiator = pl.col("initiator").cast(pl.String).fill_null(
        pl.when(pl.col("role") == "client").then(pl.lit("device")).otherwise(pl.lit("remote"))
    )  # fmt: skip
    keys = [*end, "first", "last", "initiator"]
    return ends.with_columns(initiator=initiator).group_by(keys).agg(
        pl.col("flows", "packets_out", "packets_in").sum()
    )  # fmt: skip


def _rules(row: dict[str, Any]) -> Iterator[MudRule]:
    """What a use sends and receives, one rule for each."""
    transport = row["protocol"] in (TCP, UDP)
    ports: PortRange | None = (row["first"], row["last"]) if transport else None
    client = row["role"] == "client"
    place: MudPlace = "controller" if row["place"].startswith("urn:") else row["place"]
    version: Literal[4, 6] = 6 if row["version"] == 6 else 4
    tcp = row["protocol"] == TCP
    any_group = _GROUPS[version] if row["scope"] == "multicast" else ""
    for outward, packets in ((True, row["packets_out"]), (False, row["packets_in"])):
        if not packets or (row["scope"] == "multicast" and not outward):
            continue
        yield MudRule(
            outward=outward, version=version, protocol=row["protocol"], name=row["name"] or "",
            network=_prefix(row["address"]) or any_group, place=place,
            place_value=row["place"] if place == "controller" else "",
            device_ports=None if client else ports, remote_ports=ports if client else None,
            initiated=("from-device" if row["initiator"] == "device" else "to-device") if tcp else "",
        )  # fmt: skip


def _prefix(address: str | None) -> str:
    """An address as a prefix; empty if there is none."""
    if not address:
        return ""
    try:
        return str(ipaddress.ip_network(address))
    except ValueError:
        return ""


def learn_profile(uses: pl.DataFrame, url: str, updated: datetime, **texts: str) -> tuple[MudProfile, int]:
    """A profile with the rules of :func:`learn_rules`, and how many were left out.

    Parameters
    ----------
    uses
        Services that one device used.
    url
        MUD URL of the profile.
    updated
        When it is made.
    texts
        ``system_info``, ``manufacturer``, ``model`` and ``documentation``.
    """
    rules, left_out = learn_rules(uses)
    return MudProfile(url, updated, rules, **texts), left_out  # type: ignore[arg-type]  # texts alone
