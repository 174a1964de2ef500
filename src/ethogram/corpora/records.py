"""Readers of corpus-specific record files; they give biflows with the addresses of their endpoints.

Each function takes one device and one or more of its files. Values that a source lacks are null or zero, except where
the card states an assumption.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import polars as pl

from ethogram.corpora.card import CardDevice
from ethogram.errors import InputError
from ethogram.schema import BIFLOW, Accounting

__all__ = ["Recorded", "app_flows", "packet_csv", "packet_rows", "private", "run_address", "usual_address"]

Recorded = tuple[pl.DataFrame, Accounting]
"""Biflows, and the accounting of all records."""

UNKNOWN_REMOTE = "0.0.0.0"  # noqa: S104 - the unspecified address, not a socket to bind
PACKET_COLUMNS = ("epoch_timestamp", "ip_dst_new", "protocol", "source_port", "dest_port", "total_length")


def _read_csv(file: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(file, infer_schema_length=0)
    except pl.exceptions.PolarsError as error:
        raise InputError(str(error).splitlines()[0], file=file) from None


def _whole(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64, strict=False).fill_null(0).cast(pl.UInt64)


def private(column: pl.Expr) -> pl.Expr:
    """Whether IPv4 addresses in dotted text are private (RFC 1918)."""
    return column.str.contains(r"^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)")


def app_flows(device: CardDevice, files: Sequence[Path]) -> Recorded:
    """Application-layer records with one count for both directions, split evenly unless no reply is possible."""
    accounting = Accounting("records")
    rows = pl.concat([_read_csv(file) for file in files])
    mine = rows.filter(pl.col("Label").str.strip_chars() == device.id)
    accounting.read = accounting.used = mine.height
    count, length = _whole("totalAppPktCount"), _whole("totalAppFrameLen")
    # Multicast and broadcast packets have no replies.
    one_way = pl.col("dstIP").str.contains(r"^(22[4-9]|23\d)\.|\.255$")
    back = pl.when(one_way).then(0).otherwise(count // 2)
    back_octets = pl.when(one_way | (count < 2)).then(0).otherwise(length // 2)
    frame = mine.select(
        start=pl.col("startTime").str.to_datetime("%m/%d/%Y %H:%M", time_unit="us", time_zone="UTC"),
        end=pl.col("endTime").str.to_datetime("%m/%d/%Y %H:%M", time_unit="us", time_zone="UTC"),
        protocol=_whole("proto"), source_address="srcIP", destination_address="dstIP",
        source_port=_whole("srcPort"), destination_port=_whole("dstPort"),
        octets=length - back_octets, packets=count - back, reverse_octets=back_octets, reverse_packets=back,
        source_mac=pl.col("ethSrc").str.to_lowercase(), destination_mac=pl.col("ethDst").str.to_lowercase(),
    )  # fmt: skip
    return BIFLOW.conform(frame), accounting


def packet_csv(files: Sequence[Path], address: str | None) -> Recorded:
    """Packets without a source address: packets to the device are inbound, all others outbound.

    Parameters
    ----------
    files
        Gzipped CSV, one row a packet.
    address
        The device's address, see :func:`run_address`.
    """
    accounting = Accounting("packets")
    packets = pl.concat([packet_rows(file) for file in files])
    accounting.read = packets.height
    usable = packets.drop_nulls(["time", "to"])
    accounting.ignore("no IP destination", packets.height - usable.height)
    accounting.used = usable.height
    if address is None or not usable.height:
        return BIFLOW.empty(), accounting
    outward = usable.with_columns(out=pl.col("to") != address).sort("time", maintain_order=True).with_columns(
        local=pl.when("out").then("source_port").otherwise("dest_port"),
        far=pl.when("out").then("dest_port").otherwise("source_port"),
    )  # fmt: skip
    pair = ["protocol", "local", "far"]
    # The remote end of an inbound packet is the last destination of outbound packets with the same pair of ports.
    filled = outward.with_columns(remote=pl.when("out").then("to")).with_columns(
        pl.col("remote")
        .forward_fill()
        .over(pair)
        .fill_null(pl.col("remote").backward_fill().over(pair))
        .fill_null(UNKNOWN_REMOTE)
    )
    key = ["protocol", "local", "far", "remote"]
    # A gap of two minutes (the meter's idle timeout) ends a flow.
    cut = (pl.col("time").diff().over(key) > timedelta(seconds=120)).fill_null(value=False)
    grouped = filled.with_columns(part=cut.cast(pl.UInt32).cum_sum().over(key)).group_by(
        *key, "part", maintain_order=True
    )
    inside = ~pl.col("out")
    flows = grouped.agg(
        start=pl.col("time").min(), end=pl.col("time").max(), began=pl.col("out").first(),
        sent=pl.col("total_length").filter("out").sum(), sent_packets=pl.col("out").sum(),
        got=pl.col("total_length").filter(inside).sum(), got_packets=inside.sum(),
    )  # fmt: skip

    def side(out: str, back: str) -> pl.Expr:
        return pl.when("began").then(out).otherwise(back)

    mine = flows.with_columns(own=pl.lit(address))
    frame = mine.select(
        "start", "end", "protocol",
        source_address=side("own", "remote"), destination_address=side("remote", "own"),
        source_port=side("local", "far"), destination_port=side("far", "local"),
        octets=side("sent", "got"), packets=side("sent_packets", "got_packets"),
        reverse_octets=side("got", "sent"), reverse_packets=side("got_packets", "sent_packets"),
    )  # fmt: skip
    return BIFLOW.conform(frame), accounting


@lru_cache(maxsize=64)
def packet_rows(file: Path) -> pl.DataFrame:
    """Time, destination, ports, protocol and length of each packet; null where the cell is not a number."""
    frame = _read_csv(file)
    frame = frame.rename({name: name.strip() for name in frame.columns})
    missing = [name for name in PACKET_COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"no column {missing[0]}", file=file)
    number = pl.col("ip_dst_new").cast(pl.Float64, strict=False)
    valid = pl.when((number > 0) & (number < 2**32)).then(number.cast(pl.UInt64, strict=False))
    return frame.select(
        time=_when_number("epoch_timestamp"), to=_dotted(valid), protocol=_whole("protocol"),
        source_port=_whole("source_port"), dest_port=_whole("dest_port"), total_length=_whole("total_length"),
    )  # fmt: skip


def _when_number(column: str) -> pl.Expr:
    number = pl.col(column).cast(pl.Float64, strict=False)
    return (number * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _dotted(number: pl.Expr) -> pl.Expr:
    parts = [(number // 256**k % 256).cast(pl.String) for k in (3, 2, 1, 0)]
    return pl.concat_str(parts, separator=".")


@lru_cache(maxsize=4)
def usual_address(files: tuple[Path, ...]) -> str | None:
    """The most frequent private destination address in a device's files."""
    return _own_address(pl.concat([packet_rows(file) for file in files]))


def run_address(files: Sequence[Path], usual: str | None) -> str | None:
    """The device's address in a run: its usual one if it occurs, else the most frequent private destination."""
    packets = pl.concat([packet_rows(file) for file in files])
    return usual if (packets["to"] == usual).any() else _own_address(packets) or usual


def _own_address(packets: pl.DataFrame) -> str | None:
    """The most frequent private destination, except gateway and broadcast addresses; None without one."""
    known = packets.drop_nulls("to").filter(private(pl.col("to")) & ~pl.col("to").str.contains(r"\.(1|255)$"))
    if not known.height:
        return None
    ranked = known.group_by("to").len().sort(["len", "to"], descending=[True, False])
    return str(ranked["to"][0])
