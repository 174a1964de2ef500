"""Captures of exports, and what another collector made of them, row for row.

Its rows are renormalised by sampling, and aggregated in the cases of several exporters, where it has fewer rows than
there are records; so are ours. Not compared: ``net_src`` and
``net_dst``, which it looks up elsewhere, the exporter's address, which its tests replace, times, and what its own maps
add (labels, route distinguishers).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.export_reader import ExportFiles
from ethogram.io.wire.options import ExporterMetadata, origin_of
from ethogram.io.wire.rows import rows_of
from ethogram.schema import DatagramBatch

FOLDER = "pmacct/tests"
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipv6-icmp": 58, "esp": 50, "gre": 47, "ah": 51, "ospf": 89, "pim": 103,
             "vrrp": 112, "sctp": 132, "igmp": 2, "ip": 0, "rsvp": 46, "l2tp": 115, "ospfigp": 89}  # fmt: skip
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECN": 64, "CWR": 128, "ECE": 64}
STATUS = {"UNKNOWN": 0, "FORWARDED": 1, "DROPPED": 2, "CONSUMED": 3}

Row = tuple[tuple[str, object], ...]


@dataclass
class Case:
    """One case: rows both have, rows only one has, records decoded."""

    name: str
    data: int = 0
    options: int = 0
    aggregated: bool = False
    equal: int = 0
    theirs: list[Row] = field(default_factory=list)
    ours: list[Row] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows the other has."""
        return self.equal + len(self.theirs)


def score(wire: Path) -> list[Case]:
    """Compare all cases."""
    return [compare(folder) for folder in sorted((wire / FOLDER).iterdir()) if (folder / "traffic-00.pcap").exists()]


def compare(folder: Path) -> Case:
    """Compare one case."""
    case = Case(folder.name)
    lines = (folder / "output-flow-00.json").read_text("utf-8").splitlines()
    theirs = [json.loads(line) for line in lines if line.strip()]
    shown = set().union(*theirs)
    primitives = set().union(*(row.get("custom_primitives", {}) for row in theirs))
    ours = our_rows(case, sorted(folder.glob("traffic-*.pcap")))
    case.aggregated = len(theirs) < len(ours)
    form = aggregated if case.aggregated else plain
    a = form([their_row(row, shown, primitives) for row in theirs])
    b = form([our_row(row, shown, primitives) for row in ours])
    case.equal = (a & b).total()
    case.theirs, case.ours = list((a - b).elements()), list((b - a).elements())
    return case


def our_rows(case: Case, paths: list[Path]) -> list[dict[str, Any]]:
    """Rows of our own: fields by name, biflow columns, and names from options."""
    rows = []
    for path in paths:
        decoder, biflows = Decoder(), Biflows(metadata=ExporterMetadata())
        # Message by message, since names are given anew on the way.
        parts = (decoder.decode(record) for batch in ExportFiles([path]).datagrams() for record in each(batch))
        for records in chain(parts, (decoder.finish() for _ in range(1))):
            for record in (record for record in records if record.template.options):
                biflows.metadata.learn(record)
                case.options += len(record)
            for record in (record for record in records if not record.template.options):
                case.data += len(record)
                frame = biflows.of(record)
                assert frame.height == len(record), "each record is a flow"
                names = biflows.metadata.names(origin_of(record))
                for fields, flow in zip(rows_of(record), frame.iter_rows(named=True), strict=True):
                    rows.append({**fields, **flow, "names": names})
    return rows


def each(batch: DatagramBatch) -> Iterator[DatagramBatch]:
    """The messages of a batch, one by one."""
    for row in range(len(batch)):
        row_slice = slice(row, row + 1)
        yield DatagramBatch(batch.data, batch.offset[row_slice], batch.octets[row_slice], batch.arrival_ns[row_slice],
                            batch.exporter[row_slice], batch.exporters)  # fmt: skip


