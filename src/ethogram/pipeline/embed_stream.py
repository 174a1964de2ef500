"""Packets of captures, as they are read for their flows, to embeddings of a bounded number of custom flows.

Of a device only so many flows are kept in each stretch of time: those with the smallest hash of what the flow is. So
the draw is even and always the same, whatever the order of the captures, and memory grows with devices and stretches,
not with flows. A flow that cannot be kept is not embedded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import CustomFlowSettings, FlowSettings
from ethogram.flow.devices_file import DeviceFile
from ethogram.identify.flow_windows import FlowWindows
from ethogram.pipeline.vector_stream import Block, VectorStream
from ethogram.representation.inference import OnnxEncoder
from ethogram.schema import CustomFlows, PacketBatch, Windows

__all__ = ["MOST", "Embedded", "EmbeddingListener"]

MOST = 200
"""Flows of an item whose embeddings are kept, drawn evenly."""
PENDING = 1 << 15
"""Embedded flows that may wait before what cannot be kept is thrown out."""
KEPT = {"device": pl.String(), "stretch": pl.Int64(), "draw": pl.UInt64(), "at": pl.Int64()}


@dataclass(frozen=True)
class Embedded:
    """Embedded flows of some inputs: device, time, draw and embedding of each, N in all.

    Parameters
    ----------
    device
        [N] text.
    at
        [N] microseconds since 1970-01-01 UTC.
    draw
        [N] where more flows are there than wanted, those with the smallest are taken.
    z
        float32 [N, D].
    encoder
        Digest of its weights.
    flows
        Custom flows that there were, of which N are kept.
    """

    device: pl.Series
    at: NDArray[np.int64]
    draw: NDArray[np.uint64]
    z: NDArray[np.float32]
    encoder: str
    flows: int = field(default=0, compare=False)

    def of(self, windows: Windows, most: int = MOST) -> FlowWindows:
        """The flows of each item: those of its device that begin in its window; at most so many."""
        flows = pl.DataFrame({"device": self.device, "at": self.at, "draw": self.draw}).with_row_index("row").sort("at")
        items = windows.items.select(
            "item", "device", begin=pl.col("start").dt.epoch("us"), end=pl.col("end").dt.epoch("us")
        ).sort("begin")
        found = (
            flows.join_asof(
                items, left_on="at", right_on="begin", by="device", strategy="backward", check_sortedness=False
            )
            .filter(pl.col("item").is_not_null() & (pl.col("at") <= pl.col("end")))
            .filter(pl.col("draw").rank("ordinal").over("item") <= most)
            .sort("item", "at", "draw")
        )
        rows = found["row"].to_numpy().astype(np.int64)
        return FlowWindows(self.z[rows], found["item"].to_numpy().astype(np.int64), len(windows))


class EmbeddingListener:
    """Hears the packets of captures (:class:`~ethogram.pipeline.capture.Listener`) and embeds custom flows of them.

    Parameters
    ----------
    encoder
        What embeds.
    devices, flow
        As for :func:`ethogram.pipeline.flows.read_flows`.
    span
        Only flows that begin in [from, to).
    stretch_s
        Length of the stretches, in seconds: items may join whole stretches. None: all time is one.
    most
        Flows kept of a device and stretch.

    Attributes
    ----------
    captures
        Captures that have ended.
    """

    def __init__(
        self,
        encoder: OnnxEncoder,
        *,
        devices: Path | None = None,
        flow: FlowSettings | None = None,
        span: tuple[datetime | None, datetime | None] = (None, None),
        stretch_s: int | None = None,
        most: int = MOST,
    ) -> None:
        direction = encoder.header.data.get("direction") or "outgoing"
        named = DeviceFile.load(devices) if devices is not None else None
        self._stream = VectorStream(CustomFlowSettings.of(direction=direction), flow or FlowSettings(), named, span)
        self._encoder = encoder
        self._stretch = None if stretch_s is None else stretch_s * 1_000_000
        self._most = most
        self._frames = [pl.DataFrame(schema=KEPT)]
        self._z = [np.zeros((0, encoder.header.d), np.float32)]
        self._limits = pl.DataFrame(schema={"device": pl.String(), "stretch": pl.Int64(), "limit": pl.UInt64()})
        self._waiting = 0
        self.captures = 0

    @property
    def kept(self) -> int:
        """Embeddings held now."""
        return sum(len(z) for z in self._z)

    @property
    def lacking(self) -> str:
        """What the input must have had for custom flows to be there."""
        return "custom flow of a device (TCP or UDP over IPv4)" if self.captures else "packets"

    def feed(self, batch: PacketBatch) -> None:
        """Take packets of a capture."""
        for block in self._stream.feed(batch):
            self._add(block)

    def end(self) -> None:
        """End a capture."""
        self.captures += 1
        for block in self._stream.end():
            self._add(block)

    def embedded(self) -> Embedded:
        """What was heard; to be called once, at the end."""
        for block in self._stream.rest():
            self._add(block)
        self._prune()
        frame, z = self._frames[0], self._z[0]
        return Embedded(
            frame["device"],
            frame["at"].to_numpy(),
            frame["draw"].to_numpy(),
            z,
            self._encoder.digest,
            self._stream.rows,
        )

    def _add(self, block: Block) -> None:
        flows = block[0]
        frame = pl.DataFrame({
            "device": flows.device,
            "stretch": np.zeros(len(flows), np.int64) if self._stretch is None else flows.start_us // self._stretch,
            "draw": sampling_keys(flows),
            "at": flows.start_us,
        }, schema=KEPT).with_row_index("row")  # fmt: skip
        chosen = (
            frame.join(self._limits, on=["device", "stretch"], how="left", maintain_order="left")
            .filter(pl.col("limit").is_null() | (pl.col("draw") < pl.col("limit")))
            .filter(_within_quota(self._most))
        )
        rows = chosen["row"].to_numpy().astype(np.int64)
        self._frames.append(chosen.select(list(KEPT)))
        self._z.append(self._encoder.embed(flows.take(rows)))
        self._waiting += len(rows)
        # What is kept is gone through only when as much is new: each flow a few times in all.
        if self._waiting >= max(PENDING, len(self._z[0])):
            self._prune()

    def _prune(self) -> None:
        """Keep of each device and stretch what may be kept, and what bars others from now on."""
        frame = pl.concat(self._frames).with_row_index("row").filter(_within_quota(self._most))
        z = np.concatenate(self._z)[frame["row"].to_numpy().astype(np.int64)]
        self._frames, self._z, self._waiting = [frame.select(list(KEPT))], [z], 0
        self._limits = (
            frame.group_by("device", "stretch")
            .agg(limit=pl.col("draw").max(), flows=pl.len())
            .filter(pl.col("flows") >= self._most)
            .drop("flows")
        )


def _within_quota(most: int) -> pl.Expr:
    return pl.col("draw").rank("ordinal").over("device", "stretch") <= most


def sampling_keys(flows: CustomFlows) -> NDArray[np.uint64]:
    """A number for each flow that is as good as drawn, and always the same: uint64 [N].

    Reference: G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014 (the
    finaliser of SplitMix64).

    >>> sampling_keys(CustomFlows.empty()).size
    0
    """
    ports = flows.remote_port.astype(np.uint64) << np.uint64(16) | flows.device_port.astype(np.uint64)
    peer = flows.remote.astype(np.uint64) << np.uint64(8) | flows.protocol.astype(np.uint64)
    return _mixed(_mixed(_mixed(flows.start_us.astype(np.uint64)) ^ ports) ^ peer)


def _mixed(number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        number = number + np.uint64(0x9E3779B97F4A7C15)
        number = (number ^ number >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        number = (number ^ number >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return number ^ number >> np.uint64(31)
