"""What is known of names, ports, groups, texts and MACs; lookups never raise, whatever they are asked for."""

from __future__ import annotations

import subprocess
import sys
from types import NoneType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.knowledge.rows import TEXT_KINDS
from ethogram.knowledge.tables import Fact, Knowledge, mac_of_eui64
from ethogram.schema import FACT, KINDS

KNOWLEDGE = Knowledge.bundled()


def assert_facts(facts: list[Fact]) -> None:
    """Lookups raise nothing, and give facts with a subject and a value."""
    assert all(isinstance(fact, Fact) and fact.subject and fact.value for fact in facts)


def values(facts: list[Fact], subject: str) -> list[str]:
    return [fact.value for fact in facts if fact.subject == subject]


@pytest.mark.parametrize(
    ("name", "subject", "value"),
    [
        ("tplinkcloud.com", "vendor", "tp-link"),
        ("n-wap.tplinkcloud.com.", "vendor", "tp-link"),
        ("a1.tuyaus.com", "platform", "tuya"),
        ("netatmo.pool.ntp.org", "vendor", "netatmo"),
        ("0.sonos.pool.ntp.org", "vendor", "sonos"),
        ("netatmo-firmware.s3.eu-west-1.amazonaws.com", "vendor", "netatmo"),
        ("firmware.ecobee.com.edgekey.net", "vendor", "ecobee"),
        ("withingscloud.example", "vendor", "withings"),
        ("stats.g.doubleclick.net", "shared", "advertising"),
        ("time.google.com", "shared", "clock"),
    ],
)
def test_a_name_tells_its_vendor(name: str, subject: str, value: str) -> None:
    assert value in values(KNOWLEDGE.name(name), subject)


def test_a_shared_name_tells_little_of_its_owner() -> None:
    facts = KNOWLEDGE.name("time.google.com")
    assert [(fact.value, fact.weight) for fact in facts if fact.subject == "vendor"] == [("google", "weak")]
    assert KNOWLEDGE.is_shared("time.google.com") == "clock"
    assert KNOWLEDGE.is_shared("maker.example") is None
    assert KNOWLEDGE.name("maker.example") == []


def test_a_host_of_its_own_tells_more_than_its_domain() -> None:
    facts = KNOWLEDGE.name("avs-alexa-4-na.amazon.com")
    assert ("amazon", "strong") in [(fact.value, fact.weight) for fact in facts]
    assert KNOWLEDGE.name("avs-alexa.amazon.com") == facts
    assert KNOWLEDGE.is_shared("avs-alexa-4-na.amazon.com") is None
    assert [fact.weight for fact in KNOWLEDGE.name("www.amazon.com") if fact.subject == "vendor"] == ["weak"]


def test_a_word_is_a_whole_token() -> None:
    assert values(KNOWLEDGE.name_word("cam-7.maker.example"), "kind") == ["camera"]
    assert KNOWLEDGE.name_word("campus.maker.example") == []
    assert KNOWLEDGE.name_word("maker.camera") == [], "a public suffix is no word of a device"


@pytest.mark.parametrize(
    ("service", "value"),
    [
        (("tcp", 9100, "server", "lan"), "printer"),
        ((6, 554, "server", "lan"), "camera"),
        (("udp", 56700, "server", "lan"), "light"),
        (("tcp", 62078, "server", "lan"), "phone"),
        (("TCP", 1400, "server", "lan"), "speaker"),
        (("tcp", 8060, "server", "lan"), "tv"),
    ],
)
def test_a_port_tells_kinds(service: tuple[int | str, int, str, str], value: str) -> None:
    assert value in values(KNOWLEDGE.port(*service), "kind")


def test_a_port_tells_by_role() -> None:
    assert "printer" not in values(KNOWLEDGE.port("tcp", 9100, "client", "lan"), "kind")
    assert "printer" in values(KNOWLEDGE.port("tcp", 9100), "kind")


