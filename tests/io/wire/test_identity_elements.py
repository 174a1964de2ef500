"""Identity facts in flow records: what YAF and ipfixprobe export of DHCP, multicast DNS and SSDP."""

from __future__ import annotations

import random

import polars as pl
import pytest

from ethogram.io.wire import identity_elements
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.identity_elements import IdentityElements
from ethogram.io.wire.structured import MAX_FIELDS, read_list
from yaf_records import (
    MACS,
    TEMPLATES,
    YafExporter,
    dhcp_part,
    dhcp_request,
    mac_part,
    multi_list,
    payload_part,
    service_part,
)

CAMERA = "aa:bb:cc:00:00:07"


class Elements:
    """A decoder with the facts of its records."""

    def __init__(self) -> None:
        self.decoder = Decoder()
        self.identity = IdentityElements(self.decoder.store)

    def __call__(self, *messages: bytes) -> pl.DataFrame:
        facts = self.identity.learn(self.decoder.decode(batch(list(messages))))
        assert self.identity.accounting.balanced
        return facts


def rows(facts: pl.DataFrame) -> list[tuple[object, ...]]:
    return facts.select("mac", "address", "fact", "value", "source").rows()


def test_yaf_states_options_and_vendor_class_of_dhcp_clients() -> None:
    exporter = YafExporter()
    request = exporter.flow("0.0.0.0", "255.255.255.255", (68, 67), mac_part(CAMERA), dhcp_part([1, 3, 6], "cam-os 2"))
    facts = Elements()(exporter.announce(), request)
    assert rows(facts) == [(CAMERA, None, "mac", CAMERA, "DHCP"), (CAMERA, None, "dhcp_parameters", "1,3,6", "DHCP"),
                           (CAMERA, None, "dhcp_vendor_class", "cam-os 2", "DHCP")]  # fmt: skip
    assert facts["device"].is_null().all()
    assert facts["last"].is_not_null().all()


def test_a_payload_is_read_as_of_a_capture() -> None:
    exporter = YafExporter()
    request = exporter.flow("0.0.0.0", "255.255.255.255", (68, 67), payload_part(dhcp_request(CAMERA, "porch")))
    facts = Elements()(exporter.announce(), request)
    assert rows(facts) == [(CAMERA, None, "mac", CAMERA, "DHCP"), (CAMERA, None, "host_name", "porch", "DHCP"),
                           (CAMERA, None, "dhcp_parameters", "1,3,6", "DHCP")]  # fmt: skip


def test_records_of_multicast_dns_state_services_and_names() -> None:
    exporter = YafExporter()
    part = service_part("_googlecast._tcp.local.", "Den._googlecast._tcp.local.")
    facts = Elements()(exporter.announce(), exporter.flow("10.0.0.9", "224.0.0.251", (5353, 5353), part))
    assert rows(facts) == [(None, "10.0.0.9", "mdns_service", "_googlecast._tcp", "mDNS"),
                           (None, "10.0.0.9", "mdns_name", "Den", "mDNS")]  # fmt: skip


def test_ipfixprobe_states_ssdp_lines() -> None:
    exporter = YafExporter()
    message = exporter.flow("10.0.0.9", "239.255.255.250", (1900, 1900), macs=(CAMERA, "01:00:5e:7f:ff:fa"),
                            texts=("Linux UPnP/1.0 Hub/2;", "upnp:rootdevice;"))  # fmt: skip
    facts = Elements()(exporter.announce(), message)
    assert rows(facts) == [(CAMERA, "10.0.0.9", "ssdp_server", "Linux UPnP/1.0 Hub/2", "SSDP"),
                           (CAMERA, "10.0.0.9", "ssdp_type", "upnp:rootdevice", "SSDP")]  # fmt: skip


def test_servers_and_other_ports_state_nothing() -> None:
    exporter, elements = YafExporter(), Elements()
    offer = exporter.flow("10.0.0.1", "10.0.0.9", (67, 68), dhcp_part([1, 3], "a server"))
    web = exporter.flow("10.0.0.9", "192.0.2.1", (50_000, 443), dhcp_part([1, 3], "no client"))
    assert not elements(exporter.announce(), offer, web).height
    assert elements.identity.accounting.as_dict()["ignored"] == {"states nothing": 1}
    assert elements.identity.accounting.read == 1


def test_a_missing_sub_template_is_counted_and_its_arrival_helps() -> None:
    exporter, elements = YafExporter(), Elements()
    later = [template for template in TEMPLATES if template.id not in (0xC208, 0xC014)]
    message = ("10.0.0.9", "10.0.0.1", (68, 67), mac_part(CAMERA), dhcp_part([1, 3], "cam-os 2"))
    assert not elements(exporter.announce(*later), exporter.flow(*message)).height
    assert elements.identity.accounting.dropped == {"sub-template not known": 1}
    assert elements(exporter.announce(), exporter.flow(*message)).height == 3


def test_a_repeated_message_is_one_row() -> None:
    exporter = YafExporter()
    message = ("10.0.0.9", "10.0.0.1", (68, 67), dhcp_part([1, 3], "cam-os 2"))
    facts = Elements()(exporter.announce(), *(exporter.flow(*message) for _ in range(3)))
    assert facts["times"].to_list() == [3, 3]


def test_records_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_elements, "MAX_RECORDS", 2)
    exporter, elements = YafExporter(), Elements()
    message = ("10.0.0.9", "10.0.0.1", (68, 67), dhcp_part([1, 3], "cam-os 2"))
    facts = elements(exporter.announce(), *(exporter.flow(*message) for _ in range(5)))
    assert facts["times"].to_list() == [2, 2]
    assert elements.identity.accounting.dropped == {"beyond the bound": 3}


def test_damaged_lists_raise_nothing_and_stay_bounded() -> None:
    templates = {template.id: template for template in TEMPLATES}
    whole = multi_list(mac_part(CAMERA), dhcp_part(range(200), "x" * 300), service_part("a.local.", "b.local."))
    generator = random.Random(5)
    for _ in range(3000):
        octets = bytearray(whole[: generator.randrange(len(whole) + 1)])
        for _ in range(generator.randrange(4)):
            if octets:
                octets[generator.randrange(len(octets))] = generator.randrange(256)
        read_list((0, generator.choice([291, 292, 293]), False), bytes(octets), templates.get)
    many = multi_list(*[(MACS, bytes(12 * 1000))])
    assert len(read_list((0, 293, False), many, templates.get)[0].records) <= MAX_FIELDS // 2
