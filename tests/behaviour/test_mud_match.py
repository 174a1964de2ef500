"""Flows against the rules of MUD files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from behaviour.traffic_made import START, flow, table
from ethogram.behaviour.mud_match import match_mud
from ethogram.behaviour.mud_rules import mud_behaviour
from ethogram.io.mud import read_mud
from ethogram.schema import BehaviourProfile


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


def behaviour(path: Path) -> BehaviourProfile:
    return mud_behaviour(read_mud(path)[0], path.name)


def test_a_file_becomes_rules_of_both_directions(written: Callable[[Any], Path]) -> None:
    profile = behaviour(written(DOCUMENT))
    assert [(rule.name, rule.direction) for rule in profile.rules] == [
        ("to api.example.com TCP/443", "from"), ("to dns UDP/53", "from"), ("to 239.255.255.250/32 UDP/1900", "from"),
        ("to any IP/1", "from"), ("from api.example.com TCP/443", "to"), ("from dns UDP/53", "to"),
    ]  # fmt: skip
    cloud, dns, ssdp, *_ = profile.rules
    assert (cloud.protocol, cloud.remote, cloud.remote_ports, cloud.initiated) == (
        6, "api.example.com", ((443, 443),), "device",
    )  # fmt: skip
    assert (dns.peer, dns.scope) == ("controller urn:ietf:params:mud:dns", "lan")
    assert (ssdp.networks, ssdp.scope) == (("239.255.255.250/32",), None)
    assert profile.notices == ("flow records have no types of ICMP: not checked in 1 rules",)


def test_rules_of_the_same_words_are_numbered(written: Callable[[Any], Path]) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"].append(FROM[0])
    names = [rule.name for rule in behaviour(written(document)).rules]
    assert [name for name in names if name.startswith("to api")] == [
        "to api.example.com TCP/443 (1)", "to api.example.com TCP/443 (2)",
    ]  # fmt: skip


def change(document: Any, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for name in parents:
        document = document[int(name) if name.isdigit() else name]
    document[int(last) if last.isdigit() else last] = value


ACES = "ietf-access-control-list:acls/acl/0/aces/ace"
def test_flows_are_matched_direction_by_direction(written: Callable[[Any], Path]) -> None:
    profile = behaviour(written(DOCUMENT))
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
        (True, "to api.example.com TCP/443", "from"), (True, "from api.example.com TCP/443", "to"),
        (False, "TCP client wan", "from"), (False, "TCP client wan", "to"),
        (True, "to dns UDP/53", "from"), (True, "from dns UDP/53", "to"),
        (True, "to 239.255.255.250/32 UDP/1900", "from"),
        (False, "TCP server wan", "from"), (False, "TCP server wan", "to"),
        (True, "to any IP/1", "from"), (False, "IP/1 client wan", "to"),
    ]  # fmt: skip


def test_classes_of_other_ends_can_be_given(written: Callable[[Any], Path]) -> None:
    profile = behaviour(written(DOCUMENT))
    dns = [flow(START, protocol=17, scope="lan", remote=f"192.168.1.{host}", remote_port=53, service_port=53,
                packets_in=0) for host in (1, 2)]  # fmt: skip
    peers = {"urn:ietf:params:mud:dns": ["192.168.1.1/32"]}
    assert match_mud(table(dns), profile, 300)["inside"].to_list() == [True, True]
    assert match_mud(table(dns), profile, 300, peers)["inside"].sum() == 1


def test_an_entry_that_drops_makes_what_it_matches_outside(written: Callable[[Any], Path]) -> None:
    document = copy.deepcopy(DOCUMENT)
    change(document, f"{ACES}/0/actions/forwarding", "drop")
    found = match_mud(table([flow(START)]), behaviour(written(document)), 300).sort("direction")
    assert found["inside"].to_list() == [False, True]


def test_matched_volumes_are_those_of_the_flows(written: Callable[[Any], Path]) -> None:
    flows = table([flow(START + timedelta(minutes=minute), 900) for minute in range(0, 600, 7)])
    found = match_mud(flows, behaviour(written(DOCUMENT)), 300)
    for direction, side in (("from", "out"), ("to", "in")):
        mine = found.filter(pl.col("direction") == direction)
        assert mine["packets"].sum() == pytest.approx(flows[f"packets_{side}"].sum())
        assert mine["octets"].sum() == pytest.approx(flows[f"octets_{side}"].sum())
    assert found["flows"].sum() == flows.height
