"""Every case gives its golden outcome: no number is silently wrong, and every loss is said by its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from cases.golden import FILE, golden_of, read_golden
from cases.replay import read_cases, replay

GOLDEN = read_golden(FILE)



@pytest.mark.parametrize("name", GOLDEN)
def test_a_case_gives_its_golden_outcome(name: str, cases: Path, tmp_path: Path) -> None:
    by_name = {case.name: case for case in read_cases(cases)}
    if name not in by_name:
        pytest.skip(f"ETHOGRAM_CASES has no case {name}")
    result, golden = golden_of(replay(cases, by_name[name], tmp_path)), GOLDEN[name]
    assert result.code == golden.code, result.says
    assert result.flows == golden.flows
    assert result.says == golden.says


def test_every_case_has_a_golden_outcome(cases: Path) -> None:
    assert [case.name for case in read_cases(cases) if case.name not in GOLDEN] == []
