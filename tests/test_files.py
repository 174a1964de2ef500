"""Files that are there whole, or as they were before."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from ethogram._files import atomic_write, atomic_write_all, guarding, is_ours, protect, write_bytes
from ethogram.errors import UsageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "state"
    write_bytes(target, b"before")

    def fail() -> None:
        with atomic_write(target) as part:
            part.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"before"
    assert names(tmp_path) == ["state"]


def test_nothing_is_seen_under_the_name_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "state"
    with atomic_write(target) as part:
        part.write_bytes(b"half")
        assert not target.exists()
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert names(tmp_path) == ["state"]


def test_what_was_not_written_changes_nothing(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "state") as part:
        part.write_bytes(b"empty")
        part.unlink()
    assert names(tmp_path) == []


def test_a_folder_that_is_missing_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "none" / "state", b"")


def test_files_that_belong_together_change_together(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for content in (b"1", b"2"):
        with atomic_write_all(first, second) as parts:
            for part in parts:
                part.write_bytes(content)
        assert first.read_bytes() == second.read_bytes() == content
    with atomic_write_all(first, second) as (part, _):
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
        with atomic_write_all(first, second) as parts:
            for part in parts:
                part.write_bytes(b"after")

    with monkeypatch.context() as patched, pytest.raises(PermissionError):
        patched.setattr(Path, "replace", refuse)
        write()
    assert names(tmp_path) == ["one"]
    assert first.read_bytes() == b"before"
    second.mkdir()
    with pytest.raises(UsageError, match="directory"):
        write()
    assert first.read_bytes() == b"before"
    assert names(tmp_path) == ["one", "two"]


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket"])
def test_what_is_not_a_regular_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    elif kind == "device":
        target.symlink_to("/dev/null")
    else:
        with socket.socket(socket.AF_UNIX) as place:
            place.bind(str(target))
    before = target.stat()
    with pytest.raises(UsageError, match="not a regular file"):
        write_bytes(target, b"x")
    assert (target.stat().st_ino, target.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link, dangling = tmp_path / "elsewhere" / "real", tmp_path / "link", tmp_path / "dangling"
    real.write_bytes(b"before")
    link.symlink_to(real)
    dangling.symlink_to("elsewhere/new")
    write_bytes(link, b"after")
    write_bytes(dangling, b"new")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert real.read_bytes() == b"after"
    assert (tmp_path / "elsewhere" / "new").read_bytes() == b"new"
    assert names(tmp_path) == ["dangling", "elsewhere", "link"]
    assert names(tmp_path / "elsewhere") == ["new", "real"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_mode_and_is_never_more_open_while_it_is_written(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"before")
    target.chmod(mode)
    with atomic_write(target) as part:
        part.write_bytes(b"after")
        assert part.stat().st_mode & 0o777 & ~mode == 0
    assert target.stat().st_mode & 0o7777 == mode


def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "out", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"before")
    os.chown(target, 12345, 23456)
    write_bytes(target, b"after")
    assert (target.stat().st_uid, target.stat().st_gid) == (12345, 23456)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"before")
    target.chmod(0o444)
    with pytest.raises(PermissionError):
        write_bytes(target, b"after")


def test_the_hidden_files_of_killed_runs_are_removed_and_those_of_running_ones_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    hold = (
        "import os, sys, time\nfrom pathlib import Path\nfrom ethogram._files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half')\n    print(part.name, flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(target)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        part = tmp_path / other.stdout.readline().strip()
        foreign = tmp_path / ".out.x.part"
        foreign.write_bytes(b"of somebody else")
        os.utime(part, (0, 0))  # its age alone does not make it stale
        write_bytes(target, b"1")
        assert part.exists()
        other.kill()
        other.wait()
        stale = tmp_path / f".out.{other.pid}.old"
        stale.write_bytes(b"half")
        write_bytes(target, b"2")
    assert names(tmp_path) == [".out.x.part", "out"]


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("é" * 127), b"x")
    assert names(tmp_path) == ["é" * 127]


def test_an_input_of_the_command_is_not_replaced_under_any_name(tmp_path: Path) -> None:
    given, hard, soft = tmp_path / "in", tmp_path / "hard", tmp_path / "soft"
    given.write_bytes(b"data")
    hard.hardlink_to(given)
    soft.symlink_to(given)
    with guarding():
        protect([given])
        for name in (given, hard, soft):
            with pytest.raises(UsageError, match="is an input of this command"):
                write_bytes(name, b"x")
    assert given.read_bytes() == b"data"
    write_bytes(given, b"after the command")


def test_an_input_that_takes_the_place_of_the_target_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    given, target = tmp_path / "in", tmp_path / "out"
    given.write_bytes(b"data")

    def write() -> None:
        with guarding():
            protect([given])
            with atomic_write(target) as part:
                part.write_bytes(b"x")
                target.hardlink_to(given)

    with pytest.raises(UsageError, match="is an input of this command"):
        write()
    assert given.read_bytes() == target.read_bytes() == b"data"
    assert names(tmp_path) == ["in", "out"]


def test_files_are_ours_by_their_marks(tmp_path: Path) -> None:
    def file(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    table = pyarrow.table({"a": [1]})
    pyarrow.parquet.write_table(table, tmp_path / "other.parquet")
    own = table.replace_schema_metadata({"ethogram.format": "ethogram.flow-table/1"})
    pyarrow.parquet.write_table(own, tmp_path / "own.parquet")
    header = b'{"format":"ethogram.library/1","version":"1"}\n'
    report = b'{\n  "format": "ethogram.x/1"\n}'
    ours = [tmp_path / "missing", file("empty", b""), tmp_path / "own.parquet", file("lib.jsonl", header),
            file("lib.jsonl.gz", gzip.compress(header)), file("report.json", report)]  # fmt: skip
    others = [tmp_path / "other.parquet", file("notes.txt", b'see "format": "ethogram.x/1"'), file("x.json", b"{}"),
              file("cut.gz", gzip.compress(header)[:12]), file("cut.parquet", b"PAR1"), file("cut2", b"PAR1\xff\xff"),
              file("foreign.json", b'{"format":"etho"}')]  # fmt: skip
    assert [path.name for path in ours if not is_ours(path)] == []
    assert [path.name for path in others if is_ours(path)] == []
