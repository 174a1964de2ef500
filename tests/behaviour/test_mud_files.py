"""Reading MUD files, and matching flows with them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from behaviour.traffic_made import START, flow, table
from ethogram.behaviour.mud_file import is_mud_file, read_mud
from ethogram.behaviour.mud_match import match_mud
from ethogram.errors import InputError

CORPUS = Path(os.environ.get("ETHOGRAM_CORPUS", "nowhere"))


def ace(name: str, direction: str, **matches: Any) -> dict[str, Any]:
    return {"name": name, "matches": matches, "actions": {"forwarding": "accept"}}


FROM = [
    ace("cloud-out", "from", ipv4={"protocol": 6, "ietf-acldns:dst-dnsname": "api.example.com"},
        tcp={"ietf-mud:direction-initiated": "from-device", "destination-port": {"operator": "eq", "port": 443}}),
    ace("dns-out", "from", ipv4={"protocol": 17}, udp={"destination-port": {"operator": "eq", "port": 53}},
        **{"ietf-mud:mud": {"controller": "urn:ietf:params:mud:dns"}}),
    ace("ssdp", "from", ipv4={"protocol": 17, "destination-ipv4-network": "239.255.255.250/32"},
        udp={"destination-port": {"operator": "eq", "port": 1900}}),
    ace("arp", "from", eth={"ethertype": "0x0806"}),
    ace("ping", "from", ipv4={"protocol": 1}, icmp={"type": 8, "code": 0}),
]  # fmt: skip
TO = [
    ace("cloud-in", "to", ipv4={"protocol": 6, "ietf-acldns:src-dnsname": "api.example.com"},
        tcp={"ietf-mud:direction-initiated": "from-device", "source-port": {"operator": "eq", "port": 443}}),
    ace("dns-in", "to", ipv4={"protocol": 17}, udp={"source-port": {"operator": "eq", "port": 53}},
        **{"ietf-mud:mud": {"controller": "urn:ietf:params:mud:dns"}}),
]  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "ietf-mud:mud": {
        "mud-version": 1, "mud-url": "https://example.com/plug.json", "last-update": "2026-01-01T00:00:00Z",
        "is-supported": True, "systeminfo": "A plug",
        "from-device-policy": {"access-lists": {"access-list": [{"name": "out"}]}},
        "to-device-policy": {"access-lists": {"access-list": [{"name": "in"}]}},
    },
    "ietf-access-control-list:acls": {
        "acl": [{"name": "out", "type": "ipv4-acl-type", "aces": {"ace": FROM}},
                {"name": "in", "type": "ipv4-acl-type", "aces": {"ace": TO}}]
    },
}  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(document: Any) -> Path:
        path = tmp_path / "plug.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def test_a_file_becomes_rules_of_both_directions(written: Callable[[Any], Path]) -> None:
    path = written(DOCUMENT)
    profile = read_mud(path)
    assert is_mud_file(path)
    assert [(rule.name, rule.direction) for rule in profile.rules] == [
        ("cloud-out", "from"), ("dns-out", "from"), ("ssdp", "from"), ("ping", "from"), ("cloud-in", "to"),
        ("dns-in", "to"),
    ]  # fmt: skip
    cloud, dns, ssdp, *_ = profile.rules
    assert (cloud.protocol, cloud.remote, cloud.remote_ports, cloud.initiated) == (
        6, "api.example.com", ((443, 443),), "device",
    )  # fmt: skip
    assert (dns.peer, dns.scope) == ("controller urn:ietf:params:mud:dns", "lan")
    assert (ssdp.networks, ssdp.scope) == (("239.255.255.250/32",), None)
    assert profile.source == "MUD file plug.json (A plug)"
    assert profile.notices == (
        "1 entry of other layers than IP: left out",
        "types of ICMP (1 entry): not seen in flow records, not checked",
    )


def change(document: Any, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for name in parents:
        document = document[int(name) if name.isdigit() else name]
    document[int(last) if last.isdigit() else last] = value


ACES = "ietf-access-control-list:acls/acl/0/aces/ace"
WRONG = [
    ("ietf-mud:mud/mud-version", 2, "ietf-mud:mud/mud-version: '2' is not 1, the only version"),
    ("ietf-mud:mud/colour", "red", "ietf-mud:mud: unknown member 'colour'"),
    ("ietf-mud:mud/from-device-policy/access-lists/access-list/0/name", "away",
     "ietf-mud:mud/from-device-policy/access-lists[0]: no access list 'away'"),
    ("ietf-access-control-list:acls/acl/1/name", "out", "a second access list 'out'"),
    ("ietf-access-control-list:acls/acl", {}, "ietf-access-control-list:acls/acl: expected an array, found an object"),
    (f"{ACES}/0/name", "", "/ace[0]/name: expected text, found text"),
    (f"{ACES}/0/actions", {"forwarding": "log"}, "'log' is not accept, drop or reject"),
    (f"{ACES}/0/matches/sctp", {}, "ace 'cloud-out'/matches: unknown member 'sctp'"),
    (f"{ACES}/0/matches/ipv4/protocol", 300, "matches/ipv4/'protocol': '300' is no number from 0 to 255"),
    (f"{ACES}/0/matches/ipv4/protocol", True, "matches/ipv4/'protocol': 'true' is no number from 0 to 255"),
    (f"{ACES}/0/matches/ipv4/protocol", 17, "matches/tcp: the protocol of the IP header is 17"),
    (f"{ACES}/0/matches/ipv4/ietf-acldns:dst-dnsname", "a..b", "'a..b' is no name of a host"),
    (f"{ACES}/0/matches/ipv4/ietf-acldns:src-dnsname", "a.b", "a name of the device itself in a policy from"),
    (f"{ACES}/2/matches/ipv4/destination-ipv4-network", "ff02::/16", "'ff02::/16' is no prefix of IPv4"),
    (f"{ACES}/2/matches/ipv4/destination-ipv4-network", "10.0.0.0/64", "'10.0.0.0/64' is no prefix"),
    (f"{ACES}/0/matches/tcp/destination-port/operator", "like", "'like' is not eq, lte, gte or neq"),
    (f"{ACES}/0/matches/tcp/destination-port", {"lower-port": 9, "upper-port": 1}, "the range 9 to 1 is empty"),
    (f"{ACES}/0/matches/tcp/destination-port/port", 70_000, "'70000' is no number from 0 to 65535"),
    (f"{ACES}/0/matches/tcp/ietf-mud:direction-initiated", "up", "'up' is not from-device or to-device"),
    (f"{ACES}/1/matches/ietf-mud:mud/local-networks", [1], "expected [null], found '[1]'"),
    (f"{ACES}/1/matches/ietf-mud:mud/owner", "x", "unknown member"),
    (f"{ACES}/1/matches/udp/payload", "x", "matches/udp/'payload': unknown member"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_what_is_not_understood_is_an_error_with_its_place(
    written: Callable[[Any], Path], path: str, value: Any, message: str
) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document, path, value)
    file = written(document)
    with pytest.raises(InputError) as caught:
        read_mud(file)
    text = str(caught.value)
    assert text.startswith(str(file))
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON: Expecting value"), ("{", "plug.json:1: not JSON"), ("[]", "not a MUD file"),
        ('{"ietf-mud:mud": 1, "ietf-mud:mud": 2}', "the member 'ietf-mud:mud' is there 2 times in one object"),
        ('{"ietf-mud:mud": []}', "ietf-mud:mud: expected an object, found an array"),
        ('{"ietf-mud:mud": {"mud-version": 1}}', "expected one 'ietf-access-control-list:acls', found 0"),
        ("[" * 100_000, "not JSON"),
    ],
)  # fmt: skip
def test_other_files_are_refused(written: Callable[[Any], Path], content: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[").replace("(", r"\(")):
        read_mud(written(content))


def test_flows_are_matched_direction_by_direction(written: Callable[[Any], Path]) -> None:
    profile = read_mud(written(DOCUMENT))
    flows = table([
        flow(START),
        flow(START + timedelta(minutes=10), remote_name=None, remote_domain=None),
        flow(START + timedelta(minutes=20), protocol=17, scope="lan", remote="192.168.1.1", remote_port=53,
             service_port=53, packets_out=1, packets_in=1),
        flow(START + timedelta(minutes=30), protocol=17, scope="multicast", remote="239.255.255.250",
             remote_port=1900, service_port=1900, packets_out=2, packets_in=0),
        flow(START + timedelta(minutes=40), initiator="remote", role="server", local_port=23, remote_port=50_000,
             service_port=23),
        flow(START + timedelta(minutes=50), protocol=1, remote="198.51.100.200", remote_port=0, service_port=0),
    ])  # fmt: skip
    found = match_mud(flows, profile, 300).sort("time", "direction")
    assert found.select("inside", "rule", "direction").rows() == [
        (True, "cloud-out", "from"), (True, "cloud-in", "to"),
        (False, "TCP client wan", "from"), (False, "TCP client wan", "to"),
        (True, "dns-out", "from"), (True, "dns-in", "to"),
        (True, "ssdp", "from"),
        (False, "TCP server wan", "from"), (False, "TCP server wan", "to"),
        (True, "ping", "from"), (False, "IP/1 client wan", "to"),
    ]  # fmt: skip


def test_classes_of_other_ends_can_be_given(written: Callable[[Any], Path]) -> None:
    profile = read_mud(written(DOCUMENT))
    dns = [flow(START, protocol=17, scope="lan", remote=f"192.168.1.{host}", remote_port=53, service_port=53,
                packets_in=0) for host in (1, 2)]  # fmt: skip
    peers = {"urn:ietf:params:mud:dns": ["192.168.1.1/32"]}
    assert match_mud(table(dns), profile, 300)["inside"].to_list() == [True, True]
    assert match_mud(table(dns), profile, 300, peers)["inside"].sum() == 1


def test_an_entry_that_drops_makes_what_it_matches_outside(written: Callable[[Any], Path]) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document, f"{ACES}/0/actions/forwarding", "drop")
    found = match_mud(table([flow(START)]), read_mud(written(document)), 300).sort("direction")
    assert found["inside"].to_list() == [False, True]


def test_ranges_of_ports(written: Callable[[Any], Path]) -> None:
    document = copy.deepcopy(DOCUMENT)
    cases = (("neq", ((0, 442), (444, 65_535))), ("lte", ((0, 443),)), ("gte", ((443, 65_535),)))
    for operator, ranges in cases:
        change(document, f"{ACES}/0/matches/tcp/destination-port/operator", operator)
        assert read_mud(written(document)).rules[0].remote_ports == ranges


@pytest.mark.skipif(not (CORPUS / "unsw_mud_2018").is_dir(), reason="no corpus")
def test_published_files_are_read_and_one_that_breaks_the_standard_is_refused() -> None:
    files = sorted((CORPUS / "unsw_mud_2018").glob("*.json"))
    assert len(files) == 28
    for file in files:
        if file.stem == "augustdoorbell":  # an IPv4 address as an IPv6 prefix
            with pytest.raises(InputError, match=r"'192\.168\.1\.1' is no prefix of IPv6"):
                read_mud(file)
            continue
        profile = read_mud(file)
        lists = json.loads(file.read_text())["ietf-access-control-list:access-lists"]["acl"]
        entries = sum(len(acl["aces"]["ace"]) for acl in lists)
        other = [int(line.split()[0]) for line in profile.notices if line.endswith("left out")]
        assert len(profile.rules) + sum(other) == entries


def test_matched_volumes_are_those_of_the_flows(written: Callable[[Any], Path]) -> None:
    flows = table([flow(START + timedelta(minutes=minute), 900) for minute in range(0, 600, 7)])
    found = match_mud(flows, read_mud(written(DOCUMENT)), 300)
    for direction, side in (("from", "out"), ("to", "in")):
        mine = found.filter(pl.col("direction") == direction)
        assert mine["packets"].sum() == pytest.approx(flows[f"packets_{side}"].sum())
        assert mine["octets"].sum() == pytest.approx(flows[f"octets_{side}"].sum())
    assert found["flows"].sum() == flows.height
