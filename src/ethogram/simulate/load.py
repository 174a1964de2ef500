"""Load generator: one day of a simulated home, sent repeatedly as other days of other homes.

Between transmissions only the differences are written to the messages: sequence numbers, the octets of addresses that
identify the home, and once a day the times. Linux sends many datagrams per call (``sendmmsg``).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from threading import Event

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import InputError, UsageError
from ethogram.io.receive.address import Listen
from ethogram.io.receive.admit import MESSAGE_HEADER
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.home import SimulatedHome
from ethogram.simulate.send import Delivery, UdpSender

__all__ = ["MAX_HOMES", "Load"]

MAX_HOMES = 1 << 16
HOME_NETWORK = 0xC0A84D00  # 192.168.77.0/24, which becomes 10.x.y.0/24
CHUNK = 256  # messages per call
DAY_MS = 86_400_000
SEQUENCE_AT, SECONDS_AT = {5: 16, 9: 12, 10: 8}, {5: 8, 9: 8, 10: 4}
UPTIME_AT = 4  # v5 and v9
TIMES = {5: (21, 22), 9: (21, 22), 10: (152, 153)}


class Load:
    """Prepared messages of one day of a home.

    Parameters
    ----------
    settings
        Protocol and MTU; one domain, no restart.
    homes
        Number of homes with fifteen devices each.
    seed
        Seed of the home.
    live
        Flows end when they are sent, instead of on the days of a script (IPFIX).

    Attributes
    ----------
    devices
        Number of devices of all homes.
    flows, units
        Flow records of one day of a home, and their sequence increment.

    Examples
    --------
    >>> load = Load(homes=1000)
    >>> load.devices
    15000
    """

    def __init__(
        self, settings: ExportSettings | None = None, homes: int = 1, seed: int = 1, *, live: bool = False
    ) -> None:  # fmt: skip
        if not 1 <= homes <= MAX_HOMES:
            raise UsageError(f"the number of homes must be between 1 and {MAX_HOMES:,}")
        given = (settings or ExportSettings()).model_copy(
            # Full messages, with templates once per day of a home.
            update={"domains": 1, "restarts": (), "flush_s": 86_400, "template_messages": 0, "template_s": 0}
        )
        if live and given.protocol not in ("ipfix", "ipfix-uniflow"):
            raise UsageError("flows can end when they are sent with IPFIX only: other protocols state uptimes")
        self._live = live
        home = SimulatedHome(days=1, seed=seed)
        exporter = FlowExporter(given)
        messages = list(exporter.messages(home.batches()))
        self.homes, self.devices = homes, homes * len(home.devices)
        self.flows, self.units = exporter.sent.flows, exporter.sent.units
        self._flows = np.array([message.flows for message in messages])
        self._units = np.array([message.units for message in messages])
        made = batch([message.octets for message in messages])
        self.data, self._offset, self._octets = made.data.copy(), made.offset, made.octets.astype(np.int64)
        self._version = int(self.data[1])
        self._find(Decoder().decode(made))

    def _find(self, records: list[Records]) -> None:
        """Find the times, addresses and MAC addresses of the home in the messages."""
        addresses, macs, times = [], [], []
        for part in records:
            if part.template.options:
                continue
            for element in (8, 12):
                place, values = _field(part, element)
                addresses.append(place[(values & np.uint64(0xFFFFFF00)) == np.uint64(HOME_NETWORK)])
            for element in (56, 80):
                place, values = _field(part, element)
                macs.append(place[values > 0])
            times += [_field(part, element) for element in TIMES[self._version]]
        self._addresses, self._macs = np.concatenate(addresses), np.concatenate(macs)
        self.data[self._addresses] = 10
        self._times_at = np.concatenate([place for place, _ in times])
        self._times = np.concatenate([values for _, values in times])
        both = zip(times[::2], times[1::2], strict=True)  # start and end of a template
        ages = [(end - np.minimum(start, end), np.zeros_like(end)) for (_, start), (_, end) in both]
        self._ages = np.concatenate([age for pair in ages for age in pair])
        self._seconds = self._words(SECONDS_AT[self._version])
        self._uptime = self._words(UPTIME_AT)

    def _words(self, at: int) -> NDArray[np.uint64]:
        """A word of every message header."""
        place = (self._offset + at)[:, None] + np.arange(4)
        words: NDArray[np.uint64] = self.data[place].view(">u4").reshape(-1).astype(np.uint64)
        return words

    def _write(self, place: NDArray[np.int64], values: NDArray[np.uint64], octets: int) -> None:
        wide = values.astype(">u8").view(np.uint8).reshape(-1, 8)
        self.data[place[:, None] + np.arange(octets)] = wide[:, 8 - octets :]

    def prepare(self, cycle: int) -> None:
        """Prepare the messages of a home and day: cycles go through all homes, then to the next day."""
        home, day = cycle % self.homes, cycle // self.homes
        before = np.cumsum(self._units) - self._units + cycle * self.units
        self._write(self._offset + SEQUENCE_AT[self._version], before.astype(np.uint64), 4)
        for places in (self._addresses, self._macs):
            self.data[places + 1], self.data[places + 2] = home >> 8, home & 0xFF
        if self._live:
            now = np.uint64(time.time_ns() // 1_000_000)
            self._write(self._times_at, now - self._ages, 8)
            self._write(self._offset + SECONDS_AT[self._version], np.full(len(self._offset), now // np.uint64(1000)), 4)
        elif home == 0:
            shift = np.uint64(day * DAY_MS)
            self._write(self._times_at, self._times + shift, 8 if self._version == 10 else 4)
            self._write(self._offset + SECONDS_AT[self._version], self._seconds + shift // np.uint64(1000), 4)
            if self._version != 10:
                self._write(self._offset + UPTIME_AT, self._uptime + shift, 4)

    def messages(self, cycles: int) -> Iterator[bytes]:
        """Yield the messages of this many days of homes."""
        for cycle in range(cycles):
            self.prepare(cycle)
            for at, octets in zip(self._offset, self._octets, strict=True):
                yield self.data[at : at + octets].tobytes()

    def send(
        self, place: Listen, *, seconds: float, rate: float | None = None,
        on_progress: Callable[[int], None] | None = None, ending: Event | None = None,
    ) -> Delivery:  # fmt: skip
        """Send for some time.

        Parameters
        ----------
        place
            UDP destination; nothing is sent elsewhere.
        seconds
            Duration.
        rate
            Flow records per second; by default as many as possible.
        on_progress
            Called with the flow records of each chunk.
        ending
            Sending ends when it is set.

        Raises
        ------
        UsageError
            If the destination is not UDP.
        InputError
            If it cannot be reached.
        """
        if place.transport != "udp":
            raise UsageError("load is sent over UDP only")
        sender = UdpSender(place)
        chunks = _Chunks(sender, self.data, self._offset, self._octets)
        delivery = Delivery()
        begin = time.monotonic()
        cycle = 0
        try:
            while delivery.seconds < seconds:
                self.prepare(cycle)
                cycle += 1
                for first in range(0, len(self._offset), CHUNK):
                    last = min(first + CHUNK, len(self._offset))
                    chunks.send(first, last)
                    flows = int(self._flows[first:last].sum())
                    delivery.messages += last - first
                    delivery.flows += flows
                    delivery.units += int(self._units[first:last].sum())
                    delivery.octets += int(self._octets[first:last].sum())
                    if on_progress is not None:
                        on_progress(flows)
                    ahead = 0.0 if rate is None else begin + delivery.flows / rate - time.monotonic()
                    if ahead > 0.0005:
                        time.sleep(ahead)
                    delivery.seconds = time.monotonic() - begin
                    if delivery.seconds >= seconds or (ending is not None and ending.is_set()):
                        return delivery
        finally:
            sender.close()
            delivery.refused = sender.refused
        return delivery


def _field(records: Records, element: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Positions and values of an element; empty if the template does not have it."""
    index = records.has(0, element)
    if index is None:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return records.spans(index)[0].copy(), records.unsigned(index).copy()


