"""The same three flows written in every format the package reads: made up, addresses of documentation prefixes."""

from __future__ import annotations

import json

# A camera asks a resolver, opens a TLS connection that is answered, and is probed from outside without answering.
ZEEK_FIELDS = ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
               "orig_bytes", "resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history",
               "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents"]  # fmt: skip
ZEEK_ROWS = [
    ["1556668800.250000", "C1", "192.168.1.5", "40000", "192.168.1.1", "53", "udp", "dns", "0.500000", "30", "60",
     "SF", "-", "-", "0", "Dd", "1", "58", "1", "88", "-"],
    ["1556668801.000000", "C2", "192.168.1.5", "50000", "198.51.100.7", "443", "tcp", "ssl", "10.000000", "900",
     "5000", "SF", "-", "-", "0", "ShADadFf", "12", "1500", "10", "5600", "-"],
    ["1556668802.000000", "C3", "203.0.113.9", "51000", "192.168.1.5", "23", "tcp", "-", "-", "-", "-", "S0", "-",
     "-", "0", "S", "1", "60", "0", "0", "-"],
]  # fmt: skip


def zeek_tsv(fields: list[str] = ZEEK_FIELDS, rows: list[list[str]] = ZEEK_ROWS, path: str = "conn") -> bytes:
    head = [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        f"#path\t{path}",
        "#open\t2019-05-01-00-00-00",
        "\t".join(["#fields", *fields]),
        "#types\t" + "\t".join(["string"] * len(fields)),
    ]
    return "\n".join([*head, *("\t".join(row) for row in rows), "#close\t2019-05-01-01-00-00", ""]).encode()


def zeek_json() -> bytes:
    lines = []
    for row in ZEEK_ROWS:
        record = {}
        for name, value in zip(ZEEK_FIELDS, row, strict=True):
            if value != "-":
                number = name in {"ts", "duration"} or name.endswith(("_p", "bytes", "pkts"))
                record[name] = float(value) if number and "." in value else int(value) if number else value
        lines.append(json.dumps(record))
    return "\n".join(lines).encode()


def zeek_csv() -> bytes:
    rows = [["" if value == "-" else value for value in row] for row in ZEEK_ROWS]
    return "\n".join(",".join(row) for row in [ZEEK_FIELDS, *rows]).encode()


def yaf(**changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        "flowStartMilliseconds": "2019-05-01 00:00:01.000", "flowEndMilliseconds": "2019-05-01 00:00:11.000",
        "protocolIdentifier": 6, "sourceIPv4Address": "192.168.1.5", "sourceTransportPort": 50000,
        "packetTotalCount": 12, "octetTotalCount": 1500, "flowAttributes": "0x00",
        "sourceMacAddress": "aa:bb:cc:00:01:02:", "destinationIPv4Address": "198.51.100.7",
        "destinationTransportPort": 443, "reversePacketTotalCount": 10, "reverseOctetTotalCount": 5600,
        "reverseFlowAttributes": "0x00", "destinationMacAddress": "0:11:22:33:44:55", "initialTCPFlags": "0x02",
        "unionTCPFlags": "0x1b", "reverseInitialTCPFlags": "0x12", "reverseUnionTCPFlags": "0x1b",
        "tcpSequenceNumber": "0x1badf00d", "reverseTcpSequenceNumber": "0x2badf00d", "flowEndReason": "eof",
        "ingressInterface": 0, "vlanId": "0x000", "silkAppLabel": 443, "ipClassOfService": "0x00",
        "smallPacketCount": 3, "reverseSmallPacketCount": 2, "standardDeviationPayloadLength": 12,
    }  # fmt: skip
    return record | changes


def yaf_json() -> bytes:
    dns = yaf(flowStartMilliseconds="2019-05-01 00:00:00.250", flowEndMilliseconds="2019-05-01 00:00:00.750",
              protocolIdentifier=17, sourceTransportPort=40000, destinationIPv4Address="192.168.1.1",
              destinationTransportPort=53, packetTotalCount=1, octetTotalCount=58, reversePacketTotalCount=1,
              reverseOctetTotalCount=88, flowEndReason="idle")  # fmt: skip
    probe = yaf(flowStartMilliseconds="2019-05-01 00:00:02.000", flowEndMilliseconds="2019-05-01 00:00:02.000",
                sourceIPv4Address="203.0.113.9", sourceTransportPort=51000, destinationIPv4Address="192.168.1.5",
                destinationTransportPort=23, packetTotalCount=1, octetTotalCount=60, flowEndReason="idle",
                sourceMacAddress="00:11:22:33:44:55", destinationMacAddress="aa:bb:cc:00:01:02")  # fmt: skip
    for name in list(probe):
        if name.startswith("reverse"):
            del probe[name]
    return b"\n".join(json.dumps({"flows": r}).encode() for r in (dns, yaf(), probe))


def joy_json() -> bytes:
    flows = [
        {"sa": "192.168.1.5", "da": "192.168.1.1", "pr": 17, "sp": 40000, "dp": 53, "bytes_out": 58,
         "num_pkts_out": 1, "bytes_in": 88, "num_pkts_in": 1, "time_start": 1556668800.25,
         "time_end": 1556668800.75, "dns": [{"qn": "Api.Example.com", "rc": 0,
                                             "rr": [{"a": "198.51.100.7", "ttl": 300}]}], "expire_type": "i"},
        {"sa": "192.168.1.5", "da": "198.51.100.7", "pr": 6, "sp": 50000, "dp": 443, "bytes_out": 1500,
         "num_pkts_out": 12, "bytes_in": 5600, "num_pkts_in": 10, "time_start": 1556668801.0,
         "time_end": 1556668811.0, "tcp": {"out": {"flags": "S"}, "in": {"flags": "SA"}}, "ip": {"out": {"ttl": 64}}},
        {"sa": "203.0.113.9", "da": "192.168.1.5", "pr": 6, "sp": 51000, "dp": 23, "bytes_out": 60,
         "num_pkts_out": 1, "time_start": 1556668802.0, "time_end": 1556668802.0, "tcp": {"out": {"flags": "S"}}},
    ]  # fmt: skip
    return b"\n".join(json.dumps(flow).encode() for flow in flows)


