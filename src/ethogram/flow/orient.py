"""Biflows to the flow table: devices found, service side decided, one row for each device that takes part."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from ethogram.flow.devices import Namer
from ethogram.flow.local import INSIDE, MULTICAST, UNSPECIFIED, LocalNetwork
from ethogram.flow.service import BY_CLASS, BY_HANDSHAKE, BY_RECURRENCE, TIE, PortMemory, turn_by_record
from ethogram.schema import FLOW, INITIATOR, ROLE, SCOPE, Accounting, by_unique

__all__ = ["Orientation"]

_CORRECTIONS = {
    BY_HANDSHAKE: "reversed by the handshake",
    BY_CLASS: "reversed by port class",
    BY_RECURRENCE: "reversed by the recurring port",
}


class Orientation:
    """Turns blocks of biflows into blocks of the flow table.

    Parameters
    ----------
    local
        What is inside.
    namer
        Gives ends their device.
    time_from, time_to
        Flows that begin outside these are ignored; *to* is excluded.

    Attributes
    ----------
    accounting
        Over the unit ``flows``: biflows in. A flow between two devices is used once and gives two rows, which is
        counted among the corrections.
    """

    def __init__(
        self,
        local: LocalNetwork,
        namer: Namer,
        time_from: datetime | None = None,
        time_to: datetime | None = None,
    ) -> None:
        self.accounting = Accounting("flows")
        self._local = local
        self._namer = namer
        self._from = time_from
        self._to = time_to
        self._memory = PortMemory()

    def rows(self, block: pl.DataFrame) -> pl.DataFrame:
        """The flow table of a block.

        Parameters
        ----------
        block
            Biflows, with a column ``joined`` (records in each).

        Returns
        -------
        flows
            Form :data:`ethogram.schema.FLOW`, in order of start; ``remote_name`` is what the record itself says.
        """
        self.accounting.read += block.height
        block = self._in_time(block)
        if not block.height:
            return FLOW.empty()
        block = self._with_devices(self._with_places(block))
        has_device = block.select(pl.any_horizontal(pl.col("source_device", "destination_device").is_not_null()))
        known = block if has_device.to_series().all() else block.filter(has_device.to_series())
        self.accounting.ignore("no device", block.height - known.height)
        self.accounting.used += known.height
        known = self._with_service(known)
        out, back = pl.collect_all(
            known.lazy().filter(pl.col(f"{side}_device").is_not_null()).select(_seen_from(side))
            for side in ("source", "destination")
        )
        self.accounting.correct("between two devices: a row for each", out.height + back.height - known.height)
        rows = pl.concat([out, back])
        return FLOW.conform(rows if rows["start"].is_sorted() else rows.sort("start", maintain_order=True))

    def _in_time(self, block: pl.DataFrame) -> pl.DataFrame:
        kept = block
        if self._from is not None:
            kept = kept.filter(pl.col("start") >= self._from)
        if self._to is not None:
            kept = kept.filter(pl.col("start") < self._to)
        self.accounting.ignore("outside the time asked for", block.height - kept.height)
        return kept

    def _with_places(self, block: pl.DataFrame) -> pl.DataFrame:
        both = pl.concat([block["source_address"], block["destination_address"]])
        places = by_unique(both, self._local.places)
        return block.with_columns(source_place=places.head(block.height), destination_place=places.tail(block.height))

    def _with_devices(self, block: pl.DataFrame) -> pl.DataFrame:
        ends = {
            side: block.select(
                "start", pl.col(f"{side}_address").alias("address"), pl.col(f"{side}_mac").alias("mac"),
                pl.col(f"{side}_place").alias("place"),
            )
            for side in ("source", "destination")
        }  # fmt: skip
        for end in ends.values():
            self._namer.learn(end)
        named = {f"{side}_device": self._namer.devices(end) for side, end in ends.items()}
        # A device that talks to itself (its own router seen twice) is one end, not two.
        return block.with_columns(**named).with_columns(
            destination_device=pl.when(pl.col("destination_device").ne_missing(pl.col("source_device")))
            .then("destination_device")
        )  # fmt: skip

    def _with_service(self, block: pl.DataFrame) -> pl.DataFrame:
        turned, why = turn_by_record()
        block = block.with_columns(turned=turned, why=why)
        self._memory.learn(block)
        is_tie = block["why"] == TIE
        if is_tie.any():
            rows = is_tie.arg_true()
            recurs = self._memory.turned(block.filter(is_tie))
            block = block.with_columns(
                block["turned"].scatter(rows, recurs).alias("turned"),
                block["why"].scatter(rows, recurs.cast(pl.UInt8) * BY_RECURRENCE).alias("why"),
            )
        for value, count in block["why"].value_counts().iter_rows():
            if value in _CORRECTIONS:
                self.accounting.correct(_CORRECTIONS[value], count)
        return block


def _seen_from(side: str) -> list[pl.Expr]:
    """Columns of the flow table with ``side`` as the device."""
    other = "destination" if side == "source" else "source"
    sent, received = ("", "reverse_") if side == "source" else ("reverse_", "")
    # The source began unless the record was turned round.
    began = ~pl.col("turned") if side == "source" else pl.col("turned")
    place = pl.col(f"{other}_place")
    both = (pl.col("packets") > 0) & (pl.col("reverse_packets") > 0)
    both_octets = (pl.col("octets") > 0) & (pl.col("reverse_octets") > 0)
    return [
        pl.col(f"{side}_device").alias("device"),
        pl.col(f"{side}_address").alias("device_address"),
        pl.col(f"{other}_address").alias("remote"),
        pl.col(f"{side}_port").alias("local_port"),
        pl.col(f"{other}_port").alias("remote_port"),
        pl.col("protocol"), pl.col("start"), pl.col("end"),
        pl.col(f"{sent}octets").alias("octets_out"),
        pl.col(f"{received}octets").alias("octets_in"),
        pl.col(f"{sent}packets").alias("packets_out"),
        pl.col(f"{received}packets").alias("packets_in"),
        pl.col(f"{sent}initial_tcp_flags").alias("first_flags_out"),
        pl.col(f"{received}initial_tcp_flags").alias("first_flags_in"),
        pl.when(began).then(pl.lit("device")).otherwise(pl.lit("remote")).cast(INITIATOR).alias("initiator"),
        pl.when("turned").then("source_port").otherwise("destination_port").alias("service_port"),
        pl.when(began).then(pl.lit("client")).otherwise(pl.lit("server")).cast(ROLE).alias("role"),
        pl.when(place == MULTICAST).then(pl.lit("multicast"))
        .when((place == INSIDE) | (place == UNSPECIFIED)).then(pl.lit("lan"))
        .otherwise(pl.lit("wan")).cast(SCOPE).alias("scope"),
        (both | both_octets).alias("answered"),
        pl.col("end_reason"), pl.col("joined"),
        pl.col(f"{other}_name").alias("remote_name"),
        pl.col(f"{sent}raw_octets").alias("raw_octets_out"),
        pl.col(f"{received}raw_octets").alias("raw_octets_in"),
        pl.col(f"{sent}raw_packets").alias("raw_packets_out"),
        pl.col(f"{received}raw_packets").alias("raw_packets_in"),
    ]  # fmt: skip
