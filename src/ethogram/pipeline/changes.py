"""The verb *changes*: what is new, silent or different between two spans of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram.errors import InputError, UsageError
from ethogram.fingerprint.changes import compare_counts
from ethogram.identify.explain import service_phrase
from ethogram.pipeline.counts import CountedFlows, count_inputs
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog, run_log
from ethogram.pipeline.summary import summary_line
from ethogram.pipeline.text import plural
from ethogram.schema import CHANGE_KINDS, Accounting, ChangedSpan, ChangeKind, NetworkChange, NetworkChanges, Verdict

__all__ = ["ChangesFound", "CountedSpan", "change_order", "changes", "compare_spans", "join_changes", "traffic_changes"]

MOST_PROBABLE = 0.05
"""Of the services and names that are shown as changed, this share at most is expected to differ by chance."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class CountedSpan:
    """Counts of one span, and identity facts of its devices."""

    counts: pl.DataFrame
    identity: pl.DataFrame

    @property
    def described(self) -> ChangedSpan:
        """The span in numbers."""
        times = self.counts["time"].unique().sort().to_list()
        return ChangedSpan(
            start=times[0], end=times[-1] + HOUR, hours=len(times), devices=self.counts["device"].n_unique(),
            flows=int(self.counts["flows"].sum()),
        )  # fmt: skip


@dataclass
class ChangesFound:
    """What changed, and what the run has to say."""

    changes: NetworkChanges
    log: RunLog


def changes(
    inputs: Sequence[str | Path],
    *,
    since: timedelta | None = None,
    reading: ReadOptions | None = None,
    identifier: Callable[[], DeviceIdentifier] | None = DeviceIdentifier,
    every: bool = False,
    on_progress: OnProgress | None = None,
) -> ChangesFound:
    """Compare two spans of a network's flows.

    Parameters
    ----------
    inputs
        Inputs of any kind: the earlier and the later one; with ``since``, any number, which are cut in two.
    since
        Length of the later span, which ends with the last hour of the inputs.
    reading
        How inputs become flows of devices.
    identifier
        Makes what judges the devices of each span; None: verdicts are not compared.
    every
        Also list differences that are probably chance.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    UsageError
        If the inputs are not two and ``since`` is not given.
    InputError
        If an input is missing, empty or of unknown format, or one of the spans has no flows.
    """
    if since is None and len(inputs) != 2:
        raise UsageError(f"{plural(len(inputs), 'input')}: give two, the earlier one first, or --since")
    if since is not None and since < HOUR:
        raise UsageError("--since: counts are by hour: give an hour or more")
    parts = [list(map(str, inputs))] if since is not None else [[str(name)] for name in inputs]
    counted = [count_inputs(part, COUNTING, reading, on_progress=on_progress) for part in parts]
    tables = [run.gathering.counts() for run in counted]
    if since is not None:
        tables = _cut(tables[0], since)
        facts = [counted[0].identity] * 2
    else:
        facts = [run.identity for run in counted]
    for table, name in zip(tables, ("earlier", "later"), strict=True):
        if not table.height:
            raise InputError(f"no flows in the {name} span: there is nothing to compare")
    spans = [CountedSpan(table, identity) for table, identity in zip(tables, facts, strict=True)]
    verdicts = None
    if identifier is not None:
        judge = identifier()
        old, new = ({v.device: v for v in judge.verdicts(span.counts, span.identity)} for span in spans)
        verdicts = old, new
    network_changes = compare_spans(spans[0], spans[1], verdicts, every=every)
    return ChangesFound(network_changes, _log(counted, network_changes))


def compare_spans(
    before: CountedSpan, after: CountedSpan,
    verdicts: tuple[Mapping[str, Verdict], Mapping[str, Verdict]] | None = None, *, every: bool = False,
) -> NetworkChanges:  # fmt: skip
    """What changed between two spans with traffic; see :func:`changes`."""
    old, new = before.described, after.described
    statements = None
    if verdicts is not None:
        statements = {device: _statement(verdict) for judged in verdicts for device, verdict in judged.items()}
    compared, rows = traffic_changes(before.counts, after.counts, (old.hours, new.hours), statements, every=every)
    if verdicts is not None:
        rows += _verdict_changes(*verdicts)
    both = set(before.counts["device"].unique()) & set(after.counts["device"].unique())
    unchanged = both - {change.device for change in rows}
    return NetworkChanges(
        before=old, after=new, unchanged=len(unchanged), compared=compared, changes=join_changes(rows)
    )


def traffic_changes(
    before: pl.DataFrame, after: pl.DataFrame, hours: tuple[int, int], statements: Mapping[str, str] | None = None, *,
    every: bool = False,
) -> tuple[int, list[NetworkChange]]:  # fmt: skip
    """New and silent devices, and services and names that changed.

    Parameters
    ----------
    before, after
        Counts of the two spans.
    hours
        Hours of each span.
    statements
        What is stated about devices that are new or silent.
    every
        Also give differences that are probably chance.

    Returns
    -------
    The number of services and names that were compared, and the changes.
    """
    compared = compare_counts(before, after)
    rows = _new_and_silent(before, after, hours, statements or {})
    rows += list(_service_changes(compared, every=every))
    return compared.height, rows


