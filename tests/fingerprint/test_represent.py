"""Representations: exact vectors, their laws, and ignored services."""

from __future__ import annotations

from fractions import Fraction
from math import log

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.config import RepresentationSettings
from ethogram.fingerprint.key import with_service
from ethogram.fingerprint.represent import level, levels_of, represent, weigh
from ethogram.fingerprint.similarity import pairwise, similarity
from ethogram.schema import ServiceMatrix

from .flows import count_table, hours

A = {"UDP/53": 60, "TCP/443": 35, "UDP/123": 5}
B = {"UDP/53": 40, "TCP/443": 55, "TCP/8883": 5}
SIMILARITIES = {1: (1, 2), 2: (1, 3), 4: (1, 2), 5: (1, 2), 10: (4, 7), 20: (3, 5), 0: (3, 5)}
LEVELS_OF_A = {2: (2, 1, 1), 4: (3, 2, 1), 5: (3, 2, 1), 10: (6, 4, 1), 20: (12, 7, 1)}


def counts_of(device: str, flows: dict[str, int]) -> list[dict[str, object]]:
    return [
        {"device": device, "protocol": 6 if name.startswith("TCP") else 17, "port": int(name[4:]), "flows": n}
        for name, n in flows.items()
    ]


def weights(rows: pl.DataFrame, device: str = "camera") -> dict[str, float]:
    return dict(rows.filter(device=device).select("service", "weight").iter_rows())


def prepared(rows: list[dict[str, object]]) -> pl.DataFrame:
    frame: pl.DataFrame = with_service(count_table(rows))
    return frame


@pytest.mark.parametrize(("granularity", "expected"), SIMILARITIES.items())
def test_the_similarity_of_the_two_example_devices(granularity: int, expected: tuple[int, int]) -> None:
    assert similarity(levels_of(A, granularity), levels_of(B, granularity)) == Fraction(*expected)
    rows = prepared(counts_of("a", A) + counts_of("b", B))
    long = represent(rows, ["device"], RepresentationSettings(granularity=granularity))
    matrix = ServiceMatrix.from_rows([weights(long, "a"), weights(long, "b")])
    assert pairwise(matrix)[0, 1] == pytest.approx(expected[0] / expected[1], abs=1e-15)


@pytest.mark.parametrize(("granularity", "expected"), LEVELS_OF_A.items())
def test_the_levels_of_the_first_example_device(granularity: int, expected: tuple[int, ...]) -> None:
    long = represent(prepared(counts_of("camera", A)), ["device"], RepresentationSettings(granularity=granularity))
    levels = dict(long.select("service", "level").iter_rows())
    assert tuple(levels[name] for name in A) == expected
    assert tuple(level(n, 100, granularity) for n in A.values()) == expected


plain_counts = st.dictionaries(st.sampled_from([f"TCP/{p}" for p in range(1, 9)]), st.integers(1, 10**6), min_size=1)


@settings(max_examples=60, deadline=None)
@given(plain_counts, st.integers(0, 64))
def test_levels_are_the_exact_ceiling_and_near_the_share(counts: dict[str, int], granularity: int) -> None:
    total = sum(counts.values())
    plain = levels_of(counts, granularity)
    for name, n in counts.items():
        share = Fraction(n, total)
        if granularity:
            assert share <= plain[name] < share + Fraction(1, granularity)
        else:
            assert plain[name] == share
    long = represent(prepared(counts_of("camera", counts)), ["device"], RepresentationSettings(granularity=granularity))
    assert weights(long) == {name: float(weight) for name, weight in plain.items()}
    assert dict(long.select("service", "n").iter_rows()) == counts
    assert set(long["total"]) == {total}


def test_granularity_one_is_the_service_list() -> None:
    rows = prepared(counts_of("camera", A))
    assert weights(represent(rows, ["device"], RepresentationSettings(granularity=1))) == dict.fromkeys(A, 1.0)
    assert weights(represent(rows, ["device"], RepresentationSettings(kind="list"))) == dict.fromkeys(A, 1.0)


def test_levels_are_exact_where_floating_point_is_not() -> None:
    # 3 * 0.1 is above 0.3 in floating point, and its ceiling would be one level too high.
    rows = prepared(counts_of("camera", {"TCP/1": 3, "TCP/2": 7}))
    long = represent(rows, ["device"], RepresentationSettings(granularity=10))
    assert weights(long) == {"TCP/1": 0.3, "TCP/2": 0.7}
    big = 1 << 50
    rows = prepared(
        [{"port": 1, "octets_in": big, "octets_out": 0}, {"port": 2, "octets_in": 3 * big, "octets_out": 0}]
    )
    long = represent(rows, ["device"], RepresentationSettings(granularity=4, weight="octet_share"))
    assert weights(long) == {"TCP/1": 0.25, "TCP/2": 0.75}


