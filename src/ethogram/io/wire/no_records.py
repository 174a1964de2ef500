"""Explain why an export contains no records, in terms that a user can act on."""

from __future__ import annotations

from collections import Counter

from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.pending import WAITING
from ethogram.schema import Accounting

__all__ = ["CUT", "describe_payload", "explain_no_records"]

CUT, UNKNOWN = "cut short by the capture", "not an export message"
SFLOW = {2, 4, 5}


def describe_payload(payload: bytes, *, cut: bool = False) -> str:
    """Describe a UDP payload that is not an export message by its first octets.

    Parameters
    ----------
    payload
        The first eight octets, or fewer.
    cut
        Whether the capture truncated it.

    >>> describe_payload(bytes.fromhex("00000005" "00000001"))
    'sFlow version 5'
    >>> describe_payload(bytes.fromhex("0007" "0001" "00000000"))
    'export version 7'
    >>> describe_payload(b"GET / HTTP/1.1"), describe_payload(b"")
    ('not an export message', 'not an export message')
    """
    first, second = int.from_bytes(payload[:2]), int.from_bytes(payload[:4])
    if len(payload) >= 8 and first == 0 and second in SFLOW and int.from_bytes(payload[4:8]) in (1, 2):
        return f"sFlow version {second}"
    if len(payload) >= 8 and 1 <= first <= 15 and first not in (5, 9, 10):
        return f"export version {first}"
    if cut and (len(payload) < 2 or first in (5, 9, 10)):
        return CUT
    return UNKNOWN


def explain_no_records(datagrams: Accounting, others: Counter[str], decoder: Decoder) -> str:
    """Reasons for the absence of records.

    Parameters
    ----------
    datagrams
        Accounting of the message source.
    others
        UDP payloads that are not export messages, by :func:`describe_payload`.
    decoder
        The decoder of the messages.
    """
    reasons = []
    cut = datagrams.corrected[CUT] + others[CUT]
    if cut:
        advice = "capture whole packets, for example with tcpdump -s 0"
        reasons.append(f"the capture truncated messages ({cut:,}): {advice}")
    foreign = {what: count for what, count in others.items() if what not in (CUT, UNKNOWN)}
    reasons += [f"{what} ({count:,}), which is not supported" for what, count in foreign.items()]
    reasons += [f"version {version}, which is not supported" for version in decoder.unknown_versions]
    if not reasons and others:
        reasons.append("no UDP payload is NetFlow v5, v9 or IPFIX")
    if decoder.sets.dropped[WAITING]:
        reasons.append(f"data sets whose template is not in the input ({decoder.sets.dropped[WAITING]:,})")
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        for reason, count in sorted(accounting.dropped.items()):
            if count and reason not in (WAITING, "unknown version"):
                reasons.append(f"{accounting.unit} {reason} ({count:,})")
    if not reasons and len(decoder.store):
        reasons.append("templates but no records")
    return "; ".join(reasons)
