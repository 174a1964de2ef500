"""The page about the live service: its example runs, and what it names exists."""

from __future__ import annotations

from pathlib import Path

from docs.running import blocks, page, run_shell
from ethogram.config.serve import read_serve_settings
from ethogram.serve.store import Store

PAGE = page("docs/howto/serve.md")


def test_the_example_runs(tmp_path: Path) -> None:
    [shell] = blocks(PAGE, "sh")
    done = run_shell(shell, tmp_path)
    assert done.returncode == 0, done.stderr
    with Store.open(tmp_path / "home" / "store.db") as store:
        rows = store.devices().rows
        assert len(rows) >= 15  # the devices of the simulated home, and its router
        assert all(row.judged for row in rows)


def test_the_settings_exist(tmp_path: Path) -> None:
    text, libraries = blocks(PAGE, "toml")
    (tmp_path / "libraries.toml").write_text(libraries)
    assert list(read_serve_settings(tmp_path / "libraries.toml", {}, {}).library or ()) == ["home.jsonl.gz", "packaged"]
    (tmp_path / "serve.toml").write_text(text)
    settings = read_serve_settings(tmp_path / "serve.toml", {"ETHOGRAM_SERVE_JUDGE__CHANGE_TIMES": "6"}, {})
    assert (settings.judge.change_times, settings.web.port) == (6, 8080)