def _cut(counts: pl.DataFrame, since: timedelta) -> list[pl.DataFrame]:
    """Counts before and after a point in time, at an hour."""
    if not counts.height:
        return [counts, counts]
    last: datetime = counts["time"].max()  # type: ignore[assignment]  # of a Datetime column with rows
    at = last + HOUR - since
    return [counts.filter(pl.col("time") < at), counts.filter(pl.col("time") >= at)]


def _new_and_silent(
    before: pl.DataFrame, after: pl.DataFrame, hours: tuple[int, int], statements: Mapping[str, str]
) -> list[NetworkChange]:
    rows = []
    uses = [_use(counts) for counts in (before, after)]
    sides: tuple[tuple[ChangeKind, int, str], ...] = (
        ("new device", 1, "after, never before"), ("silent device", 0, "before, never after"),
    )  # fmt: skip
    for kind, side, when in sides:
        for device in sorted(set(uses[side]) - set(uses[1 - side])):
            seen, octets, first = uses[side][device]
            rate = octets / seen
            rows.append(NetworkChange(
                device=device, change=kind, subject=statements.get(device, ""), before=0.0 if side else rate,
                after=rate if side else 0.0, hours_before=0 if side else seen, hours_after=seen if side else 0,
                first=first if side else None, probability=0.0,
                reason=f"seen in {seen} of {plural(hours[side], 'hour')} {when}",
            ))  # fmt: skip
    return rows


def _use(counts: pl.DataFrame) -> dict[str, tuple[int, float, datetime]]:
    """Hours with traffic, octets, and the first hour of each device."""
    octets = (pl.col("octets_out") + pl.col("octets_in")).sum()
    rows = counts.group_by("device").agg(pl.col("time").n_unique(), octets=octets, first=pl.col("time").min())
    return {device: (hours, float(total), first) for device, hours, total, first in rows.iter_rows()}


def _statement(verdict: Verdict) -> str:
    return verdict.verdict if verdict.ladder is None else verdict.ladder.statement


def _verdict_changes(before: Mapping[str, Verdict], after: Mapping[str, Verdict]) -> list[NetworkChange]:
    """Devices with statements in both spans that differ."""
    rows = []
    for device in sorted(before.keys() & after.keys()):
        old, new = before[device].ladder, after[device].ladder
        if old is None or new is None or "unknown" in (old.level, new.level):
            continue
        parts = [(a, b) for a, b in ((old.kind, new.kind), (old.vendor, new.vendor), (old.model, new.model)) if a and b]
        if all(a == b for a, b in parts):
            continue
        facts = [fact.text for level in new.levels if level.stated for fact in level.evidence][:3]
        rows.append(NetworkChange(
            device=device, change="verdict", subject=new.statement, before=old.score, after=new.score, hours_before=0,
            hours_after=0, probability=0.0, reason="; ".join([f"was {old.statement}", *facts]),
        ))  # fmt: skip
    return rows


def _service_changes(compared: pl.DataFrame, *, every: bool) -> Iterable[NetworkChange]:
    rows = compared if every else compared.filter(pl.col("probability") <= MOST_PROBABLE)
    if every:
        rows = rows.filter(pl.col("probability") < 1.0)
    for row in rows.iter_rows(named=True):
        kind: ChangeKind = f"{row['unit']} {row['direction']}"  # type: ignore[assignment]  # one of the kinds
        phrase = service_phrase(row["subject"]) if row["unit"] == "service" else row["subject"]
        yield NetworkChange(
            device=row["device"], change=kind, subject=phrase,
            service=row["subject"] if row["unit"] == "service" else "", before=row["before"], after=row["after"],
            hours_before=row["hours_before"], hours_after=row["hours_after"], first=row["first"],
            probability=row["probability"],
            reason=f"in {row['hours_before']} of {row['active_before']} hours with traffic before, in "
                   f"{row['hours_after']} of {row['active_after']} after",
        )  # fmt: skip


def change_order(change: NetworkChange) -> tuple[int, float, str, str]:
    """Order of changes: by kind, the surest first."""
    return CHANGE_KINDS.index(change.change), change.probability, change.device, change.subject


def join_changes(rows: Sequence[NetworkChange]) -> list[NetworkChange]:
    """Changes in order of kind, the surest first; the same change of several devices is one."""
    first: dict[tuple[str, str, str], int] = {}
    joined: list[NetworkChange] = []
    for change in sorted(rows, key=change_order):
        key = (change.change, change.service, change.subject)
        at = first.get(key) if change.change.startswith(("service", "peer")) else None
        if at is None:
            first.setdefault(key, len(joined))
            joined.append(change)
        else:
            joined[at] = joined[at].model_copy(update={"also": [*joined[at].also, change.device]})
    return joined


def _log(counted: Sequence[CountedFlows], network_changes: NetworkChanges) -> RunLog:
    accounting, result = Accounting("flows"), plural(len(network_changes.changes), "change")
    for run in counted:
        accounting.merge(run.accounting)
    reports = [report for run in counted for report in run.reports]
    skipped = [passed for run in counted for passed in run.skipped]
    errors = [line for run in counted for line in run.errors]
    if reports:
        log = run_log(reports, {"count": accounting}, skipped, result, errors)
    else:  # flow tables
        log = RunLog(summary_line([accounting], [], result), [], [f"flows: {accounting.line()}"], [], errors)
    log.notices += [line for run in counted for line in run.notices]
    return log
