"""Windows of counts."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ethogram.config import ExporterSettings
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.halves import applies, stable_by_halves
from ethogram.pipeline.windows import STABLE, export_counts, settled_devices, stable_windows
from ethogram.schema import COUNTS


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.sampled_from([443, 53, 123])), max_size=120))
def test_settled_devices_are_those_with_a_stable_fingerprint(flows: list[tuple[str, int, int]]) -> None:
    day_us = 86_400_000_000
    rows = dict.fromkeys(flows, 40)
    blank = dict.fromkeys(COUNTS.names)
    counts = COUNTS.conform(
        pl.DataFrame(
            [
                blank | {"device": device, "time": day * day_us, "protocol": 6, "port": port, "role": "client",
                         "scope": "wan", "answered": True, "name": "", "duration_ms": n, "flows": n,
                         "octets_in": n, "octets_out": n, "packets_in": n, "packets_out": n}
                for (device, day, port), n in sorted(rows.items())
            ],
            schema_overrides={"time": pl.Datetime("us", "UTC")}, infer_schema_length=None,
        ) if rows else COUNTS.empty()
    )  # fmt: skip
    exported = export_counts(counts)
    stable = exported.filter(pl.col("status").cast(pl.String).is_in(STABLE))
    assert settled_devices(counts) == set(stable["device"])


def test_columns_and_state_machine_agree_at_gaps_and_long_windows() -> None:
    day_us = 86_400_000_000
    days = {"steady": range(6), "gap": (0, 1, 9, 10), "long": range(45), "once": (3,), "changing": range(8)}
    rows = [
        {"device": device, "time": day * day_us, "protocol": 6, "port": 443 if device != "changing" else 400 + day,
         "role": "client", "scope": "wan", "answered": True, "name": None, "duration_ms": 1, "flows": 13,
         "octets_in": 1, "octets_out": 1, "packets_in": 1, "packets_out": 1}
        for device, active in sorted(days.items()) for day in active
    ]  # fmt: skip
    schema = {"time": pl.Datetime("us", "UTC"), "name": pl.String}
    counts = COUNTS.conform(pl.DataFrame(rows, schema_overrides=schema))
    settings = ExporterSettings()
    stable, left = stable_by_halves(FingerprintExporter(max_devices=None)._dated(counts), settings)
    assert applies(settings)
    assert not applies(ExporterSettings(mode="change"))
    assert left == {"gap", "long"}
    assert stable == {"steady"}
    assert settled_devices(counts) == {window.device for window in stable_windows(counts)} >= {"steady"}
