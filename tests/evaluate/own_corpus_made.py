"""Folders of labelled flows that are made up: corpora of one's own, for tests."""

from __future__ import annotations

from pathlib import Path

from ethogram.config import CustomFlowSettings
from ethogram.pipeline.vector_files import write_custom_flows
from labelled_flows_made import home

LABELS = """device,type,model,vendor
camera 0,camera,acme-cam-2,acme
camera 1,camera,acme-cam-2,acme
plug 0,plug,bolt-plug,bolt
plug 1,plug,bolt-plug,bolt
hub 0,hub,acme-hub,acme
hub 1,hub,acme-hub,acme
"""


def write_own(folder: Path, n: int = 600, seed: int = 0, first_day: int = 0) -> Path:
    """One network: custom flows of six devices of three types on ten days, and their labels."""
    folder.mkdir(parents=True, exist_ok=True)
    write_custom_flows(folder / "flows.parquet", [home(n, seed, first_day=first_day, units=2)], CustomFlowSettings())
    (folder / "labels.csv").write_text(LABELS)
    return folder


def write_networks(folder: Path, n: int = 600) -> Path:
    """Two networks, a folder each, whose devices share models; the labels stand in one file."""
    lines = []
    for seed, network in enumerate(("home", "office")):
        write_own(folder / network, n, seed, first_day=20 * seed)
        (folder / network / "labels.csv").unlink()
        lines += [f"{line},{network}" for line in LABELS.splitlines()[1:]]
    (folder / "labels.csv").write_text("device,type,model,vendor,network\n" + "\n".join(lines) + "\n")
    return folder
