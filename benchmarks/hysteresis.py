"""How often the service changes a statement without cause, and how late with cause: docs/results/hysteresis.md.

    ETHOGRAM_CORPUS=... python benchmarks/hysteresis.py [--json FILE]

Devices with at least five days of traffic are judged day by day as ``ethogram serve`` judges them: from the counts of
their latest days, without a library of their own, and with weights, thresholds and products of the other laboratories
alone. The statements of each day go through :func:`ethogram.serve.hysteresis.decide` for each pair of settings.

*Replaced* devices are pairs of devices of different kind or vendor of one network: from one day on, the second device
has the address of the first. Without a MAC, the service sees one device.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.items import CONDITIONS, Truth, ladder_task
from ethogram.bench.ladder.measure import SILENT, LadderMeasurement
from ethogram.config import JudgeSettings
from ethogram.corpora.card import cards
from ethogram.fingerprint.count import merge_counts
from ethogram.report.tables import table_lines
from ethogram.schema import COUNT_KEYS, ITEM, ITEM_COUNTS, LadderVerdict, Windows
from ethogram.serve.hysteresis import Stated, decide

PAGE = Path(__file__).parent.parent / "docs" / "results" / "hysteresis.md"
MARGINS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
TIMES = (1, 2, 3, 5)
WINDOWS = (1, 3, 7)
"""Days of traffic that a verdict rests on."""
LEAST_DAYS = 5
BEFORE = 3
"""Days of the first device before it is replaced, at least."""
AFTER = 10
"""Days of the second device that are judged, at most."""
CHOSEN_ON = "neu-us-2021"
"""The settings are chosen on this network; the others test them."""
NETWORKS = (CHOSEN_ON, "stevens-2019", "cesnet-2018")
REPLACED = "replaced"
PAIRS = 4
"""Devices that take the place of one device, at most."""
NAMES = next(condition for condition in CONDITIONS if condition.names and not condition.mac)


@dataclass(frozen=True)
class Case:
    """A device with its verdict of each day; a replaced one has the day from which it is another device."""

    network: str
    name: str
    verdicts: tuple[LadderVerdict, ...]
    truth: tuple[Truth, ...]
    replaced: int | None = None


class DailyJudge:
    """Judges devices day by day with everything of their laboratory left out.

    Parameters
    ----------
    measurement
        Devices of all corpora; weights and libraries without a site come from it.
    counts
        Counts of the devices by hour, with their network.
    truth
        What each device is.
    """

    def __init__(self, measurement: LadderMeasurement, counts: pl.DataFrame, truth: dict[str, Truth]) -> None:
        self.measurement, self.truth = measurement, truth
        self.counts = counts.with_columns(day=pl.col("time").dt.date())

    def days_of(self, device: str) -> list[date]:
        """Days with traffic, in order."""
        return self.counts.filter(pl.col("device") == device)["day"].unique().sort().to_list()

    def verdicts(
        self, network: str, traffic: dict[str, pl.DataFrame], window: int, only: str = ""
    ) -> dict[str, list[LadderVerdict]]:  # fmt: skip
        """Verdicts of each day for the traffic of devices, judged beside each other as on one network."""
        items_of_all = self.measurement.items
        judge = self.measurement.judge_without(items_of_all.sites[items_of_all.networks.index(network)], NAMES)
        names: list[str] = []
        days: list[date] = []
        items: list[dict[str, Any]] = []
        parts: list[pl.DataFrame] = []
        for device, rows in traffic.items():
            for day in rows["day"].unique().sort().to_list():
                since = day - timedelta(days=window - 1)
                seen = rows.filter(pl.col("day").is_between(since, day))
                midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
                items.append({"item": len(items), "device": device, "start": seen["time"].min(),
                              "end": midnight + timedelta(days=1)})  # fmt: skip
                parts.append(seen.with_columns(item=pl.lit(len(items) - 1, dtype=pl.UInt32)))
                names.append(device)
                days.append(day)
        table = ITEM.conform(pl.DataFrame(items, schema_overrides={"item": pl.UInt32}))
        counts = merge_counts(pl.concat(parts).select(ITEM_COUNTS.names))
        windows = Windows(table, ITEM_COUNTS.conform(counts).sort("item", *COUNT_KEYS[1:]))
        verdicts: dict[str, list[LadderVerdict]] = {device: [] for device in traffic}
        for day in sorted({day for day, name in zip(days, names, strict=True) if only in ("", name)}):
            # What a network has in common is learnt from the devices of that day.
            that_day = [i for i, each in enumerate(days) if each == day]
            for i, verdict in zip(that_day, judge.verdicts(windows.take(that_day)), strict=True):
                verdicts[names[i]].append(verdict)
        return verdicts

    def judged(self, network: str, devices: Sequence[str], window: int) -> list[Case]:
        """Devices as they are: one case each."""
        traffic = {device: self._traffic(device) for device in devices}
        return [
            Case(network, device, tuple(verdicts), (self.truth[device],) * len(verdicts))
            for device, verdicts in self.verdicts(network, traffic, window).items()
        ]

    def replaced(self, network: str, devices: Sequence[str], window: int) -> list[Case]:
        """Pairs of devices: the second takes the place of the first on the middle one of the first's days."""
        cases = []
        for first, second in self._pairs(devices):
            days = self.days_of(first)
            at = max(BEFORE, len(days) // 2)
            old, new = self._traffic(first).filter(pl.col("day") < days[at]), self._traffic(second)
            # The days of the second device follow those of the first without a gap.
            shift = f"{(days[at] - self.days_of(second)[0]).days}d"
            new = new.with_columns(pl.col("time", "day").dt.offset_by(shift))
            last = new["day"].unique().sort().head(AFTER)[-1]
            traffic = {device: self._traffic(device) for device in devices if device not in (first, second)}
            traffic[REPLACED] = pl.concat([old, new.filter(pl.col("day") <= last)])
            verdicts = self.verdicts(network, traffic, window, only=REPLACED)[REPLACED]
            truth = (self.truth[first],) * at + (self.truth[second],) * (len(verdicts) - at)
            cases.append(Case(network, f"{first} then {second}", tuple(verdicts), truth, replaced=at))
        return cases

    def _pairs(self, devices: Sequence[str]) -> list[tuple[str, str]]:
        """At most some pairs for each device, of different kind or vendor."""
        pairs = []
        for first in devices:
            family = {device: (self.truth[device].vendor, self.truth[device].kind) for device in devices}
            others = [second for second in devices if family[first] != family[second]]
            pairs += [(first, second) for second in random.Random(first).sample(others, min(PAIRS, len(others)))]
        return pairs

    def _traffic(self, device: str) -> pl.DataFrame:
        return self.counts.filter(pl.col("device") == device)

    def score(self, verdict: LadderVerdict, truth: Truth) -> int:
        """1: right, -1: wrong, 0: silent."""
        if verdict.level in SILENT:
            return 0
        return 1 if self.measurement.stated(verdict, truth)["stated_right"] else -1


@dataclass
class Outcome:
    """What happened over all cases with one pair of settings."""

    days: int = 0
    right: int = 0
    wrong: int = 0
    changed: int = 0
    delays: list[int] = field(default_factory=list)
    never: int = 0


def outcome(judge: DailyJudge, cases: Sequence[Case], margin: float, times: int) -> Outcome:
    """Run the statements of each day through the decision of the service."""
    settings = JudgeSettings(change_margin=margin, change_times=times)
    total = Outcome()
    for case in cases:
        held: LadderVerdict | None = None
        candidate: dict[str, Any] | None = None
        noticed: int | None = None
        for number, (verdict, truth) in enumerate(zip(case.verdicts, case.truth, strict=True)):
            now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
            decision = decide(None if held is None else _stated(held), _stated(verdict), candidate, now, settings)
            candidate = decision.candidate
            if decision.accepted:
                total.changed += decision.cause not in ("", "first", "more")
                held = verdict
            assert held is not None
            score = judge.score(held, truth)
            if case.replaced is not None and number >= case.replaced and noticed is None and score > 0:
                noticed = number - case.replaced
            total.days += 1
            total.right += score > 0
            total.wrong += score < 0
        if case.replaced is not None:
            if noticed is None:
                total.never += 1
            else:
                total.delays.append(noticed)
    return total


def _stated(verdict: LadderVerdict) -> Stated:
    return Stated(verdict.statement, verdict.level, verdict.score, verdict.kind, verdict.vendor, verdict.model, "bench")


def measure(root: Path) -> list[dict[str, Any]]:
    """One row per network, window and pair of settings."""
    known = cards()
    measurement = LadderBenchmark(root, known, on_stage=lambda line: print(line, file=sys.stderr)).measurement
    items = measurement.items
    data = CountBenchmark(root, known).task_data(ladder_task(known))
    labels = data.labels.unique("device").select("device", "network", key=pl.concat_str("corpus", pl.lit("/"), "id"))
    counts = data.counts.join(labels.filter(pl.col("network").is_in(NETWORKS)), on="device")
    counts = counts.with_columns(device="key")
    truth = dict(zip(items.windows.items["device"].to_list(), items.truth, strict=True))
    judge = DailyJudge(measurement, counts, truth)
    rows: list[dict[str, Any]] = []
    for network in NETWORKS:
        mine = counts.filter(pl.col("network") == network)
        by_device = mine.group_by("device").agg(days=pl.col("time").dt.date().n_unique())
        devices = by_device.filter(pl.col("days") >= LEAST_DAYS)["device"].sort().to_list()
        for window in WINDOWS:
            print(f"{network}: {len(devices)} devices, windows of {window} days", file=sys.stderr)
            same, replaced = judge.judged(network, devices, window), judge.replaced(network, devices, window)
            for margin in MARGINS:
                for times in TIMES:
                    rows += [
                        {"network": network, "window_days": window, "margin": margin, "times": times, "case": name,
                         "cases": len(cases), **asdict(outcome(judge, cases, margin, times))}
                        for name, cases in (("same", same), ("replaced", replaced))
                    ]  # fmt: skip
    return rows


HEAD = """# When a statement changes: hysteresis

```
ETHOGRAM_CORPUS=... python benchmarks/hysteresis.py
```

`ethogram serve` judges a device every day. It replaces its statement about the device only if another statement is more
probable by `change_margin`, or if `change_times` judgements in a row agree on it; a deeper level of the same statement
is accepted at once ([settings](../reference/settings.md)). The tables show the benefit and the cost. Devices with at
least five days of traffic are judged day by day from the counts of their latest `window_days`, by names and without a
MAC, with everything of their laboratory left out.

- *Changes*: changes of the statement per device and month, without deeper levels of the same statement. No device was
  replaced, so every change is without cause.
- *Wrong*: share of device-days with a wrong statement.
- *Replaced*: another device of the network takes over the address, and there is no MAC. *Noticed* is the share of
  replacements with a right statement about the second device within ten days, *days* the mean time until then, and
  *wrong days* the number of days with a wrong statement per replacement. A second device that is not recognised by
  itself is never noticed.
- *Cost*: wrong days and changes in a device-year with one replacement.
"""

COLUMNS = ("window, days", "margin", "times", "changes", "wrong", "replaced: noticed", "days", "wrong days", "cost")
SHOWN = ((0.0, 1), (0.0, 3), (0.1, 2), (0.1, 3), (0.2, 2), (0.2, 3), (0.2, 5), (0.5, 3), (1.0, 3), (1.0, 5))
"""Settings shown of each network; margin 0 and one judgement is no hysteresis."""


CONCLUSION = (
    "Two, three and five judgements differ by one or two changes on these devices, so the default is kept. With",
    "windows of one day, a replacement is noticed two days earlier on stevens-2019, but statements are wrong two to",
    "three times as often on neu-us-2021.",
)


def cost(same: dict[str, Any], replaced: dict[str, Any]) -> float:
    """Wrong days and changes in a device-year with one replacement."""
    return float(365 * (same["changed"] + same["wrong"]) / same["days"] + replaced["wrong"] / replaced["cases"])


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The page of results."""
    by_key = {(r["network"], r["window_days"], r["margin"], r["times"], r["case"]): r for r in rows}
    default = JudgeSettings()
    lines = [HEAD]
    for network in (n for n in NETWORKS if by_key[n, WINDOWS[0], MARGINS[0], TIMES[0], "replaced"]["cases"]):
        use = "used" if network == CHOSEN_ON else "not used"
        same = by_key[network, default.window_days, MARGINS[0], TIMES[0], "same"]
        replaced = by_key[network, default.window_days, MARGINS[0], TIMES[0], "replaced"]
        sizes = f"{same['cases']} devices, {same['days']} device-days, {replaced['cases']} replacements."
        lines += [f"## {network}, {use} to choose the settings", "", sizes, ""]
        cells = []
        for window in WINDOWS:
            for margin, times in SHOWN:
                same = by_key[network, window, margin, times, "same"]
                replaced = by_key[network, window, margin, times, "replaced"]
                shipped = (window, margin, times) == (default.window_days, default.change_margin, default.change_times)
                days = sum(replaced["delays"]) / len(replaced["delays"]) if replaced["delays"] else 0.0
                cells.append([
                    f"{window}", f"{margin}", f"{times}" + (" (default)" if shipped else ""),
                    f"{30 * same['changed'] / same['days']:.2f}", f"{same['wrong'] / same['days']:.2f}",
                    f"{1 - replaced['never'] / replaced['cases']:.2f}", f"{days:.1f}",
                    f"{replaced['wrong'] / replaced['cases']:.1f}", f"{cost(same, replaced):.0f}",
                ])  # fmt: skip
        lines += [*table_lines(COLUMNS, cells), ""]
    return "\n".join([*lines, *conclusion(by_key)]) + "\n"


def conclusion(by_key: dict[tuple[str, int, float, int, str], dict[str, Any]]) -> list[str]:
    """The settings of least cost beside the default, on each network."""
    default = JudgeSettings()
    choices = [(w, m, t) for w in WINDOWS for m in MARGINS for t in TIMES]
    costs = {key: cost(by_key[CHOSEN_ON, *key, "same"], by_key[CHOSEN_ON, *key, "replaced"]) for key in choices}
    window, margin, times = min(choices, key=lambda key: costs[key])
    shipped = (default.window_days, default.change_margin, default.change_times)
    days_of_one = 365 / by_key[CHOSEN_ON, *shipped, "same"]["days"]
    lines = ["## Conclusion", "",
             f"On {CHOSEN_ON} the least cost is {costs[window, margin, times]:.0f}, with windows of {window} days, "
             f"margin {margin} and {times} judgements; that of the default is {costs[shipped]:.0f}. One change more or "
             f"less is {days_of_one:.1f}."]  # fmt: skip
    for network in NETWORKS:
        if network == CHOSEN_ON or not by_key[network, *shipped, "replaced"]["cases"]:
            continue
        least, usual, none = (
            cost(by_key[network, *key, "same"], by_key[network, *key, "replaced"])
            for key in ((window, margin, times), shipped, (default.window_days, 0.0, 1))
        )
        lines.append(
            f"On {network} these settings cost {least:.0f}, the default {usual:.0f}, and no hysteresis {none:.0f}."
        )
    none = cost(*(by_key[CHOSEN_ON, default.window_days, 0.0, 1, case] for case in ("same", "replaced")))
    return [*lines, f"No hysteresis costs {none:.0f} on {CHOSEN_ON}.", "", *CONCLUSION]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rows = measure(Path(os.environ["ETHOGRAM_CORPUS"]))
    if arguments.json is not None:
        arguments.json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    PAGE.write_text(page(rows))


if __name__ == "__main__":
    main()
