"""The output of the real nfdump for a capture equals the result of our own meter."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest
from capture_builder import Packet, ethernet, pcap

from ethogram.config import FlowSettings
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions

START_NS = 1_700_000_000_000_000_000


def capture() -> bytes:
    """Two TCP exchanges, a DNS query with its answer, and an unanswered broadcast."""
    device, server, resolver = "192.168.1.7", "198.51.100.9", "192.168.1.1"
    frames = []
    for number, port in enumerate((50000, 50001)):
        out = {"source": device, "destination": server, "source_port": port, "destination_port": 443}
        back = {"source": server, "destination": device, "source_port": 443, "destination_port": port}
        for step, (way, flags) in enumerate(
            [(out, 2), (back, 0x12), (out, 0x10), (out, 0x18), (back, 0x18), (out, 0x11)]
        ):
            frames.append((number * 10 + step * 0.1, Packet(**way, flags=flags)))
    asked = {"source": device, "destination": resolver, "source_port": 4000, "destination_port": 53, "protocol": 17}
    answered = {"source": resolver, "destination": device, "source_port": 53, "destination_port": 4000, "protocol": 17}
    frames += [(1.0, Packet(**asked)), (1.1, Packet(**answered))]
    frames += [(5.0, Packet(device, "255.255.255.255", 17, 6667, 6667))]
    frames.sort(key=lambda pair: pair[0])
    return pcap([(START_NS + round(at * 1e9), ethernet(packet.internet())) for at, packet in frames])


def flows_of(path: Path) -> pl.DataFrame:
    run = read_flows([path], ReadOptions(flow=FlowSettings()))
    columns = ["device_address", "remote", "local_port", "remote_port", "protocol", "role", "packets_out", "packets_in",
               "octets_out", "octets_in", "answered"]  # fmt: skip
    flows = collect(run)
    assert not run.errors
    return flows.filter(pl.col("device_address") == "192.168.1.7").select(columns).sort(pl.all())


@pytest.mark.parametrize("form", ["csv", "json"])
def test_nfdump_and_our_meter_tell_the_same_flows(tmp_path: Path, form: str) -> None:
    if shutil.which("nfpcapd") is None or shutil.which("nfdump") is None:
        pytest.skip("nfdump is not installed (Debian: nfdump)")
    file, folder = tmp_path / "one.pcap", tmp_path / "nfdump"
    file.write_bytes(capture())
    folder.mkdir()
    subprocess.run(["nfpcapd", "-r", str(file), "-l", str(folder)], check=True, capture_output=True, timeout=60)
    done = subprocess.run(
        ["nfdump", "-R", str(folder), "-o", form], check=True, capture_output=True, timeout=60,
        env=os.environ | {"TZ": "UTC"},
    )  # fmt: skip
    written = tmp_path / f"flows.{form}"
    written.write_bytes(done.stdout)
    theirs, ours = flows_of(written), flows_of(file)
    assert ours.height == 4
    assert theirs.to_dicts() == ours.to_dicts()
