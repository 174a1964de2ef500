"""Names of services: from the finest key, that of the counts, to the key in the settings."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from ethogram.config import KeySettings
from ethogram.schema import DYNAMIC_FROM, TCP, UDP

__all__ = ["learn_ports", "service", "with_service"]

SYSTEM_PORTS = 1024
"""End of the system ports (RFC 6335 section 6)."""
_MANY = 4096
"""Rows from which on their keys are far fewer."""


def service(settings: KeySettings | None = None) -> nw.Expr:
    """Expression that names the service of a row of counts.

    Parameters
    ----------
    settings
        Parts of the key, in order: protocol and port, role, scope, answered, name, part of the day. A null name is
        omitted.

    Returns
    -------
    expression
        Over the columns ``protocol, port, role, scope, answered, name``, and ``time`` if the key has the part of the
        day.

    References
    ----------
    RFC 6335 section 6, for the ranges of ports.
    """
    key_settings = settings or KeySettings()
    protocol, port = nw.col("protocol"), nw.col("port")
    transport = nw.when(protocol == TCP).then(nw.lit("TCP")).otherwise(nw.lit("UDP"))
    number = port.cast(nw.String)
    if key_settings.coarseness == "protocol":
        base = transport
    else:
        if key_settings.coarseness == "class":
            number = nw.when(port < SYSTEM_PORTS).then(nw.lit("system")).otherwise(nw.lit("user"))
        known = port < key_settings.dynamic_from
        if key_settings.ports is not None:
            # A learnt list overrides the range: a high port that a device keeps using is a service.
            codes = [_code(text) for text in key_settings.ports if text.startswith(("TCP/", "UDP/"))]
            known = (protocol.cast(nw.Int32) * 65536 + port.cast(nw.Int32)).is_in(codes)
        number = nw.when(known).then(number).otherwise(nw.lit("dyn"))
        base = nw.concat_str([transport, number], separator="/")
    other = nw.concat_str([nw.lit("IP"), protocol.cast(nw.String)], separator="/")
    parts = [nw.when(protocol.is_in([TCP, UDP])).then(base).otherwise(other)]
    if key_settings.role:
        parts.append(nw.col("role").cast(nw.String))
    if key_settings.scope:
        parts.append(nw.col("scope").cast(nw.String))
    if key_settings.answered:
        parts.append(nw.when(nw.col("answered")).then(nw.lit("answered")).otherwise(nw.lit("unanswered")))
    if key_settings.name:
        parts.append(nw.col("name"))
    if key_settings.rhythm_h is not None:
        begun = nw.col("time").dt.hour().cast(nw.Int32) // key_settings.rhythm_h * key_settings.rhythm_h
        parts.append(nw.concat_str([nw.lit("from"), begun.cast(nw.String), nw.lit("h")], separator=" "))
    whole = nw.concat_str(parts, separator=" ", ignore_nulls=True) if len(parts) > 1 else parts[0]
    return whole.alias("service")


def with_service(counts: IntoFrame, settings: KeySettings | None = None) -> Any:
    """Add the column ``service`` to rows of counts.

    >>> counts = pl.DataFrame({"protocol": [6, 17, 6, 2], "port": [443, 53, 50000, 0]},
    ...                       schema={"protocol": pl.UInt8, "port": pl.UInt16})
    >>> with_service(counts)["service"].to_list()
    ['TCP/443', 'UDP/53', 'TCP/dyn', 'IP/2']
    """
    if isinstance(counts, pl.DataFrame) and counts.height >= _MANY:
        # Texts are made once for each key, not for each row.
        columns = _parts_of(settings or KeySettings())
        named = nw.from_native(counts.select(columns).unique()).with_columns(service(settings)).to_native()
        return counts.join(named, on=columns, how="left", nulls_equal=True, maintain_order="left")
    return nw.from_native(counts).with_columns(service(settings)).to_native()


def _parts_of(settings: KeySettings) -> list[str]:
    """Columns that a key is made of."""
    parts = {"role": settings.role, "scope": settings.scope, "answered": settings.answered, "name": settings.name,
             "time": settings.rhythm_h is not None}  # fmt: skip
    return ["protocol", "port", *(name for name, used in parts.items() if used)]


def learn_ports(counts: pl.DataFrame, min_days: int = 3, dynamic_from: int = DYNAMIC_FROM) -> tuple[str, ...]:
    """Learn from enrolment data which ports are services: those that some device uses on several days.

    A device seen on fewer days must use the port on all of them. A port of the dynamic range always needs ``min_days``,
    because within a single day it may recur by chance.

    Parameters
    ----------
    counts
        Rows of counts (with ``device``, or ``item`` in its place) of enrolment only.
    min_days
        Days on which one device must have used the port.
    dynamic_from
        First port of the dynamic range.

    Returns
    -------
    ports
        Services as ``TCP/443``, sorted: the setting ``ports`` of :class:`ethogram.config.KeySettings`.
    """
    who = "device" if "device" in counts.columns else "item"
    dated = counts.filter(pl.col("protocol").is_in([TCP, UDP])).with_columns(pl.col("time").dt.date().alias("day"))
    seen = dated.group_by(who).agg(pl.col("day").n_unique().alias("all_days"))
    used = dated.group_by(who, "protocol", "port").agg(pl.col("day").n_unique().alias("days")).join(seen, on=who)
    needed = pl.when(pl.col("port") >= dynamic_from).then(min_days).otherwise(pl.min_horizontal("all_days", min_days))
    regular = used.filter(pl.col("days") >= needed).select("protocol", "port").unique().sort("protocol", "port")
    return tuple(f"{'TCP' if protocol == TCP else 'UDP'}/{port}" for protocol, port in regular.iter_rows())


def _code(text: str) -> int:
    """Protocol and port of ``TCP/443`` as one number; -1 for ``TCP/dyn``, which matches nothing."""
    transport, _, port = text.partition("/")
    return (TCP if transport == "TCP" else UDP) * 65536 + int(port) if port.isdigit() else -1
