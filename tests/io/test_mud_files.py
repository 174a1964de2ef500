"""MUD files: what is written is read back, and what is damaged is one line with its place."""

from __future__ import annotations

import copy
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import InputError
from ethogram.io.mud import mud_document, parse_mud, read_mud
from ethogram.schema import MudProfile, MudRule

PORTS = st.none() | st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)).map(lambda pair: (min(pair), max(pair)))
PLACES = st.sampled_from([
    ("", ""), ("local-networks", ""), ("same-manufacturer", ""), ("my-controller", ""),
    ("manufacturer", "example.com"), ("model", "https://example.com/plug"), ("controller", "urn:ietf:params:mud:dns"),
])  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> MudRule:
    version = draw(st.sampled_from([4, 6]))
    protocol = draw(st.sampled_from([None, 2, 6, 17, 1 if version == 4 else 58]))
    place, value = draw(PLACES)
    network = draw(st.sampled_from(["", "192.0.2.0/24"] if version == 4 else ["", "2001:db8::/32"]))
    icmp = draw(st.none() | st.tuples(st.integers(0, 255), st.none() | st.integers(0, 255)))
    transport = protocol in (6, 17)
    return MudRule(
        outward=draw(st.booleans()), version=version, protocol=protocol, place=place, place_value=value,
        name=draw(st.sampled_from(["", "api.example.com"])), network=network,
        device_ports=draw(PORTS) if transport else None, remote_ports=draw(PORTS) if transport else None,
        initiated=draw(st.sampled_from(["", "from-device", "to-device"])) if protocol == 6 else "",
        icmp=icmp if protocol in (1, 58) else None, action=draw(st.sampled_from(["accept", "drop", "reject"])),
    )  # fmt: skip


def profile(*given: MudRule) -> MudProfile:
    return MudProfile("https://example.com/plug", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), given,
                      system_info="Plug", manufacturer="Example", model="P1")  # fmt: skip


@given(st.lists(rules(), max_size=8))
def test_what_is_written_is_read_back(given_rules: list[MudRule]) -> None:
    made = profile(*given_rules)
    again, accounting = parse_mud(orjson.dumps(mud_document(made)))
    assert accounting.read == accounting.used == len(given_rules)
    groups = [(True, 4), (True, 6), (False, 4), (False, 6)]
    ordered = sorted(given_rules, key=lambda rule: groups.index((rule.outward, rule.version)))
    assert again == profile(*ordered)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_random_octets_raise_a_value_error_or_nothing(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_mud(data)


FULL = orjson.loads(orjson.dumps(mud_document(profile(
    MudRule(True, 4, 6, name="a.example.com", remote_ports=(443, 443), initiated="from-device"),
    MudRule(False, 4, 17, place="controller", place_value="urn:ietf:params:mud:dns", remote_ports=(53, 60)),
    MudRule(True, 6, 58, icmp=(128, 0)),
))))  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [each for key, child in inner for each in places(child, (*path, key))]


@pytest.mark.parametrize("wrong", [None, 7, "x", [], {}, [[]], True, -1], ids=repr)
@pytest.mark.parametrize("path", [path for path in places(FULL) if path], ids=lambda p: "/".join(map(str, p))[-60:])
def test_a_wrong_value_anywhere_is_a_value_error_or_read(path: tuple[Any, ...], wrong: object) -> None:
    damaged = copy.deepcopy(FULL)
    parent = damaged
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = wrong
    try:
        parse_mud(orjson.dumps(damaged))
    except ValueError as error:
        assert "\n" not in str(error)
        assert str(error)


def entry(matches: dict[str, Any]) -> bytes:
    document = copy.deepcopy(FULL)
    document["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"] = [
        {"name": "one", "matches": matches, "actions": {"forwarding": "accept"}}
    ]
    return orjson.dumps(document)


@pytest.mark.parametrize(("matches", "reason"), [
    ({"eth": {"ethertype": "0x888e"}}, "not IP"),
    ({"ipv4": {"protocol": 6, "dscp": 3}}, "matches on dscp"),
    ({"ipv4": {"source-ipv4-network": "192.0.2.1/32"}}, "matches on source-ipv4-network"),
    ({"ingress-interface": "eth0"}, "matches on ingress-interface"),
    ({}, "matches everything"),
])  # fmt: skip
def test_entries_that_are_not_used_are_counted_by_reason(matches: dict[str, Any], reason: str) -> None:
    read, accounting = parse_mud(entry(matches))
    assert len(read.rules) == 2
    assert (accounting.ignored + accounting.dropped) == {reason: 1}


def test_not_equal_is_two_ranges() -> None:
    read, _ = parse_mud(entry({"ipv4": {"protocol": 17}, "udp": {"destination-port": {"operator": "neq", "port": 9}}}))
    assert [rule.remote_ports for rule in read.rules[:2]] == [(0, 8), (10, 65_535)]


@pytest.mark.parametrize(("text", "message"), [
    ("[]", "the file is not an object"),
    ("{", "not JSON"),
    ('{"ietf-mud:mud": {}}', "ietf-access-control-list:acls is missing"),
    ('{"ietf-mud:mud": {}, "ietf-access-control-list:acls": {"acl": []}}', "ietf-mud:mud/last-update is missing"),
    ('{"ietf-mud:mud": {}, "ietf-access-control-list:acls": {"acl": [{"name": 3}]}}', "acl[0]/name is not a text"),
])  # fmt: skip
def test_a_file_that_is_no_mud_file_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plug.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_mud(path)
    assert str(caught.value).startswith(f"{path}: no MUD file: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_mud(tmp_path / "none.json")


@pytest.mark.corpus
@pytest.mark.skipif("ETHOGRAM_CORPUS" not in os.environ, reason="needs the corpus")
def test_published_profiles_are_read_and_come_back() -> None:
    files = sorted(Path(os.environ["ETHOGRAM_CORPUS"], "unsw_mud_2018").glob("*.json"))
    assert len(files) == 28
    read = used = ignored = 0
    for file in files:
        made, accounting = read_mud(file)
        again, _ = parse_mud(orjson.dumps(mud_document(made)))
        assert sorted(map(repr, again.rules)) == sorted(map(repr, made.rules))
        read, used = read + accounting.read, used + accounting.used
        ignored += accounting.ignored["not IP"]
        assert not accounting.dropped
    assert read == used + ignored
    assert (used, ignored) == (974, 51)
