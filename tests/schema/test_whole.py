"""Files that are there whole, or as they were before."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.schema.whole import together, whole, written_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "state"
    written_whole(target, b"before")

    def fail() -> None:
        with whole(target) as part:
            part.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"before"
    assert names(tmp_path) == ["state"]


def test_nothing_is_seen_under_the_name_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "state"
    with whole(target) as part:
        part.write_bytes(b"half")
        assert not target.exists()
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert names(tmp_path) == ["state"]


def test_what_was_not_written_changes_nothing(tmp_path: Path) -> None:
    with whole(tmp_path / "state") as part:
        part.write_bytes(b"empty")
        part.unlink()
    assert names(tmp_path) == []


def test_a_folder_that_is_missing_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        written_whole(tmp_path / "none" / "state", b"")


def test_files_that_belong_together_change_together(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for content in (b"1", b"2"):
        with together(first, second) as parts:
            for part in parts:
                part.write_bytes(content)
        assert first.read_bytes() == second.read_bytes() == content
    with together(first, second) as (part, _):
        part.write_bytes(b"3")
    assert names(tmp_path) == ["one"]
    assert first.read_bytes() == b"3"


def test_none_of_them_changes_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_bytes(b"before")
    replace = Path.replace

    def refuse(part: Path, path: Path) -> Path:
        if Path(path) == second:
            raise PermissionError
        return replace(part, path)

    def write() -> None:
        with together(first, second) as parts:
            for part in parts:
                part.write_bytes(b"after")

    with monkeypatch.context() as patched, pytest.raises(PermissionError):
        patched.setattr(Path, "replace", refuse)
        write()
    assert names(tmp_path) == ["one"]
    assert first.read_bytes() == b"before"
    second.mkdir()
    with pytest.raises(OSError, match="directory"):
        write()
    assert first.read_bytes() == b"before"
    assert names(tmp_path) == ["one", "two"]
