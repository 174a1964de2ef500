"""Embed a bounded sample of custom flows while captures are read for their flows.

For each device and time slot, the flows with the smallest hash of their key are kept, up to a quota. The sample is
uniform and deterministic whatever the order of the captures, and memory grows with devices and time slots, not with
flows. Flows that cannot be kept are not embedded.

Which MACs name devices is decided from the flow table, which sees packets that custom flows leave out (ICMP, IPv6).
Until a block of the flow table is complete, flows are therefore sampled for each pair of address and MAC. Samples of
smallest hashes merge exactly: the sample of a device is that of its pairs together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._hashing import split_mix
from ethogram.config import CustomFlowSettings, FlowSettings
from ethogram.flow.devices import Namer
from ethogram.identify.flow_windows import FlowWindows
from ethogram.pipeline.assign_devices import resolve_ends
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.vector_stream import Block, VectorStream
from ethogram.representation.inference import OnnxEncoder
from ethogram.schema import ALWAYS, CustomFlows, PacketBatch, TimeSpan, Windows

__all__ = ["MOST", "Embedded", "EmbeddingListener"]

MOST = 200
"""Maximum number of embedded flows per item, drawn uniformly."""
PENDING = 1 << 15
"""Number of new embedded flows after which those beyond the quota are dropped."""
SAMPLED = {"device": pl.String(), "stretch": pl.Int64(), "draw": pl.UInt64(), "at": pl.Int64(), "end": pl.String()}


@dataclass(frozen=True)
class Embedded:
    """Sample of N embedded flows of some inputs.

    Parameters
    ----------
    device
        [N] device name.
    at
        [N] start in microseconds since 1970-01-01 UTC.
    draw
        [N] sampling key; the flows with the smallest keys are kept.
    z
        float32 [N, D] embeddings.
    encoder
        Digest of the encoder's weights.
    flows
        Number of custom flows in the inputs, of which N are kept.
    """

    device: pl.Series
    at: NDArray[np.int64]
    draw: NDArray[np.uint64]
    z: NDArray[np.float32]
    encoder: str
    flows: int = field(default=0, compare=False)

    def of(self, windows: Windows, most: int = MOST) -> FlowWindows:
        """Embedded flows of each item: at most ``most`` flows of its device that begin in its window."""
        flows = pl.DataFrame({"device": self.device, "at": self.at, "draw": self.draw}).with_row_index("row").sort("at")
        items = windows.items.select(
            "item", "device", begin=pl.col("start").dt.epoch("us"), end=pl.col("end").dt.epoch("us")
        ).sort("begin")
        selected = (
            flows.join_asof(
                items, left_on="at", right_on="begin", by="device", strategy="backward", check_sortedness=False
            )
            .filter(pl.col("item").is_not_null() & (pl.col("at") <= pl.col("end")))
            .filter(pl.col("draw").rank("ordinal").over("item") <= most)
            .sort("item", "at", "draw")
        )
        rows = selected["row"].to_numpy().astype(np.int64)
        return FlowWindows(self.z[rows], selected["item"].to_numpy().astype(np.int64), len(windows))


class EmbeddingListener:
    """Embed custom flows of the packets of captures; a :class:`~ethogram.pipeline.capture.Listener`.

    Parameters
    ----------
    encoder
        The encoder.
    devices, devices_only, flow
        As for :func:`ethogram.pipeline.flows.read_flows`.
    span
        Only flows that begin in it.
    stretch_s
        Length of the time slots in seconds; an item may consist of several whole slots. None: one slot for all time.
    most
        Maximum number of flows kept per device and time slot.
    rename
        Pseudonyms of names of the device file, where it alone names devices.

    Attributes
    ----------
    captures
        Number of captures read.
    """

    def __init__(
        self,
        encoder: OnnxEncoder,
        *,
        devices: Path | None = None,
        devices_only: bool = False,
        flow: FlowSettings | None = None,
        span: TimeSpan = ALWAYS,
        stretch_s: int | None = None,
        most: int = MOST,
        rename: Callable[[pl.Series], pl.Series] | None = None,
    ) -> None:
        direction = encoder.header.data.get("direction") or "outgoing"
        names = DeviceNames.load(devices, devices_only)
        self._stream = VectorStream(
            CustomFlowSettings.of(direction=direction), flow or FlowSettings(), names, span, names_later=True
        )
        self._by_file, self._rename = names.only, rename
        self._encoder = encoder
        self._stretch = None if stretch_s is None else stretch_s * 1_000_000
        self._named = _Sample(encoder.header.d, most)
        self._unnamed = self._named if self._by_file else _Sample(encoder.header.d, most)
        self.captures = 0

    @property
    def kept(self) -> int:
        """Number of embeddings in memory."""
        return self._named.size + (0 if self._by_file else self._unnamed.size)

    @property
    def lacking(self) -> str:
        """What the input lacks if it has no custom flow."""
        return "custom flow of a device (TCP or UDP over IPv4)" if self.captures else "packets"

    def feed(self, batch: PacketBatch) -> None:
        """Process a batch of packets of a capture."""
        for block in self._stream.feed(batch):
            self._add(block)

    def end(self) -> None:
        """Finish a capture."""
        self.captures += 1
        for block in self._stream.end():
            self._add(block)

    def name_devices(self, namer: Namer) -> None:
        """Give the flows sampled so far the names that the flow table gives."""
        for block in self._stream.rest():
            self._add(block)
        if self._by_file:
            return
        frame, z = self._unnamed.content()
        self._unnamed.clear()
        frame = frame.with_columns(device=resolve_ends(frame["end"], frame["at"].to_numpy(), namer)).with_row_index()
        frame = frame.filter(pl.col("device").is_not_null())
        self._named.add(frame.drop("index"), z[frame["index"].to_numpy().astype(np.int64)])

    def embedded(self) -> Embedded:
        """The embedded flows; call once, after the inputs were read."""
        frame, z = self._named.content()
        return Embedded(
            self._rename(frame["device"]) if self._by_file and self._rename is not None else frame["device"],
            frame["at"].to_numpy(),
            frame["draw"].to_numpy(),
            z,
            self._encoder.digest,
            self._stream.rows,
        )

    def _add(self, block: Block) -> None:
        flows = block[0]
        frame = pl.DataFrame({
            "end": flows.device,
            "stretch": np.zeros(len(flows), np.int64) if self._stretch is None else flows.start_us // self._stretch,
            "draw": sampling_keys(flows),
            "at": flows.start_us,
        })  # fmt: skip
        # Of a destination, the end names the source, too; the quota is that of the destination alone.
        pair = pl.col("end").str.splitn(" ", 3).struct
        device = pl.col("end") if self._by_file else pl.concat_str(pair.field("field_0"), pair.field("field_1"))
        accepted = self._unnamed.accepted(frame.select(device.alias("device"), "stretch", "draw", "at", "end"))
        rows = accepted["row"].to_numpy().astype(np.int64)
        self._unnamed.add(accepted.drop("row"), self._encoder.embed(flows.take(rows)))


class _Sample:
    """Embedded flows with the smallest sampling keys of each device and time slot, up to a quota.

    Frames have the columns ``SAMPLED``, beside arrays of shape [N, D].
    """

    def __init__(self, d: int, most: int) -> None:
        self._d = d
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Drop all flows."""
        self._frames = [pl.DataFrame(schema=SAMPLED)]
        self._z = [np.zeros((0, self._d), np.float32)]
        self._limits = pl.DataFrame(schema={"device": pl.String(), "stretch": pl.Int64(), "limit": pl.UInt64()})
        self._new = 0

    @property
    def size(self) -> int:
        """Number of embeddings in memory."""
        return sum(len(z) for z in self._z)

    def accepted(self, flows: pl.DataFrame) -> pl.DataFrame:
        """The flows that may enter, with their number as ``row``."""
        return (
            flows.with_row_index("row")
            .join(self._limits, on=["device", "stretch"], how="left", maintain_order="left")
            .filter(pl.col("limit").is_null() | (pl.col("draw") < pl.col("limit")))
            .filter(_within_quota(self._most))
            .select("row", *SAMPLED)
        )

    def add(self, flows: pl.DataFrame, z: NDArray[np.float32]) -> None:
        """Add embedded flows."""
        self._frames.append(flows.select(pl.col(name).cast(dtype) for name, dtype in SAMPLED.items()))
        self._z.append(z)
        self._new += len(z)
        # Pruning waits until the new flows outnumber the kept ones, so the cost per flow is amortised.
        if self._new >= max(PENDING, len(self._z[0])):
            self._prune()

    def content(self) -> tuple[pl.DataFrame, NDArray[np.float32]]:
        """The sample."""
        self._prune()
        return self._frames[0], self._z[0]

    def _prune(self) -> None:
        """Drop flows beyond the quotas, and update the largest key that is still accepted in each full time slot."""
        frame = pl.concat(self._frames).with_row_index("row").filter(_within_quota(self._most))
        z = np.concatenate(self._z)[frame["row"].to_numpy().astype(np.int64)]
        self._frames, self._z, self._new = [frame.select(list(SAMPLED))], [z], 0
        self._limits = (
            frame.group_by("device", "stretch")
            .agg(limit=pl.col("draw").max(), flows=pl.len())
            .filter(pl.col("flows") >= self._most)
            .drop("flows")
        )


def _within_quota(most: int) -> pl.Expr:
    return pl.col("draw").rank("ordinal").over("device", "stretch") <= most


def sampling_keys(flows: CustomFlows) -> NDArray[np.uint64]:
    """A pseudo-random, deterministic number for each flow, uint64 [N]: a hash of its key and start.

    >>> sampling_keys(CustomFlows.empty()).size
    0
    """
    ports = flows.remote_port.astype(np.uint64) << np.uint64(16) | flows.device_port.astype(np.uint64)
    peer = flows.remote.astype(np.uint64) << np.uint64(8) | flows.protocol.astype(np.uint64)
    return split_mix(split_mix(split_mix(flows.start_us.astype(np.uint64)) ^ ports) ^ peer)
