"""Traffic against the rules of learnt profiles: one join for each kind of rule, whatever their number.

Rules differ in what they leave open (port, name, both, nothing). Rules that leave the same open are one hash table, and
each row of traffic is looked up in at most four of them, the most specific first.

References
----------
V. Srinivasan, S. Suri, G. Varghese, Packet Classification Using Tuple Space Search, SIGCOMM 1999.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ethogram.schema import DIRECTION, METRICS, ROLE, RULE_TRAFFIC, SCOPE, TCP, UDP, BehaviourProfile

__all__ = ["MATCHED", "TOTAL", "by_direction", "match_services", "outside_kind", "rule_traffic", "service_text"]

_FORMS = ((True, True), (False, True), (True, False), (False, False))
"""Whether rules have a port and a name, the most specific form first."""
_RULE_SCHEMA = {
    "device": pl.String(), "protocol": pl.UInt8(), "port": pl.UInt16(), "role": ROLE, "scope": SCOPE,
    "name": pl.String(), "matched": pl.String(),
}  # fmt: skip
TOTAL = "all traffic"
"""The rule that has the traffic of all others."""
_DETAIL = ["protocol", "port", "role", "scope", "name"]
MATCHED = [*RULE_TRAFFIC.names, *_DETAIL]
"""Columns of matched traffic: by rule and direction, with the service and the other end."""


def match_services(traffic: pl.DataFrame, profiles: Mapping[str, BehaviourProfile]) -> pl.DataFrame:
    """Traffic of devices with learnt profiles, by rule and direction; rows of devices without a profile are left out.

    Parameters
    ----------
    traffic
        Form :data:`ethogram.schema.TRAFFIC`; further columns are kept.
    profiles
        Learnt profiles by device.

    Returns
    -------
    Columns :data:`MATCHED` and the further ones. Traffic that no rule permits has ``inside`` false, and its kind as
    ``rule``.
    """
    rows = traffic.filter(pl.col("device").is_in(list(profiles)))
    rules = _rule_tables(profiles)
    names = []
    for number, (with_port, with_name) in enumerate(_FORMS):
        table = rules[with_port, with_name]
        if not table.height:
            continue
        on = ["device", "protocol", "role", "scope", *(["port"] if with_port else []),
              *(["name"] if with_name else [])]  # fmt: skip
        column = f"_rule{number}"
        names.append(column)
        table = table.select(*on, pl.col("matched").alias(column)).unique(on, keep="first", maintain_order=True)
        rows = rows.join(table, on=on, how="left", maintain_order="left")
    rule_name = pl.coalesce(*names) if names else pl.lit(None, dtype=pl.String)
    rows = rows.with_columns(_found=rule_name).drop(names)
    rows = rows.with_columns(inside=pl.col("_found").is_not_null(), rule=pl.coalesce("_found", outside_kind()))
    return by_direction(rows.drop("_found"))


def by_direction(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each direction with packets or flows; the side that uses or offers the service began the flows."""
    further = [name for name in rows.columns if name not in MATCHED and name not in _VOLUMES]
    parts = []
    for direction, side, role in (("from", "out", "client"), ("to", "in", "server")):
        began = pl.when(pl.col("role") == role).then("flows").otherwise(0.0)
        part = rows.with_columns(
            direction=pl.lit(direction, dtype=DIRECTION), flows=began, packets=f"packets_{side}",
            octets=f"octets_{side}",
        )  # fmt: skip
        parts.append(part.filter((pl.col("packets") > 0) | (pl.col("flows") > 0)).select(*MATCHED, *further))
    return pl.concat(parts)


_VOLUMES = ("flows", "packets_out", "packets_in", "octets_out", "octets_in")


def outside_kind() -> pl.Expr:
    """The kind of traffic outside a profile: protocol, role and scope, as ``TCP client wan``."""
    return pl.concat_str(_transport(), pl.col("role", "scope").cast(pl.String), separator=" ")


def service_text() -> pl.Expr:
    """A service with its role, scope and other end, as ``TCP/443 client wan example.com``."""
    port = pl.concat_str(pl.lit("/"), pl.col("port").cast(pl.String))
    base = pl.concat_str(_transport(), pl.when(pl.col("protocol").is_in([TCP, UDP])).then(port).otherwise(pl.lit("")))
    named = pl.when(pl.col("name") != "").then("name")
    return pl.concat_str(base, pl.col("role", "scope").cast(pl.String), named, separator=" ", ignore_nulls=True)


def _transport() -> pl.Expr:
    return (
        pl.when(pl.col("protocol") == TCP).then(pl.lit("TCP")).when(pl.col("protocol") == UDP).then(pl.lit("UDP"))
        .otherwise(pl.concat_str(pl.lit("IP/"), pl.col("protocol").cast(pl.String)))
    )  # fmt: skip


def rule_traffic(matched: pl.DataFrame, *further: str, total: bool = True) -> pl.DataFrame:
    """Volumes by device, epoch, rule and direction (:data:`ethogram.schema.RULE_TRAFFIC`), and further columns.

    With ``total``, the sum of each direction is another rule, :data:`TOTAL`: it varies less than its parts, so that a
    flood in a rule with wide limits is seen in it.
    """
    key = [*RULE_TRAFFIC.names[:5], *further]
    rows = matched.group_by(key).agg(pl.col(METRICS).sum())
    if not total:
        return rows
    whole = rows.with_columns(inside=pl.lit(value=True), rule=pl.lit(TOTAL)).group_by(key).agg(pl.col(METRICS).sum())
    return pl.concat([rows, whole.select(rows.columns)])


def _rule_tables(profiles: Mapping[str, BehaviourProfile]) -> dict[tuple[bool, bool], pl.DataFrame]:
    """Rules by form; a port or name that a rule leaves open is 0 or empty there and no part of the key."""
    rows: dict[tuple[bool, bool], list[tuple[object, ...]]] = {form: [] for form in _FORMS}
    for device, profile in profiles.items():
        for rule in profile.rules:
            port = rule.service_port
            form = port is not None, rule.remote is not None
            rows[form].append((device, rule.protocol, port or 0, rule.role, rule.scope, rule.remote or "", rule.name))
    return {form: pl.DataFrame(each, schema=_RULE_SCHEMA, orient="row") for form, each in rows.items()}