def their_row(row: dict[str, Any], shown: set[str], primitives: set[str]) -> tuple[Row, int, int, int]:
    """Key, packets, octets, flags."""
    custom = row.get("custom_primitives", {})
    key = {
        "ip_src": row["ip_src"], "ip_dst": row["ip_dst"], "port_src": row["port_src"], "port_dst": row["port_dst"],
        "ip_proto": PROTOCOLS.get(row["ip_proto"], row["ip_proto"]), "tos": row["tos"],
        "iface_in": row["iface_in"], "iface_out": row["iface_out"],
        "status": STATUS[row["fwd_status"].split()[0]],
        "labels": tuple(int(label.split("-")[1]) for label in row["mpls_label_stack"]),
    }  # fmt: skip
    key |= {name: row[name] for name in ("mask_src", "mask_dst") if name in shown}
    key |= {name: row[name] for name in ("ingress_vrf_name", "egress_vrf_name", "iface_name_in") if name in shown}
    key |= {name: int(custom[name]) for name in ("vrf_id_egress", "vrf_id_ingress") if name in primitives}
    return tuple(sorted(key.items())), row["packets"], row["bytes"], sum(FLAGS[flag] for flag in row["tcp_flags"])


def our_row(row: dict[str, Any], shown: set[str], primitives: set[str]) -> tuple[Row, int, int, int]:
    """The same of ours."""
    # Of a packet inside a tunnel, the inner one's.
    tos = row.get("ipClassOfService.2", row.get("ipClassOfService", 0))
    version = "IPv6" if ":" in row["source_address"] else "IPv4"
    key = {
        "ip_src": row["source_address"], "ip_dst": row["destination_address"], "port_src": row["source_port"],
        "port_dst": row["destination_port"], "ip_proto": row["protocol"], "tos": tos,
        "iface_in": row.get("ingressInterface", 0), "iface_out": row.get("egressInterface", 0),
        "status": row.get("forwardingStatus", 0) >> 6 & 3, "labels": labels(row),
    }  # fmt: skip
    if "mask_src" in shown:
        key["mask_src"] = row.get(f"source{version}PrefixLength", 0)
        key["mask_dst"] = row.get(f"destination{version}PrefixLength", 0)
    for name, kind, number in (
        ("ingress_vrf_name", "VRF", "ingressVRFID"), ("egress_vrf_name", "VRF", "egressVRFID"),
        ("iface_name_in", "interface", "ingressInterface"),
    ):  # fmt: skip
        if name in shown:
            key[name] = row["names"].get(kind, {}).get(row.get(number), "")
    if "vrf_id_egress" in primitives:
        key["vrf_id_egress"] = row.get("egressVRFID", 0)
        key["vrf_id_ingress"] = row.get("ingressVRFID", 0)
    return tuple(sorted(key.items())), row["packets"], row["octets"], row["union_tcp_flags"] or 0


def labels(row: dict[str, Any]) -> tuple[int, ...]:
    """The MPLS label stack: 20 bits of each entry, down to the first that is all zero."""
    names = ["mplsTopLabelStackSection", *(f"mplsLabelStackSection{i}" for i in range(2, 11))]
    stack = []
    for name in names:
        entry = int(row.get(name) or "0", 16)
        if not entry:
            break
        stack.append(entry >> 4)
    return tuple(stack)


def plain(rows: list[tuple[Row, int, int, int]]) -> Counter[Row]:
    """Rows as they are."""
    return Counter((*key, ("packets", p), ("bytes", o), ("tcp_flags", f)) for key, p, o, f in rows)


def aggregated(rows: list[tuple[Row, int, int, int]]) -> Counter[Row]:
    """Rows of one key made one: counts added, flags united."""
    sums: dict[Row, list[int]] = {}
    for key, packets, octets, flags in rows:
        total = sums.setdefault(key, [0, 0, 0])
        total[0], total[1], total[2] = total[0] + packets, total[1] + octets, total[2] | flags
    return Counter((*key, ("packets", p), ("bytes", o), ("tcp_flags", f)) for key, (p, o, f) in sums.items())
