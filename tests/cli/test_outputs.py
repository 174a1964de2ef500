"""What -o may name, of every command that writes; refused before any work is done."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from ethogram.cli import main
from ethogram.cli.app import COMMANDS
from ethogram.cli.outputs import EXPORT, LIBRARY, ROWS, TABLE, Form, check_folder, check_output
from ethogram.errors import EthogramError, UsageError

RECORDS = (
    b"ts,te,td,sa,da,sp,dp,pr,ipkt,ibyt,opkt,obyt\n"
    b"2024-05-01 00:00:00,2024-05-01 00:00:01,1.0,192.168.0.2,192.0.2.1,40000,443,TCP,3,300,2,200\n"
)
# Arguments of each command whose -o names a file, up to -o; {in} is an input that may not be written over.
FILES = {
    "flows": ["{in}"], "vectors": ["{in}"], "embed": ["{in}"], "fingerprint": ["{in}"],
    "enrol": ["{in}", "--labels", "labels.csv"], "library": ["merge", "{in}"],
    "unknown": ["{in}", "--library", "lib.jsonl", "--name", "1=x"], "simulate": ["--days", "1"],
    "monitor": ["{in}", "--learn", "1d"],
    "bench": ["quick", "--corpus", "corpus"], "backup": ["--data", "data"], "export": ["ecs", "{in}"],
}  # fmt: skip
FOLDERS = {"collect", "pretrain"}
BINARY = {"flows", "vectors", "embed", "fingerprint", "simulate", "backup"}


def options(verb: str) -> set[str]:
    import importlib

    app = typer.Typer()
    app.command()(importlib.import_module(COMMANDS[verb][0]).command)
    command: Any = typer.main.get_command(app)
    return {name for parameter in command.params for name in parameter.opts}


def test_every_command_that_writes_is_tested_here_and_can_be_forced() -> None:
    writing = {verb for verb in COMMANDS if options(verb) & {"-o", "--plots"}}
    assert writing == FILES.keys() | FOLDERS | {"stability", "probe", "reconstruct"}
    assert {verb for verb in writing if "--force" not in options(verb)} == set()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("corpus").mkdir()
    Path("in").write_bytes(RECORDS)
    Path("labels.csv").write_text("device,label\n192.168.0.2,camera\n")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], verb: str, *more: str, code: int = 2) -> str:
    arguments = [verb, *(text.replace("{in}", "in") for text in FILES[verb]), *more]
    assert main(arguments) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("verb", sorted(FILES))
def test_no_command_writes_over_a_device_a_fifo_or_a_folder(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("link").symlink_to("/dev/full")
    before = Path("/dev/null").stat()
    for name in ("/dev/null", "link", "pipe", "folder"):
        assert "not a regular file" in said(capsys, verb, "-o", name)
    after = Path("/dev/null").stat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)


@pytest.mark.parametrize("verb", sorted(FILES.keys() - {"simulate", "bench", "library", "backup"}))
def test_no_command_writes_over_an_input_under_any_name(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("soft").symlink_to("in")
    Path("hard").hardlink_to("in")
    for name in ("in", "soft", "hard", f"{Path.cwd()}/./in"):
        assert "is an input of this command" in said(capsys, verb, "-o", name, "--force")
    assert Path("in").read_bytes() == RECORDS


def test_no_file_of_a_folder_or_glob_of_inputs_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("day").mkdir()
    Path("in").rename("day/a.records")
    for given in ("day", "day/*.records"):
        assert main(["flows", given, "-o", "day/a.records", "--force"]) == 2
        assert "is an input of this command" in capsys.readouterr().err
    assert main(["flows", "day/a.records", "--devices", "labels.csv", "-o", "labels.csv", "--force"]) == 2
    assert Path("day/a.records").read_bytes() == RECORDS


@pytest.mark.parametrize("verb", sorted(FILES.keys()))
def test_the_suffix_of_another_format_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("out.csv", "out.PCAP", "out.tar.xz"):
        assert "let the name end in" in said(capsys, verb, "-o", name)
        assert not Path(name).exists()


@pytest.mark.parametrize("verb", sorted(FILES.keys() - {"bench"}))
def test_a_foreign_file_asks_for_force(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").write_bytes(b"years of work")
    assert "--force replaces it" in said(capsys, verb, "-o", "mine")
    assert Path("mine").read_bytes() == b"years of work"


def test_rows_are_only_added_to_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").write_bytes(b"a line\nand half a line")
    assert "is not a file of result rows" in said(capsys, "bench", "-o", "mine", "--force")
    assert Path("mine").read_bytes() == b"a line\nand half a line"


@pytest.mark.parametrize("verb", sorted(BINARY))
def test_binary_formats_do_not_go_to_standard_output(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is binary" in said(capsys, verb, "-o", "-")
    assert not Path("-").exists()


def test_a_flow_table_is_replaced_by_the_next_run_and_keeps_mode_and_link(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flows", "in", "-o", "out.parquet"]) == 0
    Path("out.parquet").chmod(0o600)
    Path("link").symlink_to("out.parquet")
    assert main(["flows", "in", "-o", "link"]) == 0
    assert Path("link").is_symlink()
    assert Path("out.parquet").stat().st_mode & 0o777 == 0o600
    assert main(["fingerprint", "out.parquet", "-o", "prints"]) == 0
    assert main(["fingerprint", "out.parquet", "-o", "prints"]) == 0
    capsys.readouterr()
    assert main(["fingerprint", "out.parquet", "-o", "link"]) == 2


def test_a_library_goes_to_standard_output_and_may_be_extended_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    enrol = ["enrol", "in", "--labels", "labels.csv", "--no-flows"]
    assert main([*enrol, "-o", "home.jsonl.gz"]) == 0
    capsys.readouterr()
    assert main([*enrol, "-o", "-"]) == 0
    written = capsys.readouterr().out
    assert '"format":"ethogram.library/1"' in written
    assert written.splitlines()[1:] == gzip.decompress(Path("home.jsonl.gz").read_bytes()).decode().splitlines()[1:]
    assert main([*enrol, "--extend", "home.jsonl.gz", "-o", "home.jsonl.gz"]) == 0
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("name", "form", "good"),
    [
        ("x.parquet", TABLE, True), ("x.pq", TABLE, True), ("x", TABLE, True), ("x.2024-05-01", TABLE, True),
        ("day.pcap.parquet", TABLE, True), ("x.parquet.gz", TABLE, False), ("x.jsonl", TABLE, False),
        ("x.ipfix", TABLE, False), ("x.jsonl.gz", LIBRARY, True), ("x.JSONL", LIBRARY, True), ("x.gz", LIBRARY, True),
        ("x.csv.gz", LIBRARY, False), ("x.parquet", LIBRARY, False), ("x.ipfix", EXPORT, True),
        ("x.pcap", EXPORT, False), ("x.jsonl", ROWS, True), ("x.jsonl.gz", ROWS, False),
    ],
)  # fmt: skip
def test_which_suffixes_fit_which_format(name: str, form: Form, good: bool) -> None:
    if good:
        check_output(Path(name), form)
    else:
        with pytest.raises(UsageError, match="let the name end in"):
            check_output(Path(name), form)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_the_work(here: Path) -> None:
    here.chmod(0o555)
    try:
        with pytest.raises(EthogramError, match="may not be written to"):
            check_output(here / "x.parquet", TABLE)
    finally:
        here.chmod(0o755)


def test_a_file_is_no_folder_and_foreign_files_in_a_folder_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="a folder is needed"):
        check_folder(Path("in"))
    for verb in FOLDERS:
        assert main([verb, *(["x"] if verb == "pretrain" else []), "-o", "in"]) == 2
        assert "a folder is needed" in capsys.readouterr().err
    Path("model").mkdir()
    Path("model/card.md").write_text("mine")
    assert main(["pretrain", "x", "-o", "model"]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    Path("README.md").write_text("# mine\n")
    Path("rows.jsonl").write_bytes(b"")
    assert main(["bench", "report", "rows.jsonl", "-o", "."]) == 2
    assert Path("README.md").read_text() == "# mine\n"


@pytest.mark.parametrize("arguments", [["--help"], ["library", "list", "--full"], ["identify", "--help"], ["doctor"]])
def test_a_closed_pipe_ends_a_command_without_a_word(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from ethogram.cli import main; sys.exit(main())", *arguments],
        stdout=write, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.returncode in {0, 141}
    assert done.stderr == b""
