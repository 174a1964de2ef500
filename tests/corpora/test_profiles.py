"""A MUD profile as counts: services, names and groups without volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from ethogram.config import CountSettings
from ethogram.corpora.profiles import mud_profiles
from ethogram.errors import InputError


def port(side: str, number: int) -> dict[str, Any]:
    """A match of one port."""
    return {f"{side}-port": {"operator": "eq", "port": number}}


def profile(folder: Path, outward: list[dict[str, Any]], inward: list[dict[str, Any]]) -> Path:
    """A MUD file with these matches from and to the device."""
    lists = [
        {"name": name, "aces": {"ace": [{"matches": item} for item in entries]}}
        for name, entries in (("from-ipv4-kettle", outward), ("to-ipv4-kettle", inward))
    ]
    file = folder / "kettle.json"
    file.write_bytes(orjson.dumps({"ietf-access-control-list:access-lists": {"acl": lists}}))
    return file


def cloud(way: str, host: str) -> dict[str, Any]:
    """TCP 443 of a host: as destination from the device, as source to it."""
    side = {"dst": "destination", "src": "source"}[way]
    return {"ipv4": {"protocol": 6, f"ietf-acldns:{way}-dnsname": host}, "tcp": port(side, 443)}


def test_entries_are_counts_with_one_packet_on_the_way_they_allow(tmp_path: Path) -> None:
    local = {"ietf-mud:mud": {"local-networks": [None]}}
    search = {"protocol": 17, "destination-ipv4-network": "239.255.255.250/32"}
    resolver = {"ietf-mud:mud": {"controller": "urn:ietf:params:mud:dns"}}
    outward = [
        cloud("dst", "api.kettle.example.com"),
        cloud("dst", "img.kettle.example.com"),
        {**local, "ipv4": search, "udp": port("destination", 1900)},
        {**resolver, "ipv4": {"protocol": 17}, "udp": port("destination", 53)},
        {**local, "eth": {"ethertype": "0x888e"}},
    ]
    control = {**local, "ipv4": {"protocol": 6}, "tcp": port("destination", 9999)}
    file = profile(tmp_path, outward, [cloud("src", "api.kettle.example.com"), control])
    counts, accounting = mud_profiles([file], "kettle", CountSettings())
    shown = ("protocol", "port", "role", "scope", "name", "flows", "packets_out", "packets_in")
    assert set(counts.select(shown).iter_rows()) == {
        (6, 443, "client", "wan", "example.com", 3, 1, 1),
        (17, 1900, "client", "multicast", "239.255.255.250", 1, 1, 0),
        (17, 53, "client", "wan", None, 1, 1, 0),
        (6, 9999, "server", "lan", None, 1, 0, 1),
    }
    assert counts.select("octets_out", "octets_in", "duration_ms").sum().row(0) == (0, 0, 0)
    assert counts["device"].unique().to_list() == ["kettle"]
    assert counts["time"].n_unique() == 1
    assert (accounting.read, accounting.used, dict(accounting.ignored)) == (7, 6, {"not IP": 1})


def test_a_file_that_is_no_profile_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("{}")
    with pytest.raises(InputError, match="no MUD file"):
        mud_profiles([file], "kettle", CountSettings())
