"""The bundled tables: every row sound, known and sourced; the hand-written parts and the package agree."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from ethogram.knowledge.registry import registered_prefixes
from ethogram.knowledge.rows import COLUMNS, PORT_KEY, TABLES, packaged_rows, packaged_sources, row_problem
from ethogram.knowledge.tables import Knowledge
from ethogram.schema import KINDS
from studies import knowledge_pack

ROWS = {table: packaged_rows(table) for table in TABLES}


@pytest.mark.parametrize("table", TABLES)
def test_rows_are_sound_and_unique(table: str) -> None:
    assert [(row, row_problem(row)) for row in ROWS[table] if row_problem(row)] == []
    twice = [key for key, count in Counter(row[1:4] for row in ROWS[table]).items() if count > 1]
    assert twice == []
    assert ROWS[table] == sorted(ROWS[table], key=knowledge_pack.row_order)
    header = (knowledge_pack.OUTPUT / f"{table}.tsv").read_text().splitlines()[0]
    assert header.split("\t") == list(COLUMNS)


def test_vendors_and_platforms_are_known_and_spelt_once() -> None:
    knowledge_pack.check(ROWS)


def test_every_row_has_a_source_with_licence_and_date() -> None:
    sources = packaged_sources()
    assert {row.source for rows in ROWS.values() for row in rows} <= set(sources)
    assert "ieee" in sources
    for source in sources.values():
        assert source.name
        assert source.licence
        assert source.date


def test_shares_of_kinds_sum_to_one() -> None:
    totals: dict[str, float] = defaultdict(float)
    for row in ROWS["kinds"]:
        totals[row.key] += float(row.weight)
    assert {vendor: total for vendor, total in totals.items() if total != pytest.approx(1)} == {}


def test_every_kind_has_vendors_or_ports() -> None:
    by_name = {row.value for table in ("kinds", "ports", "hosts") for row in ROWS[table] if row.subject == "kind"}
    assert set(KINDS) - by_name == set()


def test_every_vendor_has_a_name_and_kinds() -> None:
    knowledge = Knowledge.bundled()
    named = {row.key for row in ROWS["vendors"] if row.subject == "name"}
    assert {row.key for row in ROWS["vendors"]} == named
    without = [vendor for vendor in named if not knowledge.kinds_of(vendor)]
    assert len(without) <= 5, without


def test_the_tables_are_broad() -> None:
    assert len(ROWS["kinds"]) > 1500
    assert len({row.key for row in ROWS["names"] if row.source == "hand"}) > 1500
    assert len({PORT_KEY.fullmatch(row.key)[2] for row in ROWS["ports"]}) > 200
    assert len(registered_prefixes()) > 40_000


def test_the_package_holds_what_is_written_by_hand() -> None:
    """A changed hand-written part needs ``python -m studies.knowledge_pack SOURCES``."""
    packaged = {row for rows in ROWS.values() for row in rows}
    assert [row for row in knowledge_pack.hand_rows(knowledge_pack.HAND) if row not in packaged] == []


def test_registered_prefixes_are_hexadecimal() -> None:
    prefixes = registered_prefixes()
    assert {len(prefix) for prefix in prefixes} == {6, 7, 9}
    assert all(set(prefix) <= set("0123456789abcdef") for prefix in prefixes)
    assert all(name == name.strip() and name for name in prefixes.values())
