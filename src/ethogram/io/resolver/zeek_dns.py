"""Zeek's ``dns.log`` by itself: questions with port and server, and answers with their lifetimes."""

from __future__ import annotations

import polars as pl

from ethogram.io.open_text import TextInput
from ethogram.io.record_reader import RecordCounters, first_of
from ethogram.io.resolver.log import ResolverLog
from ethogram.io.zeek_log import log_frames
from ethogram.io.zeek_log_types import kinds_in
from ethogram.io.zeek_names import dns_answers

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "Zeek dns log"


def sniff(head: bytes, file_name: str) -> bool:
    """Whether a text has records of the dns log."""
    return "dns" in kinds_in(head, file_name)


def read(text: TextInput, log: ResolverLog, zone: str) -> None:
    """Read all questions and answers."""
    source = RecordCounters(text.name)
    for frame, lines in log_frames(text, source):
        questions = pl.DataFrame({
            "time": log.times(first_of(frame, "ts"), zone), "client": first_of(frame, "id.orig_h"),
            "client_port": first_of(frame, "id.orig_p").cast(pl.UInt16, strict=False),
            "server": first_of(frame, "id.resp_h"), "name": first_of(frame, "query"),
        })  # fmt: skip
        asked = questions["name"].is_not_null()
        log.accounting.read += int((~asked).sum())
        log.accounting.ignore("no question in it", int((~asked).sum()))
        log.add(questions.filter(asked), pl.Series(lines).filter(asked))
        log.add_answers(dns_answers(frame, zone))
    for reason, count in source.accounting.dropped.items():
        log.accounting.read += count
        log.drop(reason, count, source.first_problem[0] if source.first_problem else None)
