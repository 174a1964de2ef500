"""The page about sinks: its settings are valid, and its commands run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from docs.running import blocks, page
from ethogram.cli import main

PAGE = page("docs/howto/sinks.md")


def test_the_settings_are_valid_and_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("webhook-secret", "mqtt-password"):
        Path(name).write_text("secret\n")
    Path("mail-url").write_text("mailtos://user:password@mail.example.com?from=e@example.com&to=me@example.com")
    first, mail = blocks(PAGE, "toml")
    settings = first + mail
    head = 'data = "data"\ncollect = false\npage = false\n'
    Path("serve.toml").write_text(head + settings.replace("/etc/ethogram/", ""))
    (script,) = blocks(PAGE, "bash")
    for line in script.splitlines():
        _, *arguments = shlex.split(line, comments=True)
        assert main(arguments) == 0
    listed = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == [["chat", "webhook"], ["siem", "syslog"], ["log", "file"], ["home", "mqtt"],
                      ["mail", "apprise"]]  # fmt: skip
    (event,) = [json.loads(line) for line in Path("events.jsonl").read_text().splitlines()]
    (shown,) = blocks(PAGE, "json")
    assert event.keys() == json.loads(shown).keys()
