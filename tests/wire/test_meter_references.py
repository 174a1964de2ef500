"""The meter against what other meters said of the same captures."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from ethogram.config import CaptureSettings, MeterSettings
from ethogram.errors import InputError
from ethogram.pipeline.capture import CaptureFlows, capture_flows

pytestmark = [pytest.mark.wire, pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")]

NUMBERS = {"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPV6": 58, "IGMP": 2, "SCTP": 132, "ESP": 50, "AH": 51, "OSPF": 89,
           "PIM": 103, "VRRP": 112, "PGM": 113}  # fmt: skip

CAPTURES = {".pcap", ".pcapng", ".cap"}

TUNNELS = {
    "4in4tunnel.pcap", "4in6tunnel.pcap", "capwap_data.pcapng", "dtls.pcap", "false_positives.pcapng", "gre.pcapng",
    "http_origin_different_than_host.pcap", "ja3_lots_of_cipher_suites_2_anon.pcap", "reasm_segv_anon.pcapng",
    "rtmp.pcap", "tls_change_cipher.pcap",
}  # fmt: skip
"""The reference describes the packet inside the tunnel; we do so on request."""
VLANS = {"mongodb.pcap"}
"""One five-tuple on several VLANs: the reference has the VLAN in its key; we do on request."""
CUT_FRAMES = {"fins.pcap", "ja3_lots_of_cipher_suites_2_anon.pcap", "reasm_segv_anon.pcapng"}
"""Frames that the capture cut: the reference counts octets captured, we count octets on the wire."""


def frame_of(flows: CaptureFlows) -> pl.DataFrame:
    frames = list(flows.batches())
    flows.accounting.check()
    return pl.concat(frames) if frames else pl.DataFrame()


def test_all_48_biflows_of_the_basic_reference_agree(wire: Path) -> None:
    folder = wire / "ipfixprobe" / "tests" / "functional"
    with (folder / "outputs" / "basic").open() as lines:
        rows = list(csv.reader(lines))
    [names] = [row for row in rows if row[0].startswith("ipaddr ")]
    columns = [name.split(" ")[1] for name in names]
    expected = [dict(zip(columns, row, strict=True)) for row in rows if row is not names]
    got = frame_of(
        capture_flows(folder / "inputs" / "mixed.pcap", MeterSettings(idle_timeout_s=30, active_timeout_s=300))
    )

    def time(column: str) -> pl.Expr:
        return pl.col(column).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")

    pairs = {
        "SRC_IP": pl.col("source_address"), "DST_IP": pl.col("destination_address"),
        "SRC_PORT": pl.col("source_port"), "DST_PORT": pl.col("destination_port"), "PROTOCOL": pl.col("protocol"),
        "PACKETS": pl.col("packets"), "PACKETS_REV": pl.col("reverse_packets"),
        "BYTES": pl.col("octets"), "BYTES_REV": pl.col("reverse_octets"),
        "TCP_FLAGS": pl.col("union_tcp_flags").fill_null(0),
        "TCP_FLAGS_REV": pl.col("reverse_union_tcp_flags").fill_null(0),
        "TIME_FIRST": time("start"), "TIME_LAST": time("end"),
        "SRC_MAC": pl.col("source_mac"), "DST_MAC": pl.col("destination_mac"),
    }  # fmt: skip
    ours = Counter(got.select(e.cast(pl.String).alias(n) for n, e in pairs.items()).iter_rows())
    assert ours == Counter(tuple(row[name] for name in pairs) for row in expected)
    assert ours.total() == 48


def biflow(protocol: int, one: tuple[object, ...], other: tuple[object, ...]) -> tuple[object, ...]:
    return (protocol, *sorted([one, other]))


def reference_text(address: str) -> str:
    """The reference shortens IPv6 text in its own way: the first group of zeros."""
    return address.replace(":0:", "::", 1)


def differences(path: Path, rows: list[dict[str, str]], options: dict[str, bool]) -> tuple[bool, bool]:
    """Whether packets, and packets and octets, of a capture's flows differ from the reference."""
    settings = MeterSettings(idle_timeout_s=1e9, active_timeout_s=1e9, octets="frame", vlan_key=options["vlan_key"])
    got = frame_of(capture_flows(path, settings, False, CaptureSettings(tunnels=options["tunnels"])))
    ours = [
        biflow(
            r["protocol"],
            (reference_text(r["source_address"]), r["source_port"], r["packets"], r["octets"]),
            (reference_text(r["destination_address"]), r["destination_port"], r["reverse_packets"],
             r["reverse_octets"]),
        )
        for r in got.iter_rows(named=True)
    ]  # fmt: skip
    theirs = [
        biflow(
            NUMBERS.get(r["proto"]) or int(r["proto"]),
            (r["a_ip"], int(r["a_port"] or 0), int(r["a_pkts"]), int(r["a_bytes"])),
            (r["b_ip"], int(r["b_port"] or 0), int(r["b_pkts"]), int(r["b_bytes"])),
        )
        for r in rows
    ]

    def packets(flows: list[tuple[object, ...]]) -> Counter[tuple[object, ...]]:
        return Counter((f[0], f[1][:3], f[2][:3]) for f in flows)  # type: ignore[index]

    return packets(ours) != packets(theirs), Counter(ours) != Counter(theirs)


