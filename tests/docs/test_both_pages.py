"""The pages about both methods and about unknown devices: their examples run on synthetic captures."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

from bench.user_corpus_made import write_captures
from ethogram.cli import main

HOWTO = Path(__file__).parent.parent.parent / "docs" / "howto"
LABELS = "device,label,model,vendor,type,coarse\n"


@pytest.fixture
def two_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three devices in two months; the third one has no label."""
    write_captures(tmp_path, ("march", "april"), days=3)
    # The second network's devices are other units; each is labelled by its own address.
    rows = [f"02:00:00:00:0{network}:0{k},{kind},made-{kind},made,{kind},{kind}" for network in (0, 1)
            for k, kind in ((1, "camera"), (2, "plug"))]  # fmt: skip
    (tmp_path / "march" / "labels.csv").write_text(LABELS + "\n".join(rows[:2]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run every command of a page; gives what each printed."""
    printed = []
    for command in re.findall(r"^\$ ethogram ([^#\n]*)", (HOWTO / page).read_text("utf-8"), flags=re.MULTILINE):
        words = []
        for word in command.split():
            words += [str(path) for path in sorted(Path().glob(word))] if "*" in word else [word]
        assert main(words) == 0, capsys.readouterr().err
        printed.append(capsys.readouterr().out)
    return printed


def program(page: str, capsys: pytest.CaptureFixture[str]) -> str:
    (text,) = re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text("utf-8"), flags=re.DOTALL)
    exec(compile(text, page, "exec"), {})
    return capsys.readouterr().out


def test_both_methods(two_months: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    printed = run("both-methods.md", capsys)
    assert (two_months / "home.flows.parquet").exists()
    assert "by fingerprints" in re.sub(r"\s+", " ", printed[3])
    inventory = orjson.loads(printed[4])
    assert inventory["encoder"]
    by_device = {verdict["device"]: verdict for verdict in inventory["devices"]}
    assert by_device["02:00:00:00:01:01"]["nearest"] == "camera"
    for verdict in by_device.values():
        assert {share["method"] for share in verdict["methods"]} == {"fingerprints", "embeddings"}
        # The rest is the probability that the device is none of them.
        assert sum(verdict["known_types"].values()) <= 1.0 + 1e-6
    assert "'embeddings'" in program("both-methods.md", capsys)


def test_unknown_devices(two_months: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = run("unknown-devices.md", capsys)
    document = orjson.loads(printed[2])
    assert document["format"] == "ethogram.unknown/1"
    hub = [group for group in document["groups"] if "02:00:00:00:01:03" in group["devices"]]
    assert len(hub) == 1
    assert any("UDP/123" in name for name in hub[0]["shared"])
    assert "hall-camera" in printed[4]
    program("unknown-devices.md", capsys)
    assert main(["unknown", *map(str, sorted(Path("april").glob("*.pcap"))), "--library", "home.jsonl.gz",
                 "--name", "99=x"]) == 2  # fmt: skip
    assert "no group '99'" in capsys.readouterr().err
    assert two_months.exists()
