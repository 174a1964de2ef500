"""Packets to blocks of custom flows, as they come: for a reading of their own, and for one that something else shares.

Memory: a block of ``block_flows`` records, the meter's live records, and what naming remembers of addresses inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ethogram.config import CustomFlowSettings, FlowSettings, PacketFlowSettings
from ethogram.flow.local import LocalNetwork
from ethogram.meter.custom import CustomFlowBatch, CustomMeter
from ethogram.pipeline.assign_devices import DeviceAssigner
from ethogram.pipeline.device_names import DeviceNames
from ethogram.schema import ALWAYS, Accounting, CustomFlows, PacketBatch, PacketFlows, TimeSpan

__all__ = ["Block", "VectorStream"]

Block = tuple[CustomFlows, PacketFlows | None]
"""Custom flows, and beside them their packets when they are kept."""


class VectorStream:
    """One stream of packets, of one capture after the other; each is metered by itself.

    Parameters
    ----------
    settings
        Direction, interval, what is kept of packets, and bounds.
    flow
        What is inside, and how devices are named without a device file.
    names
        Files that name devices; None: none, and every address inside is a device.
    span
        Only flows whose first packet is in it.
    packets
        What is kept of the packets of both directions; None: nothing.
    names_later
        Unless a device file alone decides, give ends instead of names
        (:func:`ethogram.pipeline.assign_devices.resolve_ends`).

    Attributes
    ----------
    rows
        Custom flows given so far.

    Examples
    --------
    >>> stream = VectorStream(CustomFlowSettings(), FlowSettings())
    >>> list(stream.end()), list(stream.rest()), stream.rows
    ([], [], 0)
    """

    def __init__(
        self,
        settings: CustomFlowSettings,
        flow: FlowSettings,
        names: DeviceNames | None = None,
        span: TimeSpan = ALWAYS,
        packets: PacketFlowSettings | None = None,
        *,
        names_later: bool = False,
    ) -> None:
        names = names or DeviceNames()
        namer = None if names_later and not names.only else names.namer(flow)
        self._meter = CustomMeter(settings, _senders(flow.local, names), packets)
        self._ends = DeviceAssigner(LocalNetwork(flow.local), namer, settings)
        self._block = settings.block_flows
        self._keeps_packets = packets is not None
        self._span = span
        self._time = Accounting("flows")
        self._waiting: list[CustomFlowBatch] = []
        self.rows = 0

    @property
    def stages(self) -> dict[str, Accounting]:
        """Accountings of *meter* and *device*, over packets, and of the time asked for, over flows; by name."""
        meter = Accounting("packets", self._meter.read, self._meter.metered)
        for reason, count in self._meter.ignored.items():
            meter.ignore(reason, count)
        for what, count in self._meter.corrected.items():
            meter.correct(what, count)
        metered = {"meter": meter, "device": self._ends.accounting} if meter.read else {}
        if self._keeps_packets:
            metered["packets of both directions"] = self._meter.keeper.accounting
        return {**metered, "time": self._time} if self._span.bounded else metered

    @property
    def outside(self) -> bool:
        """Whether packets were left out since no device can have sent them: perhaps what is inside is not known."""
        return bool(self._ends.accounting.read or self._meter.ignored["sent from outside"])

    def feed(self, batch: PacketBatch) -> Iterator[Block]:
        """Give the blocks that are full after these packets."""
        return self._blocks(self._meter.feed(batch))

    def end(self) -> Iterator[Block]:
        """End a capture: its live records leave the meter; give the blocks that are full then."""
        return self._blocks(self._meter.flush())

    def rest(self) -> Iterator[Block]:
        """Return the flows of the last, incomplete block."""
        if self._waiting:
            waiting, self._waiting = CustomFlowBatch.concat(self._waiting), []
            yield self.within(*self._ends.named(waiting))

    def _blocks(self, parts: Sequence[CustomFlowBatch]) -> Iterator[Block]:
        self._waiting += parts
        count = sum(map(len, self._waiting))
        if count < self._block:
            return
        whole = CustomFlowBatch.concat(self._waiting)
        full = count - count % self._block
        # What is a block waits no longer, even if nobody takes all that is given.
        self._waiting = [whole.part(full, count)] if full < count else []
        for begin in range(0, full, self._block):
            yield self.within(*self._ends.named(whole.part(begin, begin + self._block)))

    def within(self, flows: CustomFlows, packets: PacketFlows | None = None) -> Block:
        """Those that begin in the time asked for, counted."""
        if self._span.bounded:
            early, late = self._span.before(flows.start_us), self._span.after(flows.start_us)
            inside = np.flatnonzero(~(early | late))
            self._time.read += len(flows)
            self._time.ignore("before --from", int(early.sum()))
            self._time.ignore("at --to or later", int((late & ~early).sum()))
            self._time.used += inside.size
            flows = flows.take(inside)
            packets = None if packets is None else packets.take(inside)
        self.rows += len(flows)
        return flows, packets


def _senders(local: Sequence[str], names: DeviceNames) -> list[str]:
    """IPv4 prefixes that hold every address a device may send from: inside, its own by the file, none yet (DHCP)."""
    return [prefix for prefix in (*local, *names.outside, "0.0.0.0/32") if ":" not in prefix]
