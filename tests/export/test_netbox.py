"""The export to NetBox: what it creates, what of a person it never changes, and one line for each failure."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.errors import InputError
from ethogram.export import netbox, netbox_client
from ethogram.export.registry import ExportData, ExportOptions, NetBoxPlace
from ethogram.schema import ExportedDevice
from tests.export.fake_netbox import TOKEN, FakeNetBox, fake_netbox

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CAMERA = ExportedDevice("1", "cam\x1b[2J", ("192.168.1.5", "2001:db8::5", "fe80::5"), ("02:00:00:00:00:0a",), (),
                        "camera", "Acme", "Cam 2", "Acme camera", "model", 0.9, "known")  # fmt: skip
BARE = ExportedDevice("2", "bare")
PLUG = ExportedDevice("3", "plug", ("192.168.1.6",), ("02:00:00:00:00:0b",), (), "plug", "Acme", "", "plug")


@pytest.fixture
def server() -> Iterator[FakeNetBox]:
    with fake_netbox() as running:
        running.add("dcim/sites", name="Home", slug="home")
        yield running


def export(server: FakeNetBox, *devices: ExportedDevice, dry_run: bool = False, **place: Any) -> list[str]:
    where = NetBoxPlace(server.url, **{"token": TOKEN, "timeout_s": 20.0} | place)
    parts = netbox.write(ExportData(devices, NOW), ExportOptions(dry_run=dry_run, netbox=where))
    return [part.text.rstrip("\n") or part.note for part in parts]


def device(server: FakeNetBox, name: str) -> dict[str, Any]:
    return next(row for row in server.rows("dcim/devices") if row["name"] == name)


def test_devices_are_created_staged_and_tagged(server: FakeNetBox) -> None:
    lines = export(server, CAMERA, BARE, PLUG)
    assert lines[0] == "create tag 'ethogram'"
    assert "create device 'cam\\\\x1b[2J' (staged)" in lines
    (tag,) = server.rows("extras/tags")
    names = {"dcim/device-roles": {"camera", "plug or switch", "Unknown"}, "dcim/manufacturers": {"Acme", "Unknown"}}
    for endpoint, expected in names.items():
        assert {row["name"] for row in server.rows(endpoint)} == expected
    assert {row["model"] for row in server.rows("dcim/device-types")} == {"Cam 2", "Unknown"}
    for endpoint, rows in server.objects.items():
        assert all(row["tags"] == [tag["id"]] for row in rows.values()) or endpoint in ("dcim/sites", "extras/tags")
    camera = device(server, "cam\\x1b[2J")
    assert camera["status"] == "staged"
    assert camera["local_context_data"]["ethogram"]["id"] == "1"
    (interface, *_) = [row for row in server.rows("dcim/interfaces") if row["device"] == camera["id"]]
    macs = {row["mac_address"]: row for row in server.rows("dcim/mac-addresses")}
    assert macs["02:00:00:00:00:0A"]["assigned_object_id"] == interface["id"]
    assert interface["primary_mac_address"] == macs["02:00:00:00:00:0A"]["id"]
    addresses = {row["address"]: row for row in server.rows("ipam/ip-addresses")}
    assert set(addresses) == {"192.168.1.5/32", "2001:db8::5/128", "192.168.1.6/32"}
    assert camera["primary_ip4"] == addresses["192.168.1.5/32"]["id"]
    assert camera["primary_ip6"] == addresses["2001:db8::5/128"]["id"]
    assert "device: created" in lines[-1]


def test_a_second_export_changes_nothing(server: FakeNetBox) -> None:
    export(server, CAMERA, BARE, PLUG)
    before, calls = repr(server.objects), len(server.calls)
    assert export(server, CAMERA, BARE, PLUG) == ["nothing to do"]
    assert repr(server.objects) == before
    assert {method for method, _, _ in server.calls[calls:]} == {"GET"}


def test_a_dry_run_writes_nothing_and_lists_the_same(server: FakeNetBox) -> None:
    planned = export(server, CAMERA, BARE, PLUG, dry_run=True)
    assert {method for method, _, _ in server.calls} == {"GET"}
    assert set(server.objects) == {"dcim/sites"}
    done = export(server, CAMERA, BARE, PLUG)
    assert planned[:-1] == done[:-1]
    assert planned[-1] == f"would be: {done[-1]}"


def test_what_was_written_is_updated_and_what_a_person_entered_stays(server: FakeNetBox) -> None:
    export(server, CAMERA, PLUG)
    camera, plug = device(server, "cam\\x1b[2J"), device(server, "plug")
    role = server.add("dcim/device-roles", name="Doorbell", slug="doorbell")
    server.objects["dcim/devices"][camera["id"]] |= {"role": role["id"], "status": "active", "name": "Front door",
                                                     "serial": "X1"}  # fmt: skip
    server.objects["dcim/devices"][plug["id"]] |= {"description": ""}
    changed = replace(CAMERA, statement="Acme Cam 3", model="Cam 3", kind="router")
    lines = export(server, changed, replace(PLUG, name="kitchen plug"))
    after = server.objects["dcim/devices"][camera["id"]]
    values = [after[name] for name in ("role", "status", "name", "serial")]
    assert values == [role["id"], "active", "Front door", "X1"]
    assert after["description"] == "Acme Cam 3"
    assert server.objects["dcim/device-types"][after["device_type"]]["model"] == "Cam 3"
    assert "keep device 'Front door': role was entered by a person" in lines
    assert "keep device 'Front door': name was entered by a person" in lines
    assert device(server, "kitchen plug")["description"] == "plug"
    assert after["local_context_data"]["ethogram"]["wrote"]["description"] == "Acme Cam 3"


def test_without_the_mark_only_empty_fields_are_filled(server: FakeNetBox) -> None:
    export(server, PLUG)
    plug = device(server, "plug")
    server.objects["dcim/devices"][plug["id"]] |= {"local_context_data": {"mine": 1}, "description": ""}
    lines = export(server, replace(PLUG, kind="camera", statement="Acme plug"))
    after = server.objects["dcim/devices"][plug["id"]]
    assert (after["role"], after["description"]) == (plug["role"], "Acme plug")
    assert after["local_context_data"]["mine"] == 1
    assert "keep device 'plug': role was entered by a person" in lines


def test_devices_of_a_person_are_never_touched(server: FakeNetBox) -> None:
    maker = server.add("dcim/manufacturers", name="ACME", slug="acme", description="ours")
    kind = server.add("dcim/device-types", manufacturer=maker["id"], model="cam 2", slug="cam-2")
    role = server.add("dcim/device-roles", name="Camera", slug="cctv")
    site = server.rows("dcim/sites")[0]["id"]
    mine = server.add("dcim/devices", name="PLUG", site=site, role=role["id"], device_type=kind["id"], status="active")
    server.add("dcim/mac-addresses", mac_address="02:00:00:00:00:0A")
    server.add("ipam/ip-addresses", address="192.168.1.5/24", status="active")
    before = repr((maker, kind, role, mine))
    lines = export(server, CAMERA, PLUG)
    assert "skip device 'plug': NetBox has one of this name without the tag ethogram" in lines
    assert repr((maker, kind, role, mine)) == before
    assert [row["name"] for row in server.rows("dcim/device-roles")] == ["Camera", *(
        row["name"] for row in server.rows("dcim/device-roles")[1:])]  # fmt: skip
    camera = device(server, "cam\\x1b[2J")
    assert (camera["role"], camera["device_type"]) == (role["id"], kind["id"])
    assert len(server.rows("dcim/mac-addresses")) == 1
    assert {row["address"] for row in server.rows("ipam/ip-addresses")} == {"192.168.1.5/24", "2001:db8::5/128"}


def test_one_refused_device_does_not_keep_others_out(server: FakeNetBox) -> None:
    lines = export(server, BARE, ExportedDevice("8", "refuse me"), PLUG)
    assert {row["name"] for row in server.rows("dcim/devices")} == {"bare", "plug"}
    assert any(line.startswith("refused device 'refuse me': ") for line in lines)
    assert "1 device: refused" in lines[-1]


def test_names_are_unique_and_fit(server: FakeNetBox) -> None:
    long = "x" * 70
    export(server, *(ExportedDevice(str(i), name) for i, name in enumerate((long, long, "Cam", "cam", "😀", "  "))))
    names = {row["name"] for row in server.rows("dcim/devices")}
    assert names == {"x" * 64, "x" * 60 + " (2)", "Cam", "cam (2)", "😀", "5"}


def test_many_devices_are_read_and_written_in_parts(server: FakeNetBox) -> None:
    server.page = 50
    devices = [ExportedDevice(f"id{i}", f"device {i}", (f"10.0.{i // 200}.{i % 200 + 1}",)) for i in range(450)]
    export(server, *devices)
    assert len(server.rows("dcim/devices")) == len(server.rows("ipam/ip-addresses")) == 450
    assert max(len(body) for method, _, body in server.calls if method == "POST") == netbox_client.AT_ONCE
    assert export(server, *devices) == ["nothing to do"]


@pytest.mark.parametrize(("values", "place", "message"), [
    ({"version": "3.7.8"}, {}, "version 3.7.8 is too old: 4.2 or later is needed"),
    ({"version": "dev"}, {}, "does not say its version"),
    ({}, {"token": "wrong"}, "refuses the token, or what it may do: status 403"),
    ({"failures": [500]}, {}, "status 500"),
    ({"failures": [404]}, {}, "has no /api/status/: is it NetBox?"),
    ({"failures": [200]}, {}, "Maybe not a NetBox server?|not NetBox's"),
    ({"failures": [503] * 9}, {}, "status 503|answers with errors"),
    ({"redirect": "https://elsewhere.example/"}, {}, "redirects to https://elsewhere.example/: give that as --url"),
    ({"delay_s": 1.0}, {"timeout_s": 0.2}, "no answer in time|no connection"),
    ({"next_host": "http://127.0.0.2:1"}, {}, "names another address for the next page"),
])  # fmt: skip
def test_each_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], place: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(netbox_client, "BACK_OFF_S", 0.001)
    with fake_netbox(**values) as server:
        for number in range(5):
            server.add("dcim/sites", name=f"s{number}", slug=f"s{number}")
            server.add("dcim/manufacturers", name=f"m{number}", slug=f"m{number}")
        with pytest.raises(InputError, match=message) as caught:
            export(server, BARE, site="s0", **place)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_reading_is_tried_again_after_a_failure(server: FakeNetBox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netbox_client, "BACK_OFF_S", 0.001)
    server.failures = [502, 503]
    assert "create device 'bare' (staged)" in export(server, BARE)


def test_a_server_that_is_not_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(InputError, match="no connection"):
        place = NetBoxPlace(f"http://127.0.0.1:{port}", TOKEN)
        list(netbox.write(ExportData((BARE,), NOW), ExportOptions(netbox=place)))


def test_sites_are_named_where_there_are_several(server: FakeNetBox) -> None:
    server.add("dcim/sites", name="Office", slug="office")
    with pytest.raises(InputError, match="--site: name the site of new devices; NetBox has home, office"):
        export(server, BARE)
    with pytest.raises(InputError, match="there is no site 'x' in NetBox; there are home, office"):
        export(server, BARE, site="x")
    export(server, BARE, site="Office")
    assert server.objects["dcim/sites"][device(server, "bare")["site"]]["slug"] == "office"


def test_the_command_reads_the_token_from_a_file_or_the_environment(
    server: FakeNetBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, token = tmp_path / "home.pcap", tmp_path / "token"
    at = 1_714_521_600 * 1_000_000_000
    sent = P(at, "192.168.1.5", "198.51.100.7", 40_000, 443, source_mac="02:00:00:00:00:05")
    home.write_bytes(capture([sent, sent.back(at + 1_000_000)]))
    given = ["export", "netbox", str(home), "--url", server.url]
    monkeypatch.delenv("ETHOGRAM_NETBOX_TOKEN", raising=False)
    assert main(given) != 0
    assert "no token of NetBox: give --token-file" in capsys.readouterr().err
    token.write_text("two words\n")
    assert main([*given, "--token-file", str(token)]) != 0
    assert "not a token" in capsys.readouterr().err
    token.write_text(TOKEN + "\n")
    assert main([*given, "--token-file", str(token), "--dry-run"]) == 0
    planned = capsys.readouterr()
    assert "create device '192.168.1.5' (staged)" in planned.out
    assert "would be:" in planned.err
    monkeypatch.setenv("ETHOGRAM_NETBOX_TOKEN", TOKEN)
    assert main(given) == 0
    assert capsys.readouterr().out == planned.out
    assert device(server, "192.168.1.5")["status"] == "staged"
    assert main(["export", "netbox", str(home)]) == 2
    assert "--url: expected the address of NetBox" in capsys.readouterr().err
