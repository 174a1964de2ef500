"""Foreign text is safe wherever it is shown, and JSON is exact."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from ethogram._text import csv_text, json_text, visible
from text_made import ANY, is_safe


@given(ANY)
def test_visible_text_has_no_character_that_acts_or_hides(text: str) -> None:
    assert is_safe(visible(text))
    assert visible(visible(text)) == visible(text)


def test_visible_text_shows_what_was_there() -> None:
    assert visible("a\nb\x1b[31m\x9b\u202e\U000e0001é日") == r"a\x0ab\x1b[31m\x9b\u202e\U000e0001é日"
    assert visible("name\ud800") == r"name\ud800"


@given(st.lists(st.lists(ANY | st.floats(allow_nan=False) | st.booleans() | st.none(), min_size=2, max_size=2)))
def test_csv_cells_are_safe_and_begin_no_formula(rows: list[list[object]]) -> None:
    text = csv_text(["a", "b"], rows)
    assert is_safe(text.replace("\n", ""))
    read = list(csv.reader(io.StringIO(text)))[1:]
    assert len(read) == len(rows)
    for cells, row in zip(read, rows, strict=True):
        for cell, value in zip(cells, row, strict=True):
            if isinstance(value, str) and cell.lstrip()[:1] in {"=", "+", "-", "@"}:
                float(cell)  # a number is no formula


@given(
    st.dictionaries(ANY, ANY | st.floats(allow_nan=False, allow_infinity=False) | st.lists(ANY), max_size=3),
    st.booleans(),
)
def test_json_is_exact_and_has_no_character_that_acts_or_hides(value: dict[str, object], indent: bool) -> None:
    text = json_text(value, indent=indent)
    assert json.loads(text) == value
    assert is_safe(text.replace("\n", ""))
