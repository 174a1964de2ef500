"""The verb *monitor*: traffic against profiles of what devices may do, and volumes against their limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram._text import visible
from ethogram.behaviour.alarms import find_alarms
from ethogram.behaviour.learn import learn_profiles, volume_limits
from ethogram.behaviour.match import MATCHED, match_services, rule_traffic, service_text
from ethogram.behaviour.mud_match import MUD_COLUMNS, match_mud
from ethogram.behaviour.mud_rules import mud_behaviour
from ethogram.behaviour.profile_file import read_profiles
from ethogram.behaviour.traffic import bound_traffic, sum_traffic, traffic_of_flows
from ethogram.config import MonitorSettings
from ethogram.errors import InputError, UsageError
from ethogram.identify.labels import read_labels
from ethogram.io.mud import read_mud
from ethogram.pipeline.flows import FlowRun, read_flows
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog, run_log
from ethogram.pipeline.text import join_names, plural
from ethogram.schema import (
    METRICS,
    RULE_TRAFFIC,
    TRAFFIC,
    Accounting,
    BehaviourProfile,
    MonitoredDevice,
    MonitorReport,
    RuleCounter,
)

__all__ = ["MonitorRun", "ProfileSources", "monitor"]

MOST_KEYS = 2048
"""Services of one device and epoch; beyond, those with fewest packets are one."""
SHOWN_OUTSIDE = 100
"""Services outside the profile that are counted apart, per device and direction."""
_AT_ONCE = 1 << 21
_MOST_MUD = 1 << 24


@dataclass(frozen=True)
class ProfileSources:
    """Where profiles come from; any of them may be left out, but not all.

    Parameters
    ----------
    baseline
        Inputs of any kind with usual traffic, to learn from.
    learn
        Length of the first part of the monitored inputs, to learn from instead.
    files
        MUD files and files of profiles, each with the device or label that it is for; empty: what the file says, or
        every device.
    labels
        Label file: devices of one label share a profile.
    peers
        Prefixes of classes of other ends in MUD files.
    """

    baseline: tuple[Path, ...] = ()
    learn: timedelta | None = None
    files: tuple[tuple[str, Path], ...] = ()
    labels: Path | None = None
    peers: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass
class MonitorRun:
    """What the monitor found, the profiles that it used, and what the run has to say."""

    report: MonitorReport
    profiles: list[BehaviourProfile]
    log: RunLog


def monitor(
    inputs: Sequence[str | Path],
    sources: ProfileSources,
    settings: MonitorSettings | None = None,
    reading: ReadOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> MonitorRun:
    """Monitor the traffic of devices by their profiles.

    Parameters
    ----------
    inputs
        Inputs of any kind.
    sources
        Where profiles come from.
    settings
        Length of an epoch and limits.
    reading
        How inputs become flows of devices.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    UsageError
        If there is no source of profiles, or a profile is for no device of the inputs.
    InputError
        If an input, a MUD file or a file of profiles cannot be used.
    """
    settings = settings or MonitorSettings()
    if not (sources.baseline or sources.learn or sources.files):
        raise UsageError("no profiles: give --baseline, --learn or --profile")
    if sources.baseline and sources.learn:
        raise UsageError("--baseline and --learn: give one of them")
    given = _given_profiles(sources.files)
    stated = [] if sources.labels is None else read_labels(sources.labels)
    pseudonymiser = None if reading is None else reading.pseudonymiser
    if pseudonymiser is not None:
        names = {label.identity.label for label in stated}
        stated = pseudonymiser.labels(stated)
        given = {key if key in names or not key else pseudonymiser.device(key): each for key, each in given.items()}
    labels = {label.device: label.identity.label for label in stated}
    mud = {key: profile for key, profile in given.items() if profile.url or not profile.epoch_s}
    watched = _Traffic(settings, mud, labels, sources.peers)
    watched.read(read_flows(inputs, reading, on_progress=on_progress))
    baseline: _Traffic | None = None
    if sources.baseline:
        baseline = _Traffic(settings, mud, labels, sources.peers)
        baseline.read(read_flows(sources.baseline, reading, on_progress=on_progress))
    elif sources.learn is not None:
        baseline = watched.split(sources.learn)
    if not watched.rows:
        raise InputError("no flows to monitor" + (" after --learn" if sources.learn else ""))
    profiles = _profiles(watched, baseline, given, labels, settings)
    matched = pl.concat([
        match_services(watched.traffic(), {d: p for d, p in profiles.items() if d not in watched.by_mud}),
        watched.matched(),
    ])  # fmt: skip
    report = _report(watched, matched, profiles, settings)
    runs = [watched, *([baseline] if baseline is not None and sources.baseline else [])]
    used = {id(profile): profile for profile in profiles.values()}
    return MonitorRun(report, list(used.values()), _log(runs, report, used.values()))


class _Traffic:
    """Traffic by epoch, of devices without a MUD file by service and of those with one by its rules."""

    def __init__(
        self, settings: MonitorSettings, mud: Mapping[str, BehaviourProfile], labels: Mapping[str, str],
        peers: Mapping[str, Sequence[str]],
    ) -> None:  # fmt: skip
        self._settings, self._mud, self._labels, self._peers = settings, mud, labels, peers
        self._parts: list[pl.DataFrame] = []
        self._matched: list[pl.DataFrame] = []
        self.by_mud: dict[str, BehaviourProfile] = {}
        self.accounting = Accounting("flows")
        self.runs: list[FlowRun] = []

    def read(self, run: FlowRun) -> None:
        """Count all flows, batch by batch: memory holds counts and not flows."""
        self.runs.append(run)
        for flows in run.batches():
            if not flows.height:
                continue
            self.accounting.read += flows.height
            self.accounting.used += flows.height
            with_file = {device: profile for device in flows["device"].unique().sort()
                         if (profile := self._file_of(device)) is not None}  # fmt: skip
            self.by_mud |= with_file
            for profile in {id(profile): profile for profile in with_file.values()}.values():
                devices = [device for device, each in with_file.items() if each is profile]
                mine = flows.select(MUD_COLUMNS).filter(pl.col("device").is_in(devices))
                self._matched.append(match_mud(mine, profile, self._settings.epoch_s, self._peers))
            rest = flows.filter(~pl.col("device").is_in(list(with_file)))
            self._parts.append(traffic_of_flows(rest, self._settings.epoch_s))
            if sum(part.height for part in self._parts) > _AT_ONCE:
                self._parts = [self.traffic()]
            if sum(part.height for part in self._matched) > _AT_ONCE:
                self._matched = [self.matched()]

    def _file_of(self, device: str) -> BehaviourProfile | None:
        for key in (device, self._labels.get(device), ""):
            if key is not None and key in self._mud:
                return self._mud[key]
        return None

    @property
    def rows(self) -> int:
        return sum(part.height for part in (*self._parts, *self._matched))

    def traffic(self) -> pl.DataFrame:
        """Traffic of devices without a MUD file (:data:`ethogram.schema.TRAFFIC`)."""
        whole = sum_traffic(pl.concat([TRAFFIC.empty(), *self._parts]))
        self._parts = [bound_traffic(whole, MOST_KEYS, self.accounting)]
        return self._parts[0]

    def matched(self) -> pl.DataFrame:
        """Traffic of devices with a MUD file (:data:`ethogram.behaviour.match.MATCHED`)."""
        empty = pl.DataFrame(schema={**RULE_TRAFFIC.schema, **{name: TRAFFIC.schema[name] for name in MATCHED[8:]}})
        whole = pl.concat([empty, *self._matched])
        key = [name for name in MATCHED if name not in METRICS]
        self._matched = [whole.group_by(key).agg(pl.col(METRICS).sum()).select(MATCHED)]
        return self._matched[0]

    def split(self, learn: timedelta) -> _Traffic:
        """Keep what is after the first part, and return that part."""
        traffic, matched = self.traffic(), self.matched()
        times = pl.concat([traffic["time"], matched["time"]])
        first = _Traffic(self._settings, self._mud, self._labels, self._peers)
        first.by_mud, first.accounting = self.by_mud, self.accounting
        if len(times):
            cut = times.min() + learn  # type: ignore[operator]  # a Datetime column
            first._parts, first._matched = ([each.filter(pl.col("time") < cut)] for each in (traffic, matched))
            self._parts, self._matched = ([each.filter(pl.col("time") >= cut)] for each in (traffic, matched))
        return first


def _given_profiles(files: Sequence[tuple[str, Path]]) -> dict[str, BehaviourProfile]:
    """Profiles of files by the device or label that they are for."""
    given: dict[str, BehaviourProfile] = {}
    for key, path in files:
        profiles = [_mud_file(path)] if _is_mud_file(path) else read_profiles(path)
        if key and len(profiles) != 1:
            raise UsageError(f"{path}: {plural(len(profiles), 'profile')}; one is expected for {key!r}")
        for profile in profiles:
            owner = key or profile.device or profile.label
            if owner in given:
                raise UsageError(f"{path}: a second profile for {owner or 'every device'!r}")
            given[owner] = profile
    return given


def _is_mud_file(path: Path) -> bool:
    """Whether a file has a MUD container; the reader checks the rest."""
    try:
        with path.open("rb") as file:
            return b'"ietf-mud:mud"' in file.read(_MOST_MUD)
    except OSError:
        return False


def _mud_file(path: Path) -> BehaviourProfile:
    read, accounting = read_mud(path)
    left_out = [f"{plural(count, 'entry', 'entries')} not used: {reason}"
                for reason, count in sorted((accounting.ignored + accounting.dropped).items())]  # fmt: skip
    info = f" ({visible(read.system_info)})" if read.system_info else ""
    return mud_behaviour(read, f"MUD file {path.name}{info}", left_out)


def _profiles(
    watched: _Traffic, baseline: _Traffic | None, given: Mapping[str, BehaviourProfile],
    labels: Mapping[str, str], settings: MonitorSettings,
) -> dict[str, BehaviourProfile]:  # fmt: skip
    """The profile of each monitored device: that of a file, or what was learnt of it or of its label."""
    traffic = watched.traffic()
    devices = {*traffic["device"].unique(), *watched.by_mud}
    if unused := [key for key in given if key and key not in devices and key not in labels.values()]:
        raise UsageError(f"--profile: no device or label {join_names(unused)} in the inputs")
    learnt: dict[str, BehaviourProfile] = {}
    if baseline is not None:
        usual = baseline.traffic()
        learnt = learn_profiles(usual, settings, source="its traffic")
        if labels:
            learnt |= learn_profiles(usual, settings, source="traffic of its label", labels=labels)
    by_device: dict[str, BehaviourProfile] = {}
    for device in sorted(devices):
        if device in watched.by_mud:
            continue
        label = labels.get(device, device)
        profile = given.get(device) or given.get(label) or given.get("") or learnt.get(label) or learnt.get(device)
        if profile is not None:
            if profile.epoch_s not in (0, settings.epoch_s):
                raise UsageError(f"the limits of {device!r} are of epochs of {profile.epoch_s} s: give --epoch "
                                 f"{profile.epoch_s}s")  # fmt: skip
            by_device[device] = profile
    return by_device | _limited(watched.by_mud, baseline, settings)


def _limited(
    by_mud: Mapping[str, BehaviourProfile], baseline: _Traffic | None, settings: MonitorSettings
) -> dict[str, BehaviourProfile]:
    """Profiles of MUD files with limits of their rules, of devices with enough usual traffic."""
    if baseline is None or not by_mud:
        return dict(by_mud)
    rows = baseline.matched().with_columns(day=pl.col("time").dt.date())
    days = {device: number for device, number in rows.group_by("device").agg(pl.col("day").n_unique()).iter_rows()
            if number >= settings.least_days}  # fmt: skip
    known = rows.filter(pl.col("device").is_in(list(days)))
    limits = volume_limits(rule_traffic(known, "day"), days, settings) if days else {}
    return {
        device: profile if device not in limits else profile.model_copy(
            update={"device": device, "days": days[device], "epoch_s": settings.epoch_s,
                    "limits": tuple(limits[device])})
        for device, profile in by_mud.items()
    }  # fmt: skip


def _report(
    watched: _Traffic, matched: pl.DataFrame, profiles: Mapping[str, BehaviourProfile], settings: MonitorSettings
) -> MonitorReport:
    traffic = watched.traffic()
    times = pl.concat([traffic["time"], watched.matched()["time"]])
    key = ["device", "inside", "rule", "direction"]
    order = ["device", "inside", "packets", "rule", "direction"]
    detailed = matched.with_columns(rule=pl.when("inside").then("rule").otherwise(service_text()))
    sums = detailed.group_by(key).agg(
        pl.col("time").n_unique().alias("epochs"), pl.col(METRICS).sum().round().cast(pl.Int64),
        first=pl.col("time").min(), last=pl.col("time").max(),
    ).sort(*order, descending=[name == "packets" for name in order])  # fmt: skip
    counters: dict[str, list[RuleCounter]] = {}
    for row in _shortened(sums).iter_rows(named=True):
        counters.setdefault(row.pop("device"), []).append(RuleCounter(**row))
    totals = {row["device"]: row for row in matched.group_by("device").agg(
        flows=pl.col("flows").sum(), outside_flows=pl.col("flows").filter(~pl.col("inside")).sum(),
        outside_packets=pl.col("packets").filter(~pl.col("inside")).sum(),
        outside_octets=pl.col("octets").filter(~pl.col("inside")).sum(),
    ).iter_rows(named=True)}  # fmt: skip
    devices = []
    for device in sorted({*traffic["device"].unique(), *watched.by_mud}):
        profile, mine = profiles.get(device), counters.get(device, [])
        numbers = {name: round(value) for name, value in totals.get(device, {}).items() if name != "device"}
        used = {counter.rule for counter in mine if counter.inside}
        names = {rule.name for rule in profile.rules} if profile is not None else set()
        devices.append(MonitoredDevice(
            device=device, profile=profile.source if profile is not None else "",
            label=profile.label if profile is not None else "", days=profile.days if profile is not None else 0,
            rules=len(profile.rules) if profile is not None else 0, unused=len(names - used), counters=mine,
            **{name: numbers.get(name, 0) for name in ("flows", "outside_flows", "outside_packets", "outside_octets")},
        ))  # fmt: skip
    epoch, span = timedelta(seconds=settings.epoch_s), (_time(times.min()), _time(times.max()))
    return MonitorReport(
        start=span[0], end=None if span[1] is None else span[1] + epoch,
        epoch_s=settings.epoch_s, devices=devices, alarms=find_alarms(matched, profiles, settings),
    )  # fmt: skip


def _time(value: object) -> datetime | None:
    """The latest or earliest time of a column; None if it has no rows."""
    return value if isinstance(value, datetime) else None


def _shortened(sums: pl.DataFrame) -> pl.DataFrame:
    """Counters with the smallest of many services outside the profile as one row."""
    rank = pl.int_range(pl.len()).over("device", "inside", "direction")
    late = ~pl.col("inside") & (rank >= SHOWN_OUTSIDE)
    rest = sums.filter(late)
    if not rest.height:
        return sums
    others = rest.group_by("device", "inside", "direction").agg(
        pl.concat_str(pl.lit("others: "), pl.len().cast(pl.String), pl.lit(" services")).alias("rule"),
        pl.col("epochs").max(), pl.col(METRICS).sum(), pl.col("first").min(), pl.col("last").max(),
    )  # fmt: skip
    return pl.concat([sums.filter(~late), others.select(sums.columns)]).sort(
        "device", "inside", maintain_order=True
    )


def _log(runs: Sequence[_Traffic], report: MonitorReport, profiles: Iterable[BehaviourProfile]) -> RunLog:
    watched = [device for device in report.devices if device.profile]
    result = f"{plural(len(report.alarms), 'alarm')} of {plural(len(watched), 'device')}"
    reports = [each for traffic in runs for run in traffic.runs for each in run.reports]
    stages: dict[str, Accounting] = {}
    for traffic in runs:
        for run in traffic.runs:
            for name, accounting in run.stages.items():
                stages.setdefault(name, Accounting(accounting.unit)).merge(accounting)
        stages.setdefault("monitor", Accounting("flows")).merge(traffic.accounting)
    skipped = [each for traffic in runs for run in traffic.runs for each in run.skipped]
    errors = [line for traffic in runs for run in traffic.runs for line in run.errors]
    log = run_log(reports, stages, skipped, result, errors)
    log.notices += [line for traffic in runs for run in traffic.runs for line in run.notices]
    log.notices += [f"{profile.source}: {line}" for profile in profiles for line in profile.notices]
    left_out = [device.device for device in report.devices if not device.profile]
    if left_out:
        log.notices.append(f"without a profile, not monitored: {join_names(left_out)}")
    return log
