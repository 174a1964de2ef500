"""The verb *deviations*: each epoch of a device against the fingerprints exported before it, its own and its label's.

The exporter runs in the mode *change*: it exports a device's fingerprint when its behaviour is stable, and the next one
when stable behaviour has left it. These fingerprints are the model of the device; those of the other devices of its
label are the model of the label. An epoch is only compared with what was exported before it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._units import octets_text
from ethogram.behaviour.score import Reference, learn_reference, score_epochs
from ethogram.config import DeviationSettings, ExporterSettings, KeySettings
from ethogram.errors import InputError
from ethogram.fingerprint.device import STABLE
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.key import with_service
from ethogram.identify.explain import service_phrase
from ethogram.identify.labels import read_labels
from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.text import join_names, plural
from ethogram.schema import (
    DEVIATION_PARTS,
    BehaviourEpoch,
    BehaviourReport,
    Deviation,
    DeviceBehaviour,
    ExportedBehaviour,
)

__all__ = ["DeviationsFound", "deviations", "score_behaviour"]

MOST_TERMS = 1024
"""Services, and names, of a label's devices that are told apart; the others are one."""
MOST_FINGERPRINTS, MOST_EPOCHS = 8, 60
"""Latest fingerprints of a device that are compared with, and latest epochs of each."""
MOST_DEVIATIONS = 100
SHOWN = 5
DAY_S = 86_400
OTHERS = "others"
SERVICE = KeySettings(role=True, scope=True)
UNANSWERED = (pl.col("role").cast(pl.String) == "server") & ~pl.col("answered")
_TERM = ["part", "subject", "direction"]
Floats = NDArray[np.float64]


@dataclass
class DeviationsFound:
    """Scored epochs, and what the run has to say."""

    report: BehaviourReport
    log: RunLog


def deviations(
    inputs: Sequence[str | Path],
    settings: DeviationSettings | None = None,
    *,
    labels: Path | None = None,
    reading: ReadOptions | None = None,
    on_progress: OnProgress | None = None,
) -> DeviationsFound:
    """Score each epoch of each device by the behaviour that it showed before.

    Parameters
    ----------
    inputs
        Inputs of any kind.
    settings
        Length of an epoch, and how fingerprints are exported.
    labels
        Label file: devices are also compared with the others of their label.
    reading
        How inputs become flows of devices.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    InputError
        If an input or the label file cannot be used, or there are no flows.
    """
    settings = settings or DeviationSettings()
    stated = [] if labels is None else read_labels(labels)
    if reading is not None and reading.pseudonymiser is not None:
        stated = reading.pseudonymiser.labels(stated)
    names = {each.device: each.identity.label for each in stated}
    counted = count_inputs(list(inputs), COUNTING, reading, on_progress=on_progress)
    counts = counted.gathering.counts()
    if not counts.height:
        raise InputError("no flows: there is nothing to score")
    report = BehaviourReport(epoch_s=settings.epoch_s, devices=score_behaviour(counts, settings, names))
    log = counted.log
    without = [each.device for each in report.devices if all(e.score is None and e.label_score is None
                                                             for e in each.epochs)]  # fmt: skip
    if without:
        log.notices.append(f"no stable behaviour before any epoch, not scored: {join_names(without)}")
    return DeviationsFound(report, log)


