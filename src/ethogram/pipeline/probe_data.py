"""Select the flows that a probe trains, is tuned, calibrated and tested on; count the rest, and refuse leaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import ProbeSettings
from ethogram.errors import LeakError, UsageError
from ethogram.identify.probe import budget_rows, most_even
from ethogram.identify.split import FlowDays, Split
from ethogram.pipeline.candidates import Candidate
from ethogram.pipeline.flow_days import FlowFiles, day_text
from ethogram.pipeline.labelled_flows import LabelledFlows, days_learnt, drawn
from ethogram.pipeline.probe_rows import Tested
from ethogram.schema import Accounting, CustomFlows

__all__ = [
    "BETWEEN",
    "BEYOND",
    "LEARNT_DAY",
    "STRANGER",
    "UNTESTED",
    "ProbeData",
    "accounted",
    "exclude_pretraining_days",
    "probe_data_of",
    "refuse_shared",
    "split_of",
    "summary",
]  # fmt: skip

LEARNT_DAY = "day the encoder learnt from"
BETWEEN = "between the sides"
BEYOND = "more than are used"
STRANGER = "type not in training"
UNTESTED = "type not tested"


def refuse_shared(train: LabelledFlows, test: LabelledFlows) -> None:
    """Refuse two networks with a common name or a common flow.

    Raises
    ------
    LeakError
        When a flow (device and start time) is in both networks.
    UsageError
        When both networks have the same name.
    """
    pair = (pl.DataFrame({"device": n.days.device, "start": n.start_us, "row": n.days.rows}) for n in (train, test))
    shared = next(pair).join(next(pair), on=["device", "start"], suffix="_test")
    if shared.height:
        raise LeakError(
            f"{shared.height:,} flows are in training and in test (same device and microsecond), first rows "
            f"{shared['row_test'].head(5).to_list()} of {test.days.network}"
        )
    if train.days.network == test.days.network:
        raise UsageError(f"two networks have the name {train.days.network}: rename a file")


def exclude_pretraining_days(
    networks: list[LabelledFlows], encoders: list[Candidate], known: list[FlowFiles], settings: ProbeSettings,
    notes: list[str],
) -> tuple[list[NDArray[np.int64]], dict[str, FlowDays]]:  # fmt: skip
    """Rows of each network outside the pretraining days and their gap, and the flows of those days as split sides."""
    remaining: list[NDArray[np.int64]] = []
    sides: dict[str, FlowDays] = {}
    unknown: set[str] = set()
    for network in networks:
        devices = set(network.days.device.unique())
        learnt = np.zeros(0, np.int64)
        for candidate in encoders:
            for seed in range(candidate.seeds if candidate.paths else 0):
                days = days_learnt(candidate.header(seed), known, devices)
                if days is None:
                    unknown.add(candidate.name)
                else:
                    learnt = np.union1d(learnt, days)
        near = np.concatenate([learnt + shift for shift in range(-settings.gap_days, settings.gap_days + 1)])
        usable = ~np.isin(network.days.day, near)
        if not usable.any():
            span = np.unique(network.days.day)
            raise LeakError(
                f"every labelled day of {network.days.network} ({day_text(span[0])} to {day_text(span[-1])}) is a "
                "pretraining day of an encoder, or next to one: pretrain on fewer days, or label flows of other days"
            )
        side = network.days.take(np.isin(network.days.day, learnt))
        if len(side):
            sides[f"unlabelled of {side.network}"] = side
        remaining.append(np.flatnonzero(usable))
    notes += [
        f"{name}: was pretrained on files that are not given, so overlap with its days cannot be checked "
        "(name them with --pretrained-on)"
        for name in sorted(unknown)
    ]
    return remaining, sides


def split_of(
    networks: list[LabelledFlows], unused: list[NDArray[np.int64]], learnt: dict[str, FlowDays], settings: ProbeSettings
) -> tuple[Split, LabelledFlows, LabelledFlows]:
    """The split, which checks that training, test and pretraining flows are disjoint, and its train and test side."""
    parts = [network.take(rows) for network, rows in zip(networks, unused, strict=True)]
    if len(parts) == 2:
        sides = {"train": parts[0].days, "test": parts[1].days, **learnt}
        name = f"network {parts[0].days.network} -> {parts[1].days.network}"
        return Split(name, "network", sides, settings.gap_days), parts[0], parts[1]
    split = Split.by_day(
        parts[0].days, test_share=settings.test_share, gap_days=settings.gap_days, by=settings.split
    )
    where = [np.flatnonzero(np.isin(networks[0].days.rows, side.rows)) for side in split.sides.values()]
    split = replace(split, sides={**split.sides, **learnt})
    return split, networks[0].take(where[0]), networks[0].take(where[1])


def accounted(network: LabelledFlows, remaining: NDArray[np.int64]) -> Accounting:
    """Accounting of the labelled flows, with those of pretraining days moved to ignored."""
    accounting = network.labels.accounting
    excluded = len(network.days) - remaining.size
    if excluded:
        accounting.ignore(LEARNT_DAY, excluded)
        accounting.used -= excluded
    return accounting


def summary(network: LabelledFlows) -> list[str]:
    """Messages on devices without a label and labels without a device."""
    notes = []
    if network.labels.bare:
        shown = ", ".join(f"{name} ({n:,} flows)" for name, n in sorted(network.labels.bare.items())[:5])
        notes.append(f"{network.days.network}: {len(network.labels.bare)} devices without a label: {shown}")
    if network.labels.unseen:
        notes.append(f"{network.days.network}: labelled, but without flows: {', '.join(network.labels.unseen[:8])}")
    return notes


@dataclass(frozen=True)
class ProbeData:
    """Training flows with their types, split into flows to fit on (``early``) and held-out flows (``late``)."""

    names: list[str]
    flows: CustomFlows
    truth: NDArray[np.int64]
    early: NDArray[np.bool_]
    late: NDArray[np.bool_]
    hours: LabelledFlows


def probe_data_of(
    train: LabelledFlows, test: LabelledFlows, settings: ProbeSettings, accounting: dict[str, Accounting],
    notes: list[str],
) -> tuple[ProbeData, Tested]:  # fmt: skip
    """Draw the training and test flows within the bounds of the settings, and account for the rest."""
    train_accounting, test_accounting = accounting[train.days.network], accounting[test.days.network]
    if settings.shared_types:
        shared = np.flatnonzero(np.isin(train.types, np.unique(test.types)))
        _move(train_accounting, UNTESTED, len(train.days) - shared.size)
        train = train.take(shared)
    names, counts = np.unique(train.types, return_counts=True)
    if not names.size:
        raise UsageError(f"no {settings.level} is in both training and test")
    if names.size < 2:
        raise UsageError(f"training flows of one {settings.level} only ({names[0]}): a probe needs two")
    most = most_even(counts.tolist(), settings.train_flows)
    code = np.searchsorted(names, train.types)
    rows = budget_rows(code, most, 0)
    truth = np.where(np.isin(test.types, names), np.searchsorted(names, test.types), -1)
    truth = np.where(truth == names.size, -1, truth)
    strangers = int((truth < 0).sum())
    if strangers == truth.size:
        raise UsageError(
            f"no test {settings.level} is in training: {', '.join(np.unique(test.types)[:5])} are not among "
            f"{', '.join(names[:5])}"
        )
    test_rows = drawn(len(test.days), settings.test_flows, 0)
    _move(train_accounting, BEYOND, len(train.days) - rows.size)
    _move(test_accounting, STRANGER, int((truth[test_rows] < 0).sum()))
    _move(test_accounting, BEYOND, len(test.days) - test_rows.size)
    tested_here = int((truth[test_rows] >= 0).sum()) if train_accounting is test_accounting else 0
    _move(train_accounting, BETWEEN, train_accounting.used - rows.size - tested_here)
    if strangers:
        unseen = sorted(set(test.types[truth < 0]))
        notes.append(f"{strangers:,} test flows of types not in training count as strangers: {', '.join(unseen[:8])}")
    part = train.take(rows)
    early, late = _held_out(part, settings, notes)
    part_test = test.take(test_rows)
    material = ProbeData([str(name) for name in names], part.flows(), code[rows], early, late, part)
    return material, Tested.of(part_test, truth[test_rows])


def _move(accounting: Accounting, reason: str, count: int) -> None:
    if count:
        accounting.ignore(reason, count)
        accounting.used -= count


def _held_out(
    part: LabelledFlows, settings: ProbeSettings, notes: list[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the early training days and of the last ones, separated by the gap; the latter is empty if too few."""
    none = np.zeros(len(part.days), np.bool_)
    try:
        if not settings.held_out:
            raise UsageError("nothing is held out")
        inner = Split.by_day(part.days, test_share=settings.held_out, gap_days=settings.gap_days,
                                 by=settings.split, names=("fit", "held out"))  # fmt: skip
    except UsageError as error:
        notes.append(f"not calibrated, no verdict is unknown, first hyperparameters of the grid: {error}")
        return ~none, none
    early, late = (np.isin(part.days.rows, side.rows) for side in inner.sides.values())
    return early, late
