"""Digests of files: a copy has the digest of its original, and a file is read again when it has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ethogram.corpora.file_digest import content_digests


def test_a_copy_has_the_digest_of_its_original(tmp_path: Path) -> None:
    first, other = tmp_path / "one.csv", tmp_path / "other.csv"
    first.write_text("a,b\n")
    shutil.copy(first, other)
    os.utime(other, (1, 1))
    memory = tmp_path / "cache" / "digests.json"
    assert content_digests([first], memory) == content_digests([other], memory) == content_digests([other], None)


def test_a_file_is_read_again_when_it_has_changed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, memory = tmp_path / "a", tmp_path / "digests.json"
    file.write_text("one")
    [first] = content_digests([file], memory)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it is remembered"))
        assert content_digests([file], memory) == [first]
    file.write_text("two")
    assert content_digests([file], memory) != [first]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b'{"a": [1]}'])
def test_a_memory_that_is_damaged_is_written_anew(tmp_path: Path, content: bytes) -> None:
    file, memory = tmp_path / "a", tmp_path / "digests.json"
    file.write_text("one")
    memory.write_bytes(content)
    assert content_digests([file], memory) == content_digests([file], None)
    assert str(file.resolve()) in memory.read_text()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    assert content_digests([file], file / "digests.json") == content_digests([file], None)
