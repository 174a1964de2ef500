"""Matplotlib says nothing of its own cache, and keeps what it says to others."""

from __future__ import annotations

import os
import subprocess
import sys


def test_a_home_that_cannot_be_written_is_not_talked_about() -> None:
    code = (
        "import logging\n"
        "import ethogram.fingerprint.plots, ethogram.representation.plots, ethogram.report.plots_style\n"
        "assert logging.getLogger('matplotlib').level == logging.NOTSET\n"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables | {"HOME": "/proc/none"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
