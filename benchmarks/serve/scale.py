"""Many devices over many days: store, memory, judge and queries, and how each grows with the number of devices.

Usage::

    python benchmarks/serve/scale.py [--devices 1000 10000 100000] [--days 30] [--limit-s 480] [--output FILE]

Each number of devices is a process of its own. The days of real devices that come with the package (counts by hour and
service) are given to so many devices, in turn, under other names, and to the judge of the live service as segments:
it writes facts, finds devices, judges those that are due at the end of each day, and stores decisions. Where the limit
does not suffice for judging all devices on all days, a number of rounds of each day is judged, and the time of a day is
that of a round times the number of rounds; the table says how many were judged. Each result has the load
average at its start, and is written when its run ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rate import MIB, machine, memory_mib

RESULTS = Path(__file__).parents[1] / "results" / "service-scale.json"
START = datetime(2026, 3, 1, tzinfo=UTC)
OF_SEGMENT = 5_000
"""Devices of one segment."""
QUERIES, QUERY_S = 20, 3.0
"""Most runs of each query, and the time after which fewer suffice."""


class MadeDays:
    """Segments of made days: every device has the counts of one real device's day, under another name.

    Parameters
    ----------
    devices
        Number of devices.
    every
        Days from one day with traffic of a device to the next; a part of the devices has traffic on each day.
    """

    name = "made"
    whole = False

    def __init__(self, devices: int, every: int = 1) -> None:
        from ethogram.demo.inventory import LATER, packaged

        windows = packaged(LATER).windows()
        items = windows.items.filter((_col("end") - _col("start")).dt.total_hours() >= 24)
        self._days: dict[str, list[Any]] = {}
        for item, device in items.sort("device", "start").select("item", "device").iter_rows():
            self._days.setdefault(device, []).append(windows.counts.filter(_col("item") == item).drop("item"))
        self._models = sorted(self._days)
        self.devices, self.every, self.day, self._at = devices, every, 0, 0
        self.prepared: Any = None

    @property
    def clock(self) -> datetime:
        """An hour after the end of the day: devices with traffic on it are due."""
        return START + timedelta(days=self.day + 1, hours=1)

    def prepare(self) -> None:
        """Make the next segment of this day, so that making it is not measured as reading."""
        first, last = self._at, min(self._at + OF_SEGMENT, self.devices)
        self._at = last
        self.prepared = self._filled(first, last)

    @staticmethod
    def names(first: int, last: int) -> list[str]:
        """MAC addresses of devices by number."""
        return [f"02:00:5e:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}" for n in range(first, last)]

    def batch(self, after: int, until: int | None, limit: int) -> Any:  # noqa: ARG002 (one segment at a time)
        """The segment that was prepared."""
        from ethogram.serve.sources import Batch

        batch, self.prepared = self.prepared, None
        if batch is None:
            return Batch(after + 1, after, self.clock)
        batch.first = batch.last = after + 1
        return batch

    def _filled(self, first: int, last: int) -> Any:
        import polars as pl

        from ethogram.schema import COUNTS
        from ethogram.serve.facts import octets_by_hour
        from ethogram.serve.sources import Batch, Traffic

        midnight = START + timedelta(days=self.day)
        batch = Batch(0, 0, midnight + timedelta(days=1, seconds=-1))
        names = self.names(first, last)
        names = [name for n, name in enumerate(names, first) if (n // len(self._models) + self.day) % self.every == 0]
        tables = []
        for number, model in enumerate(self._models):
            mine = [name for name in names if int(name.replace(":", ""), 16) % len(self._models) == number]
            day = self._days[model][self.day % len(self._days[model])]
            hour = pl.duration(hours=pl.col("time").dt.hour()) + pl.lit(midnight, COUNTS.schema["time"])
            tables.append(day.with_columns(time=hour).join(pl.DataFrame({"device": mine}), how="cross"))
        counts = self._varied(COUNTS.conform(pl.concat(tables).select(COUNTS.names)), first)
        batch.counts = counts
        hours = octets_by_hour(counts)
        sums = counts.group_by("device").agg(
            pl.col("flows").sum(), pl.col("time").min().alias("first"), pl.col("time").max().alias("last"),
            (pl.col("octets_in") + pl.col("octets_out")).sum().alias("octets"),
        )  # fmt: skip
        for row in sums.iter_rows(named=True):
            number = int(row["device"].replace(":", ""), 16) & 0xFFFFFF
            batch.traffic[row["device"]] = Traffic(
                row["first"], row["last"] + timedelta(minutes=59), row["flows"], row["octets"],
                (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",), hours[row["device"]],
            )  # fmt: skip
        batch.segments.read = batch.segments.used = 1
        batch.accounting.read = batch.accounting.used = int(counts["flows"].sum())
        batch.more = self._at < self.devices
        return batch

    def _varied(self, counts: Any, first: int) -> Any:
        """Other volumes for every device and hour, so that files are as large as those of different devices."""
        import numpy as np
        import polars as pl

        factor = pl.Series(np.random.default_rng([self.day, first]).uniform(0.8, 1.25, counts.height))
        volumes = ("octets_out", "octets_in", "packets_out", "packets_in", "duration_ms")
        return counts.with_columns((pl.col(name) * factor).round().cast(pl.UInt64) for name in volumes)

    def next_day(self) -> None:
        """Begin the next day."""
        self.day, self._at = self.day + 1, 0


def _col(name: str) -> Any:
    import polars as pl

    return pl.col(name)


def octets_of(folder: Path, pattern: str) -> int:
    """Size of files."""
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


class Run:
    """One number of devices: a day after the other.

    Parameters
    ----------
    devices, days
        How many.
    limit_s
        Time for all days.
    folder
        Of store and facts.
    every
        As for :class:`MadeDays`.
    """

    def __init__(self, devices: int, days: int, limit_s: float, folder: Path, every: int = 1) -> None:
        from ethogram.config import JudgeSettings
        from ethogram.pipeline.device_identifier import DeviceIdentifier
        from ethogram.serve.judge import Judge
        from ethogram.serve.store import Store

        self.devices, self.days, self.limit_s, self.folder = devices, days, limit_s, folder
        self.source = MadeDays(devices, every)
        self.store = Store.open(folder / "store.db", JudgeSettings())
        self.judge = Judge(self.store, folder / "facts", [self.source], DeviceIdentifier())
        self.judge.start()
        self.result: dict[str, Any] = {"devices": devices, "every": every, "limit_s": limit_s, "days": [],
                                       "rest_mib": memory_mib("VmRSS")}  # fmt: skip

    def run(self) -> None:
        """All days that the limit allows; prints the result after each."""
        begin = time.monotonic()
        for day in range(self.days):
            left = self.limit_s - (time.monotonic() - begin)
            row = self._day(left / (self.days - day))
            self.result["days"].append(row)
            self.result["peak_mib"] = memory_mib("VmHWM")
            last = day + 1 == self.days or left < 2 * (row["wall_s"] + 5)
            if last:
                self.result["queries_ms"] = self._queries()
            print(json.dumps(self.result), flush=True)
            if last:
                break
            self.source.next_day()

    def _day(self, share_s: float) -> dict[str, Any]:
        """A day of segments, then devices that are due: rounds for a share of the time, at least one."""
        from ethogram.serve.judge import RoundReport

        begin = time.perf_counter()
        read_s, made_s, more = 0.0, 0.0, True
        while more:
            report = RoundReport()
            at = time.perf_counter()
            self.source.prepare()
            made_s += time.perf_counter() - at
            at = time.perf_counter()
            self.judge.read_next(self.source, report)
            read_s += time.perf_counter() - at
            more = report.more
        judged, judge_s, rounds = 0, [], 0
        judge_cpu_s = time.process_time()
        while rounds == 0 or time.perf_counter() - begin < share_s:
            at = time.perf_counter()
            report = RoundReport()
            self.judge.judge_due(self.source, self.source.clock, report)
            if not report.judged:
                break
            judge_s.append(time.perf_counter() - at)
            judged, rounds = judged + report.judged, rounds + 1
        judge_cpu_s = time.process_time() - judge_cpu_s
        at = time.perf_counter()
        self.judge.counts.by_source[self.source.name].compact(self.store.position(self.source.name))
        per_device = sum(judge_s) / judged if judged else None
        return {
            "day": self.source.day + 1, "made_s": made_s, "read_s": read_s, "judged": judged, "judge_s": sum(judge_s),
            "judge_cpu_ms_per_device": judge_cpu_s / judged * 1000 if judged else None,
            "judge_ms_per_device": None if per_device is None else per_device * 1000,
            "judge_day_s": None if per_device is None else per_device * self.devices / self.source.every,
            "compact_s": time.perf_counter() - at, "store_mib": octets_of(self.folder, "store.db*") / MIB,
            "facts_mib": octets_of(self.folder, "*.parquet") / MIB, "rss_mib": memory_mib("VmRSS"),
            "wall_s": time.perf_counter() - begin,
        }  # fmt: skip

    def _queries(self) -> dict[str, list[float]]:
        """Median and largest time of each query of the page."""
        store = self.store
        device = store.devices(limit=1).rows[0].id
        names = [key.value for key in store.device(device).keys if key.kind == "flow"]  # type: ignore[union-attr]
        since = START + timedelta(days=max(self.source.day - 6, 0))
        facts = self.judge.counts.by_source[self.source.name]
        queries: dict[str, Callable[[], object]] = {
            "a list": lambda: store.devices(limit=100),
            "a list by time": lambda: store.devices(sort="last_seen", descending=True, limit=100),
            "a search": lambda: store.devices(search="10.0.1", limit=100),
            "a kind": lambda: store.devices(kind="camera", limit=100),
            "the last part of a list": lambda: store.devices(offset=max(self.devices - 100, 0), limit=100),
            "the overview": store.overview, "a device": lambda: store.device(device),
            "activity of a device, a week": lambda: facts.hourly(since, names),
            "traffic by kind, a week": lambda: store.traffic(since),
            "devices due": lambda: store.due(self.source.clock, limit=1000),
        }  # fmt: skip
        return {name: _timed(query) for name, query in queries.items()}


def _timed(query: Callable[[], object]) -> list[float]:
    times: list[float] = []
    while len(times) < QUERIES and sum(times) < QUERY_S * 1000:
        at = time.perf_counter()
        query()
        times.append((time.perf_counter() - at) * 1000)
    return [sorted(times)[len(times) // 2], max(times)]


def measure(devices: int, days: int, limit_s: float, every: int) -> dict[str, Any]:
    """One number of devices, in a process of its own: the last result that it printed."""
    command = [sys.executable, __file__, "--one", str(devices), "--days", str(days), "--limit-s", str(limit_s),
               "--every", str(every)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    latest: dict[str, Any] = {"devices": devices, "every": every, "days": []}
    assert process.stdout is not None
    try:
        for line in process.stdout:
            latest = json.loads(line)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
    process.wait(60)
    return latest


def main() -> None:
    """Measure, print a table, and keep the result after each number of devices."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--devices", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--limit-s", type=float, default=480, help="time of each number of devices")
    arguments.add_argument("--every", type=int, default=1, help="days between days with traffic of a device")
    arguments.add_argument("--output", type=Path, default=RESULTS, help="file of the result")
    arguments.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.one is not None:
        with tempfile.TemporaryDirectory(prefix="ethogram-scale-") as folder, contextlib.suppress(KeyboardInterrupt):
            Run(options.one, options.days, options.limit_s, Path(folder), options.every).run()
        return
    result: dict[str, Any] = {"runs": []}
    if options.output.is_file():  # rows of other numbers of devices stay
        earlier = json.loads(options.output.read_text())["runs"]
        again = {(devices, options.every) for devices in options.devices}
        result["runs"] = [run for run in earlier if (run["devices"], run.get("every", 1)) not in again]
    print("| devices | days | store MiB | counts MiB | peak MiB | reading a day s | judging a day s (judged a day) |")
    print("|---|---|---|---|---|---|---|")
    for devices in options.devices:
        run = machine() | {
            "command": f"benchmarks/serve/scale.py --devices {devices} --days {options.days} "
                       f"--limit-s {options.limit_s:g}" + (f" --every {options.every}" if options.every > 1 else ""),
        } | measure(devices, options.days, options.limit_s, options.every)  # fmt: skip
        result["runs"] = sorted([*result["runs"], run], key=lambda each: (each["devices"], each.get("every", 1)))
        options.output.parent.mkdir(exist_ok=True, parents=True)
        options.output.write_text(json.dumps(result, indent=1) + "\n")
        if not run["days"]:
            print(f"| {devices:,} | none completed | | | | | |", flush=True)
            continue
        last = run["days"][-1]
        print(f"| {devices:,} | {last['day']} | {last['store_mib']:.0f} | {last['facts_mib']:.0f} "
              f"| {run['peak_mib']:.0f} | {last['read_s']:.1f} | {last['judge_day_s'] or 0:.1f} ({last['judged']:,}) |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