def score_behaviour(
    counts: pl.DataFrame, settings: DeviationSettings | None = None, labels: Mapping[str, str] | None = None,
    clock: datetime | None = None,
) -> list[DeviceBehaviour]:  # fmt: skip
    """Fingerprints and scored epochs of all devices in counts.

    Parameters
    ----------
    counts
        Form :data:`ethogram.schema.COUNTS`, sorted by key.
    settings
        Length of an epoch, and how fingerprints are exported.
    labels
        Label of devices; those of one label are compared with each other, too.
    clock
        Time of the data; None: the end of the last hour in the counts. Of an epoch that is not over, nothing is missing
        yet.

    Examples
    --------
    >>> score_behaviour(COUNTS.empty())
    []
    """
    settings, labels = settings or DeviationSettings(), labels or {}
    if not counts.height:
        return []
    exporter = FingerprintExporter(
        ExporterSettings(
            mode="change", epoch_s=settings.epoch_s, threshold=settings.threshold, min_epochs=settings.least_epochs,
            max_epochs=max(settings.most_epochs, settings.least_epochs), min_flows=settings.least_flows,
        )
    )  # fmt: skip
    windows: dict[str, list[_Window]] = {}
    for ended in exporter.ended_windows(counts):
        windows.setdefault(ended.device, []).append(_Window(ended.epochs, ended.status))
    groups: dict[tuple[bool, str], list[str]] = {}
    for device in counts["device"].unique().sort():
        label = labels.get(device)
        groups.setdefault((label is not None, label or device), []).append(device)
    if clock is None:
        clock = counts["time"].dt.offset_by("1h").max()  # type: ignore[assignment]  # a Datetime column with rows
        assert clock is not None
    end_us = round(clock.timestamp() * 1e6)
    behaviours: list[DeviceBehaviour] = []
    for (named, label), devices in groups.items():
        terms = _terms(counts.filter(pl.col("device").is_in(devices)), settings.epoch_s)
        group = _Group(terms, devices, windows, settings, end_us)
        behaviours += [group.behaviour(device, label if named else "") for device in devices]
    return sorted(behaviours, key=lambda each: each.device)


@dataclass(frozen=True)
class _Window:
    epochs: tuple[int, ...]
    status: str


@dataclass
class _Known:
    """A fingerprint as it grows by windows that were unchanged: rows of the matrix, and when each became known."""

    first: _Window
    windows: list[_Window] = field(default_factory=list)

    def epochs(self, before: int) -> list[int]:
        """Epochs that were known before an epoch, the latest of them."""
        known = [epoch for window in self.windows if window.epochs[-1] < before for epoch in window.epochs]
        return known[-MOST_EPOCHS:]


def _terms(counts: pl.DataFrame, epoch_s: int) -> pl.DataFrame:
    """Octets of each device and epoch by service and direction, by name, and by hour of the day."""
    epoch = pl.col("time").dt.timestamp("us") // (epoch_s * 1_000_000)
    used = with_service(counts.filter(~UNANSWERED), SERVICE).with_columns(epoch=epoch)
    both = (pl.col("octets_out") + pl.col("octets_in")).cast(pl.Float64)
    hour = pl.concat_str(pl.col("time").dt.strftime("%H"), pl.lit(":00"))
    parts = [
        ("service", pl.col("service"), "from", pl.col("octets_out").cast(pl.Float64)),
        ("service", pl.col("service"), "to", pl.col("octets_in").cast(pl.Float64)),
        ("name", pl.col("name"), "", both),
    ]  # fmt: skip
    if epoch_s % DAY_S == 0:
        parts.append(("hour", hour, "", both))
    rows = pl.concat([
        used.select("device", "epoch", part=pl.lit(part), subject=subject, direction=pl.lit(direction), octets=octets)
        for part, subject, direction, octets in parts
    ]).filter(pl.col("subject").is_not_null() & (pl.col("octets") > 0))  # fmt: skip
    sums: pl.DataFrame = rows.group_by("device", "epoch", *_TERM).agg(pl.col("octets").sum())
    ranks = sums.group_by(_TERM).agg(pl.col("octets").sum()).with_columns(
        rank=pl.int_range(pl.len()).over("part", order_by=[-pl.col("octets"), *_TERM[1:]])
    )  # fmt: skip
    if not (ranks["rank"] >= MOST_TERMS).any():
        return sums
    many = sums.join(ranks.drop("octets"), on=_TERM).with_columns(
        subject=pl.when(pl.col("rank") >= MOST_TERMS).then(pl.lit(OTHERS)).otherwise("subject")
    )
    bounded: pl.DataFrame = many.group_by("device", "epoch", *_TERM).agg(pl.col("octets").sum())
    return bounded


