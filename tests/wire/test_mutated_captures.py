"""Captures of anything, many malformed, read as captures of an export: our errors or nothing; sums that hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.text_records import check_open


@pytest.mark.wire
def test_captures_of_anything_are_read_as_exports(wire: Path) -> None:
    captures = sorted(p for p in (wire / "tcpdump").rglob("*") if p.suffix in {".pcap", ".pcapng", ".cap"})
    assert len(captures) > 700
    for capture in captures:
        check_open(capture, "exports")
