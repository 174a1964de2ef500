"""Query logs of dnsmasq (``log-queries`` or ``log-queries=extra``), which Pi-hole and OpenWrt write, too.

A reply is logged line by line, aliases first: the addresses at its end answer the name at its beginning. Without
*extra* a reply does not state the client: it is that of the latest question for the name.
"""

from __future__ import annotations

import polars as pl

from ethogram.io.open_text import TextInput
from ethogram.io.resolver.log import TIME_PATTERN, ResolverLog, decoded_lines

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "dnsmasq log"

_LINE = (
    TIME_PATTERN + r".*?dnsmasq(?:\[\d+\])?: (?:(?<serial>\d+) (?<peer>[0-9a-fA-F.:]+)/(?<port>\d+) )?"
    r"(?<action>query\[[^\]]+\]|reply|cached|cached-stale) (?<name>\S+) (?:from|is) (?<value>\S+)"
)
_ALIAS = "<CNAME>"
_FIELDS = ("time", "serial", "peer", "port", "action", "name", "value")


def sniff(head: str) -> bool:
    """Whether a text is such a log.

    >>> sniff("May  1 12:00:00 dnsmasq[7]: query[A] example.com from 192.168.1.5")
    True
    """
    return bool(pl.Series([line[:512] for line in head.split("\n")[:200]]).str.contains(r"\bdnsmasq(\[\d+\])?: ").any())


def read(text: TextInput, log: ResolverLog, zone: str) -> None:
    """Read all questions and answers."""
    asked = pl.DataFrame(schema={"name": pl.String, "last_client": pl.String})
    for batch in text.batches():
        numbers, lines = batch.filled()
        if not lines:
            continue
        fields = decoded_lines(lines).str.extract_groups(_LINE).struct.rename_fields(_FIELDS).struct.unnest()
        frame = fields.with_columns(line=pl.Series(numbers, dtype=pl.Int64)).with_row_index("row")
        other = frame["action"].is_null()
        log.accounting.read += int(other.sum())
        log.accounting.ignore("other log line", int(other.sum()))
        frame = frame.filter(~other)
        frame = frame.with_columns(time=log.times(frame["time"], zone), name=pl.col("name").str.to_lowercase())
        is_query = pl.col("action").str.starts_with("query")
        queries = frame.filter(is_query).with_columns(client=pl.coalesce("peer", "value"))
        log.add(
            queries.select("time", "client", "name", client_port=pl.col("port").cast(pl.UInt16, strict=False)),
            queries["line"],
        )
        replies = frame.filter(~is_query)
        log.accounting.read += replies.height
        log.accounting.used += replies.height
        _answers(replies, queries, asked, log)
        latest = queries.select("name", last_client="client").unique("name", keep="last", maintain_order=True)
        asked = pl.concat([asked, latest]).unique("name", keep="last", maintain_order=True).tail(1 << 18)


def _answers(replies: pl.DataFrame, queries: pl.DataFrame, asked: pl.DataFrame, log: ResolverLog) -> None:
    """Addresses in replies, for the name at the beginning of each, and the client that asked for it."""
    before = replies.with_columns(
        follows=(pl.col("row").diff() == 1) & pl.col("serial").eq_missing(pl.col("serial").shift(1))
        & ((pl.col("value").shift(1) == _ALIAS) | (pl.col("name") == pl.col("name").shift(1)))
    ).with_columns(follows=pl.col("follows").fill_null(value=False))  # fmt: skip
    heads = before.with_columns(name=pl.when(~pl.col("follows")).then("name").forward_fill())
    answers = heads.filter(pl.col("value").str.contains(r"^[0-9a-fA-F:]*[.:][0-9a-fA-F.:]*$"))
    earlier = queries.select("row", "name", asked_by="client").sort("row")
    answers = answers.sort("row").join_asof(earlier, on="row", by="name", strategy="backward", check_sortedness=False)
    answers = answers.join(asked, on="name", how="left", maintain_order="left")
    log.add_answers(answers.select(
        "time", "name", client=pl.coalesce("peer", "asked_by", "last_client"), address="value",
        ttl_s=pl.lit(0, pl.UInt32),
    ))  # fmt: skip
