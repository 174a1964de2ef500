"""Flows against the rules of a MUD file, direction by direction.

An entry of the policy *from the device* permits what the device sends, one of *to the device* what it receives, so that
one flow may be inside in one direction and outside in the other. The first entry that matches decides; what none
matches is outside.

What a flow record does not show: an entry with the name of a host matches other ends of that name, and other ends
without a known name are outside. Classes of other ends (controllers, manufacturers, models) are taken as any address of
the local network, unless ``peers`` says which addresses they are.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import polars as pl

from ethogram._parse_address import parse_prefix
from ethogram.behaviour.match import MATCHED, outside_kind
from ethogram.behaviour.traffic import FLOW_COLUMNS, spread_flows
from ethogram.schema import DIRECTION, BehaviourProfile, BehaviourRule

__all__ = ["MUD_COLUMNS", "match_mud"]

MUD_COLUMNS = [*FLOW_COLUMNS, "remote", "remote_name", "local_port", "remote_port", "initiator"]
"""Columns of the flow table that the rules of a MUD file need."""


def match_mud(
    flows: pl.DataFrame, profile: BehaviourProfile, epoch_s: int, peers: Mapping[str, Sequence[str]] | None = None
) -> pl.DataFrame:
    """Match the flows of devices by a MUD file.

    Parameters
    ----------
    flows
        Of the devices that the file is for, with :data:`MUD_COLUMNS`.
    profile
        From :func:`ethogram.behaviour.mud_rules.mud_behaviour`.
    epoch_s
        Length of an epoch.
    peers
        Prefixes of classes of other ends, by the class as the file has it (``urn:ietf:params:mud:dns``,
        ``my-controller``).

    Returns
    -------
    Columns :data:`ethogram.behaviour.match.MATCHED`.
    """
    rows = spread_flows(flows.select(MUD_COLUMNS), epoch_s).with_columns(
        port="service_port", name=pl.coalesce("remote_name", "remote_domain").fill_null("").str.to_lowercase(),
    )  # fmt: skip
    networks = sorted({prefix for rule in profile.rules for prefix in (*rule.networks, *_peer(rule, peers))})
    rows = rows.join(_memberships(rows["remote"].unique(), networks), on="remote", how="left")
    parts = []
    for direction, side, began in (("from", "out", "device"), ("to", "in", "remote")):
        rule_at = pl.lit(None, dtype=pl.Int32)
        rules = [rule for rule in profile.rules if rule.direction in (None, direction)]
        for number, rule in reversed(list(enumerate(rules))):
            applies = _condition(rule, networks, peers)
            rule_at = pl.when(applies).then(pl.lit(number, dtype=pl.Int32)).otherwise(rule_at)
        names = pl.Series([rule.name for rule in rules], dtype=pl.String)
        permits = pl.Series([rule.permits for rule in rules], dtype=pl.Boolean)
        part = rows.with_columns(
            direction=pl.lit(direction, dtype=DIRECTION), packets=f"packets_{side}", octets=f"octets_{side}",
            flows=pl.when(pl.col("initiator") == began).then("flows").otherwise(0.0),
        ).filter((pl.col("packets") > 0) | (pl.col("flows") > 0))  # fmt: skip
        numbers = part.select(rule=rule_at)["rule"]
        of_rules = pl.DataFrame({"_name": names.gather(numbers), "_permits": permits.gather(numbers)}) if rules else (
            pl.DataFrame({"_name": [None] * part.height, "_permits": [None] * part.height},
                         schema={"_name": pl.String, "_permits": pl.Boolean}))  # fmt: skip
        part = pl.concat([part, of_rules], how="horizontal").with_columns(
            inside=pl.col("_permits").fill_null(value=False)
        )
        part = part.with_columns(rule=pl.when("inside").then("_name").otherwise(outside_kind()))
        parts.append(part.select(MATCHED))
    return pl.concat(parts)


def _peer(rule: BehaviourRule, peers: Mapping[str, Sequence[str]] | None) -> tuple[str, ...]:
    """Prefixes of the class of a rule, if they are known."""
    if not rule.peer or not peers:
        return ()
    return tuple(str(parse_prefix(prefix)) for prefix in peers.get(rule.peer.split(" ", 1)[-1], ()))


def _condition(
    rule: BehaviourRule, networks: Sequence[str], peers: Mapping[str, Sequence[str]] | None
) -> pl.Expr:
    parts: list[pl.Expr] = []
    if rule.protocol is not None:
        parts.append(pl.col("protocol") == rule.protocol)
    for column, ranges in (("local_port", rule.local_ports), ("remote_port", rule.remote_ports)):
        if ranges:
            parts.append(pl.any_horizontal(pl.col(column).is_between(*each) for each in ranges))
    if rule.version is not None:
        six = pl.col("remote").str.contains(":", literal=True)
        parts.append(six if rule.version == 6 else ~six)
    if rule.remote is not None:
        parts.append(pl.col("name") == rule.remote)
    prefixes = (*rule.networks, *_peer(rule, peers))
    if prefixes:
        parts.append(pl.any_horizontal(pl.col(f"_in{networks.index(prefix)}") for prefix in prefixes))
    elif rule.scope is not None:
        parts.append(pl.col("scope") == rule.scope)
    if rule.initiated is not None:
        parts.append(pl.col("initiator") == rule.initiated)
    return pl.all_horizontal(parts) if parts else pl.lit(value=True)


def _memberships(remotes: pl.Series, networks: Sequence[str]) -> pl.DataFrame:
    """Which of the networks each other end belongs to; each address is parsed once."""
    parsed = [ipaddress.ip_network(prefix) for prefix in networks]
    addresses = [_address(text) for text in remotes]
    columns = {
        f"_in{i}": [each is not None and each.version == network.version and each in network for each in addresses]
        for i, network in enumerate(parsed)
    }
    schema = dict.fromkeys(columns, pl.Boolean())
    return pl.DataFrame({"remote": remotes, **columns}, schema={"remote": pl.String(), **schema})


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None
