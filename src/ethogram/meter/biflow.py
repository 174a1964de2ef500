"""The biflow meter: packets to biflows, with idle and active timeouts by the packets' own time.

A flow ends when its next packet is later than a timeout allows, or earlier than its last packet by more than the idle
timeout, as after a clock was set back. Idle flows are removed every quarter of the idle timeout, so memory depends on
live flows. The source of a flow is the sender of its first packet; a flow that continues after the active timeout keeps
its source. FIN and RST do not end a flow, since late packets belong to it.

Reference: RFC 5103 (biflows), RFC 5102 section 5.11 (flowEndReason).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import MAC, AddressText
from ethogram._hashing import empty_index
from ethogram.config import MeterSettings
from ethogram.meter.cache import (
    BACK,
    EVICTED,
    FLOW_RECORD,
    FORCED,
    GROW,
    LIVE,
    LIVING,
    PLACES,
    STATE,
    SWEEP,
    feed,
    reindex,
)
from ethogram.meter.columns import BiflowPackets
from ethogram.schema import BIFLOW, TCP, PacketBatch

__all__ = ["BiflowMeter"]

FIRST_PLACES = 1 << 12
OUTPUT = 1 << 13
NEVER_NS = 1 << 61
NO_VLAN = 0xFFFF


class BiflowMeter:
    """Meter packets into biflows.

    Parameters
    ----------
    settings
        Timeouts, bound on live flows, which octets to count, whether the VLAN is part of the key.

    Examples
    --------
    >>> meter = BiflowMeter(MeterSettings())
    >>> meter.flush().height, meter.live
    (0, 0)
    """

    def __init__(self, settings: MeterSettings) -> None:
        self._settings = settings
        self._idle_ns = int(min(settings.idle_timeout_s * 1e9, NEVER_NS))
        self._active_ns = int(min(settings.active_timeout_s * 1e9, NEVER_NS))
        self._seed = np.uint64(np.random.default_rng().integers(1 << 63))
        self._text = AddressText()
        self._output = np.zeros(OUTPUT, FLOW_RECORD)
        self._start()

    def _start(self) -> None:
        places = min(FIRST_PLACES, self._settings.max_flows)
        self._flows = np.zeros(places, FLOW_RECORD)
        self._free = np.zeros(places, np.int32)
        self._index = empty_index(places)
        self._state = np.zeros(STATE, np.int64)
        self._state[SWEEP] = -1

    @property
    def live(self) -> int:
        """Number of live flows."""
        return int(self._state[LIVE])

    @property
    def evicted(self) -> int:
        """Flows ended early because of ``max_flows``."""
        return int(self._state[EVICTED])

    @property
    def set_back(self) -> int:
        """Flows ended because the capture's clock went back by more than the idle timeout."""
        return int(self._state[BACK])

    def feed(self, batch: PacketBatch) -> pl.DataFrame:
        """Meter a batch.

        Parameters
        ----------
        batch
            P packets in the order of the capture.

        Returns
        -------
        Flows that ended in the batch, in order of their ends (form ``BIFLOW``). The concatenated result does not depend
        on how the packets are cut into batches.
        """
        octets = batch.ip_octets if self._settings.octets == "ip" else batch.frame_octets
        packets = BiflowPackets.of(batch, octets)
        frames = []
        row = 0
        while row < len(batch):
            row, given, why = feed(
                packets, row, self._flows, self._index, self._free, self._state, self._seed, self._idle_ns,
                self._active_ns, self._settings.max_flows, self._settings.vlan_key, self._output,
            )  # fmt: skip
            if given:
                frames.append(self._frame(self._output[:given]))
            if why == GROW:
                self._grow()
        return pl.concat(frames) if frames else BIFLOW.empty()

    def flush(self) -> pl.DataFrame:
        """End all live flows, in order of their starts; the meter is empty afterwards."""
        counters = self._state[[EVICTED, BACK]]
        used = self._flows[: self._state[PLACES]]
        rest = used[used["reason"] == LIVING]
        rest["reason"] = FORCED
        rest = rest[np.argsort(rest["start"], kind="stable")]
        self._start()
        self._state[[EVICTED, BACK]] = counters
        return self._frame(rest)

    def _grow(self) -> None:
        """Double the capacity, up to the bound; the index stays at most half full."""
        places = min(2 * self._flows.size, self._settings.max_flows)
        flows = np.zeros(places, FLOW_RECORD)
        flows[: self._flows.size] = self._flows
        free = np.zeros(places, np.int32)
        free[: self._free.size] = self._free
        self._flows, self._free = flows, free
        if self._index.size < 2 * places:
            self._index = empty_index(places)
            reindex(flows, int(self._state[PLACES]), self._index)

    def _frame(self, flows: NDArray[np.void]) -> pl.DataFrame:
        """Records as a ``BIFLOW`` table."""
        version = flows["version"]
        mac = np.full(flows.size, MAC, np.uint8)
        none = np.zeros(flows.size, np.uint64)
        tcp = pl.Series(flows["protocol"] == TCP)
        reversed_tcp = tcp & pl.Series(flows["reverse_packets"] > 0)
        forward_tcp = tcp & pl.Series(flows["packets"] > 0)

        def flags(field: str, where: pl.Series) -> pl.Expr:
            return pl.when(where).then(pl.Series(flows[field].copy()))

        def text(kind: NDArray[np.uint8], high: NDArray[np.uint64], field: str) -> pl.Series:
            return self._text(kind, high, flows[field])

        def whole(field: str) -> pl.Series:
            return pl.Series(flows[field].copy())

        columns: dict[str, pl.Series | pl.Expr] = {
            "start": pl.Series(flows["start"] // 1000).cast(BIFLOW.schema["start"]),
            "end": pl.Series(flows["end"] // 1000).cast(BIFLOW.schema["end"]),
            "protocol": whole("protocol"),
            "source_address": text(version, flows["source_high"], "source_low"),
            "destination_address": text(version, flows["destination_high"], "destination_low"),
            **{
                name: whole(name)
                for name in (
                    "source_port", "destination_port", "octets", "packets", "reverse_octets", "reverse_packets",
                )
            },
            "initial_tcp_flags": flags("initial", forward_tcp),
            "reverse_initial_tcp_flags": flags("reverse_initial", reversed_tcp),
            "union_tcp_flags": flags("union", forward_tcp),
            "reverse_union_tcp_flags": flags("reverse_union", reversed_tcp),
            "end_reason": whole("reason"),
            "source_mac": text(mac, none, "source_mac"),
            "destination_mac": text(mac, none, "destination_mac"),
            "vlan": pl.when(whole("vlan") != NO_VLAN).then(whole("vlan")),
        }  # fmt: skip
        return BIFLOW.conform(pl.select([value.alias(name) for name, value in columns.items()]))
