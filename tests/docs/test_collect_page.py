"""The page about collecting: its example runs, and every reason for a loss is on the page of counters."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ethogram.io.receive import tcp, tls, udp
from ethogram.io.wire import pending, walk
from ethogram.pipeline.fingerprints import read_fingerprints
from ethogram.serve import counters

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "collect.md").read_text("utf-8")
COUNTERS = (DOCS / "reference" / "counters.md").read_text("utf-8")


def test_example_runs_and_counts_what_the_simulation_sent(tmp_path: Path) -> None:
    [shell] = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        shell = shell.replace("29739", str(free.getsockname()[1]))
    command = tmp_path / "bin" / "ethogram"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom ethogram.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", shell],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    [sums] = re.findall(
        r"^sequence: ([\d,]+) units sent = ([\d,]+) received \+ ([\d,]+) in gaps", done.stdout, flags=re.M
    )
    sent, received, gaps = (int(number.replace(",", "")) for number in sums)
    assert sent == received + gaps
    assert gaps > 0
    assert f"moved by {sums[0]}" in done.stderr, "what the simulation says it sent"
    assert read_fingerprints(tmp_path / "fingerprints.parquet").table.height > 0


def test_example_ends_if_the_command_is_missing(tmp_path: Path) -> None:
    [shell] = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "bin").mkdir()
    for tool in ("grep", "sleep", "cat"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(shutil.which("sh")), "-c", shell], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        env={"PATH": str(tmp_path / "bin")},
    )  # fmt: skip
    assert done.returncode != 0
    assert "ethogram" in done.stderr and "not found" in done.stderr


@pytest.mark.parametrize(
    "reason",
    sorted({
        *udp.REASONS.values(), udp.SOCKET, udp.RUBBISH, udp.SILENT, *tcp.FAULTS.values(), tcp.EVICTED, tcp.INTERNAL,
        tls.NO_HANDSHAKE, tls.BROKEN_OFF, tls.CERTIFICATE, *walk.MESSAGES_DROPPED.values(),
        *walk.SETS_DROPPED.values(), pending.WAITING, pending.EVICTED, pending.EXPIRED, pending.REFUSED,
        pending.SESSION_ENDED, counters.WAITED,
    }),
)  # fmt: skip
def test_every_reason_is_documented(reason: str) -> None:
    assert f"| `{reason}` |" in COUNTERS
