"""The decoder on real exports against what other decoders made of them: the figures the score table prints."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.wire


@pytest.fixture(scope="module")
def scores() -> ModuleType:
    folder = str(Path(__file__).parents[2] / "benchmarks" / "wire")
    sys.path.insert(0, folder)
    try:
        import scores as module
    finally:
        sys.path.remove(folder)
    return module


def test_datagrams_of_many_vendors(scores: ModuleType, wire: Path) -> None:
    result = scores.logstash.score(wire)
    assert len(result.counts) == 51
    stated = [(name, theirs, ours) for name, theirs, ours, _ in result.counts if theirs is not None]
    assert [row for row in stated if row[1] != row[2]] == [("IPFIX", 7, 13)]  # three messages, of which it reads one
    assert sum(ours for _, _, ours, _ in result.counts) == 497
    assert result.counts_right == 51
    assert result.events == 63
    assert result.problems == []
    assert result.fields == result.agreed == 1222
    assert dict(result.left_out) == {
        "one second late": 44, "uptime wrapped": 2, "not UTF-8": 1, "not held by its own tests": 4
    }  # fmt: skip


def test_captures_of_exports_row_for_row(scores: ModuleType, wire: Path) -> None:
    cases = scores.pmacct.score(wire)
    assert {case.name[:3]: (case.data, case.options, case.rows) for case in cases} == {
        "100": (12, 0, 12), "101": (51, 0, 51), "102": (35, 0, 35), "103": (12, 0, 12), "104": (3, 1, 3),
        "106": (3, 1, 3), "110": (98, 0, 72), "111": (24, 0, 23), "112": (9, 76, 9),
    }  # fmt: skip
    assert [(case.name, case.theirs, case.ours) for case in cases if case.equal != case.rows or case.ours] == []
    assert [case.name[:3] for case in cases if case.aggregated] == ["110", "111"]


def test_the_ipfix_file_that_four_decoders_agree_on(scores: ModuleType, wire: Path) -> None:
    assert scores.ipfix_file(wire) == (3_979, 49_001_404, 56_695)


def test_the_table_says_that_all_is_right(scores: ModuleType, wire: Path) -> None:
    lines, right = scores.report(wire)
    assert right
    assert "Counts right: 51 of 51 scenarios." in lines