class _Chunks:
    """Sends many datagrams per call, or one by one on systems without such a call."""

    def __init__(
        self, sender: UdpSender, data: NDArray[np.uint8], offset: NDArray[np.int64], octets: NDArray[np.int64]
    ) -> None:
        self._sender, self._data, self._offset, self._octets = sender, data, offset, octets
        library = ctypes.CDLL(None, use_errno=True)
        self._call = getattr(library, "sendmmsg", None) if ctypes.sizeof(ctypes.c_void_p) == 8 else None
        self._vectors = np.empty((len(offset), 2), np.uint64)
        self._vectors[:, 0], self._vectors[:, 1] = data.ctypes.data + offset, octets
        self._headers = np.zeros(len(offset), MESSAGE_HEADER)
        self._headers["vector"] = self._vectors.ctypes.data + 16 * np.arange(len(offset))
        self._headers["vectors"] = 1

    def send(self, first: int, last: int) -> None:
        """Send a range of messages."""
        if self._call is None:
            for at in range(first, last):
                begin = int(self._offset[at])
                self._sender.send_octets(self._data[begin : begin + int(self._octets[at])].tobytes())
            return
        descriptor, size = self._sender.socket.fileno(), MESSAGE_HEADER.itemsize
        while first < last:
            headers = ctypes.c_void_p(self._headers.ctypes.data + first * size)
            sent = self._call(descriptor, headers, ctypes.c_uint(last - first), 0)
            if sent < 0:
                number = ctypes.get_errno()
                if not self._sender.refuses(number):
                    raise InputError(f"cannot send: {os.strerror(number)}", file=str(self._sender.place))
                continue
            first += sent
