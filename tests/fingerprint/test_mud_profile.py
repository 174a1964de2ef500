"""Rules learnt from the use of services: which ends they state, and what gives none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from ethogram.fingerprint.mud_profile import MOST_ADDRESSES, learn_profile, learn_rules, sum_uses
from ethogram.schema import MUD_USE, MudRule

USE: dict[str, Any] = {
    "device": "camera", "version": 4, "protocol": 6, "port": 443, "role": "client", "scope": "wan",
    "name": "api.example.com", "address": None, "initiator": "device", "answered": True, "flows": 3,
    "packets_out": 9, "packets_in": 9,
}  # fmt: skip


def uses(*rows: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**USE, **row} for row in rows], schema=MUD_USE.schema)


def rules(*rows: Mapping[str, Any]) -> list[MudRule]:
    return list(learn_rules(uses(*rows))[0])


def test_a_named_service_gives_a_rule_for_each_direction() -> None:
    assert rules({}) == [
        MudRule(True, 4, 6, name="api.example.com", remote_ports=(443, 443), initiated="from-device"),
        MudRule(False, 4, 6, name="api.example.com", remote_ports=(443, 443), initiated="from-device"),
    ]


def test_a_device_that_sends_without_an_answer_gives_one_rule() -> None:
    (rule,) = rules({"protocol": 17, "port": 514, "answered": False, "packets_in": 0})
    assert rule == MudRule(True, 4, 17, name="api.example.com", remote_ports=(514, 514))


def test_what_others_send_without_an_answer_gives_no_rule() -> None:
    scan = {"role": "server", "initiator": "remote", "answered": False, "name": None, "packets_out": 0}
    assert rules(scan, {**scan, "initiator": None}) == []


def test_dns_and_ntp_of_the_network_are_controllers_and_questions_are_no_names() -> None:
    dns = {"protocol": 17, "port": 53, "scope": "lan", "name": "asked.example.com", "address": "192.168.1.1"}
    ntp = {"protocol": 17, "port": 123, "scope": "wan", "name": None}
    outward = [rule for rule in rules(dns, ntp) if rule.outward]
    assert [(rule.place, rule.place_value, rule.name, rule.network) for rule in outward] == [
        ("controller", "urn:ietf:params:mud:dns", "", ""), ("controller", "urn:ietf:params:mud:ntp", "", ""),
    ]  # fmt: skip


def test_a_public_resolver_is_stated_by_address() -> None:
    outward, _ = rules({"protocol": 17, "port": 53, "name": "asked.example.com", "address": "192.0.2.53"})
    assert (outward.name, outward.network, outward.place) == ("", "192.0.2.53/32", "")


def test_local_ends_are_local_networks_and_served_ports_are_the_devices() -> None:
    served = {"role": "server", "initiator": "remote", "scope": "lan", "port": 80, "name": None,
              "address": "192.168.1.9"}  # fmt: skip
    assert rules(served) == [
        MudRule(True, 4, 6, place="local-networks", device_ports=(80, 80), initiated="to-device"),
        MudRule(False, 4, 6, place="local-networks", device_ports=(80, 80), initiated="to-device"),
    ]


def test_multicast_is_outward_by_group_in_its_version_of_ip() -> None:
    mdns = {"protocol": 17, "port": 5353, "scope": "multicast", "name": "ff02::fb", "version": None}
    assert rules(mdns) == [MudRule(True, 6, 17, network="ff02::fb/128", remote_ports=(5353, 5353))]


def test_many_addresses_are_any_end_and_many_dynamic_ports_are_one_range() -> None:
    few = [{"name": None, "address": f"198.51.100.{n}"} for n in range(MOST_ADDRESSES)]
    assert len([rule for rule in rules(*few) if rule.outward]) == MOST_ADDRESSES
    many = [{"name": None, "address": f"198.51.100.{n}"} for n in range(MOST_ADDRESSES + 1)]
    assert {rule.network for rule in rules(*many)} == {""}
    ports = [{"protocol": 17, "port": port} for port in (50_000, 51_000, 52_000, 53_000, 3478)]
    assert {rule.remote_ports for rule in rules(*ports)} == {(3478, 3478), (49_152, 65_535)}


def test_many_ports_of_one_end_are_one_range() -> None:
    ports = [{"role": "server", "initiator": "remote", "scope": "lan", "port": port} for port in range(1024, 1041)]
    assert {rule.device_ports for rule in rules(*ports)} == {(1024, 1040)}
    assert len(rules(*ports[1:])) == 32


def test_multicast_without_a_known_group_is_all_groups() -> None:
    (rule,) = rules({"protocol": 17, "port": 9999, "scope": "multicast", "name": None})
    assert rule.network == "224.0.0.0/4"


def test_other_protocols_have_no_ports() -> None:
    (rule,) = rules({"protocol": 2, "port": 0, "scope": "multicast", "name": "224.0.0.22", "answered": False,
                     "packets_in": 0})  # fmt: skip
    assert rule == MudRule(True, 4, 2, network="224.0.0.22/32")


def test_rules_do_not_depend_on_order_or_division_of_rows() -> None:
    rows: list[Mapping[str, Any]] = [{"port": port, "name": name} for port in (80, 443) for name in ("a.example", None)]
    once = learn_rules(uses(*rows))
    assert learn_rules(uses(*reversed(rows), *rows)) == once
    assert learn_rules(sum_uses(uses(*rows, *rows))) == once


def test_a_profile_keeps_its_texts() -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    profile, left_out = learn_profile(uses({}), "https://example.com/camera", time, manufacturer="Example")
    assert (profile.url, profile.updated, profile.manufacturer, left_out) == (
        "https://example.com/camera", time, "Example", 0,
    )  # fmt: skip
