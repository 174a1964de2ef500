"""Identity facts in the logs next to a Zeek connection log: dhcp, known_devices, known_hosts and known_services."""

from __future__ import annotations

import polars as pl

from ethogram.io.open_text import TextInput
from ethogram.io.parse_columns import parse_addresses, parse_macs
from ethogram.io.parse_times import parse_times_or_null
from ethogram.io.zeek_names import neighbour
from ethogram.schema import IDENTITY, MAX_VALUE

__all__ = ["neighbour_facts"]

_MAC, _ADDRESS = "mac", "address"
_LOGS = {
    "dhcp": ("ts", "mac", "assigned_addr", "client_addr", "host_name", "client_fqdn"),
    "known_devices": ("ts", "mac", "dhcp_host_name"),
    "known_hosts": ("ts", "host"),
    "known_services": ("ts", "host", "port_num", "port_proto", "service"),
}


def neighbour_facts(conn: TextInput, zone: str) -> pl.DataFrame:
    """Facts of the logs next to a connection log (:data:`ethogram.schema.IDENTITY`), without devices.

    Parameters
    ----------
    conn
        The connection log.
    zone
        Time zone of times without one.
    """
    facts = []
    for log, columns in _LOGS.items():
        frame = neighbour(conn, log, columns)
        if frame.height:
            facts.append(_facts(frame, f"{log}.log", zone))
    return pl.concat([IDENTITY.empty(), *facts])


def _facts(log: pl.DataFrame, source: str, zone: str) -> pl.DataFrame:
    """Facts of one log, each row of the log once for each of them."""
    empty = pl.Series([None], dtype=pl.String).new_from_index(0, log.height)

    def cell(*names: str) -> pl.Series:
        present = [log[name] for name in names if name in log.columns]
        return log.select(pl.coalesce(present)).to_series() if present else empty

    ends = pl.DataFrame({
        "time": parse_times_or_null(log["ts"], zone),
        _MAC: parse_macs(cell("mac")).values,
        _ADDRESS: parse_addresses(cell("assigned_addr", "client_addr", "host")).values,
    })  # fmt: skip
    values = {
        "mac": ends[_MAC], "address": ends[_ADDRESS], "host_name": cell("host_name", "client_fqdn", "dhcp_host_name"),
        "service": _services(log) if "port_num" in log.columns else empty,
    }  # fmt: skip
    frames = []
    for fact, value in values.items():
        rows = ends.with_columns(value=value.str.strip_chars(" .").str.slice(0, MAX_VALUE))
        owned = pl.any_horizontal(pl.col(_MAC, _ADDRESS).is_not_null())
        rows = rows.filter((pl.col("value").str.len_bytes() > 0) & owned)
        frames.append(rows.select(
            _MAC, _ADDRESS, pl.lit(fact).alias("fact"), "value", pl.lit(source).alias("source"),
            pl.col("time").alias("first"), pl.col("time").alias("last"), pl.lit(1).alias("times"),
        ))  # fmt: skip
    return pl.concat([IDENTITY.conform(frame) for frame in frames])


def _services(log: pl.DataFrame) -> pl.Series:
    """Served ports such as ``TCP/80 http``; the name of the service is left out where Zeek does not know it."""
    name = pl.col("service").fill_null("").str.to_lowercase()
    port = pl.format("{}/{}", pl.col("port_proto").str.to_uppercase(), "port_num")
    return log.select(pl.concat_str(port, name, separator=" ").str.strip_chars(" ")).to_series()
