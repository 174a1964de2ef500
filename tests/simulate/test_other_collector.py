"""The simulated exporter with nfcapd: the same flows and octets, and no sequence errors."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ethogram.io.receive.address import Listen
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.layout import Protocol
from ethogram.simulate.send import Pace, send


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def waiting(place: str) -> int | None:
    """Octets waiting at a local UDP socket; None if nobody listens."""
    lines = [line for line in Path("/proc/net/udp").read_text().splitlines() if place in line]
    return int(lines[0].split()[4].split(":")[1], 16) if lines else None


@pytest.mark.parametrize("protocol", ["ipfix-uniflow", "v9", "v5"])
def test_nfcapd_counts_what_was_sent(protocol: Protocol, tmp_path: Path) -> None:
    if shutil.which("nfcapd") is None:
        pytest.skip("nfcapd is not installed (Debian: nfdump)")
    port = free_port()
    place, log = f"0100007F:{port:04X}", tmp_path / "log"
    (tmp_path / "flows").mkdir()
    exporter = FlowExporter(ExportSettings(protocol=protocol, domains=2, template_messages=50))
    with log.open("w") as stream:
        daemon = subprocess.Popen(
            ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", tmp_path / "flows", "-t", "3600", "-B", str(1 << 22)],
            stdout=stream, stderr=stream,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 30
            while waiting(place) is None:
                assert daemon.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "nfcapd does not listen"
                time.sleep(0.02)
            messages = list(exporter.messages(SimulatedHome(days=1).batches()))
            for first in range(0, len(messages), 50):
                send(messages[first : first + 50], Listen("udp", "127.0.0.1", port), Pace())
                while waiting(place):
                    assert time.monotonic() < deadline, "nfcapd does not read"
                    time.sleep(0.002)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(20)
    reported = re.search(r"Flows: (\d+), Packets: (\d+), Bytes: (\d+), Sequence Errors: (\d+), Bad Packets: (\d+)",
                     log.read_text())  # fmt: skip
    assert reported is not None, log.read_text()
    [home] = SimulatedHome(days=1).batches()
    packets, octets = (int(home[name].sum() + home[f"reverse_{name}"].sum()) for name in ("packets", "octets"))
    assert [int(number) for number in reported.groups()] == [exporter.sent.flows, packets, octets, 0, 0]
