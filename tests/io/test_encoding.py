"""Encodings: the same text gives the same records in each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import FlowSettings
from ethogram.io.capture import is_capture
from ethogram.io.encoding import Utf8, encoding_of
from ethogram.io.open import open_inputs
from ethogram.io.open_text import TextInput
from flow_records import MAPPED_CSV, MAPPING, TEXTS

MARKED = ("utf-8-sig", "utf-16", "utf-32")
BARE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", MARKED + BARE)
@pytest.mark.parametrize("name", TEXTS)
def test_any_encoding_of_a_text_gives_the_same_records(tmp_path: Path, name: str, encoding: str) -> None:
    mapping = tmp_path / "map.toml"
    mapping.write_text(MAPPING)
    text = TEXTS[name][1] if name != "mapped" else MAPPED_CSV
    tables = []
    for octets in (text, text.decode().encode(encoding)):
        file = tmp_path / TEXTS[name][0]
        file.write_bytes(octets)
        [result] = open_inputs(file, FlowSettings(), is_capture, mapping=mapping if name == "mapped" else None)
        assert result.source is not None
        source = result.source()
        tables.append([result.format, *(frame.rows() for frame in source.batches())])
        source.accounting.check()
    assert tables[0] == tables[1]


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(any_text, st.sampled_from(MARKED + BARE), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_pieces_of_a_text_give_its_utf8(text: str, encoding: str, step: int) -> None:
    text = "ts,uid,id.orig_h," + text
    octets = text.encode(encoding)
    turn = Utf8(octets)
    pieces = [turn(octets[at : at + step], last=at + step >= len(octets)) for at in range(0, len(octets), step)]
    if encoding_of(octets) == "utf-8":
        assert encoding not in ("utf-16", "utf-32"), "a mark always tells"
    else:
        assert b"".join(pieces).decode("utf-8-sig") == text.removeprefix("\ufeff")


@given(st.binary(max_size=600))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets_give_lines_of_utf8(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"\xff\xfe" + octets)
    lines = [line.decode() for batch in TextInput(file).batches(64) for line in batch.lines]
    assert lines
    assert not any("\n" in line for line in lines)


def test_joined_files_each_begin_with_a_mark(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        file = tmp_path / encoding
        file.write_bytes("one\n".encode(encoding) + "two\n".encode(encoding))
        for block in (5, 1 << 12):
            assert [line for batch in TextInput(file).batches(block) for line in batch.filled()[1]] == [b"one", b"two"]


def test_binary_octets_and_texts_with_zero_octets_are_not_taken_for_utf_16() -> None:
    for octets in (b"ts,uid,sa,da" + bytes(40), bytes(64), b"\xd4\xc3\xb2\xa1" + bytes(20), b"\0a" * 3):
        assert encoding_of(octets) == "utf-8"
