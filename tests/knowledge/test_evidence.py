"""Evidence from public facts: names, ports, groups, MACs and texts, as terms of the ladder."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ethogram.knowledge.evidence import MOST_SERVED, MOST_TERMS, collect_evidence
from ethogram.knowledge.tables import Knowledge
from ethogram.schema import FACT, IDENTITY, LadderEvidence
from ladder_made import counted, facts, windows

KNOWLEDGE = Knowledge.bundled()


def strengths(evidence: LadderEvidence, level: str, label: str) -> dict[str, float]:
    return {term.feature: term.value for term in evidence.terms if (term.level, term.label) == (level, label)}


def test_what_answers_dns_for_others_is_the_router() -> None:
    (item,) = collect_evidence(windows(counted(protocol=17, port=53, role="server", scope="lan")), KNOWLEDGE)
    assert strengths(item, "kind", "router")["equipment port"] == 1.0
    (client,) = collect_evidence(windows(counted(protocol=17, port=53, scope="lan")), KNOWLEDGE)
    assert "equipment port" not in strengths(client, "kind", "router")


def test_a_name_counts_by_the_fourth_root_of_the_hours_in_which_it_is_contacted() -> None:
    rows = [counted(hour, name="tplinkcloud.com" if hour < 3 else None) for hour in range(4)]
    (item,) = collect_evidence(windows(*rows), KNOWLEDGE)
    vendor = strengths(item, "vendor", "tp-link")
    assert max(value for feature, value in vendor.items() if feature.startswith("name ")) == 0.75**0.25
    assert vendor["share of names"] == 1.0
    assert item.named
    assert item.vendor_kinds["tp-link"]["plug"] > 0


def test_a_name_of_everybody_tells_no_vendor() -> None:
    (item,) = collect_evidence(windows(counted(name="pool.ntp.org", protocol=17, port=123)), KNOWLEDGE)
    assert not item.named
    assert not [term for term in item.terms if term.level == "vendor"]


def test_an_unknown_domain_is_a_candidate_unless_the_network_shares_it() -> None:
    own = [counted(item=0, name="maker.example")]
    (item,) = collect_evidence(windows(*own), KNOWLEDGE)
    assert strengths(item, "vendor", "maker.example")["own domain"] == 1.0
    shared = [counted(item=i, name="campus.example") for i in range(6)]
    evidence = collect_evidence(windows(*own, *shared, items=6), KNOWLEDGE)
    assert "own domain" in strengths(evidence[0], "vendor", "maker.example")
    assert not any(strengths(item, "vendor", "campus.example") for item in evidence)


def test_ports_speak_for_kinds_only_where_somebody_answered() -> None:
    served = counted(port=9100, role="server", scope="lan")
    (item,) = collect_evidence(windows(served), KNOWLEDGE)
    assert strengths(item, "kind", "printer")
    (silent,) = collect_evidence(windows({**served, "answered": False}), KNOWLEDGE)
    assert not strengths(silent, "kind", "printer")


def test_a_mac_and_a_host_name_speak_for_vendors() -> None:
    (item,) = collect_evidence(windows(counted()), KNOWLEDGE, facts(mac="50:c7:bf:00:00:01", host_name="HS110"))
    assert item.has_mac
    assert strengths(item, "vendor", "tp-link")["mac vendor"] == 1.0
    (random,) = collect_evidence(windows(counted()), KNOWLEDGE, facts(mac="02:00:00:00:00:01"))
    assert not random.has_mac


def test_many_vendors_speak_for_a_computer() -> None:
    names = ("tplinkcloud.com", "meethue.com", "roku.com", "sonos.com", "ring.com", "irobot.com", "withings.net",
             "netatmo.net", "samsungsmartcam.com", "mydlink.com")  # fmt: skip
    (many,) = collect_evidence(windows(*(counted(name=name) for name in names)), KNOWLEDGE)
    (few,) = collect_evidence(windows(counted(name=names[0])), KNOWLEDGE)
    assert strengths(many, "kind", "laptop")["breadth"] > 0 > strengths(few, "kind", "laptop")["breadth"]


@given(
    st.lists(st.tuples(st.text(max_size=40), st.integers(0, 65535), st.sampled_from([1, 2, 6, 17, 58])), max_size=8),
    st.lists(st.tuples(st.sampled_from(FACT.categories.to_list()), st.text(max_size=60)), max_size=8),
)
def test_any_traffic_and_any_text_is_judged(names: list[tuple[str, int, int]], texts: list[tuple[str, str]]) -> None:
    rows = [counted(name=name, port=port, protocol=protocol) for name, port, protocol in names]
    table = [
        {"device": "d0", "mac": None, "address": None, "fact": fact, "value": value, "source": "test", "first": None,
         "last": None, "times": 1} for fact, value in texts
    ]  # fmt: skip
    identity = pl.DataFrame(table, schema=dict(IDENTITY.schema))
    (item,) = collect_evidence(windows(*rows), KNOWLEDGE, identity)
    keys = [(term.level, term.label, term.feature) for term in item.terms]
    assert all(keys.count(key) <= MOST_TERMS for key in keys)
    assert all(term.value <= 1.0 or term.feature == "breadth" for term in item.terms)


def test_a_scanned_device_serves_nothing_that_is_known() -> None:
    served = [counted(port=port, role="server", scope="lan") for port in (9100, *range(2000, 2000 + MOST_SERVED))]
    (scanned,) = collect_evidence(windows(*served), KNOWLEDGE)
    assert not strengths(scanned, "kind", "printer")
    (printer,) = collect_evidence(windows(*served[:-1]), KNOWLEDGE)
    assert strengths(printer, "kind", "printer")
    asks = [counted(port=port, name="tplinkcloud.com") for port in range(2000, 2100)]
    (client,) = collect_evidence(windows(*asks, counted(port=9100, role="server", scope="lan")), KNOWLEDGE)
    assert strengths(client, "kind", "printer")


def test_android_is_a_platform_with_kinds_and_no_vendor() -> None:
    (item,) = collect_evidence(windows(counted()), KNOWLEDGE, facts(dhcp_vendor_class="android-dhcp-9"))
    assert strengths(item, "platform", "android") == {"host name platform": 1.0}
    assert item.platform_kinds["android"]["phone"] > 0.5
    assert not [term for term in item.terms if term.level == "vendor"]
    (tuya,) = collect_evidence(windows(counted(name="tuyaus.com")), KNOWLEDGE)
    assert strengths(tuya, "platform", "tuya")
    assert not tuya.platform_kinds, "a platform that is a vendor, too, has that vendor's kinds"


def test_a_homekit_category_is_told_by_its_name() -> None:
    (item,) = collect_evidence(windows(counted()), KNOWLEDGE, facts(mdns_category="2"))
    assert {term.text for term in item.terms if term.label == "hub"} == {"announces itself as HomeKit bridge"}
