"""Datagrams of some 25 vendors, and what another decoder printed for them: counts, and every comparable field.

Two kinds of disagreement are the other's own limits and are listed as such: see ``COUNTS_EXPLAINED`` and
``NOT_COMPARABLE``.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.record_times import exported_us, uptime_us
from ethogram.io.wire.records import Records
from ethogram.io.wire.rows import rows_of
from ethogram.schema import DatagramBatch, Exporter

FOLDER = "logstash-codec-netflow"

COUNTS_EXPLAINED = {"IPFIX": "three messages in one file, of which it reads the first"}

NAMES = {
    # NetFlow versions 5 and 9, whose field types have names of their own
    "in_bytes": "octetDeltaCount", "in_pkts": "packetDeltaCount", "flows": "deltaFlowCount",
    "protocol": "protocolIdentifier", "src_tos": "ipClassOfService", "tcp_flags": "tcpControlBits",
    "l4_src_port": "sourceTransportPort", "ipv4_src_addr": "sourceIPv4Address",
    "src_mask": "sourceIPv4PrefixLength", "input_snmp": "ingressInterface", "l4_dst_port": "destinationTransportPort",
    "ipv4_dst_addr": "destinationIPv4Address", "dst_mask": "destinationIPv4PrefixLength",
    "output_snmp": "egressInterface", "ipv4_next_hop": "ipNextHopIPv4Address", "src_as": "bgpSourceAsNumber",
    "dst_as": "bgpDestinationAsNumber", "bgp_ipv4_next_hop": "bgpNextHopIPv4Address",
    "out_bytes": "postOctetDeltaCount", "out_pkts": "postPacketDeltaCount", "sampling_interval": "samplingInterval",
    "sampling_algorithm": "samplingAlgorithm", "flow_active_timeout": "flowActiveTimeout",
    "flow_inactive_timeout": "flowIdleTimeout", "engine_type": "engineType", "engine_id": "engineId",
    "total_bytes_exp": "exportedOctetTotalCount", "total_pkts_exp": "exportedMessageTotalCount",
    "total_flows_exp": "exportedFlowRecordTotalCount", "ipv4_src_prefix": "sourceIPv4Prefix",
    "flow_sampler_id": "samplerId", "ipv4_ident": "fragmentIdentification", "in_src_mac": "sourceMacAddress",
    "out_dst_mac": "postDestinationMacAddress", "src_vlan": "vlanId", "dst_vlan": "postVlanId",
    "ip_protocol_version": "ipVersion", "direction": "flowDirection", "in_dst_mac": "destinationMacAddress",
    "out_src_mac": "postSourceMacAddress", "if_name": "interfaceName", "if_desc": "interfaceDescription",
    "in_permanent_bytes": "octetTotalCount", "forwarding_status": "forwardingStatus",
    "src_traffic_index": "srcTrafficIndex", "dst_traffic_index": "dstTrafficIndex",
    "application_description": "applicationDescription", "application_id": "applicationId",
    "application_name": "applicationName", "flow_end_reason": "flowEndReason", "conn_id": "flowId",
    "flow_start_msec": "flowStartMilliseconds", "udp_dst_port": "udpDestinationPort", "tcp_src_port": "tcpSourcePort",
    "ip_dscp": "ipDiffServCodePoint", "mpls_label_stack_octets": "mplsLabelStackLength",
    "fwd_flow_delta_bytes": "initiatorOctets", "rev_flow_delta_bytes": "responderOctets",
    "event_time_msec": "observationTimeMilliseconds", "ingress_acl_id": "ingressAclId",
    "egress_acl_id": "egressAclId", "fw_ext_event": "fwExtendedEvent", "username": "aaaUserName",
    "app_id": "panAppId", "user_id": "panUserId", "nprobe_proto": "ntopL7Protocol",
    "nprobe_proto_name": "ntopL7ProtocolName", "scope_system": "scope system", "icmp_code": "icmpCodeIPv4",
    # of enterprises
    "natInsideSvcid": "natInsideServiceId", "natOutsideSvcid": "natOutsideServiceId",
    "natSubString": "natSubscriberString", "ixiaL7AppId": "ixiaL7ApplicationId",
    "ixiaL7AppName": "ixiaL7ApplicationName", "ixiaSrcLatitude": "ixiaSourceLatitude",
    "ixiaSrcLongitude": "ixiaSourceLongitude", "ixiaDstLatitude": "ixiaDestinationLatitude",
    "ixiaDstLongitude": "ixiaDestinationLongitude", "ixiaDeviceId": "ixiaOsDeviceId",
    "ixiaDeviceName": "ixiaOsDeviceName", "ixiaRevOctetDeltaCount": "ixiaReverseOctetDeltaCount",
    "ixiaRevPacketDeltaCount": "ixiaReversePacketDeltaCount", "ixiaSrcAsName": "ixiaSourceAsName",
    "ixiaDstAsName": "ixiaDestinationAsName", "viptelaVPNId": "viptelaVpnId", "Timestamp": "timestamp",
    "LogOp": "logOperation", "TrafficType": "trafficType", "FW_Rule": "firewallRule", "ServiceName": "serviceName",
    "Reason": "reason", "ReasonText": "reasonText", "BindIPv4Address": "bindIPv4Address",
    "BindTransportPort": "bindTransportPort", "ConnIPv4Address": "connectionIPv4Address",
    "ConnTransportPort": "connectionTransportPort", "AuditCounter": "auditCounter",
    "netscalerConnectionChainID": "netscalerConnectionChainId", "netscalerUnknown330": "5951.330",
    "vmwareEgressInterfaceAttr": "egressInterfaceAttr", "vmwareUnknown888": "egressInterfaceAttr",
    "vmwareVxlanExportRole": "vxlanExportRole", "vmwareUnknown889": "vxlanExportRole",
    "vmwareIngressInterfaceAttr": "ingressInterfaceAttr", "vmwareUnknown890": "ingressInterfaceAttr",
    "streamcore_call_direction": "streamcoreCallDirection", "streamcore_hostname": "streamcoreHostname",
    "streamcore_url": "streamcoreUrl", "streamcore_wan_rtt": "streamcoreWanRtt",
    "streamcore_net_app_resp_time": "streamcoreNetAppRespTime",
    "streamcore_total_app_resp_time": "streamcoreTotalAppRespTime",
    "streamcore_tcp_retrans_rate": "streamcoreTcpRetransRate", "reamcore_id_rule_1": "streamcoreIdRule1",
    **{f"streamcore_id_rule_{i}": f"streamcoreIdRule{i}" for i in range(1, 11)},
}  # fmt: skip
SEVERAL = {
    # names that stand for one of several elements
    "icmp_type": ("icmpTypeIPv4", "icmpTypeCodeIPv4"), "fw_event": ("firewallEvent", "asaFirewallEvent"),
    "xlate_src_addr_ipv4": ("postNATSourceIPv4Address", "xlateSourceIPv4Address"),
    "xlate_dst_addr_ipv4": ("postNATDestinationIPv4Address", "xlateDestinationIPv4Address"),
    "xlate_src_port": ("postNAPTSourceTransportPort", "xlateSourcePort"),
    "xlate_dst_port": ("postNAPTDestinationTransportPort", "xlateDestinationPort"),
}  # fmt: skip
UPTIMES = {"first_switched": "flowStartSysUpTime", "last_switched": "flowEndSysUpTime"}
HEADER = {"version", "flow_seq_num", "flowset_id", "flow_records"}
V5_HEADER = {"engine_type", "engine_id", "sampling_algorithm", "sampling_interval"}

NOT_COMPARABLE = {
    "one second late": "it borrows a second from the export time for the milliseconds it takes away, and keeps it",
    "uptime wrapped": "it does not unwrap uptimes, and puts the start weeks after the end",
    "not UTF-8": "it prints such octets as Latin-1; they are no text",
    "not held by its own tests": "a record that its specification writes down and does not compare; one has a "
    "misspelt name, two have other times than the datagram",
}


@dataclass
class Score:
    """What became of the comparison.

    Attributes
    ----------
    counts
        For each scenario: name, records the other states (None: it states none), ours, and why they may differ.
    events
        Full records compared.
    fields, agreed
        Fields compared, and those that agree.
    left_out
        Fields that cannot be compared, by reason.
    problems
        Fields that differ: scenario, name, theirs, ours.
    """

    counts: list[tuple[str, int | None, int, str]] = field(default_factory=list)
    events: int = 0
    fields: int = 0
    agreed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str, object, object]] = field(default_factory=list)

    @property
    def counts_right(self) -> int:
        """Scenarios whose count is the one stated, or rightly another."""
        return sum(theirs is None or theirs == ours or bool(why) for _, theirs, ours, why in self.counts)


def batch_of(payloads: list[bytes], address: str = "192.0.2.1") -> DatagramBatch:
    """Messages of one exporter."""
    octets = np.array([len(payload) for payload in payloads], np.int32)
    return DatagramBatch(
        np.frombuffer(b"".join(payloads), np.uint8), np.cumsum(octets, dtype=np.int64) - octets, octets,
        np.full(len(payloads), 1_700_000_000_000_000_000, np.int64), np.zeros(len(payloads), np.int32),
        [Exporter(address, 2055)],
    )  # fmt: skip


def score(wire: Path) -> Score:
    """Compare all scenarios."""
    folder = wire / FOLDER
    paths = {path.name: path for path in folder.rglob("*.dat")}
    totals = Score()
    for scenario in json.loads((folder / "expected.json").read_text("utf-8")):
        name, decoder = scenario["name"], Decoder()
        records = decoder.decode(batch_of([paths[file].read_bytes() for file in scenario["files"]]))
        ours = sum(map(len, records))
        theirs = sum(scenario["decoded_records"]) if scenario["decoded_records"] else None
        totals.counts.append((name, theirs, ours, COUNTS_EXPLAINED.get(name, "") if theirs != ours else ""))
        rows = [row for record in records for row in full_rows(record)]
        held = {event for _, event in scenario["json_event_index"]}
        for number, event in enumerate(scenario["events"]):
            compare(totals, name, event["netflow"], rows, number in held)
    return totals


def full_rows(records: Records) -> list[dict[str, Any]]:
    """Rows with what the header says beside the fields."""
    message = records.message
    headers, version = records.headers, records.template.version
    exported = exported_us(records)[message]
    uptime = headers["uptime_ms"][message]
    rows = []
    for at, row in enumerate(rows_of(records)):
        header = headers[message[at]]
        row |= {
            "version": version, "flow_seq_num": int(header["sequence"]), "flowset_id": records.template.id,
            "flow_records": int(header["count"]), "_uptime": uptime[at : at + 1], "_exported": exported[at : at + 1],
        }  # fmt: skip
        if version == 5:
            row["engineType"], row["engineId"] = divmod(int(header["domain"]) & 0xFFFF, 256)
            row["samplingAlgorithm"], row["samplingInterval"] = divmod(int(header["sampling"]), 1 << 14)
        rows.append(row)
    return rows


def compare(totals: Score, scenario: str, event: dict[str, Any], rows: list[dict[str, Any]], held: bool) -> None:
    """Compare one full record with that of ours which it is most like."""
    results = [[(name, value, *judged(name, value, row)) for name, value in event.items()] for row in rows]
    if not results:
        totals.problems.append((scenario, "no record", event, None))
        return
    best = max(results, key=lambda result: sum(verdict == "" for *_, verdict in result))
    totals.events += 1
    for name, theirs, ours, judgement in best:
        verdict = "not held by its own tests" if judgement == "differs" and not held else judgement
        if verdict in NOT_COMPARABLE:
            totals.left_out[verdict] += 1
            continue
        totals.fields += 1
        totals.agreed += verdict == ""
        if verdict:
            totals.problems.append((scenario, name, theirs, ours))


def judged(name: str, theirs: Any, row: dict[str, Any]) -> tuple[object, str]:
    """Our value, and ``""`` when it is the same, a reason why it cannot be compared, or ``differs``."""
    if name in UPTIMES and UPTIMES[name] in row:
        return uptime_judged(name, theirs, row)
    names = SEVERAL.get(name) or (NAMES.get(name, name),)
    ours = next((row[column] for column in names if column in row), None)
    if ours is None:
        return None, "differs"
    if isinstance(theirs, str) and "\x00" in theirs and ours == "":
        # Theirs is what was behind the first zero, or no text at all.
        return ours, "not UTF-8" if not theirs.isascii() else "" if not theirs.split("\x00")[0] else "differs"
    return ours, "" if same(name, theirs, ours) else "differs"


def uptime_judged(name: str, theirs: str, row: dict[str, Any]) -> tuple[object, str]:
    """Times by uptime: theirs are in milliseconds."""
    value = row[UPTIMES[name]]
    time = uptime_us(np.array([value], np.uint64), row["_uptime"], row["_exported"])
    ours = str(np.datetime64(int(time[0]), "us").astype("datetime64[ms]")) + "Z"
    if ours == theirs:
        return ours, ""
    if np.datetime64(theirs[:-1]) == np.datetime64(ours[:-1]) + np.timedelta64(1, "s"):
        return ours, "one second late"
    return ours, "uptime wrapped" if value > int(row["_uptime"][0]) else "differs"


def same(name: str, theirs: Any, ours: Any) -> bool:
    """Whether both mean the same, in whichever form they are written."""
    if isinstance(theirs, dict):
        if "label" in theirs:  # MPLS label, experimental bits, bottom of stack, TTL of a 32-bit entry
            theirs = (
                (theirs["label"] << 12)
                | (theirs["experimental"] << 9)
                | (theirs["bottom_of_stack"] << 8)
                | theirs["ttl"]
            )
        else:
            theirs = (theirs["status"] << 6) | theirs["reason"]
    if isinstance(theirs, float):
        return isinstance(ours, float) and abs(theirs - ours) <= 1e-6 * abs(theirs)
    if name == "application_id":
        return application(bytes.fromhex(ours)) == theirs
    if name.endswith("_acl_id"):
        return bool(ours == theirs.replace("-", ""))
    if isinstance(ours, str) and ours.endswith("Z") and "T" in ours:
        return time_text(ours, theirs)
    if name == "netscalerUnknown330":
        return int(ours, 16) == int(theirs)
    if isinstance(theirs, str) and isinstance(ours, str):
        return theirs.split("\x00")[0].strip(" ") == ours
    return str(theirs) == str(ours)


def time_text(ours: str, theirs: Any) -> bool:
    """Absolute times: theirs may be text with milliseconds, or a count of the element's unit."""
    if isinstance(theirs, str):
        return ours[:23] + "Z" == theirs or (ours[:19] == theirs[:19] and theirs[19:] == ".000Z")
    us = int(np.datetime64(ours.rstrip("Z"), "us").astype(np.int64))
    return int(theirs) in {us // 1_000_000, us // 1000, us}


def application(octets: bytes) -> str:
    """applicationId (RFC 6759): engine, enterprise for engine 20, selector."""
    if octets[0] == 20 and len(octets) > 5:
        return f"20..{int.from_bytes(octets[1:5])}..{int.from_bytes(octets[5:])}"
    return f"{octets[0]}..{int.from_bytes(octets[1:])}"
