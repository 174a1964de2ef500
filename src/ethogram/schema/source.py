"""What a reader is: it gives batches, counts what it read, and knows nothing of devices or labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import polars as pl

from ethogram.schema.accounting import Accounting
from ethogram.schema.packet import PacketBatch

__all__ = ["FlowSource", "PacketSource"]


class PacketSource(Protocol):
    """A capture: packets, to be metered."""

    name: str
    accounting: Accounting

    def batches(self) -> Iterator[PacketBatch]:
        """Give the packets in bounded batches; ``accounting`` is complete when the iterator ends."""
        ...


class FlowSource(Protocol):
    """A file of flow records."""

    name: str
    accounting: Accounting

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give biflow tables (:data:`ethogram.schema.BIFLOW`) in bounded batches."""
        ...

    def name_answers(self) -> pl.DataFrame:
        """Passive DNS found on the way (:data:`ethogram.schema.NAME_ANSWER`); call after the batches."""
        ...
