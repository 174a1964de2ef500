"""The exporter: when windows end, and equality of stream, batch and restart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.config import CountSettings, ExporterSettings, RepresentationSettings
from ethogram.errors import ConfigurationError, LibraryError
from ethogram.fingerprint.count import tally
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.gather import Gathering
from ethogram.fingerprint.state import restore, save
from ethogram.schema import FINGERPRINT

from .flows import T0, count_table, flow_table, hours


def days(plan: Sequence[dict[int, int] | None], device: str = "camera") -> list[dict[str, Any]]:
    """One row of counts per day and port: ``plan[d][port]`` flows."""
    return [
        {"device": device, "time": hours(24 * d + 1), "port": port, "flows": n}
        for d, ports in enumerate(plan)
        for port, n in (ports or {}).items()
    ]


def export(rows: list[dict[str, Any]], **chosen: Any) -> pl.DataFrame:
    exporter = FingerprintExporter(ExporterSettings.of(**{"min_flows": 1, **chosen}))
    exporter.add(count_table(rows))
    table = exporter.finish()
    assert FINGERPRINT.matches(table.schema)
    assert exporter.accounting.balanced
    return table


def summary(table: pl.DataFrame) -> list[tuple[str, int, int, float | None]]:
    """Status, first day, active days, similarity."""
    day = (pl.col("start") - T0).dt.total_days().alias("day")
    return table.select("status", day, "epochs", pl.col("similarity").round(6)).rows()


STEADY, OTHER = {443: 60, 53: 40}, {8883: 100}


def test_previous_converges_on_the_second_day_whatever_comes() -> None:
    # With equal epochs the share of flows moves by 1/n only: more than .3 even when the services are others.
    assert summary(export(days([STEADY, STEADY, STEADY, STEADY]), compare="previous", threshold=0.9)) == [
        ("converged", 0, 2, 1.0), ("converged", 2, 2, 1.0),
    ]  # fmt: skip
    table = export(days([STEADY, OTHER]), compare="previous", threshold=0.3)
    assert summary(table) == [("converged", 0, 2, 0.36)]


def test_halves_sees_that_the_halves_differ() -> None:
    table = export(days([STEADY, OTHER, STEADY, OTHER]), compare="halves", threshold=0.9)
    assert summary(table) == [("converged", 0, 4, 1.0)]
    table = export(days([STEADY, STEADY, OTHER]), compare="halves")
    assert summary(table) == [("converged", 0, 2, 1.0), ("open", 2, 1, None)]


def test_columns_of_a_fingerprint() -> None:
    table = export(days([STEADY, STEADY]))
    row = table.row(0, named=True)
    assert row["fingerprint"] == "camera/20260301T000000Z/converged"
    assert (row["start"], row["end"]) == (T0, T0 + timedelta(days=2))
    assert (row["epochs"], row["flows"]) == (2, 200)
    assert [(c["time"], c["port"], c["flows"]) for c in row["counts"]] == [
        (hours(1), 53, 40), (hours(1), 443, 60), (hours(25), 53, 40), (hours(25), 443, 60),
    ]  # fmt: skip


def test_windows_do_not_share_traffic() -> None:
    rows = days([STEADY, {443: 55, 53: 45}, OTHER, OTHER, STEADY, OTHER, STEADY])
    table = export(rows)
    assert sum(table["flows"]) == sum(row["flows"] for row in rows)
    assert len({c["time"] for counts in table["counts"] for c in counts}) == 7
    assert sum(map(len, table["counts"])) == len(rows)


def test_enough_flows_enough_epochs_and_runs_are_needed() -> None:
    four = days([STEADY] * 4)
    assert summary(export(four, min_flows=201)) == [("converged", 0, 4, 1.0)]
    assert summary(export(four, min_epochs=3)) == [("converged", 0, 4, 1.0)]
    assert summary(export(four, min_epochs=3, compare="previous")) == [
        ("converged", 0, 3, 1.0), ("open", 3, 1, None),
    ]  # fmt: skip
    assert summary(export(four, runs=2)) == [("converged", 0, 4, 1.0)]
    assert summary(export(four, runs=3, compare="previous")) == [("converged", 0, 4, 1.0)]
    # an unstable day breaks the run: 1, then the break, then 2 more
    broken = days([STEADY, STEADY, {8883: 2000}, {8883: 2000}, {8883: 2000}])
    assert summary(export(broken, runs=2, compare="previous", threshold=0.5)) == [("converged", 0, 5, 1.0)]


def test_a_window_that_never_converges_is_exported_as_unconverged() -> None:
    restless = days([{443: 100}, {80: 100}, {53: 100}, {22: 100}, {443: 100}])
    assert summary(export(restless, max_epochs=4)) == [("unconverged", 0, 4, 0.0), ("open", 4, 1, None)]


def test_silent_days_are_not_compared_and_a_long_silence_ends_the_window() -> None:
    assert summary(export(days([STEADY, None, None, STEADY]))) == [("converged", 0, 2, 1.0)]
    gap = export(days([STEADY, *[None] * 8, STEADY, STEADY]))
    assert summary(gap) == [("gap", 0, 1, None), ("converged", 9, 2, 1.0)]
    just_within = export(days([STEADY, *[None] * 7, STEADY]))
    assert summary(just_within) == [("converged", 0, 2, 1.0)]


def test_the_window_of_a_silent_device_ends_while_others_continue() -> None:
    rows = days([STEADY], "gone") + days([STEADY, OTHER] * 5, "busy")
    table = export(rows).filter(device="gone")
    assert summary(table) == [("gap", 0, 1, None)]


def test_change_mode_exports_only_changed_fingerprints() -> None:
    rows = days([STEADY] * 6 + [OTHER] * 4 + [STEADY] * 2)
    exporter = FingerprintExporter(ExporterSettings(min_flows=1, mode="change"))
    exporter.add(count_table(rows))
    assert summary(exporter.finish()) == [("converged", 0, 2, 1.0), ("change", 6, 2, 0.0), ("change", 10, 2, 0.0)]
    assert exporter.unchanged == 3


def test_the_representation_decides_what_is_alike() -> None:
    rows = days([{443: 90, 53: 10}, {443: 10, 53: 90}])
    assert export(rows, representation={"granularity": 1})["status"].to_list() == ["converged"]
    assert export(rows, representation={"granularity": 0})["status"].to_list() == ["open"]


def test_the_epoch_must_hold_whole_sub_epochs() -> None:
    with pytest.raises(ConfigurationError, match="setting epoch_s: 5400 s is no multiple of the sub-epoch, 3600 s"):
        FingerprintExporter(ExporterSettings(epoch_s=5400))


def test_the_longest_silent_device_is_evicted_first_and_counted() -> None:
    rows = days([STEADY, OTHER, OTHER], "a") + days([STEADY], "b") + days([None, STEADY], "c")
    exporter = FingerprintExporter(ExporterSettings(min_flows=1, min_epochs=3), max_devices=2)
    for day in range(3):
        exporter.add(count_table([row for row in rows if row["time"] == hours(24 * day + 1)]))
        exporter._close(20513 + day + 1)
    assert sorted(exporter.devices) == ["a", "c"]
    assert exporter.evicted == 1
    assert set(exporter.finish()["device"]) == {"a", "c"}


def test_forged_devices_in_an_open_epoch_are_dropped_and_counted() -> None:
    exporter = FingerprintExporter(max_devices=3)
    forged = [{"device": f"forged{i:03}"} for i in range(50)]
    exporter.feed(flow_table([{"device": "camera"}] * 5 + forged))
    assert exporter.pending["device"].n_unique() == 3
    assert "camera" in exporter.pending["device"]
    assert dict(exporter.accounting.dropped) == {"devices over the bound": 48}
    assert exporter.accounting.balanced


def test_a_late_flow_is_dropped_and_counted() -> None:
    exporter = FingerprintExporter(ExporterSettings(lateness_s=1920))
    exporter.feed(flow_table([{"start": hours(1), "end": hours(1)}, {"start": hours(24.5), "end": hours(24.5)}]))
    exporter.feed(flow_table([{"start": hours(23.9), "end": hours(24.4)}]))  # the day is open until 24:32
    assert exporter.accounting.dropped.total() == 0
    exporter.feed(flow_table([{"start": hours(24.6), "end": hours(24.6)}, {"start": hours(23.9), "end": hours(24.4)}]))
    assert dict(exporter.accounting.dropped) == {"late": 1}
    assert exporter.accounting.balanced
    assert exporter.accounting.read == 5


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize(("early_us", "late"), [(0, 1), (1, 0)])
def test_an_epoch_closes_exactly_when_the_clock_reaches_its_end_and_the_lateness(
    early_us: int, late: int, batches: int
) -> None:
    closing = hours(24.5) - timedelta(microseconds=early_us)
    flows = flow_table([{"start": hours(1), "end": hours(1)}, {"start": closing, "end": closing},
                        {"start": hours(23), "end": hours(23)}])  # fmt: skip
    exporter = FingerprintExporter(ExporterSettings(lateness_s=1800))
    for block in [flows] if batches == 1 else [flows[:2], flows[2:]]:
        exporter.feed(block)
    assert dict(exporter.accounting.dropped) == ({"late": late} if late else {})
    assert exporter.pending["time"].min() == (hours(24) if late else hours(1))


def test_a_flow_that_begins_when_its_epoch_does_belongs_to_it() -> None:
    exporter = FingerprintExporter(ExporterSettings(lateness_s=0))
    exporter.feed(flow_table([{"start": hours(24) - timedelta(microseconds=1), "end": hours(24)}]))
    assert exporter.pending.height == 0
    exporter.feed(flow_table([{"start": hours(24), "end": hours(24)}]))
    assert exporter.pending["time"].to_list() == [hours(24)]
    assert not exporter.accounting.dropped


# --- streamed = batched = restored ------------------------------------------------------------------------------

HOURLY = ExporterSettings(
    epoch_s=3600, min_flows=2, min_epochs=2, max_epochs=4, gap_s=2 * 3600, lateness_s=1800, threshold=0.6,
    representation=RepresentationSettings(granularity=4),
)  # fmt: skip
QUARTERS = CountSettings(sub_epoch_s=900)

arrivals = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 12 * 60),  # start, minutes
        st.integers(0, 20),  # duration, minutes
        st.integers(0, 10),  # delay on the way, minutes: 20 + 10 is inside the lateness
        st.sampled_from([53, 80, 443]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)


def arrived(rows: Sequence[tuple[str, int, int, int, int, bool]]) -> pl.DataFrame:
    """Flows in order of arrival, which is shortly after their end."""
    in_order = sorted(rows, key=lambda row: row[1] + row[2] + row[3])
    return flow_table(
        {"device": d, "start": T0 + timedelta(minutes=m), "end": T0 + timedelta(minutes=m + length),
         "service_port": port, "initiator": "device" if answered else "remote", "answered": answered}
        for d, m, length, _, port, answered in in_order
    )  # fmt: skip


def octets_of(tables: list[pl.DataFrame]) -> bytes:
    buffer = io.BytesIO()
    pl.concat(tables).sort("device", "start").rechunk().write_parquet(buffer)
    return buffer.getvalue()


def batch(flows: pl.DataFrame, chosen: ExporterSettings = HOURLY) -> tuple[bytes, dict[str, object]]:
    exporter = FingerprintExporter(chosen, QUARTERS, max_devices=None)
    exporter.add(tally(flows, QUARTERS))
    return octets_of([exporter.finish()]), exporter.accounting.as_dict()


@settings(max_examples=60, deadline=None)
@given(arrivals, st.lists(st.integers(1, 9), min_size=1), st.sampled_from(["tumbling", "change"]), st.booleans())
def test_streamed_is_batched_byte_for_byte(
    rows: list[tuple[str, int, int, int, int, bool]], sizes: list[int], mode: str, previous: bool
) -> None:
    changed = HOURLY.model_copy(update={"mode": mode, "compare": "previous" if previous else "halves"})
    flows = arrived(rows)
    exporter = FingerprintExporter(changed, QUARTERS)
    tables, at, turn = [], 0, 0
    while at < flows.height:
        tables.append(exporter.feed(flows.slice(at, sizes[turn % len(sizes)])))
        at += sizes[turn % len(sizes)]
        turn += 1
    tables.append(exporter.finish())
    assert (octets_of(tables), exporter.accounting.as_dict()) == batch(flows.reverse(), changed)


@settings(max_examples=40, deadline=None)
@given(arrivals, st.sampled_from(["tumbling", "change"]), st.sampled_from([1, 15, 1000]), st.booleans())
def test_exported_by_blocks_of_devices_is_batched_byte_for_byte(
    rows: list[tuple[str, int, int, int, int, bool]], mode: str, at_once: int, export_open: bool
) -> None:
    changed = HOURLY.model_copy(update={"mode": mode})
    flows = arrived(rows)
    whole = FingerprintExporter(changed, QUARTERS, max_devices=None)
    whole.add(tally(flows, QUARTERS))
    gathering = Gathering(QUARTERS, least=1)
    for start in range(0, flows.height, 7):
        gathering.add(flows.slice(start, 7))
    blocks = FingerprintExporter(changed, QUARTERS)
    table = blocks.whole(gathering.blocks(at_once), gathering.last() or 0, export_open=export_open)
    assert octets_of([table]) == octets_of([whole.finish(export_open=export_open)])
    assert table.select("device", "start").equals(table.select("device", "start").sort("device", "start"))
    assert (gathering.accounting.as_dict(), blocks.unchanged) == (whole.accounting.as_dict(), whole.unchanged)


def test_blocks_hold_whole_devices_and_begin_where_the_bound_says() -> None:
    gathering = Gathering(least=1)
    gathering.add(flow_table({"device": d, "service_port": port} for d in "cab" for port in range(1, 4)))
    assert [block["device"].unique().sort().to_list() for block in gathering.blocks(6)] == [["a", "b"], ["c"]]
    assert [block.height for block in gathering.blocks(2)] == [3, 3, 3]


@settings(max_examples=30, deadline=None)
@given(arrivals, st.integers(0, 60), st.sampled_from(["tumbling", "change"]))
def test_restored_in_the_middle_is_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int, int, int, bool]], cut: int, mode: str
) -> None:
    changed = HOURLY.model_copy(update={"mode": mode})
    path = tmp_path_factory.mktemp("state") / "exporter.state"
    flows = arrived(rows)
    before = FingerprintExporter(changed, QUARTERS)
    tables = [before.feed(flows.slice(0, cut))]
    save(before, path)
    after = restore(path, changed, QUARTERS)
    tables += [after.feed(flows.slice(cut)), after.finish()]
    assert (octets_of(tables), after.accounting.as_dict()) == batch(flows, changed)


def saved(folder: Path) -> Path:
    exporter = FingerprintExporter()
    exporter.feed(flow_table([{}, {"start": hours(50), "end": hours(50)}]))
    save(exporter, folder / "exporter.state")
    return folder / "exporter.state"


def test_the_state_is_one_file_and_no_state_is_a_fresh_start(tmp_path: Path) -> None:
    saved(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["exporter.state"]
    assert restore(tmp_path / "none").clock_us is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda octets: octets[:-1], "damaged"),
        (lambda octets: octets[:-40] + bytes([octets[-40] ^ 1]) + octets[-39:], "damaged"),
        (lambda octets: octets.replace(b"state/1", b"state/9", 1), "another version"),
        (lambda octets: b"", "no exporter state"),
        (lambda octets: b"PAR1" + octets, "no exporter state"),
    ],
)
def test_a_damaged_state_is_refused_or_ignored(tmp_path: Path, damage: Any, reason: str) -> None:
    path = saved(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LibraryError, match=reason) as caught:
        restore(path)
    assert "\n" not in str(caught.value)
    assert restore(path, clean_start=True).devices == {}


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="other settings"):
        restore(saved(tmp_path), ExporterSettings(threshold=0.5))


FUTURE = (hours(24 * 400), hours(24 * 365 * 74))


def flow_at(hour: float, device: str = "camera") -> dict[str, Any]:
    return {"device": device, "start": hours(hour), "end": hours(hour + 0.1)}


def us(hour: float) -> int:
    return int(hours(hour).timestamp() * 1e6)


@pytest.mark.parametrize("future", FUTURE)
@settings(max_examples=20)
@given(data=st.data())
def test_flows_ahead_of_their_arrival_change_nothing_but_their_count(future: Any, data: st.DataObject) -> None:
    exporters = [FingerprintExporter(HOURLY) for _ in range(2)]
    tables: list[list[pl.DataFrame]] = [[], []]
    ahead = 0
    for hour in range(6):
        rows = [flow_at(hour + data.draw(st.floats(0, 0.8))) for _ in range(data.draw(st.integers(0, 4)))]
        wrong = [{"device": data.draw(st.sampled_from(["camera", "other"])), "start": future, "end": future}
                 for _ in range(data.draw(st.integers(0, 2)))]  # fmt: skip
        ahead += len(wrong)
        for exporter, found, given_ in zip(exporters, tables, (rows, wrong + rows), strict=True):
            found.append(exporter.feed(flow_table(given_).sort("end"), us(hour + 1)))
    honest, disturbed = exporters
    assert [table.rows() for table in tables[0]] == [table.rows() for table in tables[1]]
    assert honest.finish().equals(disturbed.finish())
    assert disturbed.accounting.dropped["ahead of arrival"] == ahead
    assert honest.accounting.used == disturbed.accounting.used
    assert disturbed.accounting.balanced


def test_a_slightly_fast_clock_is_accepted_and_closes_no_epoch_early() -> None:
    exporter = FingerprintExporter(HOURLY.model_copy(update={"lateness_s": 0}), ahead_s=300)
    exporter.feed(flow_table([{"start": hours(1.01), "end": hours(1.04)}]), us(0.99))
    exporter.feed(flow_table([flow_at(0.5)]), us(0.995))
    assert (exporter.accounting.used, exporter.accounting.dropped.total()) == (2, 0)
    exporter.feed(flow_table([{"start": hours(1.1), "end": hours(1.2)}]), us(1))
    assert exporter.accounting.dropped == {"ahead of arrival": 1}


@pytest.mark.parametrize("future", FUTURE)
def test_a_state_with_a_clock_in_the_future_continues_from_now(future: Any, tmp_path: Path) -> None:
    poisoned = FingerprintExporter(HOURLY)
    for hour in range(4):
        poisoned.feed(flow_table([flow_at(hour), flow_at(hour, "lamp")]))
    # Earlier versions believed every date: this closed all epochs, also the one that had just begun.
    poisoned.feed(flow_table([{"device": "lamp", "start": future, "end": future}]))
    poisoned.feed(flow_table([flow_at(3.2)]))
    assert poisoned.accounting.dropped == {"late": 1}
    save(poisoned, tmp_path / "state")

    exporter = restore(tmp_path / "state", HOURLY)
    assert exporter.set_back(us(3.5)) == 1
    assert exporter.set_back(us(3.5)) is None
    items = [
        exporter.feed(flow_table([flow_at(hour), flow_at(hour, "lamp")]), us(hour + 0.5)) for hour in (3.3, 4, 5, 6)
    ]
    table = pl.concat([*items, exporter.finish()])
    assert exporter.accounting.balanced
    assert exporter.accounting.dropped == {"late": 1, "ahead of arrival": 1}
    assert exporter.accounting.used == 16
    assert exporter.held.height == exporter.pending.height == 0
    exported = table.explode("counts").unnest("counts", separator=":")
    assert table["end"].max() <= hours(8)
    # No epoch of a device is in two windows, and none came twice into one.
    assert not exported.select("device", "counts:time", "counts:port").is_duplicated().any()
