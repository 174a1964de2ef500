"""Decide which end of a custom flow record is a device, and turn the record to its side."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import MAC, AddressText
from ethogram._arrays import by_unique
from ethogram.config import CustomFlowSettings
from ethogram.flow.devices import Namer
from ethogram.flow.local import INSIDE, UNSPECIFIED, LocalNetwork
from ethogram.meter.custom import CustomFlowBatch
from ethogram.schema import TIME, Accounting, CustomFlows, PacketFlows

__all__ = ["DeviceAssigner", "resolve_ends"]

SIDES = ("source", "destination")


class DeviceAssigner:
    """Assigns records of the custom meter to devices; records without a device are counted.

    Attributes
    ----------
    accounting
        Counts packets. Packets between two devices are used once, although they give two rows; those rows are counted
        separately.

    Parameters
    ----------
    local
        The local prefixes.
    namer
        Assigns devices to ends. None: it is not known yet which MACs name devices; every end inside is given as text
        that :func:`resolve_ends` turns into the name of its device.
    settings
        Direction of the custom flows, and which remote addresses are private.
    """

    def __init__(self, local: LocalNetwork, namer: Namer | None, settings: CustomFlowSettings) -> None:
        self.accounting = Accounting("packets")
        self._local = local
        self._namer = namer
        self._settings = settings
        self._text = AddressText()

    def named(self, records: CustomFlowBatch) -> tuple[CustomFlows, PacketFlows | None]:
        """Custom flows of a batch of records: those that a device sent, or (bidirectional) with a device at either end.

        Also returns their packets if the meter kept them, row by row.
        """
        devices = self._devices(records)
        packets = records.records["packets"].astype(np.int64)
        has = [device.is_not_null().to_numpy() for device in devices]
        both = self._settings.direction == "bidirectional"
        self.accounting.read += int(packets.sum())
        none = ~(has[0] | has[1])
        self.accounting.ignore("no device", int(packets[none].sum()))
        if not both:
            self.accounting.ignore("received, not sent, by a device", int(packets[has[1] & ~has[0]].sum()))
            has[1][:] = False
        self.accounting.used += int(packets[has[0] | has[1]].sum())
        self.accounting.correct("between two devices: a record for each", int((has[0] & has[1]).sum()))
        # A record and its mirror image are adjacent.
        rows = np.concatenate([np.flatnonzero(side) for side in has])
        reverse = np.repeat([False, True], [int(side.sum()) for side in has])
        order = np.argsort(rows, kind="stable")
        names = pl.concat([device.filter(pl.Series(side)) for device, side in zip(devices, has, strict=True)])
        rows, reverse, names = rows[order], reverse[order], names.gather(pl.Series(order))
        flow_packets = None if records.packets is None else records.packets.take(rows)
        return records.from_devices(rows, reverse, names, self._settings.private), flow_packets

    def _devices(self, records: CustomFlowBatch) -> list[pl.Series]:
        """Device at source and destination of each record; null where the end is not a device."""
        four = np.full(len(records), 4, np.uint8)
        mac = np.full(len(records), MAC, np.uint8)
        none = np.zeros(len(records), np.uint64)
        start = pl.Series("start", records.records["start"] // 1000).cast(TIME)
        addresses = [self._text(four, none, records.records[side].astype(np.uint64)) for side in SIDES]
        self._local.learn_senders(addresses[0])
        places = by_unique(pl.concat(addresses), self._local.places)
        ends = [
            pl.DataFrame(
                {
                    "start": start,
                    "address": address,
                    "mac": self._text(mac, none, records.records[f"{side}_mac"]),
                    "place": place,
                }
            )
            for side, address, place in zip(
                SIDES, addresses, (places.head(len(records)), places.tail(len(records))), strict=True
            )
        ]
        if self._namer is None:
            return _end_texts(ends)
        for end in ends:
            self._namer.learn(end)
        source, destination = (self._namer.devices(end) for end in ends)
        # A device that talks to itself (a router seen on both sides) counts at one end only.
        return [source, destination.set(destination.eq_missing(source), None)]


_SEPARATOR = " "  # occurs neither in addresses nor in MACs
_UNSPECIFIED_ADDRESS = "0.0.0.0"  # noqa: S104 (compared with, not listened on)


def _end_texts(ends: list[pl.DataFrame]) -> list[pl.Series]:
    """Address and MAC of each end that is, or may be, a device, as text; of destinations, those of the source, too."""
    place, mac = pl.col("place"), pl.col("mac")
    device = (place == INSIDE) | (place == UNSPECIFIED) & mac.is_not_null()
    text = pl.concat_str("address", mac.fill_null(""), separator=_SEPARATOR)
    source, destination = (end.select(pl.when(device).then(text).alias("device"))["device"] for end in ends)
    peers = pl.DataFrame({"own": destination, "peer": source})
    both = pl.concat_str("own", pl.col("peer").fill_null(""), separator=_SEPARATOR)
    return [source, peers.select(both.alias("device"))["device"]]


def resolve_ends(ends: pl.Series, start_us: NDArray[np.int64], namer: Namer) -> pl.Series:
    """Names of the devices at ends given as text, null for none.

    A destination that turns out to be the device of its source is none: a device that talks to itself counts once.

    Parameters
    ----------
    ends
        [N] text, as a :class:`DeviceAssigner` without a namer gives it in place of names.
    start_us
        [N] start of each flow in microseconds since 1970.
    namer
        Has learnt from the flows of the same packets.

    Examples
    --------
    >>> from ethogram.flow.devices import LocalDevices
    >>> ends = pl.Series(["10.0.0.2 02:00:00:00:00:01", "10.0.0.3 "])
    >>> resolve_ends(ends, np.zeros(2, np.int64), LocalDevices()).to_list()
    ['02:00:00:00:00:01', '10.0.0.3']
    """
    parts = ends.to_frame("end").select(
        pl.col("end").str.split_exact(_SEPARATOR, 3).struct.rename_fields(["address", "mac", "peer", "peer_mac"])
    )
    parts = parts.unnest("end").with_columns(start=pl.Series(start_us).cast(TIME))

    def names(address: str, mac: str) -> pl.Series:
        place = pl.when(pl.col(address) == _UNSPECIFIED_ADDRESS).then(UNSPECIFIED).otherwise(INSIDE).cast(pl.UInt8)
        known = pl.when(pl.col(mac) != "").then(pl.col(mac))
        end = parts.select("start", pl.col(address).alias("address"), known.alias("mac"), place.alias("place"))
        return namer.devices(end)

    device = names("address", "mac")
    has_peer = parts.select(pl.col("peer").fill_null("") != "").to_series()
    if not has_peer.any():
        return device
    return device.set(has_peer & device.eq_missing(names("peer", "peer_mac")), None)
