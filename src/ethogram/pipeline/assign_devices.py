"""Decide which end of a custom flow record is a device, and turn the record to its side."""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram._address_text import MAC, AddressText
from ethogram._arrays import by_unique
from ethogram.config import CustomFlowSettings
from ethogram.flow.devices import Namer
from ethogram.flow.local import LocalNetwork
from ethogram.meter.custom import CustomFlowBatch
from ethogram.schema import TIME, Accounting, CustomFlows, PacketFlows

__all__ = ["DeviceAssigner"]

SIDES = ("source", "destination")


class DeviceAssigner:
    """Assigns records of the custom meter to devices; records without a device are counted.

    Attributes
    ----------
    accounting
        Counts packets. Packets between two devices are used once, although they give two rows; those rows are counted
        separately.
    """

    def __init__(self, local: LocalNetwork, namer: Namer, settings: CustomFlowSettings) -> None:
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
        for end in ends:
            self._namer.learn(end)
        source, destination = (self._namer.devices(end) for end in ends)
        # A device that talks to itself (a router seen on both sides) counts at one end only.
        return [source, destination.set(destination.eq_missing(source), None)]
