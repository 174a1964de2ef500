"""How many attacks the monitor finds, how soon, and how many false alarms it raises: docs/results/attacks.md.

    ETHOGRAM_CORPUS=... python benchmarks/attacks.py [--flows FILE] [--starts N]

Profiles are learnt from the first ten days of the seven Stevens devices; the later days are tested, once as they are
(false alarms) and once with an attack added (detection). Thresholds of all methods are chosen on the first ten days.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.ensemble import IsolationForest

import ethogram
from ethogram.behaviour.alarms import excesses, find_alarms
from ethogram.behaviour.learn import learn_profiles
from ethogram.behaviour.match import match_services
from ethogram.behaviour.traffic import FLOW_COLUMNS, traffic_of_flows
from ethogram.config import MonitorSettings
from ethogram.schema import FLOW, BehaviourProfile

PAGE = Path(__file__).parent.parent / "docs" / "results" / "attacks.md"
CUT = datetime(2019, 7, 9, tzinfo=UTC)
RATES = (0.1, 1.0, 10.0, 100.0)
LASTS_S = 600.0
ACTIVE_S = 60.0
"""Active timeout of the exporter that is assumed: a flow is reported at least this often."""
EPOCHS = (300, 3600)
LEAST = (50, 100, 200, 400, 800)
"""Candidates for the least limit in packets; flows are half of it, octets 1,500 times."""
MONTH_D = 30.0
LAST = timedelta(days=3)
"""Training days on which attacks are injected to choose the widest limits."""
WIDE = (200, 400, 800, 1600, 3200)
RANDOM = 20190709
Floats = NDArray[np.float64]


# Attacks: rows of a flow table, from the device's side


def _flows(times: Floats, **values: Any) -> list[dict[str, Any]]:
    """One flow for each time (seconds from the start of the attack)."""
    length = values.pop("seconds", 0.0)
    usual = {"protocol": 6, "role": "client", "scope": "wan", "remote_domain": None, "octets_in": 0, "packets_in": 0,
             "packets_out": 1, "octets_out": 40}  # fmt: skip
    rows = []
    for i, at in enumerate(times):
        row = {name: value[i] if isinstance(value, np.ndarray) else value for name, value in values.items()}
        rows.append({"at": float(at), "seconds": length, **usual, **row})
    return rows


def _packets(rate: float, random: np.random.Generator) -> Floats:
    """Times of single packets at a rate."""
    return np.sort(random.uniform(0, LASTS_S, max(1, round(rate * LASTS_S))))


def _one_flow(rate: float, **values: Any) -> list[dict[str, Any]]:
    """One connection that is cut at the active timeout; volumes are per packet of the attacker."""
    parts = int(LASTS_S / ACTIVE_S)
    volumes = [name for name in values if name.startswith(("octets", "packets"))]
    scaled = {name: round(values[name] * rate * ACTIVE_S) for name in volumes}
    return _flows(np.arange(parts) * ACTIVE_S, seconds=ACTIVE_S - 1, **(values | scaled))


def scan(rate: float, random: np.random.Generator) -> list[dict[str, Any]]:
    times = _packets(rate, random)
    return _flows(times, service_port=random.integers(1, 10_000, len(times)))


def syn_flood(rate: float, random: np.random.Generator) -> list[dict[str, Any]]:
    return _flows(_packets(rate, random), service_port=80)


def udp_flood(rate: float, _random: np.random.Generator) -> list[dict[str, Any]]:
    return _one_flow(rate, protocol=17, service_port=80, packets_out=1, octets_out=1400)


def _reflection(port: int, rate: float, request: int, answers: int, answer: int) -> list[dict[str, Any]]:
    return _one_flow(rate, protocol=17, service_port=port, role="server", packets_in=1, octets_in=request,
                     packets_out=answers, octets_out=answers * answer)  # fmt: skip


def ssdp(rate: float, _random: np.random.Generator) -> list[dict[str, Any]]:
    return _reflection(1900, rate, 130, 8, 310)


def ntp(rate: float, _random: np.random.Generator) -> list[dict[str, Any]]:
    return _reflection(123, rate, 36, 10, 468)


def telnet(rate: float, random: np.random.Generator) -> list[dict[str, Any]]:
    times = _packets(rate, random)
    return _flows(times, service_port=np.where(random.uniform(size=len(times)) < 0.9, 23, 2323))


def beacon(rate: float, _random: np.random.Generator) -> list[dict[str, Any]]:
    count = max(1, round(rate * LASTS_S / 10))
    return _flows((np.arange(count) + 0.5) * LASTS_S / count, seconds=1.0, service_port=443, packets_out=10,
                  octets_out=900, packets_in=8, octets_in=1200)  # fmt: skip


def exfiltration(rate: float, _random: np.random.Generator) -> list[dict[str, Any]]:
    return _one_flow(rate, service_port=443, packets_out=1, octets_out=1400, packets_in=0.5, octets_in=26)


ATTACKS: dict[str, Callable[[float, np.random.Generator], list[dict[str, Any]]]] = {
    "port scan": scan, "SYN flood": syn_flood, "UDP flood": udp_flood, "SSDP reflection": ssdp,
    "NTP reflection": ntp, "Telnet scan (Mirai)": telnet, "C2 beacon over HTTPS": beacon,
    "exfiltration over HTTPS": exfiltration,
}  # fmt: skip


# Data


def stevens(corpus: Path) -> pl.DataFrame:
    """Flows of the seven devices."""
    rows = pl.read_csv(corpus / "labels.csv").filter(pl.col("source") == "stevens_lsif_2019")
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("device,ip\n" + "".join(f"{name},{ip}\n" for name, ip in rows.select("device", "ip").iter_rows()))
        file.flush()
        files = [corpus / "stevens_lsif_2019" / pattern for pattern in rows["file_pattern"]]
        return ethogram.read_flows(files, devices=file.name, devices_only=True).to_frame()


def cases(flows: pl.DataFrame, starts: int, since: datetime = CUT) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Flows of attacks, each of a device of its own (``name#number``), and what each case is."""
    random = np.random.default_rng(RANDOM)
    made: list[dict[str, Any]] = []
    about: list[dict[str, Any]] = []
    for device in flows["device"].unique().sort():
        mine = flows.filter((pl.col("device") == device) & (pl.col("start") >= since))
        days = mine["start"].dt.date().unique().sort()
        whole = days[:-1] if len(days) > 1 else days  # the last day ends early
        for attack, make in ATTACKS.items():
            for rate in RATES:
                for _ in range(starts):
                    day = whole[int(random.integers(len(whole)))]
                    second = float(random.uniform(0, 86_400 - LASTS_S - 1))
                    start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
                    name = f"{device}#{len(about)}"
                    about.append({"case": name, "device": device, "attack": attack, "rate": rate, "began": start})
                    for row in make(rate, random):
                        at = start + timedelta(seconds=row.pop("at"))
                        made.append({**row, "device": name, "start": at,
                                     "end": at + timedelta(seconds=row.pop("seconds"))})  # fmt: skip
    schema = {name: FLOW.schema[name] for name in FLOW_COLUMNS}
    columns = {name: [row[name] for row in made] for name in FLOW_COLUMNS}
    frame = pl.DataFrame({name: pl.Series(values, strict=False) for name, values in columns.items()})
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items()), about