# One-way records: the answers are records of their own.
NFDUMP_HEADER = ("ts,te,td,sa,da,sp,dp,pr,flg,fwd,stos,ipkt,ibyt,opkt,obyt,in,out,sas,das,smk,dmk,dtos,dir,nh,nhb,"
                 "svln,dvln,ismc,odmc,idmc,osmc")  # fmt: skip
_SHORT = [
    ("00.250", "00.250", "192.168.1.5", "192.168.1.1", 40000, 53, 17, "........", 1, 58),
    ("00.750", "00.750", "192.168.1.1", "192.168.1.5", 53, 40000, 17, "........", 1, 88),
    ("01.000", "11.000", "192.168.1.5", "198.51.100.7", 50000, 443, 6, "...AP.SF", 12, 1500),
    ("01.020", "10.900", "198.51.100.7", "192.168.1.5", 443, 50000, 6, "...AP.SF", 10, 5600),
    ("02.000", "02.000", "203.0.113.9", "192.168.1.5", 51000, 23, 6, "......S.", 1, 60),
]
NFDUMP = [(f"2019-05-01 00:00:{ts}", f"2019-05-01 00:00:{te}", *rest) for ts, te, *rest in _SHORT]
_PROTOCOL = {6: "TCP", 17: "UDP"}


def nfdump_csv() -> bytes:
    rows = [
        f"{ts},{te},0.000,{sa},{da},{sp},{dp},{_PROTOCOL[pr]},{flg},0,0,{packets},{octets},0,0,1,2,0,0,0,0,0,0,0.0.0.0,"
        "0.0.0.0,0,0,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00,00:00:00:00:00:00"
        for ts, te, sa, da, sp, dp, pr, flg, packets, octets in NFDUMP
    ]
    summary = ["Summary", "flows,bytes,packets,avg_bps,avg_pps,avg_bpp", "5,7306,25,1,1,1"]
    return "\n".join([NFDUMP_HEADER, *rows, *summary, ""]).encode()


def nfdump_new_csv() -> bytes:
    rows = [
        f"{ts},{(10.0 if te.endswith('11.000') else 0):.3f},{pr},{sa},{sp},{da},{dp},{packets},{octets},0,0,0,1"
        for ts, te, sa, da, sp, dp, pr, _, packets, octets in NFDUMP
    ]
    header = "firstSeen,duration,proto,srcAddr,srcPort,dstAddr,dstPort,packets,bytes,bps,pps,bpp,flows"
    return "\n".join([header, *rows]).encode()


def nfdump_json(*, lines: bool = False) -> bytes:
    records = [
        {"type": "FLOW", "sampled": 0, "first": ts.replace(" ", "T"), "last": te.replace(" ", "T"),
         "in_packets": packets, "in_bytes": octets, "proto": pr, "tcp_flags": flg, "src_port": sp, "dst_port": dp,
         "src4_addr": sa, "dst4_addr": da}
        for ts, te, sa, da, sp, dp, pr, flg, packets, octets in NFDUMP
    ]  # fmt: skip
    if lines:
        return "\n".join(json.dumps(record) for record in records).encode()
    # As nfdump prints an array: every field on its own line, the closing brace alone.
    texts = ["{\n" + ",\n".join(f'\t"{k}" : {json.dumps(v)}' for k, v in r.items()) + "\n}" for r in records]
    return ("[\n" + ",\n".join(texts) + "\n]\n").encode()


MAPPED_CSV = (
    b"begin;secs;from;to;fp;tp;what;bytes;pkts\n"
    b"2019-05-01T00:00:00.250Z;0.5;192.168.1.5;192.168.1.1;40000;53;u;58;1\n"
    b"2019-05-01T00:00:01Z;10;192.168.1.5;198.51.100.7;50000;443;t;1500;12\n"
    b"2019-05-01T00:00:02Z;0;203.0.113.9;192.168.1.5;51000;23;t;60;1\n"
)
MAPPING = """
[columns]
start = "begin"
duration = "secs"
source_address = "from"
destination_address = "to"
source_port = "fp"
destination_port = "tp"
protocol = "what"
octets = "bytes"
packets = "pkts"
[constants]
end_reason = 3
[values.protocol]
u = "udp"
t = "6"
[text]
delimiter = ";"
"""
TEXTS = {
    "yaf": ("yaf.json", yaf_json()),
    "zeek tsv": ("conn.log", zeek_tsv()),
    "zeek json": ("conn.json", zeek_json()),
    "zeek csv": ("conn.csv", zeek_csv()),
    "joy": ("joy.json", joy_json()),
    "nfdump csv": ("nf.csv", nfdump_csv()),
    "nfdump new csv": ("nf2.csv", nfdump_new_csv()),
    "nfdump json": ("nf.json", nfdump_json()),
    "nfdump ndjson": ("nf.ndjson", nfdump_json(lines=True)),
    "mapped": ("flows.csv", MAPPED_CSV),
}
"""Every text format by name: a file name and its content. A format that is not here fails the contract test."""
