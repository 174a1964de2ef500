"""The ladder over observed devices: what is stated, with which names, and what the packaged weights are."""

from __future__ import annotations

import polars as pl
import pytest

from ethogram.identify.ladder import KIND_PRIORS, VENDOR_PRIORS, LadderWeights
from ethogram.identify.ladder_library import LadderLibrary
from ethogram.identify.library import Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import LadderJudge, base_kinds, canonical, packaged_ladder, with_packaged
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.schema import GROUP, KINDS, ROLE, SCOPE, LadderEvidence, LadderTerm, Windows
from ladder_made import counted, facts, windows

LEVELS = ("vendor", "kind", "kinds", "family", "model")
KIND_SHARES = {"plug": 0.7, "light": 0.15, "camera": 0.15}


@pytest.fixture(scope="module")
def judge() -> LadderJudge:
    return LadderJudge.of_library(open_library())


def test_packaged_weights_are_of_this_version_and_library() -> None:
    file = packaged_ladder()
    assert set(file.weights.vendor) == set(VENDOR_PRIORS)
    assert set(file.weights.kind) == set(KIND_PRIORS)
    assert file.provenance["library"] == open_library().digest
    assert all(0.5 <= value < 1.0 for value in file.weights.thresholds.values())
    assert all(file.weights.sure[level] > value for level, value in file.weights.thresholds.items())


def test_a_vendor_that_no_library_holds_is_named_by_its_cloud(judge: LadderJudge) -> None:
    rows = [counted(hour, name="ecobee.com") for hour in range(5)]
    (verdict,) = judge.verdicts(windows(*rows))
    assert verdict.vendor == "ecobee"
    assert verdict.level in ("vendor", "family")
    assert any("ecobee.com" in fact.text for level in verdict.levels for fact in level.evidence)


def test_traffic_that_everybody_has_is_unknown(judge: LadderJudge) -> None:
    rows = [counted(hour, protocol=17, port=53, scope="lan") for hour in range(5)]
    (verdict,) = judge.verdicts(windows(*rows))
    assert verdict.level == "unknown"
    assert verdict.score == 0.0
    assert "names of remote ends" in verdict.missing


def test_names_of_dns_alone_name_the_vendor(judge: LadderJudge) -> None:
    rows = [counted(hour, protocol=17, port=53, scope="lan", name="wyzecam.com") for hour in range(5)]
    (verdict,) = judge.verdicts(windows(*rows))
    assert verdict.vendor == "Wyze"


def test_a_network_seen_by_dns_alone_is_not_one_product(judge: LadderJudge) -> None:
    """Questions for names are all that is seen: what little there is must not be near to whatever has little."""
    entries = [entry for entry in open_library().entries if entry.observed[0].source == "neu_imperial_mud_2019"]
    library = Library(tuple({entry.identity.label: entry for entry in entries}.values()))
    names = pl.col("name").is_not_null() & ~pl.col("name").str.contains(GROUP)
    asked = library.windows().counts.filter(names).with_columns(
        protocol=pl.lit(17, pl.UInt8), port=pl.lit(53, pl.UInt16), role=pl.lit("client").cast(ROLE),
        scope=pl.lit("lan").cast(SCOPE), octets_out=pl.lit(60, pl.UInt64), octets_in=pl.lit(120, pl.UInt64),
    )  # fmt: skip
    products = judge.products
    known = [canonical(entry.identity, judge.knowledge) for entry in open_library().entries if entry not in entries]
    elsewhere = Library(tuple(entry for entry in open_library().entries if entry not in entries))
    without = LadderJudge(LadderLibrary(products.behaviour_).fit(elsewhere.windows(), known), judge.knowledge)
    verdicts = without.verdicts(Windows(library.windows().items, asked))
    stated = [(entry.identity, verdict) for entry, verdict in zip(library.entries, verdicts, strict=True)]
    assert not [verdict.statement for _, verdict in stated if verdict.level == "model"]
    named = [(of.vendor, verdict.vendor) for of, verdict in stated if verdict.level in ("vendor", "family")]
    assert len(named) > len(stated) / 2
    knowledge = judge.knowledge
    right = [knowledge.owner(knowledge.vendor(a) or a) == knowledge.owner(knowledge.vendor(b) or b) for a, b in named]
    assert sum(right) >= 0.9 * len(named), named


def test_a_printer_is_told_by_what_it_serves_and_announces(judge: LadderJudge) -> None:
    item = windows(counted(port=9100, role="server", scope="lan"), counted(port=631, role="server", scope="lan"))
    (verdict,) = judge.verdicts(item, facts(mdns_service="_ipp._tcp"))
    assert verdict.kind == "printer"


