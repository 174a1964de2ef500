"""The reference of counters: what each reason means, by stage. The test compares it with the reasons in the source."""

from __future__ import annotations

import re
from typing import NamedTuple

INTRODUCTION = """Every stage counts its input exactly: **read = used + ignored + dropped**.

- *Ignored*: not the stage's business, such as ARP frames for a flow meter. Nothing is lost.
- *Dropped*: should have been used and could not, such as a truncated header.
- *Corrected*: changed and then used; outside the sum.

Commands print one line per input and stage; `--json` prints the same as data. `ethogram collect` writes all counters to
`counters.json` (`ethogram.collect-counters/1`) with every segment, and prints them at the end and on SIGUSR1. They
continue over restarts, and `lost` lists every loss that is not zero."""


class Reason(NamedTuple):
    """One reason: its kind, its text (words in capitals stand for a name or number), and what it means."""

    kind: str
    text: str
    meaning: str


class Stage(NamedTuple):
    """One stage with its reasons."""

    name: str
    about: str
    reasons: tuple[Reason, ...]


IGNORED, DROPPED, CORRECTED, COUNTED = "ignored", "dropped", "corrected", "counted"
I, D, C, N = IGNORED, DROPPED, CORRECTED, COUNTED  # noqa: E741

STAGES = (
    Stage("Captures", "Unit: packets. Printed as `FILE (capture)`.", (
        Reason(I, "arp", "ARP frame"),
        Reason(I, "eapol", "802.1X authentication frame"),
        Reason(I, "lldp", "LLDP frame"),
        Reason(I, "ethertype", "another EtherType that is not IP"),
        Reason(I, "llc", "LLC frame without IP"),
        Reason(I, "wireless control", "802.11 management or control frame"),
        Reason(I, "encrypted", "encrypted 802.11 frame"),
        Reason(I, "link type N (NAME)", "packets of a link type that is not supported"),
        Reason(D, "truncated header", "a header is longer than what was captured"),
        Reason(D, "bad length", "a length field contradicts the packet"),
        Reason(D, "bad version", "the IP version is neither 4 nor 6"),
        Reason(D, "bad time", "the time stamp is out of range"),
        Reason(D, "truncated record", "the file ends inside a packet"),
        Reason(D, "unknown interface", "a pcapng packet names an interface that is not described"),
        Reason(C, "cut short", "the capture kept less of the packet than was on the wire (snap length)"),
        Reason(C, "length not stated", "the IP length is 0 (segmentation offload); the frame's length is used"),
        Reason(C, "fragment without ports", "later IP fragment; metered as a flow with ports 0"),
        Reason(C, "time not stated", "a pcapng simple packet block without time"),
        Reason(C, "tunnel entered", "the inner packet was metered (`CaptureSettings.tunnels`)"),
        Reason(C, "evicted flow", "more live flows than `max_flows`; the oldest ended early"),
        Reason(C, "clock went back inside a flow", "capture clock was set back; the flow was split"),
        Reason(C, "counted though equal to a packet just before: mirrored twice?",
               "identical packet within 1 ms, as a SPAN port that mirrors two ports produces"),
        Reason(C, "name answer left out", "more DNS answers than `max_answers`"),
        Reason(C, "name question left out", "more DNS questions than `max_answers`"),
        Reason(C, "messages of identity facts left out",
               "more than 65,536 different DHCP, mDNS, SSDP and NetBIOS messages"),
    )),
    Stage("Flow records", "Unit: records. Printed as `FILE (zeek)`, `FILE (yaf)`, `FILE (csv)` and so on.", (
        Reason(I, "Zeek log NAME", "a record of another Zeek log than `conn`"),
        Reason(I, "another Zeek log", "the same, after 32 names"),
        Reason(I, "not a Zeek conn record", "a record that names no log and lacks the fields of `conn`"),
        Reason(I, "outside the time asked for", "`--from`, `--to`"),
        Reason(D, "broken line", "wrong number of columns"),
        Reason(D, "broken JSON line", "not a JSON object"),
        Reason(D, "no header before it", "a record before any header line (nfdump)"),
        Reason(D, "no #fields line before it", "a record before any header line (Zeek)"),
        Reason(D, "no start time", "the start is unset"),
        Reason(D, "no protocol", "the protocol is unset"),
        Reason(D, "no address", "an address is unset"),
        Reason(D, "no port", "a port of a protocol with ports is unset"),
        Reason(D, "unreadable FIELD", "a required field cannot be parsed"),
        Reason(D, "FIELD out of range", "a required field is out of range"),
        Reason(C, "no FIELD", "a counter, duration or end is unset by a word such as `NULL`; 0 or the start is used"),
        Reason(C, "end before start", "the two times were exchanged"),
        Reason(C, "payload octets used as IP octets", "Zeek counted payload only (`orig_bytes`)"),
        Reason(C, "counters rounded by nfdump", "`2.3 M` was read as 2,300,000; use `nfdump -N`"),
        Reason(C, "inconsistent end time replaced by duration", "nfdump's end time contradicts its duration"),
        Reason(C, "equal to a record of an earlier input", "the same record occurs in two inputs; both are counted"),
    )),
    Stage("names", "Unit: entries of a `--names` file. Printed as `FILE (dnsmasq leases)` and so on.", (
        Reason(I, "neither MAC nor address of a device", "a loopback or unspecified address, or none at all"),
        Reason(I, "no name", "an address or a MAC alone"),
        Reason(I, "no MAC yet", "an incomplete entry of a neighbour table"),
        Reason(I, "lease of nobody", "an abandoned or declined address"),
        Reason(I, "other line", "a line of a neighbour table that is not an entry"),
        Reason(D, "no MAC", "the text is not a MAC"),
        Reason(D, "no IP address", "the text is not an address"),
        Reason(D, "unreadable entry", "not of the file's form"),
    )),
    Stage("log entries", "Unit: entries of a `--dns-log` file. Printed as `FILE (dnsmasq log)` and so on.", (
        Reason(I, "other log line", "a line that is neither a question nor an answer"),
        Reason(I, "no question in it", "a record of Zeek's dns log without a query"),
        Reason(I, "not a response to a client", "a dnstap record of another kind"),
        Reason(D, "no time, client or name", "one of them is missing or cannot be parsed"),
        Reason(D, "frame cut short or too long", "the rest of a dnstap file is not read"),
        Reason(D, "broken JSON line", "not a JSON object"),
    )),
    Stage("rules", "Unit: access-control entries of a MUD file.", (
        Reason(I, "not IP", "an entry about Ethernet frames alone"),
        Reason(I, "in no policy", "an entry of an access list that neither policy names"),
        Reason(D, "matches on FIELD", "the entry matches on something that flow records do not have"),
        Reason(D, "matches everything", "the entry states nothing to match"),
        Reason(D, "several classes of other ends", "more than one of `local-networks`, `controller` and so on"),
    )),
    Stage("datagrams", "Unit: datagrams received over UDP by `ethogram collect`.", (
        Reason(D, "socket", "the kernel's receive buffer was full: the process was starved of CPU"),
        Reason(D, "not allowed", "sent from outside `--allow`"),
        Reason(D, "too many exporters", "more senders than `max_exporters`"),
        Reason(D, "too many exporters of its address", "one address exceeds `address_share`"),
        Reason(D, "too many exporters of its prefix", "one prefix exceeds `prefix_share`"),
        Reason(D, "rate limit", "beyond `--rate-limit`"),
        Reason(D, "queue", "decoding was slower than arrival for longer than the queue lasts"),
        Reason(D, "truncated", "longer than any valid message"),
    )),
    Stage("connections", "How TCP and TLS connections ended or were refused.", (
        Reason(N, "ended by the exporter", "closed between two messages"),
        Reason(N, "ended inside a message", "closed within a message"),
        Reason(N, "broken off", "reset"),
        Reason(N, "idle", "no complete message for `idle_s`"),
        Reason(N, "collector stopped", "open when the collector stopped"),
        Reason(N, "collector stopped before all was read", "more data had arrived than could be read at the stop"),
        Reason(N, "bad version", "sent something that is not IPFIX"),
        Reason(N, "bad length", "sent a message with an impossible length"),
        Reason(N, "no TLS handshake", "does not speak TLS, or did not finish the handshake in 10 s"),
        Reason(N, "broken off in the TLS handshake", "closed or reset before the handshake ended"),
        Reason(N, "client certificate refused", "no certificate signed by `--client-ca`"),
        Reason(N, "not allowed", "from outside `--allow`"),
        Reason(N, "too many connections", "more than `max_connections`"),
        Reason(N, "too many connections of its address", "one address exceeds `address_share`"),
        Reason(N, "too many connections of its prefix", "one prefix exceeds `prefix_share`"),
        Reason(N, "evicted: no well-formed message", "sent nothing valid, and another connection needed the slot"),
        Reason(N, "no file descriptor left", "the process may open no more files (`ulimit -n`)"),
        Reason(N, "internal error", "please report it"),
    )),
    Stage("evicted_exporters", "UDP senders that were forgotten to make room. Not a loss.", (
        Reason(N, "no well-formed message", "sent nothing valid"),
        Reason(N, "silent", "silent for a minute"),
    )),
    Stage("templates", "Templates held, and events.", (
        Reason(N, "exporters evicted: nothing understood", "templates of senders without a valid message were removed"),
        Reason(N, "exporters evicted: silent", "templates of senders that were silent for ten minutes were removed"),
        Reason(N, "taken over from another port", "an exporter changed its UDP port and kept its templates"),
    )),
    Stage("recording, output", "Unit: messages (`--record`) and flows.", (
        Reason(D, "cannot be written", "the disk is full or not writable"),
    )),
    Stage("messages", "Unit: NetFlow and IPFIX messages.", (
        Reason(I, "not UDP", "a capture read with the format `exports`: packet of another protocol"),
        Reason(I, "not an export message", "a capture read with the format `exports`: other UDP traffic"),
        Reason(I, "further fragments of a message", "IP fragments, counted with the first one"),
        Reason(D, "too many exporters", "no room for the templates of this sender"),
        Reason(D, "shorter than its header", "malformed"),
        Reason(D, "unknown version", "not NetFlow v5, v9 or IPFIX"),
        Reason(D, "bad length", "malformed"),
        Reason(D, "longer than what arrived", "the exporter or the path cut the message"),
        Reason(D, "no message", "an IPFIX file contains something that is not a message"),
        Reason(D, "cut short", "an IPFIX file ends inside a message"),
        Reason(D, "fragments of incomplete datagrams", "a message whose fragments were not all captured"),
        Reason(C, "cut short by the capture", "the capture did not keep the whole message (snap length)"),
        Reason(C, "wrong record count", "the header's count contradicts the message"),
        Reason(C, "octets after the message", "trailing octets in a datagram"),
        Reason(C, "zeros after the last set", "padding after the last set"),
    )),
    Stage("sets", "Unit: template, options and data sets.", (
        Reason(I, "reserved set number", "sets 4 to 255"),
        Reason(D, "waiting for a template", "held until the template arrives; then no longer counted here"),
        Reason(D, "evicted while waiting", "the memory for waiting sets was full"),
        Reason(D, "expired while waiting", "waited longer than `pending_age_s`"),
        Reason(D, "no template, and no room to wait", "too large to wait"),
        Reason(D, "session ended while waiting", "the TCP connection closed first"),
        Reason(D, "waited for a template at a restart", "waiting sets are not kept over a restart"),
        Reason(D, "bad length", "malformed"),
        Reason(D, "longer than its message", "malformed"),
        Reason(D, "too many short records", "a template of records without octets"),
        Reason(C, "waited for a template", "decoded after the template arrived"),
    )),
    Stage("records", "Unit: data records.", (
        Reason(I, "options record", "about the exporter, not a flow; sampling rates and names are learned from it"),
        Reason(D, "longer than its set", "malformed"),
    )),
    Stage("biflows", "Unit: data records, as flows.", (
        Reason(I, "no address", "no source and destination address"),
        Reason(I, "firewall event: flow created", "without counters; the flow is reported when it ends"),
        Reason(I, "firewall event: flow denied", "a denied connection"),
        Reason(I, "NAT event without octets and packets", "a translator's log record"),
        Reason(I, "record without octets and packets", "no traffic"),
        Reason(I, "total without change", "a flow reported again without new traffic"),
        Reason(D, "implausible counters", "2^56 octets or packets and more: exporters write this for *not known*"),
        Reason(C, "total reduced to the change since the previous record",
               "cumulative counters; only the increase is counted"),
        Reason(C, "end before start", "the two times were exchanged"),
        Reason(C, "end after export time, moved to it", "uptime-based times that lie after the export"),
        Reason(C, "no time, export time used", "the template has no time"),
        Reason(C, "system start unknown, export time used as end", "relative times without a reference"),
        Reason(C, "time 0 replaced", "an unset time"),
        Reason(C, "sampler rate unknown, not scaled", "the record names a sampler that no option describes"),
        Reason(C, "sampler rate from another observation domain", "the rate was found in another domain"),
    )),
    Stage("identity", "Unit: records of DHCP, mDNS, LLMNR, SSDP and NetBIOS ports whose template can state facts.", (
        Reason(I, "states nothing", "a query, a server's message, or an empty element"),
        Reason(I, "neither address nor MAC", "a DHCP client without an address, exported without its MAC"),
        Reason(D, "sub-template not known", "its template has not arrived yet; devices repeat what they state"),
        Reason(D, "beyond the bound", "more than 2,048 records in one block"),
    )),
    Stage("facts", "Unit: identity facts. Written with the flows of a segment.", (
        Reason(D, "beyond the bound", "more than 65,536 different facts in one segment"),
    )),
    Stage("twins", "Unit: records. Deduplication of flows that one exporter saw on ingress and egress.", (
        Reason(C, "seen on the way in and on the way out", "counted once"),
    )),
    Stage("pair", "Unit: records. One-way records are paired to biflows.", (
        Reason(C, "paired with the opposite direction", "two records became one"),
        Reason(C, "released before its answer", "the memory for waiting records was full; kept as one-way"),
        Reason(C, "answer alone in a later part of its connection", "turned to the initiator of the connection"),
        Reason(C, "beginnings of connections forgotten", "the memory for connection starts was full"),
    )),
    Stage("join", "Unit: records. Records cut at the active timeout are joined.", (
        Reason(C, "joined with the record before", "two records became one"),
        Reason(C, "released before its continuation", "the memory for open records was full"),
        Reason(C, "sum beyond 64 bits: the largest number", "a counter overflowed and was capped"),
    )),
    Stage("orient", "Unit: flows. Each flow is assigned to a device and its service side determined.", (
        Reason(I, "no device", "no end of the flow is a device: see `--local`, `--devices`"),
        Reason(I, "outside the time asked for", "`--from`, `--to`"),
        Reason(C, "between two devices: a row for each", "the flow table has two rows"),
        Reason(C, "reversed by the handshake", "the TCP handshake shows the other initiator"),
        Reason(C, "reversed by port class", "the lower port class is the service"),
        Reason(C, "reversed by the recurring port", "the device uses this port again and again"),
        Reason(C, "ends behind a router or repeater: named by address", "the MAC has several addresses at once"),
        Reason(C, "addresses of devices forgotten", "the memory for MAC and address pairs was full"),
        Reason(C, "ports of devices forgotten", "the memory for recurring ports was full"),
    )),
    Stage("fingerprints", "Unit: flows. Counting and the fingerprint exporter.", (
        Reason(I, "protocol", "neither TCP nor UDP: see `--other-protocols`"),
        Reason(I, "inbound unanswered", "a scan from outside that the device did not answer: see `--keep-probes`"),
        Reason(I, "outside the time asked for", "`--from`, `--to`"),
        Reason(D, "late", "its epoch was already closed: see `--lateness`, and check the exporter's clock"),
        Reason(D, "ahead of arrival", "ends more than `--ahead` after it arrived: the exporter's clock is wrong"),
        Reason(D, "devices over the bound", "more devices, or more counts, than the limits allow"),
        Reason(D, "empty required column", "a Parquet flow table with nulls in a required column"),
        Reason(C, "names over the bound on arrival", "more than `device_counts` names in an hour; the name is dropped"),
        Reason(C, "services over the bound on arrival", "more than `device_counts` ports in an hour; counted as `dyn`"),
        Reason(C, "names over the cap", "more than 4,096 names in a day; the name is dropped"),
        Reason(C, "services over the cap", "more than 4,096 services in a day; counted as `dyn`"),
    )),
    Stage("monitor", "Unit: flows.", (
        Reason(C, "services over the bound of an epoch",
               "more than 2,048 services of a device in an epoch; those with fewest packets lose port and name"),
    )),
    Stage("sequence", "Loss of messages between exporter and collector, from sequence numbers.", (
        Reason(N, "gap", "sent and not received; the unit is flows (v5), messages (v9) or data records (IPFIX)"),
        Reason(N, "records not counted", "between messages whose sets wait for a template"),
    )),
    Stage("Custom flows", "Units: packets (`meter`, `device`, `packets of both directions`) and flows (`time`).", (
        Reason(I, "ipv6", "custom flows are defined for IPv4"),
        Reason(I, "other protocol", "neither TCP nor UDP (`CustomFlowSettings.protocols`)"),
        Reason(I, "sent from outside", "outgoing flows are metered, and the sender is not local"),
        Reason(I, "fragment without its first", "a later IP fragment whose first fragment is missing"),
        Reason(I, "no device", "no end is a device"),
        Reason(I, "received, not sent, by a device", "outgoing flows are metered"),
        Reason(I, "before --from", "outside the requested time"),
        Reason(I, "at --to or later", "outside the requested time"),
        Reason(I, "beyond the packets kept of a flow", "`--packets-output`: more packets than are kept"),
        Reason(I, "received before the device sent", "`--packets-output`: before the flow's first packet"),
        Reason(D, "no room", "`--packets-output`: memory for live flows was full"),
        Reason(C, "payload not captured whole", "snap length"),
        Reason(C, "fragment joined to its first", "IP fragments were reassembled into one flow"),
        Reason(C, "time went back", "all open records ended (`leap_s`)"),
        Reason(C, "record ended early for lack of room", "more live records than `max_flows` or `max_octets`"),
        Reason(C, "between two devices: a record for each", "two custom flows"),
        Reason(C, "between two flows: asked for by each", "`--packets-output`: a packet that belongs to two flows"),
    )),
    Stage("Published customFlow files", "Unit: custom flows.", (
        Reason(D, "no FIELD", "a required column is null"),
        Reason(D, "no packet", "a row without packets"),
        Reason(D, "a symbol above 255", "a payload symbol out of range"),
        Reason(C, "payload marks that do not fit the packets", "start and end marks contradict the packets"),
        Reason(C, "an eleventh packet left out", "the layout describes ten packets"),
    )),
    Stage("Labels and probes", "Unit: custom flows (`ethogram probe`, `reconstruct`).", (
        Reason(I, "device without a label", "not in the label file"),
        Reason(I, "no label at that time", "outside the validity of the device's labels"),
        Reason(I, "label without this level", "the label file leaves the level empty"),
        Reason(I, "day the encoder learnt from", "excluded to prevent leakage"),
        Reason(I, "between the sides", "in the gap between training and test"),
        Reason(I, "more than are used", "beyond `train_flows` or `test_flows`"),
        Reason(I, "type not in training", "cannot be recognised; counted as a stranger"),
        Reason(I, "type not tested", "with `shared_types`"),
    )),
)  # fmt: skip


def pattern(text: str) -> str:
    """A reason with ``*`` for the names and numbers in it.

    >>> pattern("Zeek log NAME"), pattern("{} out of range"), pattern("no FIELD")
    ('Zeek log *', '* out of range', 'no *')
    """
    return re.sub(r"\{[^}]*\}|\bFIELD\b|\bNAME\b|\bN\b", "*", text)


def documented() -> set[str]:
    """Patterns of all reasons on the page."""
    return {pattern(reason.text) for stage in STAGES for reason in stage.reasons}


def page() -> str:
    """The whole page."""
    lines = ["# Counters", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION]
    for stage in STAGES:
        lines += ["", f"## {stage.name}", "", stage.about, "", "| kind | reason | meaning |", "|---|---|---|"]
        lines += [f"| {kind} | `{text}` | {meaning} |" for kind, text, meaning in stage.reasons]
    return "\n".join([*lines, ""])
