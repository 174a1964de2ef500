"""The judge: segments to counts, counts to verdicts, verdicts to the store.

A round reads the next segments of a source, writes their counts as facts, and stores the devices seen with the number
of the last segment in one transaction. It then judges the devices that are due, at most some, from the counts of their
latest days, and stores the verdicts in another one. A restart at any point goes on from the number in the store: counts
of a round that was not completed are removed, and devices that were due are still due. The cost of a round follows
from the segments read and the devices judged, not from the number of all devices.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from ethogram._parse_address import parse_mac
from ethogram.config import JudgeSettings
from ethogram.pipeline.device_facts import NAMING
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.schema import (
    FACT,
    IDENTITY,
    Accounting,
    CounterSample,
    DeviceFact,
    DeviceSighting,
    DueDevice,
    ExporterSample,
    Judgement,
    RoundResult,
)
from ethogram.serve.facts import DeviceHours, hours_of_devices
from ethogram.serve.memory import cycles_kept
from ethogram.serve.sources import Batch, SegmentSource
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["Judge", "RoundReport", "next_due"]

AT_ONCE = 1000
"""Devices whose counts and verdicts are in memory at once."""
SAMPLES_S = 60.0
"""Counters are stored at most this often, and with every round that reads segments."""
GROUPS_S = 600.0
MOST_UNKNOWN = 1000
_COMPACT_EVERY = 16


@dataclass
class RoundReport:
    """What a round did.

    Parameters
    ----------
    segments, flows, judged
        Segments read, flows counted, and devices judged.
    more
        Whether further work is waiting.
    problems
        One line for everything that could not be used.
    """

    segments: int = 0
    flows: int = 0
    judged: int = 0
    more: bool = False
    problems: list[str] = field(default_factory=list)


def next_due(first: datetime, clock: datetime, settings: JudgeSettings, *, whole: bool) -> datetime | None:
    """When a device that was judged now is judged again without being seen again first.

    In its first epoch this is when the time since its first flow has doubled; later, and for sources that give all of a
    device at once, None.

    >>> from datetime import UTC
    >>> first = datetime(2026, 3, 1, tzinfo=UTC)
    >>> str(next_due(first, first + timedelta(minutes=5), JudgeSettings(), whole=False))
    '2026-03-01 00:10:00+00:00'
    >>> next_due(first, first + timedelta(days=2), JudgeSettings(), whole=False)
    """
    age, epoch = clock - first, timedelta(seconds=settings.epoch_s)
    if whole or age >= epoch:
        return None
    return first + min(max(2 * age, timedelta(seconds=settings.provisional_s)), epoch)


def epoch_due(clock: datetime, settings: JudgeSettings) -> datetime:
    """When the current epoch has ended and late records have come."""
    number = int(clock.timestamp()) // settings.epoch_s
    return datetime.fromtimestamp((number + 1) * settings.epoch_s + settings.lateness_s, tz=UTC)


class Judge:
    """Judges the devices of one or more sources.

    Parameters
    ----------
    store
        Where decisions go.
    facts
        Folder of the counts, one folder below it for each source.
    sources
        Where flows come from.
    identifier
        Judges devices.
    settings
        Times and bounds; those of the store decide when statements change.
    stored
        Further sources whose counts are used, although nothing is read of them now.
    counters
        File of the collector's counters, whose exporters are stored; None: there is none.

    Attributes
    ----------
    counts
        The counts of all sources, also of those that are not read now.
    accountings
        Over segments and flows by source, since the store was created.

    Examples
    --------
    >>> judge = Judge(store, Path("facts"), [CollectorSegments(Path("collected"))],
    ...               DeviceIdentifier())  # doctest: +SKIP
    >>> while judge.round().more:  # doctest: +SKIP
    ...     pass
    """

    def __init__(
        self, store: Store, facts: Path, sources: Sequence[SegmentSource], identifier: DeviceIdentifier,
        settings: JudgeSettings | None = None, *, counters: Path | None = None, stored: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.store, self.identifier = store, identifier
        self.settings = settings or store.settings
        self._sources = list(sources)
        self._counters = counters
        names = dict.fromkeys([*(source.name for source in self._sources), *stored])
        self.counts = StoredCounts(facts, names, self.settings.window_days)
        self.accountings: dict[str, dict[str, Accounting]] = {}
        self._covered: dict[str, int] = {}
        self._rounds = 0
        self._sampled = self._grouped = float("-inf")
        self._regroup = True

    def start(self) -> None:
        """Remove what an earlier process did not complete; called again after an error of the store.

        Raises
        ------
        InputError
            If the store or the facts cannot be read.
        """
        stored = self.store.counters()
        for source in self._sources:
            name = source.name
            self._covered[name] = self.counts.by_source[name].resume(self.store.position(name))
            self.accountings[name] = {
                unit: _restored(stored, f"judge {name} {unit}", unit) for unit in ("segments", "flows")
            }

    def round(self) -> RoundReport:
        """Read the next segments of every source, and judge devices that are due.

        Raises
        ------
        EthogramError
            If a source or the store cannot be read or written; the next round tries the same again.
        """
        if set(self._covered) != {source.name for source in self._sources}:
            self.start()
        report = RoundReport()
        try:
            for source in self._sources:
                batch = self.read_next(source, report)
                self.judge_due(source, batch.clock, report)
            self._group(report)
        except BaseException:
            self._covered.clear()  # segments that were not stored are read again
            raise
        self._rounds += 1
        if self._rounds % _COMPACT_EVERY == 0:
            for source in self._sources:
                self.counts.by_source[source.name].compact(self.store.position(source.name))
        for facts in self.counts.by_source.values():
            report.problems += facts.problems
        return report

    def read_next(self, source: SegmentSource, report: RoundReport) -> Batch:
        """Count the next segments; facts first, then the devices with the number of the segment."""
        after, covered = self.store.position(source.name), self._covered[source.name]
        again = after < covered  # counted already, but the store was lost or restored
        batch = source.batch(after, covered if again else None, self.settings.round_segments)
        if again and batch.last == after:
            batch.last = covered  # what was counted is not there any more
        report.more |= batch.more
        report.problems += batch.problems
        if batch.last <= after:
            return batch
        if not again and batch.counts.height:
            self.counts.by_source[source.name].write(batch.counts, after + 1, batch.last)
        accountings = self._added(source.name, batch)
        due = batch.clock if source.whole else epoch_due(batch.clock, self.settings)
        self.store.record_round(RoundResult(
            source=source.name, after=after, segment=batch.last, clock=batch.clock, library=self.identifier.name,
            sightings=self._sightings(batch, whole=source.whole), epoch_due=due, files=tuple(batch.files),
            counters=tuple(_samples(source.name, accountings)), exporters=self._exporters(),
        ))  # fmt: skip
        self.counts.by_source[source.name].note(batch.last)
        self._covered[source.name] = max(covered, batch.last)
        self.accountings[source.name] = accountings
        report.segments += batch.segments.read
        report.flows += batch.accounting.used
        return batch

    def _added(self, name: str, batch: Batch) -> dict[str, Accounting]:
        """Totals after a batch."""
        totals: dict[str, Accounting] = {}
        for unit, new in (("segments", batch.segments), ("flows", batch.accounting)):
            totals[unit] = Accounting(unit)
            totals[unit].merge(self.accountings[name][unit])
            totals[unit].merge(new)
            totals[unit].check()
        return totals

    def _sightings(self, batch: Batch, *, whole: bool) -> tuple[DeviceSighting, ...]:
        facts: dict[str, list[DeviceFact]] = {}
        rows = batch.identity.filter(pl.col("device").is_not_null()).with_columns(pl.col("fact").cast(pl.String))
        rows = rows.sort("last", descending=True, nulls_last=True, maintain_order=True)
        for device, fact, value, source, first, last in rows.select(
            "device", "fact", "value", "source", "first", "last"
        ).iter_rows():
            facts.setdefault(device, []).append(DeviceFact(fact, value, source, first, last))
        sightings = []
        for name, traffic in batch.traffic.items():
            mac = parse_mac(name) or ""
            stated = facts.get(name, [])
            macs = [fact.value for fact in stated if fact.fact == "mac"]
            if not any(fact.source == "flows" for fact in stated):
                stated = stated + [DeviceFact("address", value, "flows", traffic.first, traffic.last)
                                   for value in traffic.addresses[:4]]  # fmt: skip
                stated += [DeviceFact("mac", mac, "flows", traffic.first, traffic.last)] if mac else []
            due = batch.clock if whole else traffic.first + timedelta(seconds=self.settings.provisional_s)
            names = sorted((fact for fact in stated if fact.fact in NAMING), key=lambda fact: NAMING.index(fact.fact))
            sightings.append(DeviceSighting(
                name=name, mac=mac or (macs[0] if len(set(macs)) == 1 else ""), addresses=traffic.addresses,
                host_names=tuple(dict.fromkeys(fact.value for fact in names)), first=traffic.first,
                last=traffic.last, flows=traffic.flows, octets=traffic.octets, due=due, facts=tuple(stated),
                hours=traffic.hours,
            ))  # fmt: skip
        return tuple(sightings)

    def judge_due(self, source: SegmentSource, clock: datetime, report: RoundReport) -> None:
        """Judge the devices that are due, at most ``round_devices``."""
        due = self.store.due(clock)
        for start in range(0, len(due), AT_ONCE):
            with cycles_kept():
                self._judge_some(source, clock, due[start : start + AT_ONCE])
        report.judged += len(due)
        report.more |= len(due) >= self.settings.round_devices
        self._regroup |= bool(due)

    def _judge_some(self, source: SegmentSource, clock: datetime, due: Sequence[DueDevice]) -> None:
        judged = self.judged(due)
        epoch = timedelta(seconds=self.settings.epoch_s)
        judgements = []
        for device in due:
            observed = (device.last_seen if source.whole else clock) - device.first_seen
            again = next_due(device.first_seen, clock, self.settings, whole=source.whole)
            verdict, hours = judged.get(device.id, ({}, ()))
            judgements.append(Judgement(device.id, verdict, observed < epoch, again, hours))
        position = self.store.position(source.name)
        self.store.record_round(RoundResult(
            source=source.name, after=position, segment=position, clock=clock, library=self.identifier.name,
            judgements=tuple(judgements),
        ))  # fmt: skip

    def judged(self, devices: Sequence[DueDevice]) -> dict[str, tuple[dict[str, Any], Iterable[tuple[datetime, int]]]]:
        """Verdicts from stored counts and the octets of their hours, by id.

        Devices without counts in their latest days are left out.
        """
        if not devices:
            return {}
        counts = self.counts.of_devices(devices)
        hours: Mapping[str, DeviceHours] = hours_of_devices(counts)
        verdicts = self.identifier.verdicts(counts, _identity(devices))
        return {v.device: (v.model_dump(mode="json"), hours.get(v.device, ())) for v in verdicts}

    def _group(self, report: RoundReport) -> None:
        """Group the unknown devices, when verdicts have changed, and only when nothing else is waiting."""
        now = time.monotonic()
        if not self._regroup or report.more or now - self._grouped < GROUPS_S:
            return
        self._grouped, self._regroup = now, False
        unknown = self.store.unknown_devices(limit=MOST_UNKNOWN)
        groups = self.identifier.groups(self.counts.of_devices(unknown)) if unknown else None
        self.store.record_groups(
            [] if groups is None else [(group.devices, group.shared) for group in groups.groups]
        )

    def _exporters(self) -> tuple[ExporterSample, ...]:
        """Exporters as the collector last wrote them."""
        if self._counters is None:
            return ()
        try:
            rows = orjson.loads(self._counters.read_bytes())["exporters"]
            return tuple(
                ExporterSample(
                    row["address"], row["port"], row["transport"], row["messages"], row["received"], row["gaps"],
                    {name: value for name, value in row.items() if name not in ("address", "port", "transport")},
                )
                for row in rows
            )
        except (OSError, ValueError, KeyError, TypeError):
            return ()  # not written yet, or of another version


def _identity(devices: Sequence[DueDevice]) -> pl.DataFrame:
    """Identity facts of devices, with their ids."""
    kinds = set(FACT.categories)
    rows = [
        (device.id, None, None, fact.fact, fact.value, fact.source, fact.first, fact.last, 1)
        for device in devices
        for fact in device.facts
        if fact.fact in kinds
    ]
    return pl.DataFrame(rows, schema=IDENTITY.schema, orient="row")


def _samples(name: str, accountings: Mapping[str, Accounting]) -> list[CounterSample]:
    now = datetime.now(tz=UTC)
    samples = []
    for unit, accounting in accountings.items():
        stage = f"judge {name} {unit}"
        samples += [CounterSample(now, stage, outcome, "", unit, getattr(accounting, outcome))
                    for outcome in ("read", "used")]  # fmt: skip
        samples += [
            CounterSample(now, stage, outcome, reason, unit, count)
            for outcome in ("ignored", "dropped", "corrected")
            for reason, count in sorted(getattr(accounting, outcome).items())
        ]
    return samples


def _restored(samples: Sequence[CounterSample], stage: str, unit: str) -> Accounting:
    """Totals of an earlier process: they are stored in the transaction that they count."""
    accounting = Accounting(unit)
    for sample in samples:
        if sample.stage != stage:
            continue
        if sample.outcome in ("read", "used"):
            setattr(accounting, sample.outcome, sample.value)
        else:
            getattr(accounting, sample.outcome)[sample.reason] = sample.value
    return accounting
