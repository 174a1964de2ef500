"""The example programs run, and the page on two of them shows what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ethogram.simulate import DEMO_HOME, SimulatedHome
from ethogram.simulate.capture import write_capture

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "tutorial" / "two-papers.md").read_text()
TABLE = re.compile(r"<!-- service_fingerprints: \w+ -->\n```text\n(.*?)```", re.DOTALL)


def output_of(name: str, *arguments: str | Path) -> str:
    """What an example prints; with one thread, since several compete with other tests."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    tested = {"flow_representations", "ipfix_file", "service_fingerprints", "simulated_home"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_a_file_of_exports_is_written_and_read() -> None:
    assert len(output_of("ipfix_file").splitlines()) > 3


def test_the_devices_of_the_simulated_home_are_identified() -> None:
    lines = output_of("simulated_home").splitlines()
    assert sum("sim camera" in line and "02:00:5e:00:77:0a" in line for line in lines) == 1
    assert sum("  unknown  " in line for line in lines) >= 5


def test_the_page_shows_the_fingerprints_of_the_simulated_home() -> None:
    output = output_of("service_fingerprints")
    tables = TABLE.findall(PAGE)
    assert len(tables) == 2
    for table in tables:
        assert table in output
    right, of = map(int, re.search(r"closed set: (\d+) of (\d+) device-days right", output).groups())  # type: ignore[union-attr]
    assert right >= 0.95 * of > 50
    refused, strangers = map(int, re.search(r"not enrolled: (\d+) of (\d+)", output).groups())  # type: ignore[union-attr]
    assert refused >= 0.9 * strangers > 10


def test_embeddings_of_the_simulated_home_carry_labels() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    output = output_of("flow_representations")
    rows = [line.split("┆") for line in output.splitlines() if line.startswith("│")]
    macro_f1 = {row[0].strip("│ "): float(row[4]) for row in rows if len(row) == 8 and "macro" not in row[4]}
    assert set(macro_f1) == {"vae", "packaged", "raw 40", "untrained"}
    assert macro_f1["vae"] > macro_f1["untrained"]
    by_flows = {row[1].strip(): float(row[3]) for row in rows if row[0] == "│ vae     " and len(row) == 5}
    assert by_flows["20"] > by_flows["1"] + 0.2


def test_the_scripts_of_the_papers_read_captures_of_the_user(tmp_path: Path) -> None:
    home = SimulatedHome(DEMO_HOME[2:4], days=6)
    (tmp_path / "captures").mkdir()
    write_capture(home.batches(), tmp_path / "captures" / "home.pcap", packets=2)
    rows = [f"{home.mac_of(device)},{device.label}\n" for device in home.devices]
    (tmp_path / "labels.csv").write_text("device,label\n" + "".join(rows))
    output = output_of("service_fingerprints", tmp_path / "captures", tmp_path / "labels.csv")
    assert re.search(r"closed set: \d+ of [1-9]\d* device-days right", output)
