"""Run the shell examples of a page with the command under test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    """The text of a page, by its path below the repository."""
    return (ROOT / name).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run_shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder; ``ethogram`` is the package under test."""
    command = (
        f'ethogram() {{ "{sys.executable}" -c "import sys; from ethogram.cli import main; sys.exit(main())" "$@"; }}\n'
    )
    return subprocess.run(["sh", "-ec", command + script], capture_output=True, text=True, check=False, cwd=folder)
