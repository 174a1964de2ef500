"""A capture of simulated biflows gives the flows of the biflows."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import ethogram
from ethogram.simulate import DEMO_HOME, SimulatedHome
from ethogram.simulate.capture import write_capture


def test_a_capture_has_the_flows_of_the_biflows(tmp_path: Path) -> None:
    home = SimulatedHome(DEMO_HOME[2:3], days=1)
    biflows = pl.concat(home.batches())
    written = write_capture([biflows], tmp_path / "plug.pcap", packets=1_000, seed=3)
    flows = ethogram.read_flows(tmp_path / "plug.pcap", idle_timeout="1d", active_timeout="1d").to_frame()
    device = flows.filter(pl.col("device") == home.mac_of(home.devices[0]))
    assert device.height == biflows.height
    assert int((device["packets_out"] + device["packets_in"]).sum()) == written
    count = ["protocol", "service_port"]
    expected = biflows.group_by("protocol", pl.col("destination_port").alias("service_port")).len().sort(count)
    assert device.group_by(count).len().sort(count).rows() == expected.rows()


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    home = SimulatedHome(DEMO_HOME[3:4], days=1)
    for name in ("one.pcap", "two.pcap"):
        write_capture(home.batches(), tmp_path / name)
    assert (tmp_path / "one.pcap").read_bytes() == (tmp_path / "two.pcap").read_bytes()
