"""Services and names of two spans, compared hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.fingerprint.changes import compare_counts
from ethogram.schema import COUNTS

START = datetime(2026, 3, 1, tzinfo=UTC)
Use = tuple[str, int, int, int, str | None]
"""Device, hour, port, octets, name."""


def counts(*uses: Use, role: str = "client", answered: bool = True) -> pl.DataFrame:
    rows = [
        {"device": device, "time": START + timedelta(hours=hour), "protocol": 6, "port": port, "role": role,
         "scope": "wan", "answered": answered, "name": name, "flows": 1, "octets_out": octets, "octets_in": 0,
         "packets_out": 1, "packets_in": 1, "duration_ms": 10}
        for device, hour, port, octets, name in uses
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COUNTS.schema, orient="row")


def usual(first: int, hours: int, octets: int = 1000, device: str = "cam") -> list[Use]:
    return [(device, hour, 443, octets + hour % 7, "maker.example") for hour in range(first, first + hours)]


def changed(before: pl.DataFrame, after: pl.DataFrame) -> set[tuple[str, str]]:
    rows = compare_counts(before, after).filter(pl.col("probability") <= 0.05)
    return set(rows.select("subject", "direction").iter_rows())


def test_a_service_that_appears_is_told_with_its_name() -> None:
    new = [("cam", hour, 23, 90, "other.example") for hour in range(48, 60)]
    assert changed(counts(*usual(0, 48)), counts(*usual(48, 24), *new)) == {
        ("TCP/23 client wan", "appeared"), ("other.example", "appeared"),
    }  # fmt: skip


def test_a_service_that_vanishes_is_told() -> None:
    old = [("cam", hour, 1883, 90, None) for hour in range(48)]
    assert changed(counts(*usual(0, 48), *old), counts(*usual(48, 24))) == {("TCP/1883 client wan", "vanished")}


@pytest.mark.parametrize(("octets", "direction"), [(30_000, "grew"), (40, "shrank")])
def test_a_service_that_is_used_as_often_with_other_volumes_is_told(octets: int, direction: str) -> None:
    after = counts(*usual(48, 24, octets))
    assert changed(counts(*usual(0, 48)), after) == {
        ("TCP/443 client wan", direction), ("maker.example", direction),
    }  # fmt: skip


def test_twice_the_volume_is_no_change() -> None:
    assert changed(counts(*usual(0, 48)), counts(*usual(48, 24, 2000))) == set()


def test_one_hour_of_a_rare_service_is_chance() -> None:
    rare = [("cam", hour, 123, 90, None) for hour in (3, 30)]
    after = counts(*usual(48, 24), ("cam", 50, 8080, 90, None))
    compared = compare_counts(counts(*usual(0, 48), *rare), after)
    assert compared.filter(pl.col("probability") <= 0.05).height == 0
    assert compared.filter(pl.col("subject") == "TCP/8080 client wan")["direction"].to_list() == ["appeared"]


def test_what_others_try_is_no_behaviour_of_the_device() -> None:
    tried = counts(*[("cam", hour, 23, 60, None) for hour in range(48, 72)], role="server", answered=False)
    compared = compare_counts(counts(*usual(0, 48)), pl.concat([counts(*usual(48, 24)), tried]))
    assert "TCP/23 server wan" not in compared["subject"].to_list()


def test_devices_of_one_span_alone_are_not_compared() -> None:
    before, after = counts(*usual(0, 24)), counts(*usual(24, 24, device="plug"))
    assert compare_counts(before, after).height == 0


def test_an_empty_span_compares_nothing() -> None:
    assert compare_counts(COUNTS.empty(), counts(*usual(0, 3))).height == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_other_devices_change_nothing_but_the_correction(seed: int) -> None:
    random = np.random.default_rng(seed)
    drawn = random.integers((3, 48, 5, 10_000), size=(60, 4)).tolist()
    uses: list[Use] = [(f"d{device}", hour, 1 + port, octets, None) for device, hour, port, octets in drawn]
    first, second = uses[:40], uses[40:]
    ours = compare_counts(counts(*first), counts(*second))
    again = compare_counts(counts(*first[::-1]), counts(*second[::-1]))
    assert ours.equals(again)
    assert ours["probability"].is_between(0, 1).all()


def test_few_of_many_unchanged_services_are_told_as_changed() -> None:
    random = np.random.default_rng(5)
    told = compared = 0
    for _ in range(20):
        spans = []
        for first, hours in ((0, 96), (96, 24)):
            use = [("cam", hour, port, int(random.lognormal(6, 1)), None) for hour in range(first, first + hours)
                   for port in range(1, 41) if random.random() < port / 40]  # fmt: skip
            spans.append(counts(*use))
        rows = compare_counts(spans[0], spans[1])
        told += rows.filter(pl.col("probability") <= 0.05).height
        compared += rows.height
    assert told <= 0.01 * compared
