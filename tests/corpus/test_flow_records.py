"""Flow records of real networks, counted exactly."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ethogram.pipeline.flows import FlowRun, collect, read_flows

pytestmark = pytest.mark.corpus
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def records(run: FlowRun) -> tuple[int, int]:
    return sum(r.accounting.read for r in run.reports), sum(r.accounting.used for r in run.reports)


def test_ctu_zeek_connections(corpus: Path) -> None:
    run = read_flows([corpus / "ctu_iot23_benign"])
    flows = collect(run)
    assert records(run) == (1956, 1956)
    assert [name for name, _ in run.skipped] == [
        str(corpus / "ctu_iot23_benign" / n) for n in ("readme.md", "repo_license.txt")
    ]
    hub = flows.filter(pl.col("device") == "192.168.1.132")
    assert hub.height == 452
    # The Philips hub asks the time, resolves names, announces itself, and talks to its cloud.
    assert {53, 80, 123, 443, 1900} <= set(hub["service_port"])


def test_cesnet_joy_flows(corpus: Path) -> None:
    run = read_flows([corpus / "cesnet_nemea_siot"])
    flows = collect(run)
    assert records(run) == (3261, 3261)
    camera = flows.filter(pl.col("device") == "192.168.5.20")
    assert camera.height >= 1000
    # Joy stores answers of the resolver as flows of their own: the service side is found all the same.
    dns = flows.filter(((pl.col("local_port") == 53) | (pl.col("remote_port") == 53)) & (pl.col("protocol") == 17))
    assert set(dns["service_port"]) == {53}


def test_unsw_through_the_example_mapping(corpus: Path) -> None:
    folder = corpus / "unsw_2016_kics_flows" / "Dataset"
    run = read_flows([f"{folder}/*.csv"], mapping=EXAMPLES / "unsw_flows.toml")
    flows = collect(run)
    assert records(run) == (13913, 13913)
    echo = flows.filter(pl.col("device") == "44:65:0d:56:cc:d3")
    assert echo.height >= 2300
    assert {53, 123, 443} <= set(echo["service_port"])
    device_rows = flows.filter(pl.col("initiator") == "device")
    assert device_rows["octets_out"].sum() + device_rows["octets_in"].sum() > 0
