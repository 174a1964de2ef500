"""ONNX Runtime is imported with its telemetry off, and only where an encoder runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Libraries switch their telemetry off where these are set; users do not set them.
CI_VARIABLES = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "BUILD_ID", "JENKINS_URL", "ORT_DISABLE_TELEMETRY")


def python(code: str, home: Path, **variables: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in CI_VARIABLES}
    home.mkdir(exist_ok=True)
    environment = inherited | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")} | variables
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("given", [{}, {"ORT_DISABLE_TELEMETRY": "0"}], ids=["unset", "switched on outside"])
def test_an_encoder_leaves_no_device_id_behind(given: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = (
        "import time\n"
        "from ethogram.pipeline.representations import PACKAGED\n"
        "from ethogram.representation.inference import OnnxEncoder\n"
        "OnnxEncoder(PACKAGED, threads=1)\n"
        "time.sleep(1)\n"  # what it writes, it writes from a thread
    )
    home = tmp_path / "home"
    python(code, home, **given)
    assert [str(path) for path in home.rglob("*") if "onnx" in str(path).lower()] == []


def test_reading_flows_and_libraries_does_not_import_it(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import ethogram.cli.identify, ethogram.pipeline.identify, ethogram.cli.enrol, ethogram.cli.embed\n"
        "print('onnxruntime' in sys.modules)\n"
    )
    assert python(code, tmp_path / "home").strip() == "False"
