"""Counts and fingerprints to windows, and windows to the matrix of services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ethogram.config import CountSettings, ExporterSettings, KeySettings, RepresentationSettings
from ethogram.errors import InputError
from ethogram.pipeline.counts import FlowInputs, count_inputs
from ethogram.pipeline.fingerprints import (
    fingerprint,
    read_fingerprints,
    service_matrix,
    windows_from_counts,
    windows_from_fingerprints,
    write_fingerprints,
)
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import COUNTS, FINGERPRINT, FLOW, ITEM, ITEM_COUNTS, TimeSpan

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def counts() -> pl.DataFrame:
    rows = [
        ("camera", 0, 443, 3), ("camera", 23, 443, 1), ("camera", 23, 53, 2),
        ("camera", 48, 443, 1), ("bulb", 5, 8883, 7),
    ]  # fmt: skip
    return pl.DataFrame(
        [(d, T0 + timedelta(hours=h), 6, p, "client", "wan", True, None, n, 10, 20, 1, 1, 0) for d, h, p, n in rows],
        schema=COUNTS.schema, orient="row",
    )  # fmt: skip


def test_device_days_are_items_and_silent_days_are_not() -> None:
    windows = windows_from_counts(counts(), 86_400)
    assert ITEM.matches(windows.items.schema)
    assert ITEM_COUNTS.matches(windows.counts.schema)
    assert windows.items.rows() == [
        (0, "bulb", T0, T0 + timedelta(days=1)),
        (1, "camera", T0, T0 + timedelta(days=1)),
        (2, "camera", T0 + timedelta(days=2), T0 + timedelta(days=3)),
    ]
    assert windows.counts["item"].to_list() == [0, 1, 1, 1, 2]
    assert len(windows_from_counts(counts(), 3600)) == 4
    assert windows_from_counts(counts(), 86_400, ["bulb"]).items["device"].to_list() == ["bulb"]


def test_the_matrix_has_a_row_per_item_and_sorted_services() -> None:
    windows = windows_from_counts(counts(), 86_400)
    matrix = service_matrix(windows, KeySettings(), RepresentationSettings(granularity=4))
    assert matrix.services == ["TCP/443", "TCP/53", "TCP/8883"]
    assert [matrix.row(i) for i in range(3)] == [{"TCP/8883": 1}, {"TCP/443": 0.75, "TCP/53": 0.5}, {"TCP/443": 1}]
    backwards = service_matrix(windows.take([2, 1]), KeySettings(), RepresentationSettings(granularity=4))
    assert backwards.row(0) == {"TCP/443": 1}


def test_a_log_volume_is_brought_to_a_day_by_the_window() -> None:
    matrix = service_matrix(
        windows_from_counts(counts(), 3600), representation=RepresentationSettings(kind="log_volume")
    )
    assert matrix.row(0) == pytest.approx({"TCP/8883": log(1 + 7 * 24)})


def test_no_counts_give_no_windows() -> None:
    windows = windows_from_counts(COUNTS.empty(), 86_400)
    assert len(windows) == len(service_matrix(windows)) == 0


def flows_of(n_days: int = 4) -> pl.DataFrame:
    base: dict[str, Any] = {
        "device": "camera", "device_address": "192.168.1.10", "remote": "198.51.100.7", "local_port": 50000,
        "remote_port": 443, "protocol": 6, "octets_out": 600, "octets_in": 4000, "packets_out": 6, "packets_in": 8,
        "first_flags_out": 2, "first_flags_in": 18, "initiator": "device", "service_port": 443, "role": "client",
        "scope": "wan", "answered": True, "end_reason": 3, "joined": 1, "remote_name": None,
        "remote_domain": "example.com",
    }  # fmt: skip
    rows = []
    for hour in range(24 * n_days):
        start = T0 + timedelta(hours=hour)
        rows += [{**base, "start": start, "end": start + timedelta(seconds=i)} for i in range(3)]
        rows.append({**base, "service_port": 53, "protocol": 17, "start": start, "end": start})
        rows.append(
            {**base, "initiator": "remote", "answered": False, "service_port": 137, "start": start, "end": start}
        )
    return pl.DataFrame(rows, schema=FLOW.schema)


def test_flows_become_fingerprints_whatever_they_come_in(tmp_path: Path) -> None:
    flows = flows_of()
    flows.write_parquet(tmp_path / "flows.parquet")
    flows.head(200).write_parquet(tmp_path / "a.parquet")
    flows.slice(200).write_parquet(tmp_path / "b.parquet")
    run = fingerprint(flows)
    assert FINGERPRINT.matches(run.table.schema)
    assert run.table.select("status", "epochs", "flows").rows() == [("converged", 2, 192), ("converged", 2, 192)]
    assert run.accounting.as_dict()["ignored"] == {"inbound unanswered": 96}
    sources: tuple[FlowInputs, ...] = (
        flows.lazy(), tmp_path / "flows.parquet", str(tmp_path / "flows.parquet"),
        [tmp_path / "b.parquet", tmp_path / "a.parquet"],
    )  # fmt: skip
    for source in sources:
        other = fingerprint(source)
        assert other.table.equals(run.table)
        assert other.accounting.as_dict() == run.accounting.as_dict()


def test_roles_and_scopes_may_come_as_plain_text() -> None:
    plain = flows_of().cast({"role": pl.String, "scope": pl.String, "initiator": pl.String})
    assert fingerprint(plain.lazy()).table.equals(fingerprint(flows_of()).table)


def test_ports_are_learnt_from_the_input_and_kept_in_the_settings() -> None:
    rare = flows_of().with_row_index("i").with_columns(
        pl.when(pl.col("i") == 1).then(pl.lit(7777, dtype=pl.UInt16)).otherwise("service_port").alias("service_port")
    ).drop("i")  # fmt: skip
    run = fingerprint(rare, learn_days=3)
    assert run.settings.key.ports == ("TCP/443", "UDP/53")
    assert service_matrix(windows_from_fingerprints(run.table), run.settings.key).services == [
        "TCP/443", "TCP/dyn", "UDP/53",
    ]  # fmt: skip


def test_only_the_time_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "flows.parquet"
    flows_of().write_parquet(path)
    run = fingerprint(path, options=ReadOptions(span=TimeSpan(T0 + timedelta(days=1), T0 + timedelta(days=3))))
    assert run.table.select("start", "epochs").rows() == [(T0 + timedelta(days=1), 2)]
    assert run.accounting.as_dict()["ignored"] == {"inbound unanswered": 48, "outside the time asked for": 240}
    counted = count_inputs(path, CountSettings(), ReadOptions(span=TimeSpan(T0 + timedelta(days=3))))
    counts, accounting = counted.gathering.counts(), counted.accounting
    assert counts["flows"].sum() == accounting.used == 96


def test_an_empty_required_column_is_dropped_and_counted() -> None:
    flows = flows_of(1).with_row_index("i").with_columns(
        pl.when(pl.col("i") == 0).then(None).otherwise(pl.col("answered")).alias("answered"),
        pl.when(pl.col("i") == 5).then(None).otherwise(pl.col("device")).alias("device"),
    ).drop("i")  # fmt: skip
    run = fingerprint(flows)
    assert dict(run.accounting.dropped) == {"empty required column": 2}
    assert run.accounting.balanced


def test_fingerprints_are_written_and_read_with_their_settings(tmp_path: Path) -> None:
    settings = ExporterSettings(threshold=0.8, key=KeySettings(role=True))
    run = fingerprint(flows_of(), settings)
    write_fingerprints(run, tmp_path / "f.parquet")
    again = read_fingerprints(tmp_path / "f.parquet")
    assert again.table.equals(run.table)
    assert (again.settings, again.counting) == (settings, CountSettings())
    write_fingerprints(again, tmp_path / "g.parquet")
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.parquet", "g.parquet"]


def test_a_file_of_another_version_or_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    table = fingerprint(flows_of()).table
    table.write_parquet(tmp_path / "v9.parquet", metadata={"ethogram.format": "ethogram.fingerprint/9"})
    table.write_parquet(tmp_path / "plain.parquet")
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 and nothing else")
    for name, reason in (
        ("v9.parquet", r"another version \(ethogram.fingerprint/9, not ethogram.fingerprint/1\)"),
        ("plain.parquet", "no fingerprint file"), ("junk.parquet", "no readable fingerprint file"),
        ("none.parquet", "no such file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=reason) as caught:
            read_fingerprints(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_windows_of_fingerprints_carry_their_counts() -> None:
    run = fingerprint(flows_of())
    windows = windows_from_fingerprints(run.table)
    assert windows.items.rows() == [
        (0, "camera", T0, T0 + timedelta(days=2)), (1, "camera", T0 + timedelta(days=2), T0 + timedelta(days=4))
    ]  # fmt: skip
    assert windows.counts.group_by("item").agg(pl.col("flows").sum()).sort("item").rows() == [(0, 192), (1, 192)]
    matrix = service_matrix(windows)
    assert matrix.row(0) == {"TCP/443": 0.75, "UDP/53": 0.25}
    nothing = windows_from_fingerprints(FINGERPRINT.empty())
    assert len(nothing) == nothing.counts.height == 0