class _Group:
    """Devices that are compared with each other: a matrix of their epochs by terms."""

    def __init__(
        self, terms: pl.DataFrame, devices: Sequence[str], windows: Mapping[str, Sequence[_Window]],
        settings: DeviationSettings, end_us: int,
    ) -> None:  # fmt: skip
        self._settings, self._end_us = settings, end_us
        names = terms.select(_TERM).unique().sort(_TERM)
        items = terms.select("device", "epoch").unique().sort("device", "epoch")
        at = terms.join(names.with_row_index("column"), on=_TERM).join(items.with_row_index("row"),
                                                                      on=["device", "epoch"])  # fmt: skip
        self.z = np.zeros((items.height, names.height))
        self.z[at["row"].to_numpy(), at["column"].to_numpy()] = np.log1p(at["octets"].to_numpy())
        self.terms = list(names.iter_rows())
        self.parts = np.array([DEVIATION_PARTS.index(part) for part, *_ in self.terms], dtype=np.int64)
        self.rows = {(device, epoch): row for row, (device, epoch) in enumerate(items.iter_rows())}
        self.devices = list(devices)
        self.known = {device: _known(windows.get(device, ())) for device in devices}
        self._number = {device: number for number, device in enumerate(devices)}
        self._references: dict[tuple[tuple[str, int], ...], Reference] = {}

    def behaviour(self, device: str, label: str) -> DeviceBehaviour:
        """Fingerprints and epochs of one device."""
        epochs = [epoch for name, epoch in self.rows if name == device]
        return DeviceBehaviour(
            device=device, label=label, epoch_s=self._settings.epoch_s,
            fingerprints=list(self._fingerprints(device)), epochs=[self._epoch(device, each) for each in epochs],
        )  # fmt: skip

    def _fingerprints(self, device: str) -> Iterator[ExportedBehaviour]:
        before: Reference | None = None
        for number, known in enumerate(self.known[device]):
            own = self._reference([(device, epoch) for epoch in known.first.epochs if (device, epoch) in self.rows])
            listed: list[Deviation] = []
            if before is not None:
                middle = ((own.low + own.high) / 2)[None, :]
                _, shares = score_epochs(middle, before.low, before.high, self.parts)
                listed = self._deviations(middle[0], before, shares[0])
            yield ExportedBehaviour(
                number=number, start=self._time(known.first.epochs[0]), end=self._time(known.first.epochs[-1] + 1),
                epochs=sum(len(window.epochs) for window in known.windows),
                status=known.first.status, deviations=listed,  # type: ignore[arg-type]  # one of three
            )  # fmt: skip
            before = own

    def _epoch(self, device: str, epoch: int) -> BehaviourEpoch:
        z = self.z[self.rows[device, epoch]]
        unfinished = (epoch + 1) * self._settings.epoch_s * 1_000_000 > self._end_us
        best: tuple[float, int, Reference, Floats] | None = None
        for number, known in list(enumerate(self.known[device]))[-MOST_FINGERPRINTS:]:
            epochs = [(device, each) for each in known.epochs(epoch) if (device, each) in self.rows]
            if not epochs:
                continue
            reference = self._reference(epochs)
            score, shares = self._score(z, reference, unfinished=unfinished)
            if best is None or score > best[0]:
                best = score, number, reference, shares
        others = [(name, each) for name in self.devices if name != device
                  for known in self.known[name][-MOST_FINGERPRINTS:] for each in known.epochs(epoch)
                  if (name, each) in self.rows]  # fmt: skip
        label: tuple[float, Reference, Floats] | None = None
        if others:
            reference = self._reference(others)
            score, shares = self._score(z, reference, unfinished=unfinished)
            label = score, reference, shares
        own_score, limit = (best[0], best[2].limit) if best else (None, None)
        label_score, label_limit = (label[0], label[1].limit) if label else (None, None)
        judged, below = (own_score, limit) if best else (label_score, label_limit)
        deviates = judged is not None and below is not None and judged < below
        listed: list[Deviation] = []
        if best is not None:
            listed = self._deviations(z, best[2], best[3])
        elif label is not None:
            listed = self._deviations(z, label[1], label[2])
        return BehaviourEpoch(
            start=self._time(epoch), score=own_score, limit=limit, deviates=deviates,
            fingerprint=best[1] if best else None, label_score=label_score, label_limit=label_limit,
            deviations=listed, reason=_reason(listed, own_score, label_score, label_limit, deviates=deviates),
        )  # fmt: skip

    def _score(self, z: Floats, reference: Reference, *, unfinished: bool) -> tuple[float, Floats]:
        """Score and shares of one epoch; of one that is not over, nothing is missing yet."""
        low = np.zeros_like(reference.low) if unfinished else reference.low
        scores, shares = score_epochs(z[None, :], low, reference.high, self.parts)
        return float(scores[0]), shares[0]

    def _reference(self, epochs: Sequence[tuple[str, int]]) -> Reference:
        key = tuple(epochs)
        if key not in self._references:
            if len(self._references) > MOST_EPOCHS:
                self._references.clear()
            rows = [self.rows[each] for each in key]
            groups = np.array([self._number[device] for device, _ in key], dtype=np.int64)
            self._references[key] = learn_reference(
                self.z[rows], groups, self.parts, self._settings.epoch_s, self._settings.alarms_a_month
            )
        return self._references[key]

    def _deviations(self, z: Floats, reference: Reference, shares: Floats) -> list[Deviation]:
        order = np.argsort(-np.abs(shares), kind="stable")[:MOST_DEVIATIONS]
        listed = [self._deviation(int(at), z, reference, float(shares[at])) for at in order if shares[at]]
        rest = float(np.abs(shares).sum()) - sum(each.share for each in listed)
        if len(listed) == MOST_DEVIATIONS and rest > 0:
            listed[-1] = listed[-1].model_copy(update={
                "subject": OTHERS, "share": listed[-1].share + rest, "reason": "further services, names and hours",
            })  # fmt: skip
        return listed

    def _deviation(self, at: int, z: Floats, reference: Reference, share: float) -> Deviation:
        part, subject, direction = self.terms[at]
        value, least, most = (float(np.rint(np.expm1(each[at]))) for each in (z, reference.low, reference.high))
        more, fewer = "grew" if most else "appeared", "shrank" if value else "vanished"
        words = service_phrase(subject) if part == "service" and subject != OTHERS else subject
        where = {"from": " from the device", "to": " to the device", "": ""}[direction]
        usual = "never" if not most else f"{octets_text(least)} to {octets_text(most)}"
        now = "none" if not value else octets_text(value)
        return Deviation(
            part=part, subject=subject, direction=direction, change=more if share > 0 else fewer, octets=value,  # type: ignore[arg-type]
            least=least, most=most, share=abs(share), reason=f"{words}{where}: {now}, before {usual}",
        )  # fmt: skip

    def _time(self, epoch: int) -> datetime:
        return datetime.fromtimestamp(epoch * self._settings.epoch_s, UTC)


