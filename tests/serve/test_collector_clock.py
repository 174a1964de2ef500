"""Exporters with wrong clocks beside one with a correct clock: over loopback, with a restart in between."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, WireSettings
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.state import save
from ethogram.io.receive.address import Listen
from ethogram.io.wire.build import MessageBuilder, data, template_set
from ethogram.io.wire.template import Field, Template
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import FLOW
from ethogram.serve.collector import Collector, CollectorSettings
from ethogram.serve.output import Output
from ethogram.serve.segments import segments_in
from sending import send_all

HOUR, DAY = 3_600, 86_400
PORT = 40_000
FIELDS = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (152, 8), (153, 8))
TEMPLATE = Template(10, 1, 300, tuple(Field(0, number, octets) for number, octets in FIELDS))
SETTINGS = CollectorSettings(
    wire=WireSettings.of(segment_s=0.2),
    collect=CollectSettings(),
    flow=FlowSettings.of(local=("10.0.0.0/8",)),
    exporter=ExporterSettings.of(epoch_s=HOUR, lateness_s=0, min_flows=1, min_epochs=1),
    counting=CountSettings.of(sub_epoch_s=HOUR),
)


class OneWayExporter:
    """Sends half connections of one device whose times differ from the true ones by ``wrong_s``."""

    def __init__(self, device: int, wrong_s: float = 0) -> None:
        self.device = 0x0A000000 + device
        self.wrong_s = wrong_s
        self.build = MessageBuilder(10, domain=1)
        self.sent = 0

    def messages(self, ages_s: list[float]) -> list[bytes]:
        """One flow for each age, which ended that long ago; half of them are answered."""
        out = []
        for age_s in ages_s:
            end = round((time.time() - age_s + self.wrong_s) * 1000)
            end = max(end, 0)
            rows = 2 if self.sent % 2 else 1
            ends = [np.array(each[:rows]) for each in (
                [self.device, 0xCB007101], [0xCB007101, self.device], [PORT + self.sent, 443], [443, PORT + self.sent],
            )]  # fmt: skip
            columns = [*ends, np.full(rows, 6), np.full(rows, 100), np.full(rows, 2), np.full(rows, max(end - 10, 0)),
                       np.full(rows, end)]  # fmt: skip
            out += self.build.messages([template_set(TEMPLATE), data(TEMPLATE, columns)], end)
            self.sent += 1
        return out


def until(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)


def run(folder: Path, messages: list[bytes], record: Path | None = None) -> Collector:
    collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder, SETTINGS, record=record)
    collector.start()
    try:
        for at in range(0, len(messages), 5):
            send_all(messages[at : at + 5], collector.listening[0].port)
            time.sleep(0.1)
        until(lambda: collector.udp.accounting.read == len(messages))
        until(lambda: collector.decoder.accounting.used == len(messages))
        time.sleep(0.5)
        collector.before_stop = flows_in(folder)["device"].to_list()  # type: ignore[attr-defined]
    finally:
        collector.stop()
    for name, accounting in collector.counters.accountings().items():
        assert accounting.balanced, name
    return collector


def flows_in(folder: Path) -> pl.DataFrame:
    tables = [FLOW.empty()]
    for path in segments_in(folder / "flows").values():
        with suppress(FileNotFoundError):
            tables.append(FLOW.conform(pl.read_parquet(path)))
    return pl.concat(tables)


WRONG_S = {"400 days ahead": 400 * DAY, "3 hours ahead": 3 * HOUR, "in 1970": -time.time(), "in 2100": 74 * 365 * DAY}


@pytest.mark.parametrize("wrong", WRONG_S)
def test_an_exporter_with_a_wrong_clock_costs_the_others_nothing(wrong: str, tmp_path: Path) -> None:
    bad, good = OneWayExporter(1, WRONG_S[wrong]), OneWayExporter(2)
    # The right one sends five hours of flows: epochs end on the way, and halves have waited long enough.
    ages = [float(age) for age in np.linspace(5 * HOUR, 1, 60)]
    messages = bad.messages([0, 0]) + good.messages(ages[:30]) + bad.messages([0]) + good.messages(ages[30:])
    first = run(tmp_path, messages)
    again = run(tmp_path, bad.messages([0]) + good.messages([0.5, 0.5, 0.5, 0.5]) + bad.messages([0]))
    assert first.before_stop.count("10.0.0.2") >= 55, "one-way flows were held until the stop"  # type: ignore[attr-defined]
    assert flows_in(tmp_path).height == 69
    totals = again.counters.accountings()["fingerprints"]
    reason = "late" if WRONG_S[wrong] < 0 else "ahead of arrival"
    # The epoch of 1970 closes with the first flow of now, not before: its first flows may count.
    assert totals.dropped[reason] == 5 or (reason == "late" and totals.used > 64)
    assert totals.used + totals.dropped[reason] == 69
    assert again.output.fingerprints >= 2, "fingerprints did not come out when their epochs had ended"
    assert again.problems == []


def test_a_recording_of_wrong_clocks_gives_the_same_flows(tmp_path: Path) -> None:
    bad, good = OneWayExporter(1, 400 * DAY), OneWayExporter(2)
    messages = bad.messages([0]) + good.messages([float(age) for age in range(4000, 0, -100)]) + bad.messages([0])
    run(tmp_path / "out", messages, tmp_path / "raw")
    replayed = collect(read_flows([tmp_path / "raw"], ReadOptions(flow=SETTINGS.flow)))
    assert replayed.sort(FLOW.names).equals(flows_in(tmp_path / "out").sort(FLOW.names))


def test_a_folder_with_a_clock_in_the_future_is_resumed_and_reported(tmp_path: Path) -> None:
    good = OneWayExporter(2)
    run(tmp_path, good.messages([1.0, 1.0]))
    [path] = (tmp_path / "state").glob("exporter-*")
    output = Output(tmp_path, SETTINGS.exporter, SETTINGS.counting, SETTINGS.collect, 0.2)
    output.open()
    output.close()
    # As an earlier version left it after one flow of the year 2100.
    poisoned: FingerprintExporter = output.exporter
    future = datetime(2100, 1, 1, tzinfo=UTC)
    poisoned.feed(flows_in(tmp_path).head(1).with_columns(start=future, end=future + timedelta(seconds=1)))
    save(poisoned, path)
    again = run(tmp_path, good.messages([0.5, 0.5, 0.5, 0.5]))
    [problem] = again.problems
    assert "flows dated 2100-01-01 had advanced the fingerprint clock" in problem
    assert "1 flow dated in the future is excluded" in problem
    totals = again.counters.accountings()["fingerprints"]
    assert (totals.used, dict(totals.dropped)) == (6, {"ahead of arrival": 1})
    assert run(tmp_path, good.messages([0.5])).problems == []


def test_templates_and_clock_error_of_an_exporter_are_told(tmp_path: Path) -> None:
    collector = run(tmp_path, OneWayExporter(1, 3 * HOUR).messages([0, 0]))
    [row] = collector.counters.exporters()
    assert row["templates"] == 1
    assert row["clock_error_s"] == pytest.approx(3 * HOUR, abs=60)
