"""The page of fields: which elements feed which column, made from the tables that the decoder uses."""

from __future__ import annotations

from ethogram.io.wire import element_precedence as precedence
from ethogram.io.wire import options, rates, record_times
from ethogram.io.wire.element_precedence import Key
from ethogram.io.wire.elements import ENTERPRISES, element, elements
from ethogram.io.wire.template import V5_FIELDS
from ethogram.schema import BIFLOW

V9_ONLY = 8192  # field types from here on exist in version 9 alone
V5_ELEMENTS = {(0, one.id, False) for one in V5_FIELDS}

INTRODUCTION = """The information elements that feed each column of the biflow table, in order of precedence. NetFlow v9
and IPFIX share the numbers of the IANA registry; the fixed record of NetFlow v5 is read as a template of them.
`ethogram wire FILE` shows which elements an exporter's templates have and what is missing."""

RULES = {
    "start": "The finest unit wins. Relative times refer to the message's uptime (v5, v9), or to `systemInitTime"
    "Milliseconds` in the record or in options (IPFIX); otherwise the latest uptime is set to the export "
    "time. Uptimes wrap after 49.7 days. Without any time, the export time is used and counted as corrected.",
    "end": "As `start`. If missing: start plus duration, or the time of a firewall event. If the end precedes the "
    "start, "
    "the two are exchanged and counted.",
    "protocol": "If repeated (a packet in a tunnel), the innermost.",
    "source_address": "Before translation. With both address families, the pair that is not zero; with nested pairs, "
    "the "
    "innermost.",
    "destination_address": "After translation if that is not zero, so that both directions show the device's own "
    "address. FortiOS (v9 field type 65) also writes the translated address into answers; it is used as is.",
    "source_port": "0 for protocols without ports; ICMP type and code are not ports.",
    "destination_port": "As the destination address: after translation if that is not zero.",
    "octets": "Initiator and responder octets if the template has both, else the template's first counter. For totals "
    "of "
    "a flow that is reported again, the increase.",
    "packets": "As `octets`; 0 if no packet counter is exported.",
    "reverse_octets": "Biflow records only; one-way records are paired later. ntop's meter stores the other direction "
    "in "
    "the outgoing counters.",
    "reverse_packets": "As `reverse_octets`.",
    "initial_tcp_flags": "0 is null.",
    "reverse_initial_tcp_flags": "0 is null.",
    "union_tcp_flags": "0 is null. YAF's union excludes the first packet, so both are combined.",
    "reverse_union_tcp_flags": "As for the source.",
    "end_reason": "1 to 5; other values are null.",
    "source_mac": "On ingress; 0 is null.",
    "destination_mac": "On egress, which is the device and not the router; 0 is null.",
    "vlan": "The low 12 bits of the first one that is not 0.",
    "source_name": "As `destination_name`, for one-way records whose source has the smaller port.",
    "destination_name": "Host names only, in lower case, without port. In one-way records, the end with the smaller "
    "port "
    "has the name.",
    "raw_octets": "As exported, if the sampling rate is above 1.",
    "raw_packets": "As exported, if the sampling rate is above 1.",
    "reverse_raw_octets": "The same for the other direction.",
    "reverse_raw_packets": "The same for the other direction.",
    "direction": "0 or 1; other values are null.",
    "one_way": "True unless the template has counters for the other direction, or comes from a Cisco firewall.",
}  # fmt: skip


def of_forms(forms: tuple[tuple[int, str], ...]) -> tuple[Key, ...]:
    """Elements of times."""
    return tuple((0, number, False) for number, _ in forms)


def reversed_keys(keys: tuple[Key, ...]) -> tuple[Key, ...]:
    """The same elements of the other direction."""
    return tuple((enterprise, number, True) for enterprise, number, _ in keys)


def sources() -> dict[str, tuple[Key, ...]]:
    """Elements of each column, the first choice first."""
    both, tiers = precedence.BIFLOW_COUNTS, precedence.COUNT_TIERS
    counts = {
        name: tuple(key for key in (getattr(both, name), *(getattr(one, name) for one in tiers)) if key is not None)
        for name in ("octets", "packets", "reverse_octets", "reverse_packets")
    }
    for name, keys in precedence.COUNTS.items():
        counts[name] = (*counts[name], *keys, precedence.NTOP_REVERSE[name])
    durations = tuple((0, number, False) for number, _ in record_times.DURATIONS)
    start, end = of_forms(record_times.START_FORMS), of_forms(record_times.END_FORMS)
    return {
        "start": (*start, *reversed_keys(start[:5]), *durations, *of_forms(record_times.MOMENT_FORMS)),
        "end": (*end, *reversed_keys(end[:5]), *durations, *of_forms(record_times.MOMENT_FORMS)),
        "protocol": (*precedence.PROTOCOL, precedence.TENANT_PROTOCOL),
        "source_address": tuple(source for _, source, _ in (*precedence.ADDRESSES, *precedence.TENANT_ADDRESSES)),
        "destination_address": (
            *(key for _, key in precedence.NAT_ADDRESSES),
            *(destination for _, _, destination in (*precedence.ADDRESSES, *precedence.TENANT_ADDRESSES)),
        ),
        "source_port": (*precedence.PORTS[0], precedence.TENANT_PORTS[0]),
        "destination_port": (*precedence.NAT_PORTS, *precedence.PORTS[1], precedence.TENANT_PORTS[1]),
        **counts,
        "initial_tcp_flags": precedence.INITIAL_FLAGS[0],
        "reverse_initial_tcp_flags": precedence.INITIAL_FLAGS[1],
        "union_tcp_flags": (*precedence.FLAGS[0], *precedence.UNION_FLAGS[0], *precedence.INITIAL_FLAGS[0]),
        "reverse_union_tcp_flags": (*precedence.FLAGS[1], *precedence.UNION_FLAGS[1], *precedence.INITIAL_FLAGS[1]),
        "end_reason": precedence.END_REASON,
        "source_mac": precedence.MACS[0],
        "destination_mac": precedence.MACS[1],
        "vlan": precedence.VLAN,
        "source_name": tuple(key for key, _ in precedence.NAMES),
        "destination_name": tuple(key for key, _ in precedence.NAMES),
        "direction": precedence.DIRECTION,
    }  # fmt: skip