@pytest.mark.parametrize(("mac", "kind"), [("c0:56:27:73:46:0b", "router"), ("b8:27:eb:11:22:33", "board or router")])
def test_what_serves_dns_is_a_router_unless_its_vendor_makes_none(judge: LadderJudge, mac: str, kind: str) -> None:
    item = windows(counted(protocol=17, port=53, role="server", scope="lan"))
    (verdict,) = judge.verdicts(item, facts(mac=mac))
    assert verdict.kind == kind


@pytest.mark.parametrize(
    ("stated", "vendor", "kind"),
    [
        ({"mdns_name": "HUAWEI_P20_lite-c31cdd297"}, "Huawei", "phone"),
        ({"mdns_name": "HUAWEI_P20_lite-c31cdd297", "mac": "f4:63:1f:00:00:01", "mdns_model": "Android"}, "Huawei",
         "phone"),
        ({"host_name": "Galaxy-Tab-S6", "dhcp_vendor_class": "android-dhcp-12"}, "Samsung", "tablet"),
        ({"host_name": "Redmi-Note-9", "dhcp_vendor_class": "android-dhcp-11", "mac": "02:00:00:00:00:01"}, "Xiaomi",
         "phone"),
        ({"dhcp_vendor_class": "android-dhcp-9", "mac": "02:00:00:00:00:01"}, "", "phone"),
        ({"host_name": "android-4f1c0b5d2e7a9c33", "dhcp_vendor_class": "android-dhcp-9"}, "", "phone"),
        ({"host_name": "DESKTOP-4F1C0B5", "dhcp_vendor_class": "MSFT 5.0"}, "", "laptop or pc"),
        ({"host_name": "Annas-iPhone"}, "Apple", "phone"),
    ],
)  # fmt: skip
def test_phones_tablets_and_computers_are_told_by_what_they_call_themselves(
    judge: LadderJudge, stated: dict[str, str], vendor: str, kind: str
) -> None:
    rows = [counted(hour, protocol=17, port=53, scope="lan") for hour in range(5)]
    (verdict,) = judge.verdicts(windows(*rows), facts(**stated))
    assert (verdict.vendor, verdict.kind) == (vendor, kind), verdict.statement


def test_children_are_never_more_probable_than_their_parents(judge: LadderJudge) -> None:
    library = open_library()
    some: Windows = library.windows().take(list(range(0, len(library), 7)))
    verdicts = judge.verdicts(some)
    assert len(verdicts) == len(some) > 0
    for verdict in verdicts:
        levels = {level.level: level for level in verdict.levels}
        if "family" in levels:
            vendor, _, kind = levels["family"].label.rpartition("/")
            assert levels["family"].score <= levels["vendor"].top.get(vendor, 1.0) + 1e-9
            assert levels["family"].score <= levels["kind"].top.get(kind, 1.0) + 1e-9
        for level in levels.values():
            assert sum(level.top.values()) <= 1.0 + 1e-6 or level.level == "platform"


def judge_of_vendor(value: float) -> tuple[LadderJudge, LadderEvidence]:
    """A judge that shows labels from .6 and states them from .9, and evidence for a vendor of mostly plugs."""
    weights = LadderWeights(thresholds=dict.fromkeys(LEVELS, 0.6), sure=dict.fromkeys(LEVELS, 0.9))
    item = LadderEvidence(
        terms=[LadderTerm("vendor", "tp-link", "name strong", value, "contacts tplinkcloud.com", "hand")],
        vendor_kinds={"tp-link": KIND_SHARES}, base_kinds=KIND_SHARES,
    )  # fmt: skip
    return LadderJudge(LadderLibrary(), weights=weights), item


@pytest.mark.parametrize(
    ("value", "statement", "level"),
    [
        (3.0, "TP-Link device, probably a plug", "vendor"),
        (1.0, "probably a TP-Link plug", "unknown"),
        (-3.0, "probably a plug", "unknown"),
    ],
)
def test_what_is_not_sure_is_called_probable(value: float, statement: str, level: str) -> None:
    judge, item = judge_of_vendor(value)
    decision = judge.ladder.decide([item])[0]
    verdict = judge.verdict(item, decision)
    assert (verdict.statement, verdict.level, verdict.kind) == (statement, level, "plug")
    assert 0.4 < verdict.score < 1.0
    assert not any(step.sure for step in verdict.levels if step.level != level)


def test_base_kinds_are_shares_of_all_kinds() -> None:
    shares = base_kinds(Knowledge.bundled())
    assert set(shares) == set(KINDS)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_the_users_entries_join_the_packaged_ones() -> None:
    packaged = open_library()
    own = OpenLibrary(packaged.entries[:2], packaged.sources, "mine")
    assert len(with_packaged(own)) == len(packaged)
    assert with_packaged(packaged) is packaged