def test_the_four_weights() -> None:
    rows = prepared([
        {"time": hours(0), "port": 1, "flows": 2, "octets_out": 10, "octets_in": 20, "packets_out": 1, "packets_in": 1},
        {"time": hours(1), "port": 1, "flows": 1, "octets_out": 0, "octets_in": 0, "packets_out": 1, "packets_in": 0},
        {"time": hours(1), "port": 2, "flows": 1, "octets_out": 70, "octets_in": 0, "packets_out": 1, "packets_in": 0},
        {"time": hours(9), "port": 1, "role": "server", "octets_out": 0, "octets_in": 0, "packets_out": 0,
         "packets_in": 0},
    ])  # fmt: skip
    expected = {
        "flow_share": {"TCP/1": 4 / 5, "TCP/2": 1 / 5},
        "presence": {"TCP/1": 3 / 3, "TCP/2": 1 / 3},
        "octet_share": {"TCP/1": 30 / 100, "TCP/2": 70 / 100},
        "packet_share": {"TCP/1": 3 / 4, "TCP/2": 1 / 4},
    }
    for weight, shares in expected.items():
        changed = RepresentationSettings.of(kind="prevalence", weight=weight)
        assert weights(represent(rows, ["device"], changed)) == shares
        lazy = represent(rows.lazy(), ["device"], changed).collect()
        assert weights(lazy) == shares


def test_presence_does_not_depend_on_cut_records() -> None:
    whole = prepared([{"port": 1, "flows": 1}, {"port": 2, "flows": 1}])
    cut = prepared([{"port": 1, "flows": 30}, {"port": 2, "flows": 1}])
    presence = RepresentationSettings(kind="prevalence", weight="presence")
    assert weights(represent(whole, ["device"], presence)) == weights(represent(cut, ["device"], presence))


def test_log_volume_is_scaled_to_a_day() -> None:
    rows = prepared([{"port": 1, "flows": 10}, {"port": 2, "flows": 40, "octets_in": 0, "octets_out": 99}])
    changed = RepresentationSettings(kind="log_volume")
    assert weights(represent(rows, ["device"], changed)) == pytest.approx({"TCP/1": log(11), "TCP/2": log(41)})
    hour = rows.with_columns(pl.lit(3600.0).alias("window_s"))
    assert weights(represent(hour, ["device"], changed)) == pytest.approx({"TCP/1": log(241), "TCP/2": log(961)})
    octets = represent(rows, ["device"], RepresentationSettings(kind="log_volume", weight="octet_share"))
    assert weights(octets) == pytest.approx({"TCP/1": log(4601), "TCP/2": log(100)})


def test_tiers_of_rank() -> None:
    rows = prepared(counts_of("camera", {"TCP/1": 900, "TCP/2": 50, "TCP/3": 50, "TCP/4": 1}))
    two = represent(rows, ["device"], RepresentationSettings(kind="tiers", granularity=2))
    assert weights(two) == {"TCP/1": 1.0, "TCP/2": 1.0, "TCP/3": 1.0, "TCP/4": 0.5}
    four = represent(rows, ["device"], RepresentationSettings(kind="tiers", granularity=4))
    assert weights(four) == {"TCP/1": 1.0, "TCP/2": 0.75, "TCP/3": 0.75, "TCP/4": 0.25}
    every = represent(rows, ["device"], RepresentationSettings(kind="tiers", granularity=0))
    assert weights(every) == weights(four)


def test_rare_services_can_be_ignored() -> None:
    rows = prepared(counts_of("camera", {"TCP/1": 90, "TCP/2": 9, "TCP/3": 1}))
    assert set(weights(represent(rows, ["device"], RepresentationSettings(min_share=0.05)))) == {"TCP/1", "TCP/2"}
    assert set(weights(represent(rows, ["device"], RepresentationSettings(min_flows=2)))) == {"TCP/1", "TCP/2"}


def test_groups_are_weighted_separately_and_zero_volume_has_no_weight() -> None:
    nothing = {"octets_in": 0, "octets_out": 0}
    rows = prepared([{"port": 1}, {"port": 2, **nothing}, {"device": "idle", **nothing}])
    long = represent(rows, ["device"], RepresentationSettings(kind="prevalence", weight="octet_share"))
    assert weights(long) == {"TCP/1": 1.0}
    assert weights(long, "idle") == {}


@settings(max_examples=80, deadline=None)
@given(
    plain_counts,
    st.builds(
        RepresentationSettings,
        kind=st.sampled_from(["list", "prevalence", "generalized", "log_volume", "tiers"]),
        granularity=st.integers(0, 20),
        weight=st.sampled_from(["flow_share", "octet_share", "packet_share"]),
        min_share=st.sampled_from([0.0, 0.05, 0.3]),
        min_flows=st.sampled_from([0, 10]),
    ),
)
def test_the_plain_twin_agrees(counts: dict[str, int], chosen: RepresentationSettings) -> None:
    rows = counts_of("camera", counts)
    for i, row in enumerate(rows):
        row |= {"octets_out": i, "octets_in": row["flows"], "packets_out": 2 * i, "packets_in": 1}
    amounts = {
        "flow_share": counts,
        "octet_share": {name: n + i for i, (name, n) in enumerate(counts.items())},
        "packet_share": {name: 2 * i + 1 for i, name in enumerate(counts)},
    }[chosen.weight]
    frame = prepared(rows).with_columns(pl.lit(7200.0).alias("window_s"))
    long = represent(frame, ["device"], chosen)
    column = "level" if long["level"].null_count() == 0 else "weight"
    table = dict(long.select("service", column).iter_rows())
    plain = weigh(amounts, sum(amounts.values()), chosen, flows=counts, window_s=7200.0)
    exact = chosen.kind != "log_volume"
    assert plain == (table if exact else pytest.approx(table, rel=1e-12))
