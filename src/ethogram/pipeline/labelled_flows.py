"""Custom flows of one network with their types: labels are found beside them, and only chosen flows are in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError, InputError
from ethogram.identify.flow_labels import FlowLabels
from ethogram.identify.labels import read_labels
from ethogram.identify.split import FlowDays
from ethogram.pipeline.flow_days import FlowFiles
from ethogram.representation.encoder import Header
from ethogram.representation.kinds import kind_of
from ethogram.schema import CustomFlows

__all__ = ["LabelledFlows", "days_learnt", "drawn", "learnt_from", "network_name", "taken"]

DAY_US = 86_400_000_000


def learnt_from(inputs: Sequence[str | Path], others: Sequence[str | Path]) -> list[FlowFiles]:
    """Files an encoder may have learnt from: each of some, all of them together, and all with others.

    Digests are of the content, so that the right one is known when it is met.
    """
    candidates = [FlowFiles([path]) for path in others] if len(others) > 1 else []
    candidates += [FlowFiles(others)] if others else []
    return [*candidates, FlowFiles([*inputs, *others])] if others and inputs else candidates


def network_name(inputs: Sequence[str | Path]) -> str:
    """A name for the network that files are of: those of the files.

    >>> network_name(["a/home.parquet", "b/more.parquet"])
    'home+more'
    """
    return "+".join(Path(path).stem for path in inputs)


@dataclass(frozen=True)
class LabelledFlows:
    """Flows of one network; in memory are their devices, times and types.

    Parameters
    ----------
    files
        Where the flows are.
    labels
        What was said of them, with the accounting.
    days
        All flows that have a type; ``rows`` count over the files.
    start_us, code
        [N] time of the first packet, and place in ``labels.names``, of those flows.
    """

    files: FlowFiles
    labels: FlowLabels
    days: FlowDays
    start_us: NDArray[np.int64]
    code: NDArray[np.int64]

    @classmethod
    def read(cls, inputs: Sequence[str | Path], labels: Path, level: str, network: str | None = None) -> LabelledFlows:
        """Read custom flows, and find the type of each by device and time.

        Raises
        ------
        InputError
            When there are no custom flows, or none has a type.
        ConfigurationError
            When the label file says nothing at that level.
        """
        flow_labels = FlowLabels(read_labels(labels), level)
        if not flow_labels.names:
            raise ConfigurationError(f"{labels}: no label says anything at the level {level}")
        files = FlowFiles(inputs)
        devices, starts, codes, rows = [], [], [], []
        at = 0
        for block in range(len(files.groups)):
            flows = files.block(block)
            code = flow_labels.of(flows.device, flows.start_us)
            here = np.flatnonzero(code >= 0)
            devices.append(flows.device.gather(pl.Series(here)))
            starts.append(flows.start_us[here])
            codes.append(code[here])
            rows.append(at + here)
            at += len(flows)
        flow_labels.accounting.check()
        if not flow_labels.accounting.used:
            raise InputError(f"no flow with a label of {labels}: {flow_labels.accounting.line()}", file=files.paths[0])
        start_us = np.concatenate(starts)
        where = np.concatenate(rows).astype(np.int64)
        days = FlowDays(
            network or network_name(inputs), pl.concat(devices), np.asarray(start_us // DAY_US, np.int64), where
        )
        return cls(files, flow_labels, days, start_us, np.concatenate(codes))

    def take(self, rows: NDArray[np.int64]) -> LabelledFlows:
        """Some of them."""
        return LabelledFlows(self.files, self.labels, self.days.take(rows), self.start_us[rows], self.code[rows])

    @property
    def types(self) -> NDArray[np.str_]:
        """Type of each flow, [N]."""
        return np.array(self.labels.names, np.str_)[self.code]

    def flows(self) -> CustomFlows:
        """The flows themselves, in order."""
        return taken(self.files, self.days.rows)


def taken(files: FlowFiles, rows: NDArray[np.int64]) -> CustomFlows:
    """Flows of some rows, counted over all files, ascending."""
    first = np.concatenate([[0], np.cumsum([len(days) for days in files.days])])
    edges = np.searchsorted(rows, first)
    parts = [
        files.block(i).take(rows[edges[i] : edges[i + 1]] - first[i])
        for i in range(len(files.groups))
        if edges[i] < edges[i + 1]
    ]
    return CustomFlows.concat(parts)


def drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of ``count`` rows, drawn evenly, ascending.

    >>> drawn(3, 5, 0).tolist()
    [0, 1, 2]
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, 0xD8A3]).choice(count, most, replace=False))


def days_learnt(header: Header, known: Iterable[FlowFiles], devices: set[str]) -> NDArray[np.int64] | None:
    """Days of these devices that an encoder was trained on; None if unknown.

    Parameters
    ----------
    header
        Of the encoder.
    known
        Files it may have learnt from; those of its digest are looked into.
    devices
        Of the flows that are to be labelled.
    """
    data = header.data
    if "digest" not in data or not kind_of(header.encoder).fitted:
        return np.zeros(0, np.int64)
    for files in known:
        if files.digest != data["digest"]:
            continue
        begin, end = (np.datetime64(day, "D").astype(np.int64) for day in data["days"])
        days_by_block = [np.zeros(0, np.int64)]
        for block, days in enumerate(files.days):
            inside = (days >= begin) & (days <= end)
            if inside.any():
                of_devices = files.block(block).device.is_in(list(devices)).to_numpy()
                days_by_block.append(np.unique(days[inside & of_devices]).astype(np.int64))
        return np.unique(np.concatenate(days_by_block))
    return None
