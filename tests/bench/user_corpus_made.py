"""Folders of labelled flows that are made up: corpora of one's own, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from custom_flow_twin import P, capture
from ethogram.config import CustomFlowSettings
from ethogram.pipeline.vector_files import write_custom_flows
from ethogram.schema import CustomFlows
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


TALK = {"camera": (6, 443, 600, 6), "plug": (6, 8883, 60, 2), "hub": (17, 123, 48, 1)}
"""Protocol, remote port, payload octets and packets that each kind sends in an hour."""


def write_captures(folder: Path, networks: tuple[str, ...] = ("",), days: int = 9) -> Path:
    """One capture a day of three devices, told by their MAC addresses; several networks are a folder each."""
    lines = ["device,type,model,vendor,mac" + (",network" if networks[0] else "")]
    for i, network in enumerate(networks):
        (folder / network).mkdir(parents=True, exist_ok=True)
        macs = {kind: f"02:00:00:00:0{i}:0{k}" for k, kind in enumerate(TALK, 1)}
        for day in range(days):
            packets = []
            for hour in range(24):
                for k, (kind, (protocol, port, octets, count)) in enumerate(TALK.items(), 1):
                    first = ((20 * i + day) * 24 + hour) * 3600 * 10**9 + k * 10**9
                    for n in range(count):
                        sent = P(first + n * 10**8, f"192.168.1.{k}", f"198.51.100.{k}", 40_000 + hour, port, protocol,
                                 bytes([k]) * (octets + hour), source_mac=macs[kind])  # fmt: skip
                        packets += [sent, sent.back(sent.time_ns + 10**7, payload=b"ok")]
            packets.sort(key=lambda packet: packet.time_ns)
            (folder / network / f"day-{day:02}.pcap").write_bytes(capture(packets))
        lines += [f"{kind},{kind},made-{kind},made,{mac}" + (f",{network}" if network else "")
                  for kind, mac in macs.items()]  # fmt: skip
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_published(path: Path, flows: CustomFlows, macs: dict[str, str]) -> None:
    """Custom flows in the published layout: a column for each number, the MAC address as the device."""
    n = len(flows)
    columns: dict[str, object] = {
        "Device": [macs[name] for name in flows.device], "FirstSeen": (flows.start_us / 1e6).tolist(),
        "RemIP": flows.remote.astype(np.int64), "Proto": flows.protocol, "DevPort": flows.device_port,
        "RemPort": flows.remote_port, "TotalFlowSize": flows.octets, "PacketCount": flows.packets,
    }  # fmt: skip
    described, symbols = np.full((n, 10, 3), -1.0), np.full((n, 3000), -1.0)
    for i in range(n):
        first, last = int(flows.first_packet[i]), int(flows.first_packet[i + 1])
        at, place = int(flows.first_octet[i]), 0
        for k in range(last - first):
            j = first + k
            described[i, k] = flows.packet_offset_us[j] / 1e6, flows.packet_octets[j], flows.packet_out[j]
            count = int(flows.payload_octets[j])
            for symbol in (-4, *flows.payload[at : at + count].tolist(), -8):
                if place < 3000:
                    symbols[i, place] = symbol
                    place += 1
            at += count
    for k in range(10):
        for m, name in enumerate(("TO", "PS", "D")):
            columns[f"P{k:02d}_{name}"] = described[:, k, m]
    columns |= {f"C_{i:03d}": symbols[:, i] for i in range(3000)}
    pq.write_table(pa.table(columns), path)
