"""Labels of flows, looked up by device and time in a label file; flows themselves carry no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.labels import Label
from ethogram.schema import Accounting

__all__ = ["DEVICE_WITHOUT_LABEL", "FlowLabels"]

DEVICE_WITHOUT_LABEL = "device without a label"
OTHER_TIME = "no label at that time"
NO_LEVEL = "label without this level"


@dataclass
class FlowLabels:
    """Labels of flows at one level, from the rows of a label file.

    Parameters
    ----------
    labels
        Rows of a label file.
    level
        ``label``, ``model``, ``family``, ``type`` or ``coarse``.

    Attributes
    ----------
    names
        The names at that level, sorted.
    accounting
        Counts custom flows: used, and ignored by reason.
    bare
        Number of flows of each device without a label.
    """

    labels: Sequence[Label]
    level: str
    accounting: Accounting = field(default_factory=lambda: Accounting("custom flows"))
    bare: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = sorted({name for label in self.labels if (name := label.identity.at(self.level))})
        self._code = {name: code for code, name in enumerate(self.names)}
        self._by_device: dict[str, list[Label]] = {}
        for label in self.labels:
            self._by_device.setdefault(label.device.lower(), []).append(label)
        self._seen: set[str] = set()

    def of(self, device: pl.Series, start_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index in ``names`` of the label of each flow, int64 [N]; -1 (and counted) if there is none.

        The first label of the device whose time span contains the start of the flow applies. Device names are compared
        case-insensitively.
        """
        codes = np.full(len(device), -1, np.int64)
        self.accounting.read += len(device)
        where = pl.DataFrame({"device": device}).with_row_index("row").group_by("device").agg("row")
        for name, rows in where.iter_rows():
            place = np.asarray(rows, np.int64)
            labels = self._by_device.get(name.lower())
            if labels is None:
                self.bare[name] = self.bare.get(name, 0) + place.size
                self.accounting.ignore(DEVICE_WITHOUT_LABEL, place.size)
                continue
            self._seen.add(name.lower())
            open_ = np.ones(place.size, np.bool_)
            for label in labels:
                inside = open_ & _holds(label, start_us[place])
                codes[place[inside]] = self._code.get(label.identity.at(self.level), -1)
                empty = int(inside.sum()) if label.identity.at(self.level) == "" else 0
                if empty:
                    self.accounting.ignore(NO_LEVEL, empty)
                open_ &= ~inside
            if open_.any():
                self.accounting.ignore(OTHER_TIME, int(open_.sum()))
        self.accounting.used += int((codes >= 0).sum())
        return codes

    @property
    def unseen(self) -> list[str]:
        """Devices of the label file without any flow."""
        return sorted({label.device for label in self.labels if label.device.lower() not in self._seen})


def _holds(label: Label, start_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    inside = np.ones(start_us.size, np.bool_)
    if label.start is not None:
        inside &= start_us >= _us(label.start)
    if label.end is not None:
        inside &= start_us < _us(label.end)
    return inside


def _us(time: datetime) -> int:
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)
