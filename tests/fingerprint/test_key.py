"""Names of services under each setting."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from ethogram.config import KeySettings
from ethogram.fingerprint.key import learn_ports, with_service

from .flows import count_table, hours

ROWS = count_table([
    {"port": 443, "name": "amazon.com"},
    {"port": 50000, "role": "server", "scope": "lan", "answered": False},
    {"protocol": 17, "port": 5353, "scope": "multicast", "answered": False},
    {"protocol": 2, "port": 0},
])  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["TCP/443", "TCP/dyn", "UDP/5353", "IP/2"]),
        ({"dynamic_from": 65536}, ["TCP/443", "TCP/50000", "UDP/5353", "IP/2"]),
        ({"coarseness": "class"}, ["TCP/system", "TCP/dyn", "UDP/user", "IP/2"]),
        ({"coarseness": "protocol"}, ["TCP", "TCP", "UDP", "IP/2"]),
        ({"ports": ("TCP/443", "TCP/50000", "TCP/dyn")}, ["TCP/443", "TCP/50000", "UDP/dyn", "IP/2"]),
        ({"ports": ()}, ["TCP/dyn", "TCP/dyn", "UDP/dyn", "IP/2"]),
        ({"role": True}, ["TCP/443 client", "TCP/dyn server", "UDP/5353 client", "IP/2 client"]),
        ({"scope": True}, ["TCP/443 wan", "TCP/dyn lan", "UDP/5353 multicast", "IP/2 wan"]),
        ({"name": True}, ["TCP/443 amazon.com", "TCP/dyn", "UDP/5353", "IP/2"]),
        (
            {"role": True, "scope": True, "answered": True, "name": True},
            [
                "TCP/443 client wan answered amazon.com", "TCP/dyn server lan unanswered",
                "UDP/5353 client multicast unanswered", "IP/2 client wan answered",
            ],
        ),
    ],
)  # fmt: skip
def test_service_names_follow_the_settings(settings: dict[str, object], names: list[str]) -> None:
    key = KeySettings.of(**settings)
    assert with_service(ROWS, key)["service"].to_list() == names
    assert with_service(ROWS.lazy(), key).collect()["service"].to_list() == names


def test_ports_are_learnt_where_a_device_keeps_using_them() -> None:
    daily = [{"time": hours(24 * day), "port": 443} for day in range(4)]
    daily += [{"time": hours(24 * day), "port": 50000} for day in range(3)]
    daily += [{"time": hours(24 * day), "port": 8080} for day in range(2)]
    daily += [{"time": hours(24 * 3 + hour), "port": 9000} for hour in range(5)]
    # three devices with one day each are not one device with three days
    daily += [{"time": hours(24 * day), "device": f"d{day}", "port": 60000} for day in range(3)]
    assert learn_ports(count_table(daily), 3) == ("TCP/443", "TCP/50000")
    assert learn_ports(count_table(daily), 2) == ("TCP/443", "TCP/8080", "TCP/50000")


def test_only_low_ports_are_learnt_from_a_single_day() -> None:
    rows = count_table([{"port": 443}, {"protocol": 17, "port": 53}, {"port": 50123}, {"protocol": 1, "port": 0}])
    assert learn_ports(rows, 3) == ("TCP/443", "UDP/53")


def test_the_part_of_the_day_may_be_part_of_the_service() -> None:
    counts = pl.DataFrame(
        {
            "protocol": [6, 6, 17],
            "port": [443, 443, 53],
            "time": [datetime(2024, 5, 1, hour, tzinfo=UTC) for hour in (5, 6, 23)],
        },
        schema_overrides={"protocol": pl.UInt8, "port": pl.UInt16},
    )
    named = with_service(counts, KeySettings(rhythm_h=6))["service"].to_list()
    assert named == ["TCP/443 from 0 h", "TCP/443 from 6 h", "UDP/53 from 18 h"]
    assert with_service(counts, KeySettings())["service"].to_list() == ["TCP/443", "TCP/443", "UDP/53"]
