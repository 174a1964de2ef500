"""Windows of counts."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ethogram.pipeline.windows import STABLE, export_counts, settled_devices
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