@pytest.mark.parametrize("inside", [False, True], ids=["default", "tunnels and VLANs"])
def test_the_473_simple_captures_agree_but_for_known_reasons(wire: Path, inside: bool) -> None:
    folder = wire / "nDPI"
    paths = {path.name: path for path in sorted(folder.rglob("*")) if path.suffix in CAPTURES}
    with (folder / "reference_flows.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["simple"] == "1"]
    packets, octets, captures = set(), set(), 0
    for name, group in itertools.groupby(sorted(rows, key=lambda row: row["file"]), key=lambda row: row["file"]):
        captures += 1
        in_packets, in_octets = differences(paths[name], list(group), {"tunnels": inside, "vlan_key": inside})
        packets |= {name} if in_packets else set()
        octets |= {name} if in_octets else set()
    assert captures == 473
    assert packets == (set() if inside else TUNNELS | VLANS)
    assert octets == (CUT_FRAMES if inside else TUNNELS | VLANS | CUT_FRAMES)


def test_malformed_captures_end_with_packets_counts_or_one_line(wire: Path) -> None:
    paths = [p for p in sorted((wire / "tcpdump").rglob("*")) if p.suffix in CAPTURES]
    assert len(paths) == 830
    read = used = 0
    for path, tunnels in itertools.product(paths, (False, True)):
        flows = capture_flows(path, MeterSettings(), True, CaptureSettings(tunnels=tunnels, block_octets=1 << 16))
        metered = 0
        try:
            for batch in flows.batches():
                metered += batch["packets"].sum() + batch["reverse_packets"].sum()
        except InputError as error:
            assert "\n" not in str(error)
        flows.accounting.check()
        assert metered == flows.accounting.used, path.name
        read += flows.accounting.read
        used += flows.accounting.used
    assert (read, used) == (20_366, 10_902)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("folder", "packets", "flows"),
    [("stevens_lsif_2019", 1_214_391, 87_592), ("aalto_iot_sentinel_2016", 193_421, 16_172)],
)
def test_packets_and_flows_of_the_corpus(corpus: Path, folder: str, packets: int, flows: int) -> None:
    """Stevens has 87,617 flows when every day is metered alone: 25 of them cross midnight."""
    got = read = 0
    for path in sorted((corpus / folder).rglob("*")):
        if path.suffix in {".zip", ".pcap"}:
            capture = capture_flows(path, MeterSettings(), names=False)
            got += sum(batch.height for batch in capture.batches())
            read += capture.accounting.read
    assert (read, got) == (packets, flows)
