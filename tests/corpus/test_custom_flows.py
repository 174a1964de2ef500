"""Custom flows of two networks beside those an independent program counted there, each difference explained.

It counted 14,871 on Aalto and 98,111 on Stevens, outgoing, TCP and UDP.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ethogram.io.capture import open_capture
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.vectors import VectorRun, collect_vectors, read_vectors

pytestmark = [pytest.mark.corpus, pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")]

MINUTE = 60_000_000_000


def labelled(corpus: Path, source: str) -> list[dict[str, str]]:
    with (corpus / "labels.csv").open() as lines:
        return [row for row in csv.DictReader(lines) if row["source"] == source]


def count(files: list[Path], folder: Path, *, mac: str = "", address: str = "") -> tuple[int, VectorRun]:
    """Outgoing custom flows of one device; every sum of the accounting holds."""
    devices = folder / "devices.csv"
    devices.write_text(f"device,mac,ip\nx,{mac},{address}\n")
    run = read_vectors(files, ReadOptions(devices, devices_only=True))
    flows = collect_vectors(run)
    read = sum(report.accounting.used for report in run.reports)
    stages = run.stages
    assert (stages["meter"].read, stages["device"].read) == (read, stages["meter"].used)
    assert int(flows.packets.sum()) == stages["device"].used
    return len(flows), run


def plain_count(files: list[Path], mac: int, *, with_local_address: bool) -> int:
    """Minutes of five-tuples of what a MAC sent, counted packet by packet in each file."""
    total = 0
    for file in files:
        started: dict[object, int] = {}
        for batch in open_capture(file).batches():
            wanted = (batch.version == 4) & np.isin(batch.protocol, (6, 17)) & (batch.source_mac == mac)
            columns = [batch.time_ns, batch.destination_low, batch.protocol, batch.source_port, batch.destination_port]
            local = batch.source_low if with_local_address else np.zeros(len(batch))
            for time, *key in zip(*(c[wanted].tolist() for c in (*columns, local)), strict=True):
                if time - started.get(tuple(key), -MINUTE) >= MINUTE:
                    started[tuple(key)] = time
                    total += 1
    return total


def test_stevens_agrees_exactly_capture_by_capture(corpus: Path, tmp_path: Path) -> None:
    by_capture = by_zip = 0
    for row in labelled(corpus, "stevens_lsif_2019"):
        path = corpus / "stevens_lsif_2019" / row["file_pattern"]
        by_zip += count([path], tmp_path, address=row["ip"])[0]
        folder = tmp_path / row["device"]
        with zipfile.ZipFile(path) as packed:
            packed.extractall(folder)
        days = sorted(folder.rglob("*.pcap"))
        result, run = count(days, tmp_path, address=row["ip"])
        by_capture += result
        assert run.stages["device"].corrected == {}
    assert by_capture == 98_111
    # The captures in a zip are one stream: 15 flows go on across midnight, where the next day's capture begins.
    assert by_zip == by_capture - 15


def test_aalto_differs_by_the_local_address_alone(corpus: Path, tmp_path: Path) -> None:
    ours = plain = without_address = 0
    for row in labelled(corpus, "aalto_iot_sentinel_2016"):
        files = sorted((corpus / "aalto_iot_sentinel_2016").glob(row["file_pattern"]))
        mac = int(row["mac"].replace(":", ""), 16)
        ours += count(files, tmp_path, mac=row["mac"])[0]
        plain += plain_count(files, mac, with_local_address=True)
        without_address += plain_count(files, mac, with_local_address=False)
    assert ours == plain == 14_942
    # The other program's key has no address of the device. One that speaks from two (its factory address and the
    # leased one, to the mDNS group) is one record there; here each is a five-tuple of its own.
    assert without_address == 14_871 == ours - 71
