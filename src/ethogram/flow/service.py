"""The service side of a biflow: who serves, and so who began.

The handshake decides where it was seen; else the lower class of ports serves; a tie goes to the port that the device
keeps using; else the meter's order stays. A destination that is multicast always serves.
"""

from __future__ import annotations

import polars as pl

from ethogram.flow.local import MULTICAST
from ethogram.schema import TCP, TCP_ACK, TCP_SYN, UDP, codes_of

__all__ = ["BY_CLASS", "BY_HANDSHAKE", "BY_RECURRENCE", "PortMemory", "port_class", "turn_by_record"]

KEEP, BY_HANDSHAKE, BY_CLASS, BY_RECURRENCE, TIE = 0, 1, 2, 3, 9
"""Why a record was turned round; *tie*: its ports say nothing and its device must be asked."""

_SERVERS_OF_PAIRS = ((67, 68), (547, 546))
"""DHCP: both ports are in one class, and the first of each pair is the server's."""

_MAX_PORTS = 1 << 20
_DEVICES = ("source_device", "destination_device")


def port_class(port: pl.Expr) -> pl.Expr:
    """Class 0 below 1024, 1 below 32768, 2 above.

    >>> pl.DataFrame({"p": [443, 8883, 50000]}).select(port_class(pl.col("p")))["p"].to_list()
    [0, 1, 2]
    """
    return (port >= 1024).cast(pl.Int8) + (port >= 32768).cast(pl.Int8)


def turn_by_record() -> tuple[pl.Expr, pl.Expr]:
    """What a record by itself says: whether it is turned round, and why.

    Returns
    -------
    turned, why
        Expressions over the columns of a biflow and ``source_place``, ``destination_place``: Boolean, and one of
        :data:`BY_HANDSHAKE`, :data:`BY_CLASS`, :data:`TIE` or 0.
    """
    first, answer = pl.col("initial_tcp_flags"), pl.col("reverse_initial_tcp_flags")
    is_tcp = pl.col("protocol") == TCP
    opening, accepting = TCP_SYN, TCP_SYN | TCP_ACK

    def began(flags: pl.Expr, kind: int) -> pl.Expr:
        return (is_tcp & (flags.and_(pl.lit(accepting, dtype=pl.UInt8)) == kind)).fill_null(False)

    forward = began(first, opening)
    backward = began(first, accepting) | began(answer, opening)
    source, destination = pl.col("source_port"), pl.col("destination_port")
    source_class, destination_class = port_class(source), port_class(destination)
    ported = pl.col("protocol").is_in([TCP, UDP])
    dhcp_forward, dhcp_backward = pl.lit(False), pl.lit(False)
    for server, client in _SERVERS_OF_PAIRS:
        dhcp_forward = dhcp_forward | ((source == client) & (destination == server))
        dhcp_backward = dhcp_backward | ((source == server) & (destination == client))
    why = (
        pl.when(~ported | (pl.col("destination_place") == MULTICAST) | forward).then(KEEP)
        .when(backward).then(BY_HANDSHAKE)
        .when(began(answer, accepting)).then(KEEP)
        .when(dhcp_forward).then(KEEP)
        .when(dhcp_backward | (source_class < destination_class)).then(BY_CLASS)
        .when((source_class > destination_class) | (source == destination)).then(KEEP)
        .otherwise(TIE)
    )  # fmt: skip
    return why.is_in([BY_HANDSHAKE, BY_CLASS]), why.cast(pl.UInt8)


class PortMemory:
    """How often each device used each port, to break ties; bounded, the rarest ports are forgotten first.

    A port that serves recurs; one that a client was given does not.
    """

    def __init__(self) -> None:
        self._counts = pl.DataFrame(
            schema={"device": pl.String, "protocol": pl.UInt8, "port": pl.UInt16, "count": pl.UInt32}
        )

    def learn(self, block: pl.DataFrame) -> None:
        """Count the ports of a block.

        Parameters
        ----------
        block
            Biflows with ``why``, ``turned``, ``source_device``, ``destination_device``. Ties count both ports;
            decided records count the one that serves, when it is not a well-known one (those are never in a tie).
        """
        tie = pl.col("why") == TIE
        serving = pl.when("turned").then("source_port").otherwise("destination_port")
        ported = block.filter(pl.col("protocol").is_in([TCP, UDP]) & (tie | (serving >= 1024)))
        # A decided record adds its serving port; a tie adds both, the second as a row of its own.
        used = pl.concat([
            ported.select(*_DEVICES, "protocol", pl.when(tie).then("source_port").otherwise(serving).alias("port")),
            ported.filter(tie).select(*_DEVICES, "protocol", pl.col("destination_port").alias("port")),
        ])  # fmt: skip
        codes, texts = codes_of(pl.concat([used[device] for device in _DEVICES]))
        # Device, protocol and port in one number: 32 + 8 + 16 bits.
        ports = used["protocol"].cast(pl.UInt64) * (1 << 16) + used["port"]
        key = codes.cast(pl.UInt64) * (1 << 24) + pl.concat([ports] * len(_DEVICES))
        counted = key.alias("key").drop_nulls().value_counts(name="count")
        new = counted.select(
            texts.gather(counted["key"] // (1 << 24)).alias("device"),
            (pl.col("key") // (1 << 16) % 256).cast(pl.UInt8).alias("protocol"),
            (pl.col("key") % (1 << 16)).cast(pl.UInt16).alias("port"),
            pl.col("count").cast(pl.UInt32),
        )
        both = pl.concat([self._counts, new]).group_by("device", "protocol", "port").agg(pl.col("count").sum())
        if both.height > _MAX_PORTS:
            both = both.sort("count", "device", "protocol", "port", descending=[True, False, False, False])
            both = both.head(_MAX_PORTS // 2)
        self._counts = both

    def turned(self, ties: pl.DataFrame) -> pl.Series:
        """Whether each tie is to be turned round: its source port recurs more at its devices than the other one."""

        def often(port: str) -> pl.Series:
            total = pl.Series([0] * ties.height, dtype=pl.UInt32)
            for device in _DEVICES:
                total = total + ties.select(device, "protocol", port).join(
                    self._counts, left_on=[device, "protocol", port], right_on=["device", "protocol", "port"],
                    how="left", maintain_order="left",
                )["count"].fill_null(0)  # fmt: skip
            return total

        return often("source_port") > often("destination_port")
