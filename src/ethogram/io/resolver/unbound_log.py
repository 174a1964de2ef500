"""Query logs of Unbound (``log-queries: yes``, ``log-replies: yes``): who asked for which name, without answers.

Reference: unbound.conf(5). With both options a question is written twice, which does no harm.
"""

from __future__ import annotations

import polars as pl

from ethogram.io.open_text import TextInput
from ethogram.io.resolver.log import TIME_PATTERN, ResolverLog, decoded_lines

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "Unbound log"

_LINE = (
    TIME_PATTERN + r".*?unbound(?:\[[\d:]+\])?: (?:\[[\d:]+\] )?(?:info|query|reply): (?:(?:query|reply): )?"
    r"(?<client>[0-9a-fA-F.:]+)(?:@\d+)? (?<name>\S+) (?<type>[A-Z0-9]+) (?<class>[A-Z0-9]+)"
)
_FIELDS = ("time", "client", "name", "type", "class")


def sniff(head: str) -> bool:
    """Whether a text is such a log.

    >>> sniff("[1714564800] unbound[123:0] info: 192.168.1.5 example.com. A IN")
    True
    """
    lines = pl.Series([line[:512] for line in head.split("\n")[:200]])
    return bool(lines.str.contains(r"\bunbound(\[[\d:]+\])?:? .*(info|query|reply): ").any())


def read(text: TextInput, log: ResolverLog, zone: str) -> None:
    """Read all questions."""
    for batch in text.batches():
        numbers, lines = batch.filled()
        if not lines:
            continue
        # Unbound writes "unbound[123:0] info:", syslog "unbound[123]: [123:0] info:".
        texts = decoded_lines(lines).str.replace(r"unbound(\[[\d:]+\])? (info|query|reply):", "unbound: ${2}:")
        fields = texts.str.extract_groups(_LINE).struct.rename_fields(_FIELDS).struct.unnest()
        frame = fields.with_columns(line=pl.Series(numbers, dtype=pl.Int64))
        other = frame["client"].is_null()
        log.accounting.read += int(other.sum())
        log.accounting.ignore("other log line", int(other.sum()))
        frame = frame.filter(~other)
        frame = frame.with_columns(time=log.times(frame["time"], zone))
        log.add(frame.select("time", "client", "name"), frame["line"])
