"""A second opinion over a real socket: nfcapd receives what our builder writes, and nfdump tells the same flows."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ethogram.config import FlowSettings
from ethogram.io.nfdump import NfdumpReader
from ethogram.io.open_text import TextInput
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import MessageBuilder, batch, data, template_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.template import V5_FIELDS, Field, Template, v5_template

NOW_MS, BOOT_MS = 1_700_000_000_000, 1_699_990_000_000
COLUMNS = ["start", "end", "protocol", "source_address", "source_port", "destination_address", "destination_port",
           "packets", "octets"]  # fmt: skip
V9 = ((8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (6, 1), (4, 1))
IPFIX = ((152, 8), (153, 8), (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (6, 1), (1, 8), (2, 8))
SIX = ((152, 8), (153, 8), (27, 16), (28, 16), (7, 2), (11, 2), (4, 1), (6, 1), (1, 8), (2, 8))


def columns_of(elements: tuple[tuple[int, int], ...], rows: int) -> list[Any]:
    """Plausible flows: each with addresses, ports, counters and times of its own."""
    row = np.arange(rows, dtype=np.int64)
    values = {
        1: 1000 + 7 * row, 2: 2 + row, 4: np.where(row % 3, 6, 17), 6: np.where(row % 3, 0x1B, 0), 7: 40000 + row,
        8: 0xC0A80100 + row % 250, 11: np.where(row % 2, 443, 53), 12: 0xC6336400 + row % 200,
        21: 9_000_000 + row * 11, 22: 8_990_000 + row * 11, 152: NOW_MS - 20_000 + row * 13,
        153: NOW_MS - 9_000 + row * 13,
    }  # fmt: skip
    collected: list[Any] = []
    for element, octets in elements:
        if octets == 16:
            address = np.zeros((rows, 16), np.uint8)
            address[:, :4], address[:, 15] = [0x20, 0x01, 0x0D, 0xB8], row % 250 + 1
            address[:, 7] = element
            collected.append(address)
        else:
            collected.append(values.get(element, np.zeros(rows, np.int64)))
    return collected


def messages_of(protocol: str) -> list[bytes]:
    """Messages of one protocol with 300 flows."""
    if protocol == "v5":
        build = MessageBuilder(5, boot_ms=BOOT_MS)
        elements = tuple((field.id, field.length) for field in V5_FIELDS)
        return build.messages([data(v5_template(0), columns_of(elements, 300))], NOW_MS)
    version = 9 if protocol == "v9" else 10
    build = MessageBuilder(version, 7, boot_ms=BOOT_MS)
    parts: list[Any] = []
    for number, elements in enumerate([V9] if version == 9 else [IPFIX, SIX]):
        template = Template(version, 7, 256 + number, tuple(Field(0, *item) for item in elements))
        parts += [template_set(template), data(template, columns_of(elements, 300 if version == 9 else 150))]
    return build.messages(parts, NOW_MS)


def received_by_nfcapd(messages: list[bytes], folder: Path) -> str:
    """What nfdump prints of messages that nfcapd received over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        ["nfcapd", "-b", "127.0.0.1", "-p", str(port), "-w", str(folder), "-t", "3600", "-B", str(1 << 22)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        listening = f"0100007F:{port:04X}"
        deadline = time.monotonic() + 20
        while listening not in Path("/proc/net/udp").read_text():
            assert daemon.poll() is None, "nfcapd ended before it listened"
            assert time.monotonic() < deadline, "nfcapd does not listen"
            time.sleep(0.02)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in messages:
                sender.sendto(message, ("127.0.0.1", port))
        while unread(listening):
            assert time.monotonic() < deadline, "nfcapd does not read"
            time.sleep(0.02)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
    done = subprocess.run(
        ["nfdump", "-R", str(folder), "-o", "json"], check=True, capture_output=True, text=True, timeout=60,
        env=os.environ | {"TZ": "UTC"},
    )  # fmt: skip
    return done.stdout


def unread(place: str) -> bool:
    """Whether octets wait at a UDP socket."""
    [line] = [line for line in Path("/proc/net/udp").read_text().splitlines() if place in line]
    return int(line.split()[4].split(":")[1], 16) > 0


@pytest.mark.parametrize("protocol", ["v5", "v9", "ipfix"])
def test_nfcapd_and_our_decoder_tell_the_same_flows(tmp_path: Path, protocol: str) -> None:
    if shutil.which("nfcapd") is None or shutil.which("nfdump") is None:
        pytest.skip("nfdump is not installed (Debian: nfdump)")
    messages = messages_of(protocol)
    folder = tmp_path / "nfcapd"
    folder.mkdir()
    written = tmp_path / "flows.json"
    written.write_text(received_by_nfcapd(messages, folder))
    theirs = pl.concat(list(NfdumpReader(TextInput(written), FlowSettings()).batches())).select(COLUMNS).sort(COLUMNS)
    ours = Biflows().batch(Decoder().decode(batch(messages, arrival_ns=NOW_MS * 1_000_000)))
    ours = ours.select(COLUMNS).sort(COLUMNS)
    assert ours.height == 300
    assert theirs.to_dicts() == ours.to_dicts()
