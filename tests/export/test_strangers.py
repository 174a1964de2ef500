"""All formats with what a stranger has: nothing, many devices, one name for all, IPv6 or a MAC alone, a closed pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.export.registry import EXPORTS, ExportData, ExportOptions, load_export
from ethogram.export.result import write_file
from ethogram.schema import MUD_USE, ExportedDevice

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WRITTEN = sorted(set(EXPORTS) - {"netbox"})  # NetBox is asked over the network: test_netbox.py
USE = {
    "version": 6, "protocol": 6, "port": 443, "role": "client", "scope": "wan", "name": None, "address": "2001:db8::9",
    "initiator": "device", "answered": True, "flows": 1, "packets_out": 1, "packets_in": 1,
}  # fmt: skip


def text(form: str, data: ExportData) -> str:
    return "".join(part.text for part in load_export(form)(data, ExportOptions(port=80)))


@pytest.mark.parametrize("form", WRITTEN)
def test_an_empty_inventory_is_written(form: str) -> None:
    written = text(form, ExportData((), NOW, uses=MUD_USE.empty()))
    assert "Traceback" not in written
    assert written.count("\n") <= 30


@pytest.mark.parametrize("form", WRITTEN)
def test_many_devices_of_one_name(form: str) -> None:
    # A profile is learnt for each device, and stix2 checks each object: both take milliseconds.
    number = 100 if EXPORTS[form].reads == "services" or form == "stix" else 10_000
    devices = tuple(ExportedDevice(f"id{i}", 'cam "\x1b[2J" 😀', (f"10.0.{i // 250}.{i % 250 + 1}",))
                    for i in range(number))  # fmt: skip
    uses = pl.DataFrame([{"device": device.id, **USE} for device in devices], schema=MUD_USE.schema)
    written = text(form, ExportData(devices, NOW, uses=uses))
    assert "\x1b" not in written
    assert "10.0.0.100" in written or form == "mud"
    assert written.count("cam") >= number or form == "mud"


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("device", [
    ExportedDevice("1", "six", ("2001:db8::5", "fe80::5%eth0")), ExportedDevice("1", "mac", (), ("02:00:00:00:00:05",)),
    ExportedDevice("1", ""),
])  # fmt: skip
def test_devices_of_which_little_is_known(form: str, device: ExportedDevice) -> None:
    uses = pl.DataFrame([{"device": "1", **USE}], schema=MUD_USE.schema)
    written = text(form, ExportData((device,), NOW, uses=uses))
    assert written
    assert "None" not in written


@pytest.fixture
def home(tmp_path: Path) -> Path:
    sent = P(1_714_521_600 * 1_000_000_000, "192.168.1.5", "198.51.100.7", 40_000, 443, source_mac="02:00:00:00:00:05")
    (tmp_path / "home.pcap").write_bytes(capture([sent, sent.back(sent.time_ns + 1_000_000)]))
    return tmp_path / "home.pcap"


def test_a_folder_without_rights_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = home.parent / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # root may write everywhere: a file in the way has the same end
        closed.rmdir()
        closed.write_text("a file")
    for form in ("csv", "mud", "nftables"):
        output = closed / "out" if form == "mud" else closed / "out.x"
        assert main(["export", form, str(home), "-o", str(output)]) in (2, 3)
        lines = capsys.readouterr().err.strip().splitlines()
        assert "closed" in lines[-1]


def test_a_pipe_that_closes_ends_the_command_without_a_trace(home: Path) -> None:
    command = [sys.executable, "-m", "ethogram", "export", "ecs", str(home)]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=300)
    finally:
        os.close(writer)
    assert "Traceback" not in done.stderr
    assert done.returncode != 1


def test_an_empty_export_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "devices.jsonl"
    path.write_text("an older export")
    write_file([], path)
    assert path.read_bytes() == b""
    write_file(["new\n"], path)
    assert path.read_text() == "new\n"
