"""The tutorial: its commands run in order and print what it says."""

from __future__ import annotations

import re
from pathlib import Path

from docs.running import blocks, page, run_shell

TUTORIAL = page("docs/tutorial/first-inventory.md")


def test_the_tutorial_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    printed = ""
    for script in blocks(TUTORIAL, "sh"):
        done = run_shell(script, tmp_path)
        assert done.returncode == 0, done.stderr
        printed += done.stdout + done.stderr
    lines = [line for text in blocks(TUTORIAL, "text") for line in text.splitlines()]
    assert len(lines) > 6
    for line in lines:
        wanted = r"\s+".join(map(re.escape, line.split()))
        assert re.search(rf"^{wanted}\b", printed, flags=re.MULTILINE), line
    inventory = (tmp_path / "inventory.csv").read_text()
    assert inventory.startswith("device,verdict,score,")
    assert "02:00:5e:00:77:0d,hall-bulb," in inventory
