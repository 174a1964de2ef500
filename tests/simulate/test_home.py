"""The simulated home: reproducible, limited to its script, and marked as simulated."""

from __future__ import annotations

import ipaddress

import polars as pl

from ethogram.schema import BIFLOW
from ethogram.simulate import DEMO_HOME, SimulatedHome


def records(**options: object) -> pl.DataFrame:
    return pl.concat(SimulatedHome(**options).batches())  # type: ignore[arg-type]


def test_same_seed_gives_the_same_records_and_another_seed_others() -> None:
    assert records(days=2, seed=3).equals(records(days=2, seed=3))
    assert not records(days=2, seed=3).equals(records(days=2, seed=4))


def test_adding_a_device_does_not_change_other_records() -> None:
    few = records(days=1, devices=DEMO_HOME[:3])
    more = records(days=1, devices=DEMO_HOME[:4])
    of_the_few = more.filter(
        (pl.col("source_address") != "192.168.77.13") & (pl.col("destination_address") != "192.168.77.13")
    )
    assert of_the_few.height == few.height
    assert of_the_few.sort(pl.all()).equals(few.sort(pl.all()))


def test_records_have_the_biflow_form_and_lie_in_their_day() -> None:
    home = SimulatedHome(days=3)
    for day, frame in enumerate(home.batches()):
        assert BIFLOW.matches(frame.schema)
        midnight = home.start.timestamp() + 86_400 * day
        starts = frame["start"].dt.epoch("s")
        assert starts.min() >= midnight  # type: ignore[operator]
        assert starts.max() < midnight + 86_400  # type: ignore[operator]
        assert frame["end"].is_sorted()
    home.accounting.check()


def test_every_address_is_from_a_range_that_no_real_host_has() -> None:
    frame = records(days=1)
    allowed = [
        ipaddress.ip_network(n)
        for n in ("192.168.77.0/24", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4")
    ]
    for address in frame["source_address"].append(frame["destination_address"]).unique():
        assert any(ipaddress.ip_address(address) in network for network in allowed), address
    macs = pl.concat([frame["source_mac"], frame["destination_mac"]]).drop_nulls().unique()
    assert all(int(mac[:2], 16) & 0x02 for mac in macs)  # the locally administered bit


def test_the_changing_device_changes_on_its_day() -> None:
    frame = records(days=8).filter(pl.col("source_address") == "192.168.77.22")
    telnet = frame.filter(pl.col("destination_port") == 23)
    assert telnet["start"].dt.date().unique().sort().to_list() == sorted(
        {d for d in frame["start"].dt.date().unique().to_list() if d.day >= 11}
    )
    assert telnet["reverse_packets"].sum() == 0


def test_octets_and_packets_are_both_there_or_both_not() -> None:
    frame = records(days=2)
    assert frame.filter((pl.col("octets") > 0) != (pl.col("packets") > 0)).is_empty()
    assert frame.filter((pl.col("reverse_octets") > 0) != (pl.col("reverse_packets") > 0)).is_empty()
