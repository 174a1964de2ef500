"""Folders of labelled flows that are made up: corpora of one's own, for tests."""

from __future__ import annotations

from pathlib import Path

from custom_flow_twin import P, capture
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
