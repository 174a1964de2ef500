"""MUD files that are exported are valid by the YANG modules of the RFCs, and the validator refuses what is not."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
import yangson.exceptions

from ethogram.export.mud import write
from ethogram.export.registry import ExportData, ExportOptions
from ethogram.io.mud import mud_document, parse_mud
from ethogram.schema import MUD_USE, ExportedDevice, MudProfile, MudRule
from tests.export.yang import validate

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = (
    MudRule(True, 4, 6, name="api.example.com", remote_ports=(443, 443), initiated="from-device"),
    MudRule(True, 4, 17, place="controller", place_value="urn:ietf:params:mud:dns", remote_ports=(53, 53)),
    MudRule(True, 6, 58, icmp=(128, 0), network="ff02::1/128"),
    MudRule(True, 4, 2, network="224.0.0.22/32"),
    MudRule(False, 4, 6, place="local-networks", device_ports=(49_152, 65_535), initiated="to-device"),
    MudRule(False, 4, None, place="manufacturer", place_value="example.com"),
    MudRule(False, 6, 17, place="same-manufacturer"),
)  # fmt: skip


def test_all_kinds_of_rules_are_valid() -> None:
    profile = MudProfile("https://example.com/plug.json", NOW, RULES, system_info="Plug", manufacturer="Ex", model="P")
    for each in (profile, MudProfile("https://example.com/nothing", NOW, ())):
        document = mud_document(each)
        validate(document)
        assert document["ietf-mud:mud"]["mud-url"] == each.url


@pytest.mark.parametrize(("path", "value"), [
    (("ietf-mud:mud", "cache-validity"), 400),
    (("ietf-mud:mud", "last-update"), "yesterday"),
    (("ietf-mud:mud", "from-device-policy", "access-lists", "access-list", 0, "name"), "other"),
    (("ietf-access-control-list:acls", "acl", 0, "aces", "ace", 0, "actions", "forwarding"), "allow"),
    (("ietf-access-control-list:acls", "acl", 0, "aces", "ace", 0, "matches", "ipv4", "protocol"), 300),
])  # fmt: skip
def test_the_validator_refuses_what_the_modules_do_not_allow(path: tuple[Any, ...], value: object) -> None:
    damaged = copy.deepcopy(mud_document(MudProfile("https://example.com/plug", NOW, RULES)))
    parent: Any = damaged
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(yangson.exceptions.YangsonException):
        validate(damaged)


def test_each_device_has_a_file_of_its_own_and_foreign_names_are_safe() -> None:
    use = {"version": 4, "protocol": 6, "port": 443, "role": "client", "scope": "wan", "name": "a.example.com",
           "address": None, "initiator": "device", "answered": True, "flows": 1, "packets_out": 1,
           "packets_in": 1}  # fmt: skip
    uses = pl.DataFrame([{"device": device, **use} for device in "ab"], schema=MUD_USE.schema)
    devices = (ExportedDevice("a", "../Cam\x1b[2J", vendor="Évil\u202e"), ExportedDevice("b", "cam-2j", kind="camera"),
               ExportedDevice("c", "idle"))  # fmt: skip
    parts = list(write(ExportData(devices, NOW, uses=uses), ExportOptions("https://mud.example/")))
    assert [part.name for part in parts] == ["cam-2j.json", "cam-2j-2.json"]
    for part in parts:
        validate(json.loads(part.text))
        profile, accounting = parse_mud(part.text.encode())
        assert profile.url == f"https://mud.example/{part.name}"
        assert accounting.used == len(profile.rules) == 2
