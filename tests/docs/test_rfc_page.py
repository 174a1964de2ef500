"""The page on RFC compliance: every row has a state, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_rows_have_a_state_and_name_existing_tests() -> None:
    text = (ROOT / "docs" / "reference" / "rfc-compliance.md").read_text("utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[-1].strip() != "tests"]
    assert len(rows) > 60
    for row in rows:
        assert re.match(r"(done|partly|no)\b", row[-2].strip()), row
        named = re.findall(r"`([^`]+)`", row[-1])
        assert named or row[-1].strip() == "none", row
        assert all((ROOT / "tests" / name).exists() for name in named), row
        if row[-2].startswith("done"):
            assert named, f"done, but without a test: {row}"