def with_cases(test: pl.DataFrame, attacks: pl.DataFrame, about: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """For each case, the traffic of the device on that day and of the attack, under the name of the case."""
    names = pl.DataFrame([(each["case"], each["device"], each["began"].date()) for each in about],
                         schema={"case": pl.String, "device": pl.String, "day": pl.Date}, orient="row")  # fmt: skip
    usual = test.with_columns(day=pl.col("time").dt.date()).join(names, on=["device", "day"])
    return pl.concat([usual.with_columns(device="case").select(test.columns), attacks.select(test.columns)])


# Methods: each gives device, time of epochs that are alarms


class Profiles:
    """The monitor."""

    name = "profile and limits"

    def fit(self, train: pl.DataFrame, settings: MonitorSettings) -> None:
        self._settings = settings
        self._profiles = learn_profiles(train, settings)

    def epochs(self, traffic: pl.DataFrame) -> pl.DataFrame:
        profiles: dict[str, BehaviourProfile] = {
            name: self._profiles[name.split("#")[0]] for name in traffic["device"].unique()
        }
        excess = excesses(match_services(traffic, profiles), profiles, self._settings)
        return excess.select("device", "time").unique()


class Confirmed(Profiles):
    """The monitor; volumes of rules, and of all traffic, count if two of three epochs are above their limits."""

    name = "two of three epochs for volumes"

    def epochs(self, traffic: pl.DataFrame) -> pl.DataFrame:
        profiles: dict[str, BehaviourProfile] = {
            name: self._profiles[name.split("#")[0]] for name in traffic["device"].unique()
        }
        excess = excesses(match_services(traffic, profiles), profiles, self._settings)
        short = pl.col("inside") & (pl.col("period") == "epoch")
        once = excess.filter(~short).select("device", "time").unique()
        volumes = excess.filter(short).select("device", "time").unique().sort("device", "time")
        within = (pl.col("time") - pl.col("time").shift(1).over("device")) <= timedelta(
            seconds=2 * self._settings.epoch_s
        )
        return pl.concat([once, volumes.filter(within.fill_null(value=False))]).unique()


class Widest(Profiles):
    """The monitor with the largest least limit that still finds all attacks on the last training days."""

    name = "widest limits"

    def __init__(self, flows: pl.DataFrame) -> None:
        self._flows = flows.filter(pl.col("start") < CUT)
        self.tried: list[tuple[int, int, int]] = []

    def fit(self, train: pl.DataFrame, settings: MonitorSettings) -> None:
        since = CUT - LAST
        before, last = train.filter(pl.col("time") < since), train.filter(pl.col("time") >= since)
        attacks, about = cases(self._flows, 1, since)
        table = pl.DataFrame(about).filter(pl.col("rate") >= 10)
        attacked = with_cases(last, traffic_of_flows(attacks, settings.epoch_s), about)
        attacked = attacked.filter(pl.col("device").is_in(table["case"].to_list()))
        chosen_settings = settings
        for least in WIDE:
            wider = settings.model_copy(update={
                "least_packets": float(least), "least_flows": least / 2, "least_octets": 1500.0 * least,
            })  # fmt: skip
            super().fit(before, wider)
            usual = self.epochs(last)
            detected = detections(self.epochs(attacked), usual, table, settings.epoch_s)
            self.tried.append((least, detected["case"].n_unique(), table.height))
            if detected["case"].n_unique() < self.tried[0][1]:
                break
            chosen_settings = wider
        self.chosen = chosen_settings
        super().fit(train, chosen_settings)


def features(traffic: pl.DataFrame) -> pl.DataFrame:
    """What the baselines see of an epoch."""
    volumes = ["flows", "packets_out", "packets_in", "octets_out", "octets_in"]
    key = ["device", "time"]
    rows = traffic.group_by(key).agg(
        pl.col(volumes).sum(), ports=pl.struct("protocol", "port").n_unique(), names=pl.col("name").n_unique()
    )
    return rows.with_columns(pl.col([*volumes, "ports", "names"]).log1p().cast(pl.Float64)).sort(key)


class Threshold:
    """A method that gives epochs a score; the threshold is the largest score on held-out days of training."""

    name = ""

    def score(self, train: pl.DataFrame, rows: pl.DataFrame) -> Floats:
        raise NotImplementedError

    def fit(self, train: pl.DataFrame, _settings: MonitorSettings) -> None:
        rows = features(train)
        self._train = {device: part for (device,), part in rows.partition_by("device", as_dict=True).items()}
        self._limit: dict[Any, float] = {}
        for device, part in self._train.items():
            days = part["time"].dt.date().to_numpy().astype("datetime64[D]").astype(int)
            held_out = [pl.Series(days % 5 == fold) for fold in range(5) if (days % 5 == fold).any()]
            self._limit[device] = max(
                float(self.score(part.filter(~held), part.filter(held)).max()) for held in held_out
            )

    def epochs(self, traffic: pl.DataFrame) -> pl.DataFrame:
        rows = features(traffic).with_columns(owner=pl.col("device").str.split("#").list.first())
        excess = []
        for (owner,), part in rows.partition_by("owner", as_dict=True).items():
            excess.append(part.filter(pl.Series(self.score(self._train[owner], part) > self._limit[owner])))
        return pl.concat(excess).select("device", "time")


class Forest(Threshold):
    """An isolation forest for each device."""

    name = "isolation forest"

    def score(self, train: pl.DataFrame, rows: pl.DataFrame) -> Floats:
        columns = train.columns[2:9]
        forest = IsolationForest(n_estimators=100, random_state=RANDOM, n_jobs=1).fit(train.select(columns).to_numpy())
        return -np.asarray(forest.score_samples(rows.select(columns).to_numpy()), dtype=np.float64)


class Volume(Threshold):
    """Packets of an epoch."""

    name = "packets of an epoch"

    def score(self, _train: pl.DataFrame, rows: pl.DataFrame) -> Floats:
        return np.logaddexp(rows["packets_out"].to_numpy(), rows["packets_in"].to_numpy())


# Figures


def incidents(epochs: pl.DataFrame) -> int:
    """Alarms: epochs of a device within a day of each other are one."""
    gaps = epochs.unique().sort("device", "time").with_columns(gap=pl.col("time").diff().over("device"))
    return gaps.filter(pl.col("gap").is_null() | (pl.col("gap") > timedelta(days=1))).height


def poisson(count: int, exposure: float) -> str:
    """A rate with its exact 95 % interval."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return f"{count / exposure:.2f} [{low / exposure:.2f}, {chi2.ppf(0.975, 2 * count + 2) / 2 / exposure:.2f}]"


def wilson(right: int, n: int) -> str:
    """A share with its 95 % interval."""
    p, z = right / n, 1.96
    middle, half = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return f"{p:.2f} [{(middle - half) / (1 + z * z / n):.2f}, {(middle + half) / (1 + z * z / n):.2f}]"


def chosen(train: pl.DataFrame, epoch_s: int) -> tuple[MonitorSettings, list[tuple[int, int]]]:
    """The smallest least limit without alarms on training days that were held out, and the alarms of each candidate."""
    tried: list[tuple[int, int]] = []
    days = train["time"].dt.date().unique().sort()
    best = MonitorSettings(epoch_s=epoch_s)
    for least in LEAST:
        settings = MonitorSettings(
            epoch_s=epoch_s, least_packets=least, least_flows=least / 2, least_octets=1500 * least
        )
        alarms = 0
        for day in days:
            other = pl.col("time").dt.date() != day
            profiles = learn_profiles(train.filter(other), settings)
            alarms += len(find_alarms(match_services(train.filter(~other), profiles), profiles, settings))
        tried.append((least, alarms))
        best = settings
        if not alarms:
            break
    return best, tried


def detections(alarms: pl.DataFrame, usual: pl.DataFrame, table: pl.DataFrame, epoch_s: int) -> pl.DataFrame:
    """Alarms of attacked epochs that close after the attack began, with the time from there to the end of the epoch.

    An epoch that is an alarm without the attack, too, is no detection.
    """
    delay = pl.col("time") + pl.duration(seconds=epoch_s) - pl.col("began")
    attacked = alarms.rename({"device": "case"}).join(table, on="case").join(usual, on=["device", "time"], how="anti")
    return attacked.with_columns(delay=delay.dt.total_seconds(fractional=True)).filter(pl.col("delay") > 0)


def delays_of(detected: pl.DataFrame) -> pl.DataFrame:
    """Least delay of each case."""
    return detected.group_by("case").agg(pl.col("delay").min())


def measure(flows: pl.DataFrame, epoch_s: int, starts: int) -> tuple[list[str], pl.DataFrame]:
    """Lines of one epoch's section, and one row for each case and method."""
    traffic = traffic_of_flows(flows, epoch_s)
    train, test = traffic.filter(pl.col("time") < CUT), traffic.filter(pl.col("time") >= CUT)
    attacks, about = cases(flows, starts)
    attacked = with_cases(test, traffic_of_flows(attacks, epoch_s), about)
    settings, tried = chosen(train, epoch_s)
    exposure = test.group_by("device").agg(days=pl.col("time").dt.date().n_unique())["days"].sum() / MONTH_D
    table = pl.DataFrame(about)
    lines = [f"## Epochs of {epoch_s // 60} minutes", "",
             f"Least limit chosen on training days: {settings.least_packets:,.0f} packets (held-out alarms at "
             + ", ".join(f"{least}: {alarms}" for least, alarms in tried) + ").", "",
             "| method | false alarms per device and month | per device and week |", "|---|---|---|"]  # fmt: skip
    rows = []
    for method in (Profiles(), Forest(), Volume()):
        method.fit(train, settings)
        usual = method.epochs(test)
        false = incidents(usual)
        lines.append(f"| {method.name} | {poisson(false, exposure)} | {poisson(false, exposure * MONTH_D / 7)} |")
        delays = delays_of(detections(method.epochs(attacked), usual, table, epoch_s))
        rows.append(table.join(delays, on="case", how="left").with_columns(method=pl.lit(method.name)))
    result = pl.concat(rows).with_columns(epoch_s=pl.lit(epoch_s))
    lines += ["", f"{exposure:.2f} device-months of {test['device'].n_unique()} devices.", ""]
    return [*lines, *_tables(result, epoch_s)], result


def _tables(result: pl.DataFrame, epoch_s: int) -> list[str]:
    lines = ["| attack | packets/s | n | " + " | ".join(result["method"].unique(maintain_order=True)) +
             " | in the first epoch | median time |", "|---|---|---|" + "---|" * 5]  # fmt: skip
    for attack in ATTACKS:
        for rate in RATES:
            mine = result.filter((pl.col("attack") == attack) & (pl.col("rate") == rate))
            n = mine["case"].n_unique()
            cells = [wilson(part["delay"].is_not_null().sum(), n)
                     for part in mine.partition_by("method", maintain_order=True)]  # fmt: skip
            ours = mine.filter(pl.col("method") == Profiles.name)
            first = ours.filter(pl.col("delay") <= epoch_s).height
            median = ours["delay"].median()
            time = "" if median is None else f"{median:.0f} s"
            lines.append(f"| {attack} | {rate:g} | {n} | {' | '.join(cells)} | {first / n:.2f} | {time} |")
    fast = result.filter(pl.col("rate") >= 10)
    lines += ["", "All attacks at 10 packets/s and more:", ""]
    for part in fast.partition_by("method", maintain_order=True):
        n, within = part.height, part.filter(pl.col("delay") <= epoch_s).height
        hits = part["delay"].is_not_null().sum()
        second = part.filter(pl.col("delay") <= 2 * epoch_s).height
        lines.append(f"- {part['method'][0]}: found {wilson(hits, n)}, in the first epoch {wilson(within, n)}, by the "
                     f"end of the second {wilson(second, n)}, n = {n}.")  # fmt: skip
    return [*lines, ""]


def designs(flows: pl.DataFrame, starts: int) -> list[str]:
    """Rows of the table of :data:`DESIGNS`, measured again; read them before the page is changed."""
    epoch_s = EPOCHS[0]
    traffic = traffic_of_flows(flows, epoch_s)
    train, test = traffic.filter(pl.col("time") < CUT), traffic.filter(pl.col("time") >= CUT)
    attacks, about = cases(flows, starts)
    attacked = with_cases(test, traffic_of_flows(attacks, epoch_s), about)
    settings, _ = chosen(train, epoch_s)
    exposure = test.group_by("device").agg(days=pl.col("time").dt.date().n_unique())["days"].sum() / MONTH_D
    table, lines = pl.DataFrame(about), []
    for method in (Profiles(), Confirmed(), Widest(flows)):
        method.fit(train, settings)
        usual = method.epochs(test)
        delays = delays_of(detections(method.epochs(attacked), usual, table, epoch_s))
        rows = table.join(delays, on="case", how="left")
        fast, slow = rows.filter(pl.col("rate") >= 10), rows.filter(pl.col("rate") == 1)
        cells = [wilson(int(fast["delay"].is_not_null().sum()), fast.height)]
        cells += [wilson(fast.filter(pl.col("delay") <= n * epoch_s).height, fast.height) for n in (1, 2)]
        cells.append(wilson(int(slow["delay"].is_not_null().sum()), slow.height))
        lines.append(f"| {method.name} | {poisson(incidents(usual), exposure)} | {' | '.join(cells)} |")
    return lines


HEAD = """# Attacks found by the monitor

```
ETHOGRAM_CORPUS=... python benchmarks/attacks.py
```

Seven devices of the Stevens corpus. Profiles and limits are learnt from the first ten days (June 29 to July 8, 2019);
July 9 to 20 is tested. On test days without attacks, every alarm is false, also those of real disturbances: on July 20
names could not be resolved for two hours, and from July 18 on the coffee maker asked for one name twice a minute.

An attack lasts ten minutes, begins at a random time of a random test day, and is added to the traffic of that day as
flow records: one for each probe or SYN, and one a minute for a connection (active timeout of 60 s). Rates are packets
of the attacker per second; in reflections, of the requests that the device receives. C2 and exfiltration go to TCP/443
of an address without a name. Each attack, rate and device has STARTS starts; n is the number of cases. Shares have 95 %
Wilson intervals, rates exact Poisson intervals. A detection is an alarm in an epoch that is none without the attack.
*In the first epoch* and *median time* are those of the monitor, from the start of the attack to the end of the epoch;
an exporter with a longer active timeout delays long flows by up to that time.

The least limits are the smallest candidates that raise no alarm on training days that were held out in turn. An
isolation forest for each device (flows, packets and octets of both directions, ports, names) and a plain limit on
packets have as threshold the largest score on held-out training days. Alarms of a device within a day are one.

"""


DESIGNS = """
## Other designs

Epochs of five minutes, the same cases. Both designs were fixed, and their constants chosen on training days, before
each was run on the test days, once.

| design | false alarms | 10 packets/s and more | first epoch | second epoch | 1 packet/s |
|---|---|---|---|---|---|
| as above | 1.08 [0.22, 3.17] | 1.00 [0.99, 1.00] | 0.98 [0.95, 0.99] | 1.00 [0.99, 1.00] | 0.98 [0.95, 0.99] |
| two of three | 0.72 [0.09, 2.61] | 1.00 [0.99, 1.00] | 0.93 [0.90, 0.96] | 1.00 [0.98, 1.00] | 0.90 [0.85, 0.94] |
| widest limits | 0.36 [0.01, 2.01] | 1.00 [0.99, 1.00] | 0.82 [0.77, 0.85] | 1.00 [0.99, 1.00] | 0.24 [0.18, 0.31] |

- *Two of three*: volumes of rules, and of all traffic, count if two of three epochs in a row are above their
  limits; what is outside the profile, and sums of a day, count at once.
- *Widest limits*: the largest least limit that still finds every attack at 10 packets/s and more that is injected on
  the last three training days, learnt from the seven before: 1,600 packets (found of 112 at 200, 400, 800 and 1,600:
  all; at 3,200: 91).

Both stay below one false alarm per device and month, and find all attacks at 10 packets/s and more by the end of the
second epoch; neither finds as many in the first one, which the goal asks for, too. Fewer false alarms are paid for
with time and with slow attacks: *widest limits* lose three quarters of the attacks at 1 packet/s. They differ
by one and two alarms in twelve days, far within the intervals. The default therefore stays; users who want
fewer alarms raise `least_packets`, `least_flows` and `least_octets`
([settings](../reference/settings.md#monitorsettings)).
"""

READING = """
## What follows

The goal is all attacks at 10 packets/s and more within one epoch, at no more than one false alarm per device and month.
With epochs of five minutes all of them are found, 98 % in the epoch in which they begin and the others in the next one,
at 1.08 false alarms: the goal is narrowly missed. The false alarms are three: the coffee maker's endless query, and
the bulb and the plug of TP-Link in the outage of July 20. With epochs of an hour, as in the live service, 99 % are
found at 1.81 false alarms.

These devices send so little that a plain limit on packets finds as much at 10 packets/s, with more false alarms, and
names no service. At 1 packet/s the profile finds more scans. At 0.1 packets/s (60 packets in ten minutes) only
reflections are found, since their answers are larger; scans that last longer are found by the limits on whole days.

Limits of single rules alone found 96 % at 0.72 false alarms in a first run with one start; limits on all traffic
together were added because of the floods that it missed, which these devices and days showed. An independent test of
that choice would need other devices.
"""


def main() -> None:
    """Measure, and write the page and its rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=Path, default=None, help="flow table of the seven devices, made before")
    parser.add_argument("--starts", type=int, default=3)
    arguments = parser.parse_args()
    flows = pl.read_parquet(arguments.flows) if arguments.flows else stevens(Path(os.environ["ETHOGRAM_CORPUS"]))
    lines, tables = [HEAD.replace("STARTS", str(arguments.starts))], []
    for epoch_s in EPOCHS:
        section, rows = measure(flows, epoch_s, arguments.starts)
        lines += section
        tables.append(rows)
    designed = designs(flows, arguments.starts)
    print("\n".join(designed))
    PAGE.write_text("\n".join(lines).rstrip() + "\n" + DESIGNS + READING)
    rows = pl.concat(tables).group_by("epoch_s", "method", "attack", "rate", "device").agg(
        n=pl.len(), found=pl.col("delay").is_not_null().sum(), first=(pl.col("delay") <= pl.col("epoch_s")).sum(),
        median_s=pl.col("delay").median().round(1),
    )  # fmt: skip
    rows.sort(rows.columns[:5]).write_csv(PAGE.with_suffix(".csv"))


if __name__ == "__main__":
    main()