def test_groups_service_types_and_texts() -> None:
    assert values(KNOWLEDGE.group("224.0.0.251"), "shared") == ["mdns"]
    assert values(KNOWLEDGE.group("ff02:0::fb"), "shared") == ["mdns"]
    assert values(KNOWLEDGE.mdns("_universal._sub._ipp._tcp.local."), "kind") == ["printer"]
    assert values(KNOWLEDGE.mdns("_Hue._tcp"), "vendor") == ["philips-hue"]
    assert values(KNOWLEDGE.host_name("android-3f2a"), "platform") == ["android"]
    assert values(KNOWLEDGE.dhcp_vendor_class("MSFT 5.0"), "platform") == ["windows"]
    assert values(KNOWLEDGE.text("ssdp-server", "Linux UPnP/1.0 Sonos/70.3"), "vendor") == ["sonos"]
    assert values(KNOWLEDGE.text("ssdp-manufacturer", "Signify Netherlands B.V."), "vendor") == ["philips-hue"]


def test_a_host_name_without_a_pattern_holds_words() -> None:
    facts = KNOWLEDGE.host_name("attic-synology-2")
    assert (values(facts, "vendor"), facts[0].weight) == (["synology"], "fair")
    assert values(KNOWLEDGE.host_name("Living Room Soundbar"), "kind") == ["speaker"]
    assert KNOWLEDGE.host_name("attic-2") == []


@pytest.mark.parametrize(
    ("fact", "value", "expected"),
    [
        ("mac", "00:17:88:01:02:03", ("vendor", "philips-hue")),
        ("mdns_category", "8", ("kind", "plug")),
        ("mdns_model", "AudioAccessory5,1", ("kind", "speaker")),
        ("mdns_model", "Example Cam v3", ("kind", "camera")),
        ("mdns_vendor", "Signify", ("vendor", "philips-hue")),
        ("mdns_service", "_ipp._tcp.local", ("kind", "printer")),
        ("mdns_name", "Sonos-1234.local", ("vendor", "sonos")),
        ("ssdp_type", "urn:dial-multiscreen-org:service:dial:1", ("kind", "tv")),
        ("dhcp_vendor_class", "udhcp 1.24.2", ("platform", "busybox")),
        ("lldp_system", "MikroTik RouterOS 7", ("kind", "router")),
        ("vendor", "Tuya Smart Inc.", ("platform", "tuya")),
    ],
)
def test_every_identity_fact_has_its_lookup(fact: str, value: str, expected: tuple[str, str]) -> None:
    facts = [(each.subject, each.value) for each in KNOWLEDGE.identity(fact, value)]
    assert expected in facts
    assert len(facts) == len(set(facts)), "each fact once"


def test_identity_facts_that_tell_nothing() -> None:
    assert KNOWLEDGE.identity("dhcp_parameters", "1,3,6,15") == []
    assert KNOWLEDGE.identity("address", "192.0.2.1") == []


def test_a_mac_tells_its_registered_organisation() -> None:
    facts = KNOWLEDGE.mac("00:17:88:0a:0b:0c")
    assert values(facts, "vendor") == ["philips-hue"]
    assert values(facts, "organisation") == ["Philips Lighting BV"]
    assert facts[0].source.startswith("hand-written")
    assert values(KNOWLEDGE.mac("240AC4"), "platform") == ["espressif"]
    assert values(KNOWLEDGE.mac("24:0a:c4:00:00:01"), "vendor") == [], "a module maker is no vendor"


@pytest.mark.parametrize("mac", ["02:00:00:00:00:01", "d6:11:22:33:44:55", "da11.2233.4455", "fe:00:00:00:00:01"])
def test_a_locally_administered_mac_is_random(mac: str) -> None:
    assert values(KNOWLEDGE.mac(mac), "shared") == ["random"]


def test_ipv6_addresses_hold_a_mac() -> None:
    assert mac_of_eui64("2001:db8::0217:88ff:fe0a:0b0c") == "00:17:88:0a:0b:0c"
    assert mac_of_eui64("2001:db8::217:8800:fe0a:b0c") is None
    assert mac_of_eui64("no address") is None


