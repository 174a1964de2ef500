"""Several devices behind one address: told with their parts, and never of a single device."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import LadderJudge
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.library import open_library
from ethogram.pipeline.several import MOST_BREADTH
from ethogram.schema import Windows
from ethogram.schema.window import ITEM, ITEM_COUNTS

START = datetime(2026, 3, 1, tzinfo=UTC)
CLOUDS = ("use1-api.tplinkra.com", "api.xbcs.net", "dcp.dc1.philips.com", "api.wyzecam.com")


def windows_of(*devices: dict[str, int]) -> Windows:
    """One item for each device: names and the hours in which each is contacted, of ten."""
    rows = [
        {
            "item": item, "time": START + timedelta(hours=hour), "protocol": 6, "port": 443, "role": "client",
            "scope": "wan", "answered": True, "name": name, "flows": 1, "octets_out": 100 * (1 + len(name) % 3),
            "octets_in": 100, "packets_out": 2, "packets_in": 2, "duration_ms": 10,
        }
        for item, names in enumerate(devices) for name, hours in names.items() for hour in range(hours)
    ]  # fmt: skip
    items = [{"item": i, "device": f"10.0.0.{i}", "start": START, "end": START + timedelta(hours=10)}
             for i in range(len(devices))]  # fmt: skip
    return Windows(ITEM.conform(pl.DataFrame(items)), ITEM_COUNTS.conform(pl.DataFrame(rows)))


@pytest.fixture(scope="module")
def judge() -> LadderJudge:
    return LadderJudge(learn_ladder(open_library(), Knowledge.bundled()).products)


def strong_clouds(knowledge: Knowledge) -> list[str]:
    """Names of clouds that only products of one vendor contact, each of another owner."""
    names: dict[str, str] = {}
    for name in CLOUDS:
        for fact in knowledge.name(name):
            if fact.subject == "vendor" and fact.weight == "strong":
                names.setdefault(knowledge.owner(fact.value), name)
    return list(names.values())


def test_three_makers_are_several_devices(judge: LadderJudge) -> None:
    clouds = strong_clouds(judge.knowledge)
    assert len(clouds) >= 3
    three = dict.fromkeys(clouds[:3], 10)
    several, single, two = judge.verdicts(windows_of(three, {clouds[0]: 10}, dict.fromkeys(clouds[:2], 10)))
    assert several.level == "several"
    assert several.statement.startswith("several devices: ")
    assert (several.kind, several.vendor, several.model, several.labels) == ("", "", "", [])
    assert len(several.several) == 3
    assert sum(part.share for part in several.several) == pytest.approx(1, abs=0.01)
    assert [part.share for part in several.several] == sorted((p.share for p in several.several), reverse=True)
    for verdict in (single, two):
        assert verdict.level != "several"
        assert not verdict.several


def test_a_cloud_that_is_contacted_once_is_no_part(judge: LadderJudge) -> None:
    first, second, third = strong_clouds(judge.knowledge)[:3]
    [verdict] = judge.verdicts(windows_of({first: 10, second: 10, third: 1}))
    assert verdict.level != "several"


def test_a_computer_that_contacts_everything_is_one_device(judge: LadderJudge) -> None:
    clouds = dict.fromkeys(strong_clouds(judge.knowledge)[:3], 10)
    sites = {f"www.site-{number}.example": 5 for number in range(MOST_BREADTH + 1)}
    [verdict] = judge.verdicts(windows_of(clouds | sites))
    assert verdict.level != "several"
