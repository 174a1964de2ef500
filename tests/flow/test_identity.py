"""Identity facts: MACs and addresses of devices, and facts of inputs given to the device they belong to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from ethogram.flow.devices import LocalDevices
from ethogram.flow.identity import IdentityFacts, facts_of_flows
from ethogram.flow.local import LocalNetwork
from ethogram.flow.orient import Orientation
from ethogram.schema import BIFLOW, IDENTITY

T0 = datetime(2024, 5, 1, tzinfo=UTC)
LOCAL = LocalNetwork(["10.0.0.0/8", "fe80::/10"])
CAMERA, ROUTER = "aa:bb:cc:00:00:01", "02:00:00:00:00:fe"


def biflow(source: str, destination: str, mac: str | None, at: int = 0, other: str | None = ROUTER) -> dict[str, Any]:
    start = T0 + timedelta(seconds=at)
    row: dict[str, Any] = dict.fromkeys(BIFLOW.names)
    return row | {"start": start, "end": start + timedelta(seconds=5), "protocol": 17, "source_address": source,
                  "destination_address": destination, "source_port": 50000, "destination_port": 53, "octets": 1,
                  "packets": 1, "reverse_octets": 1, "reverse_packets": 1, "source_mac": mac,
                  "destination_mac": other}  # fmt: skip


def orientation(*rows: dict[str, Any]) -> Orientation:
    stage = Orientation(LOCAL, LocalDevices(), identity=IdentityFacts())
    block = pl.DataFrame(list(rows), schema=BIFLOW.schema, orient="row")
    stage.rows(block.with_columns(joined=pl.lit(1, dtype=pl.UInt32)))
    return stage


def fact(value: str, *, mac: str | None = None, address: str | None = None, kind: str = "host_name") -> pl.DataFrame:
    return IDENTITY.conform(pl.DataFrame({
        "mac": [mac], "address": [address], "fact": [kind], "value": [value], "source": ["DHCP"], "first": [T0],
        "last": [T0], "times": [1],
    }, schema_overrides={"mac": pl.String, "address": pl.String}))  # fmt: skip


def facts_of(table: pl.DataFrame) -> list[tuple[str, ...]]:
    return table.select("device", pl.col("fact").cast(pl.String), "value", "source").rows()


def test_a_device_has_its_mac_and_all_its_addresses() -> None:
    stage = orientation(
        biflow("10.0.0.5", "8.8.8.8", CAMERA), biflow("fe80::5", "fe80::9", CAMERA, 10, other=None),
        biflow("10.0.0.5", "1.1.1.1", CAMERA, 20),
    )  # fmt: skip
    table = stage.identity_table()
    assert table.columns == IDENTITY.names and IDENTITY.matches(table.schema)
    assert facts_of(table.filter(device=CAMERA)) == [
        (CAMERA, "mac", CAMERA, "flows"), (CAMERA, "address", "10.0.0.5", "flows"),
        (CAMERA, "address", "fe80::5", "flows"),
    ]  # fmt: skip
    mac = table.row(by_predicate=(pl.col("value") == CAMERA), named=True)
    assert (mac["first"], mac["last"], mac["times"]) == (T0, T0 + timedelta(seconds=25), 3)
    assert facts_of(table.filter(device="fe80::9")) == [("fe80::9", "address", "fe80::9", "flows")]


def test_the_mac_of_a_router_is_no_fact_of_the_devices_behind_it() -> None:
    rows = [biflow(f"10.0.0.{i}", "8.8.8.8", ROUTER, i, other=None) for i in range(2, 8)]
    table = orientation(*rows).identity_table()
    assert table["fact"].cast(pl.String).unique().to_list() == ["address"]
    assert sorted(table["device"]) == [f"10.0.0.{i}" for i in range(2, 8)]


def test_facts_of_inputs_go_to_the_device_of_their_mac_or_address() -> None:
    stage = orientation(biflow("10.0.0.5", "8.8.8.8", CAMERA))
    assert stage.identity is not None
    stage.identity.learn(fact("cam", mac=CAMERA, address="0.0.0.0"))
    stage.identity.learn(fact("cam", mac=CAMERA))
    stage.identity.learn(fact("camera.local", address="10.0.0.5", kind="mdns_name"))
    stage.identity.learn(fact("printer", mac="aa:bb:cc:00:00:99"))
    table = stage.identity_table()
    own = table.filter(pl.col("source") == "DHCP")
    assert own.select("device", "value", "times").rows() == [(CAMERA, "cam", 2), (CAMERA, "camera.local", 1)]
    assert stage.identity.counts["identity facts of devices without flows"] == 1


def test_values_and_facts_are_bounded() -> None:
    stage = orientation(biflow("10.0.0.5", "8.8.8.8", CAMERA))
    assert stage.identity is not None
    stage.identity.learn(pl.concat(fact(f"{i:04}" + "x" * 999, mac=CAMERA) for i in range(100)))
    table = stage.identity_table().filter(pl.col("source") == "DHCP")
    assert table.height == 64 and table["value"].str.len_chars().max() == 255
    few = IdentityFacts(most=10)
    few.learn(pl.concat(fact(str(i), mac=CAMERA) for i in range(100)))
    assert few.counts["identity facts beyond the bound"] == 90


def test_nothing_is_collected_when_it_is_switched_off() -> None:
    assert Orientation(LOCAL, LocalDevices()).identity_table().height == 0


def test_columns_of_a_flow_table_hold_macs_and_addresses() -> None:
    devices = [CAMERA, CAMERA, CAMERA, "den", "10.0.0.9", "01:00:5e:00:00:fb"]
    addresses = ["10.0.0.5", "fe80::5", "0.0.0.0", "10.0.0.7", "10.0.0.9", "10.0.0.8"]
    flows = pl.DataFrame({
        "device": devices, "device_address": addresses,
        "start": [T0 + timedelta(seconds=i) for i in range(6)], "end": [T0 + timedelta(seconds=9)] * 6,
    })  # fmt: skip
    facts = facts_of_flows(flows.lazy())
    assert facts.filter(fact="mac").select("device", "value", "first", "last", "times").rows() == [
        (CAMERA, CAMERA, T0, T0 + timedelta(seconds=9), 3)
    ]
    assert sorted(facts.filter(fact="address").select("device", "value").rows()) == [
        ("01:00:5e:00:00:fb", "10.0.0.8"), ("10.0.0.9", "10.0.0.9"), (CAMERA, "10.0.0.5"), (CAMERA, "fe80::5"),
        ("den", "10.0.0.7"),
    ]  # fmt: skip
    assert facts.schema == IDENTITY.schema
    assert facts_of_flows(pl.LazyFrame(schema=flows.schema)).height == 0
    assert set(facts_of_flows(flows.lazy(), most=2)["device"]) <= set(devices)