def _known(windows: Sequence[_Window]) -> list[_Known]:
    """Fingerprints of a device in order of time; windows that were unchanged belong to the latest one."""
    known: list[_Known] = []
    for window in windows:
        stable = any(each.first.status in STABLE for each in known)
        # Until behaviour was stable once, what is not stable is better than nothing.
        if window.status in STABLE or (window.status == "unconverged" and not stable):
            known.append(_Known(window, [window]))
        elif window.status == "unchanged" and known:
            known[-1].windows.append(window)
    return known


def _reason(
    listed: Sequence[Deviation], score: float | None, label_score: float | None, label_limit: float | None, *,
    deviates: bool,
) -> str:  # fmt: skip
    """What an epoch's score rests on, in words."""
    if score is None and label_score is None:
        return "no fingerprint was exported before this epoch"
    if not listed:
        return "nothing is outside its fingerprint"
    lines = [f"{each.reason} ({each.share:.2f})" for each in listed[:SHOWN]]
    if len(listed) > SHOWN:
        rest = sum(each.share for each in listed[SHOWN:])
        lines.append(f"{plural(len(listed) - SHOWN, 'further term')} ({rest:.2f})")
    if deviates and score is not None and label_score is not None and label_limit is not None:
        lines.append("usual for its label" if label_score >= label_limit else "not usual for its label either")
    return "; ".join(lines)
