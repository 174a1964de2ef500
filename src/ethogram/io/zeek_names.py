"""Server names of Zeek connections from the neighbouring ssl, http, quic and dns logs."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ethogram.io.open_text import TextInput
from ethogram.io.parse_columns import parse_addresses
from ethogram.io.parse_times import parse_times_or_null
from ethogram.io.record_reader import RecordCounters, first_of
from ethogram.io.zeek_log import log_frames
from ethogram.schema import NAME_ANSWER

__all__ = ["NeighbourNames", "dns_answers", "neighbour"]

_NAMED_BY = (("ssl", "server_name"), ("quic", "server_name"), ("http", "host"), ("dns", "query"))
"""Log and column; a DNS exchange is named by its query."""
MAX_ROWS = 1 << 22
"""Maximum rows read of each neighbouring log."""


def neighbour(conn: TextInput, log: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Columns of the log next to a connection log, as text; empty if it does not exist.

    Parameters
    ----------
    conn
        The connection log. ``conn.log`` is paired with ``ssl.log``, ``conn.10:00.log.gz`` with ``ssl.10:00.log.gz``.
    log
        Name of the other log, such as ``dhcp``.
    columns
        Names of columns; those that the log lacks are null.
    """
    schema = dict.fromkeys(columns, pl.String())
    name = conn.path.name
    file = conn.path.with_name(name.replace("conn", log, 1))
    if conn.member is not None or "conn" not in name or not Path(file).is_file():
        return pl.DataFrame(schema=schema)
    frames, rows = [], 0
    text = TextInput(file)
    for frame, _ in log_frames(text, RecordCounters(text.name)):
        frames.append(frame.select(first_of(frame, column).alias(column) for column in columns))
        rows += frame.height
        if rows > MAX_ROWS:
            break
    return pl.concat(frames).head(MAX_ROWS) if frames else pl.DataFrame(schema=schema)


class NeighbourNames:
    """Names from the logs next to a connection log with the same file name pattern.

    Parameters
    ----------
    text
        The connection log.
    zone
        Time zone of times without one.
    """

    def __init__(self, text: TextInput, zone: str) -> None:
        self._text = text
        self._zone = zone
        self._by_connection: pl.DataFrame | None = None

    def by_connection(self, uid: pl.Series) -> pl.Series:
        """Server name of each connection identifier; null if unknown."""
        if self._by_connection is None:
            frames = [neighbour(self._text, log, ("uid", column)).rename({column: "name"}) for log, column in _NAMED_BY]
            self._by_connection = pl.concat(frames).drop_nulls().unique("uid", keep="first", maintain_order=True)
        return uid.to_frame("uid").join(self._by_connection, on="uid", how="left", maintain_order="left")["name"]

    def answers(self) -> pl.DataFrame:
        """Passive DNS of the ``dns`` log: one row per address, with the smallest TTL of its answer."""
        return dns_answers(neighbour(self._text, "dns", _DNS_COLUMNS), self._zone)


_DNS_COLUMNS = ("ts", "id.orig_h", "query", "answers", "TTLs")


def dns_answers(log: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Passive DNS in rows of a ``dns`` log (:data:`ethogram.schema.NAME_ANSWER`): one row per address.

    Parameters
    ----------
    log
        Columns of the log as text.
    zone
        Time zone of times without one.
    """
    frame = log.select(first_of(log, name).alias(name) for name in _DNS_COLUMNS).drop_nulls()
    frame = frame.select(
        parse_times_or_null(frame["ts"], zone).alias("time"),
        parse_addresses(frame["id.orig_h"]).values.alias("client"),
        pl.col("query").str.to_lowercase().str.strip_suffix(".").alias("name"),
        pl.col("TTLs").str.split(",").list.eval(pl.element().cast(pl.Float64, strict=False)).list.min()
        .clip(0, 4e9).cast(pl.UInt32, strict=False).fill_null(0).alias("ttl_s"),
        pl.col("answers").str.split(",").alias("address"),
    ).explode("address")  # fmt: skip
    frame = frame.with_columns(parse_addresses(frame["address"]).values.alias("address"))
    return NAME_ANSWER.conform(frame.drop_nulls())
