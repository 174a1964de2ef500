"""Names of devices by files of the user: what a file does not name stays a device, and nothing is merged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram.flow.devices import LocalDevices
from ethogram.flow.devices_file import DeviceFile
from ethogram.flow.local import INSIDE, OUTSIDE
from ethogram.flow.named_devices import NamedDevices, named_facts
from ethogram.schema import IDENTITY, NAMED_DEVICE

T0 = datetime(2024, 5, 1, tzinfo=UTC)
CAM, LAMP, TV = "aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02", "aa:bb:cc:00:00:03"


def entries(*rows: dict[str, object]) -> pl.DataFrame:
    nothing = dict.fromkeys(NAMED_DEVICE.names)
    filled = [nothing | {"source": "leases", "line": i} | row for i, row in enumerate(rows, 1)]
    return pl.DataFrame(filled, schema=NAMED_DEVICE.schema, orient="row")


def ends(*rows: tuple[str, str | None], place: int = INSIDE, hour: int = 0) -> pl.DataFrame:
    schema = {"address": pl.String, "mac": pl.String}
    return pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(
        start=pl.lit(T0 + timedelta(hours=hour)), place=pl.lit(place, pl.UInt8)
    )


def named(namer: NamedDevices, *rows: tuple[str, str | None], place: int = INSIDE, hour: int = 0) -> list[str | None]:
    table = ends(*rows, place=place, hour=hour)
    namer.learn(table)
    return namer.devices(table).to_list()


def device_file(path: Path, text: str) -> DeviceFile:
    path.write_text(text)
    return DeviceFile.load(path)


def test_names_are_added_and_all_other_addresses_stay_devices() -> None:
    namer = NamedDevices(LocalDevices(), entries=entries({"mac": CAM, "address": "10.0.0.5", "host_name": "cam"}))
    assert named(namer, ("10.0.0.5", CAM), ("10.0.0.6", None), ("10.0.0.7", LAMP)) == ["cam", "10.0.0.6", LAMP]
    assert named(namer, ("8.8.8.8", None), place=OUTSIDE) == [None]


def test_a_lease_gives_a_mac_where_flows_have_none() -> None:
    namer = NamedDevices(LocalDevices(), entries=entries({"mac": CAM, "address": "10.0.0.5"}))
    assert named(namer, ("10.0.0.5", None), ("10.0.0.6", None)) == [CAM, "10.0.0.6"]
    by_address = NamedDevices(LocalDevices("address"), entries=entries(
        {"mac": CAM, "address": "10.0.0.5", "host_name": "cam"}, {"mac": LAMP, "address": "10.0.0.6"}), by_mac=False)
    assert named(by_address, ("10.0.0.5", None), ("10.0.0.6", None)) == ["cam", "10.0.0.6"]


def test_an_address_that_changed_hands_belongs_to_one_device_after_the_other() -> None:
    namer = NamedDevices(LocalDevices(), entries=entries(
        {"mac": CAM, "address": "10.0.0.5", "host_name": "cam", "begin": T0},
        {"mac": LAMP, "address": "10.0.0.5", "host_name": "lamp", "begin": T0 + timedelta(hours=5)},
    ))  # fmt: skip
    assert namer.by_time
    assert [named(namer, ("10.0.0.5", None), hour=hour)[0] for hour in (-1, 1, 5, 6)] == ["cam", "cam", "lamp", "lamp"]


def test_a_name_by_one_address_holds_for_all_addresses_of_the_device() -> None:
    namer = NamedDevices(LocalDevices(), entries=entries({"address": "10.0.0.5", "host_name": "cam"}))
    assert named(namer, ("10.0.0.5", CAM), ("fe80::5", CAM)) == ["cam", "cam"]
    two = NamedDevices(LocalDevices(), entries=entries(
        {"address": "10.0.0.5", "host_name": "cam"}, {"address": "fd00::5", "host_name": "door"}))
    assert named(two, ("10.0.0.5", CAM), ("fd00::5", CAM), ("fe80::5", CAM)) == ["cam", "door", CAM]


def test_devices_with_the_same_host_name_are_not_merged(tmp_path: Path) -> None:
    table = entries({"mac": CAM, "host_name": "ESP"}, {"mac": LAMP, "host_name": "ESP"})
    assert named(NamedDevices(LocalDevices(), entries=table), ("10.0.0.5", CAM), ("10.0.0.6", LAMP)) == [
        f"ESP ({CAM})", f"ESP ({LAMP})",
    ]  # fmt: skip
    file = device_file(tmp_path / "devices.csv", f"device,mac\nporch,{TV}\n")
    table = entries({"mac": CAM, "host_name": "porch"}, {"mac": TV, "host_name": "porch"})
    namer = NamedDevices(LocalDevices(), file, table)
    assert named(namer, ("10.0.0.5", CAM), ("10.0.0.6", TV)) == [f"porch ({CAM})", "porch"]


def test_the_device_file_goes_first_and_two_names_are_reported(tmp_path: Path) -> None:
    file = device_file(tmp_path / "devices.csv", f"device,mac\nporch,{CAM}\n")
    namer = NamedDevices(LocalDevices(), file, entries(
        {"mac": CAM, "host_name": "cam"}, {"mac": LAMP, "name": "Lamp"}, {"mac": LAMP, "name": "Light"},
        {"mac": LAMP, "host_name": "esp"},
    ))  # fmt: skip
    assert named(namer, ("10.0.0.5", CAM), ("10.0.0.6", LAMP)) == ["porch", "Lamp"]
    assert namer.conflicts == [
        f"leases:3: {LAMP} is 'Lamp' (leases:2) and 'Light'; the first is used"
    ]


def test_a_device_file_with_addresses_names_the_whole_device(tmp_path: Path) -> None:
    file = device_file(tmp_path / "devices.csv", "device,ip\nporch,10.0.0.5\n")
    namer = NamedDevices(LocalDevices(), file)
    assert named(namer, ("10.0.0.5", CAM), ("fe80::5", CAM), ("10.0.0.6", LAMP)) == ["porch", "porch", LAMP]


def test_of_two_names_for_one_device_the_first_is_a_fact() -> None:
    facts = named_facts(entries({"address": "10.0.0.5", "name": "porch"}, {"address": "10.0.0.5", "name": "hall"}))
    assert facts.filter(pl.col("fact") == "name")["value"].to_list() == ["porch"]


def test_entries_are_identity_facts() -> None:
    facts = named_facts(entries({"mac": CAM, "address": "10.0.0.5", "name": "Hall", "vendor": "Acme", "begin": T0}))
    assert IDENTITY.matches(facts.schema)
    assert set(facts.select(pl.col("fact").cast(pl.String), "value").rows()) == {
        ("mac", CAM), ("address", "10.0.0.5"), ("name", "Hall"), ("vendor", "Acme"),
    }  # fmt: skip
