"""Draw the terminal output of a command as SVG, by running it.

``python docs/screenshot.py`` draws the picture of the README again: the captures of one public data set, from the day
after those that the bundled library learned from. ``--folder`` is the folder of the corpora, else ``ETHOGRAM_CORPUS``.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent / "images" / "identify.svg"
COMMAND = "ethogram identify 'stevens_lsif_2019/*/*.zip' --from 2019-07-08"
WIDTH = 104
RUN = "import sys; from ethogram.cli import main; sys.exit(main(sys.argv[1:]))"
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", flags=re.DOTALL)


def terminal_output(words: list[str], folder: Path) -> str:
    """What a command prints on a terminal, with its colours; standard error is not part of it."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "LINES": "60", "TERM": "xterm-256color"}
    command = [sys.executable, "-c", RUN, *words]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL, cwd=folder, env=environment) as process:
        os.close(writer)
        output = b""
        while True:
            try:
                block = os.read(reader, 1 << 16)
            except OSError:  # Linux: the other end is closed
                break
            if not block:
                break
            output += block
    os.close(reader)
    if process.returncode not in (0, 3):
        raise SystemExit(f"{shlex.join(words)} ended with exit code {process.returncode}")
    return output.decode("utf-8").replace("\r", "")


def svg(command: str, folder: Path) -> str:
    """An SVG of a command and its output that loads nothing from the web."""
    words = shlex.split(command)[1:]
    text = Text.from_ansi(terminal_output(words, folder))
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(text)
    drawn = console.export_svg(title="ethogram", unique_id="ethogram")
    return WEB_FONT.sub("", drawn).replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")


def main() -> int:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=os.environ.get("ETHOGRAM_CORPUS", "."), help="where to run it")
    parser.add_argument("--command", default=COMMAND, help="what to run")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    arguments.output.write_text(svg(arguments.command, arguments.folder), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
