"""Terms in columns give the evidence that single terms give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.identify.explain import evidence
from ethogram.identify.identifier import Term
from ethogram.identify.terms import TermTable, merge_terms

NUMBER = st.sampled_from([0.0, 0.25, 0.5, 1.0, -0.5, 3.0])
ROW = st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz"), NUMBER, NUMBER, NUMBER)
ROWS = st.lists(ROW, max_size=18, unique_by=lambda row: row[:2])


def table(terms: list[Term]) -> TermTable:
    kinds = [(term.service, term.quantity) for term in terms]
    columns = np.array([(t.observed, t.expected, t.contribution) for t in terms]).reshape(-1, 3).T
    return TermTable(kinds, np.arange(len(terms)), columns)


@given(ROWS, st.integers(1, 6))
def test_evidence_of_a_table_is_that_of_its_terms(rows: list[tuple], most: int) -> None:
    terms = [Term(*row) for row in rows]
    assert list(table(terms)) == terms
    assert evidence(table(terms), most) == evidence(terms, most)


@given(ROWS, ROWS)
def test_equal_terms_of_two_parts_are_merged(first: list[tuple], second: list[tuple]) -> None:
    parts = [table([Term(*row) for row in first]), [Term(*row) for row in second]]
    merged = {(t.service, t.quantity): t for t in merge_terms([(1.0, [parts[0]]), (0.5, [parts[1]])])[0]}
    expected: dict[tuple[str, str], Term] = {}
    for weight, part in zip((1.0, 0.5), parts, strict=True):
        for t in part:
            before = expected[t.service, t.quantity].contribution if (t.service, t.quantity) in expected else 0.0
            expected[t.service, t.quantity] = Term(
                t.service, t.quantity, t.observed, t.expected, before + weight * t.contribution
            )
    assert set(merged) == set(expected)
    for key, term in merged.items():
        assert (term.observed, term.expected) == (expected[key].observed, expected[key].expected)
        assert term.contribution == pytest.approx(expected[key].contribution)