def told(key: Key) -> str:
    """An element with its name and number."""
    enterprise, number, reverse = key
    known = element(enterprise, number)
    where = f"{enterprise}.{number}" if enterprise else str(number)
    return f"`{known.reverse_name if reverse else known.name}` ({where}{', reverse' if reverse else ''})"


def cells(keys: tuple[Key, ...]) -> tuple[str, str, str]:
    """What v5, v9 and IPFIX have of these."""
    v5 = [key for key in keys if key in V5_ELEMENTS]
    v9 = [key for key in keys if key[0] == 0 and not key[2]]
    ipfix = [key for key in keys if key[0] or key[1] < V9_ONLY]
    shared = v9 == ipfix and bool(v9)
    return ", ".join(map(told, v5)), ", ".join(map(told, v9)), "the same" if shared else ", ".join(map(told, ipfix))


def page() -> str:
    """The whole page."""
    made = sources()
    lines = ["# Fields by protocol", "", "<!-- made by docs/generate.py; do not edit -->", "", INTRODUCTION, ""]
    lines += ["| column | NetFlow v5 | NetFlow v9 | IPFIX | rule |", "|---|---|---|---|---|"]
    for column in BIFLOW.columns:
        v5, v9, ipfix = cells(made.get(column.name, ()))
        lines.append(f"| `{column.name}` | {v5} | {v9} | {ipfix} | {RULES[column.name]} |")
    lines += ["", "## Which records are flows", ""]
    lines += [
        f"- {told(precedence.FIREWALL_EVENT[0])}, {told(precedence.FIREWALL_EVENT[1])}: *created* and *denied* without "
        "octets and packets are ignored with a reason; *deleted*, *updated*, and a *created* that counts packets are "
        "flows.",
        f"- {told(precedence.NAT_EVENT[0])}: a translation log record has no octets and packets, and is ignored with a "
        "reason.",
        f"- {told(precedence.BIFLOW_DIRECTION[0])}: if 2, the source is the responder, and the record is reversed.",
        f"- {told(precedence.IP_VERSION[0])}: selects the address family if a record contains both.",
        "- Records without source and destination address, or without protocol, are not flows; sampling information in "
        "them is used.",
        f"- {told(precedence.TENANT_ADDRESSES[0][1])} and the other tenant fields of VMware: the packets of the "
        f"virtual "
        "machines inside a VXLAN tunnel. They take precedence, as the innermost pair of a tunnel; if they are zero, "
        "the "
        "outer pair is used.",
        "- Records with 2^56 or more octets or packets are dropped (`implausible counters`). Exporters write all ones "
        "or a "
        "negative number for *not known*, and one such value would outweigh everything else.",
        "- Uptime-based times that end more than ten seconds after their export are moved to it with their duration "
        "(`end after export time, moved to it`). In such records, the header's uptime is in seconds, or has another "
        "reference than the records.",
        "", "## Sampling and other options", "",
        "The sampling rate comes from the record itself, or else from options of the same exporter and observation "
        "domain: "
        "the rate of the record's sampler ("
        + ", ".join(told((0, number, False)) for number in rates.SAMPLER_IDS)
        + "), of its interface, stated without a sampler, or of the only sampler. The rate in force when the message "
        "arrived applies. If the record names a sampler that its own domain does not state, and other domains of the "
        "exporter agree on a rate, that rate is used and counted, because some exporters send options in a separate "
        "domain. NetFlow v5 states the rate in each header.",
        "", "| form | elements | rate |", "|---|---|---|",
        f"| n of N | {told((0, rates.SIZE, False))}, {told((0, rates.POPULATION, False))} | N / n |",
        f"| probability | {told((0, rates.PROBABILITY, False))} | 1 / p |",
        f"| count-based | {told((0, rates.INTERVAL, False))}, {told((0, rates.SPACE, False))} | "
        "(interval + space) / interval; an interval alone means 1 in *interval* |",
        f"| NetFlow v9 | {told((0, rates.V9_INTERVAL, False))}, {told((0, rates.RANDOM_INTERVAL, False))} | "
        "the value |",
        "", f"Also used: {told((0, options.SYSTEM_INIT, False))}; names of "
        + "; ".join(f"{kind}s from {', '.join(told((0, n, False)) for n in names)}" for kind, (_, names) in
                    options.NAMES.items())
        + "; names of elements from type information (RFC 5610).",
        "", "## Known elements", "",
        "| enterprise | elements |", "|---|---|",
    ]  # fmt: skip
    counts: dict[int, int] = {}
    for enterprise, _ in elements():
        counts[enterprise] = counts.get(enterprise, 0) + 1
    lines += [f"| {ENTERPRISES[number]} ({number}) | {count} |" for number, count in sorted(counts.items())]
    lines += ["", "All other elements are kept by number (`enterprise.id`), as octets.", ""]
    return "\n".join(lines)