def test_kinds_of_a_vendor() -> None:
    kinds = KNOWLEDGE.kinds_of("netatmo")
    assert sum(kinds.values()) == pytest.approx(1)
    assert next(iter(kinds)) == "sensor"
    assert KNOWLEDGE.kinds_of("nonesuch") == {}
    assert KNOWLEDGE.owner("ring") == "amazon"
    assert KNOWLEDGE.owner("sonos") == "sonos"


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("TP-LINK TECHNOLOGIES CO.,LTD.", "tp-link"),
        ("Hangzhou Hikvision Digital Technology Co.,Ltd.", "hikvision"),
        ("Samsung Electronics Co.,Ltd", "samsung"),
        ("Ring LLC", "ring"),
        ("Ring Power Corporation", None),
        ("Nest Labs Inc.", "nest"),
        ("LG Electronics (Mobile Communications)", "lg"),
        ("", None),
    ],
)
def test_a_company_name_gives_its_vendor(text: str, vendor: str | None) -> None:
    assert KNOWLEDGE.vendor(text) == vendor


FACT_LOOKUPS = [
    KNOWLEDGE.name, KNOWLEDGE.name_word, KNOWLEDGE.group, KNOWLEDGE.mdns, KNOWLEDGE.host_name,
    KNOWLEDGE.dhcp_vendor_class, KNOWLEDGE.mac, KNOWLEDGE.vendor_facts, KNOWLEDGE.kind_facts,
]  # fmt: skip
TEXT_LOOKUPS = [KNOWLEDGE.vendor, KNOWLEDGE.owner, KNOWLEDGE.is_shared, KNOWLEDGE.vendor_name, mac_of_eui64]
ODD = st.one_of(
    st.text(max_size=600),
    st.text("abcdef0123456789:.-_*? ", max_size=60),
    st.lists(st.sampled_from(["cam", "xn--a", "com", "pool", "ntp", "org", "s3", "", "-"]), max_size=9).map(".".join),
)


@given(ODD)
def test_lookups_of_any_text_give_facts(text: str) -> None:
    for lookup in FACT_LOOKUPS:
        assert_facts(lookup(text))
    for fact in FACT.categories:
        assert_facts(KNOWLEDGE.identity(fact, text))
    for kind in (*TEXT_KINDS, text):
        assert_facts(KNOWLEDGE.text(kind, text))
    assert_facts(KNOWLEDGE.port(text, 1))
    for text_lookup in TEXT_LOOKUPS:
        assert isinstance(text_lookup(text), (str, NoneType))
    assert KNOWLEDGE.kinds_of(text).keys() <= KINDS.keys()


@given(st.integers(-1, 70_000), st.integers(-1, 300), st.sampled_from(["client", "server", "*", ""]))
def test_no_port_raises(port: int, protocol: int, role: str) -> None:
    for fact in KNOWLEDGE.port(protocol, port, role, "lan"):
        assert fact.subject != "kind" or fact.value in KINDS


def test_the_tables_load_fast() -> None:
    code = (
        "import time\n"
        "from ethogram.knowledge.tables import Knowledge\n"
        "began = time.perf_counter()\n"
        "knowledge = Knowledge.bundled()\n"
        "knowledge.name('maker.example'), knowledge.port(6, 9100), knowledge.kinds_of('sonos')\n"
        "print(time.perf_counter() - began)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1, "far above what it takes (some 50 ms), for slow machines"


def test_the_kind_is_that_of_the_most_literal_pattern() -> None:
    assert values(KNOWLEDGE.host_name("Galaxy-Tab-S6"), "kind") == ["tablet"]
    assert values(KNOWLEDGE.host_name("Galaxy-S21"), "kind") == ["phone"]
    assert sorted(values(KNOWLEDGE.host_name("DESKTOP-4F1C0B5"), "kind")) == ["laptop", "pc"]
    assert values(KNOWLEDGE.host_name("HUAWEI_MatePad"), "kind") == ["tablet"]
    assert values(KNOWLEDGE.host_name("HUAWEI_P20_lite-c31cdd297"), "vendor") == ["huawei"]
