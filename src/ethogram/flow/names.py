"""Names of remote ends: what the record itself says, else the DNS answer its device received before; by domain.

A DNS exchange is named by what was asked for: a device whose cloud is gone still says whom it looks for.

Only host names are kept, of a record or an answer; nothing of what users send. The public suffix list comes with the
library that reads it, which has no means to fetch another: no network is asked. Only its ICANN section counts, so that
``a.s3.amazonaws.com`` belongs to ``amazonaws.com``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import polars as pl
from publicsuffixlist import PSLFILE, PublicSuffixList

from ethogram.config import NameSettings
from ethogram.schema import FLOW, GROUP, NAME_ANSWER, NAME_QUESTION, UDP, codes_of

__all__ = ["Naming", "domains", "suffix_list_date", "suffix_list_works"]

_HOST = re.compile(r"^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$")
_MAX_REMEMBERED = 1 << 18
_DNS = 53
_known: dict[str, tuple[str | None, str | None]] = {}


@cache
def _suffixes() -> PublicSuffixList:
    """The list, read on first use; a name below no known suffix has no domain."""
    return PublicSuffixList(accept_unknown=False, only_icann=True)


def suffix_list_date() -> str | None:
    """Day of the bundled public suffix list, as YYYY-MM-DD; None when it does not say."""
    try:
        with Path(PSLFILE).open("rb") as stream:
            found = re.search(rb"VERSION: (\d{4}-\d\d-\d\d)", stream.read(1 << 12))
    except OSError:
        return None
    return found[1].decode() if found else None


def suffix_list_works() -> bool:
    """Whether the bundled public suffix list can be read."""
    return _suffixes().privatesuffix("a.example.co.uk") == "example.co.uk"


def _host_and_domain(text: str) -> tuple[str | None, str | None]:
    found = _known.get(text)
    if found is None:
        # A Host header may carry a port, a record a final dot.
        host = text.strip().lower().rsplit(":", 1)[0] if text.count(":") == 1 else text.strip().lower()
        host = host.rstrip(".")
        numeric = not host or host.replace(".", "").isdigit()
        is_host = not numeric and _HOST.match(host)
        found = (host, _suffixes().privatesuffix(host)) if is_host else (None, None)
        if len(_known) >= _MAX_REMEMBERED:
            _known.clear()
        _known[text] = found
    return found


def domains(names: pl.Series) -> pl.DataFrame:
    """Host name and registrable domain of each name, length N; null where a name is none.

    >>> domains(pl.Series(["API.Example.co.uk.", "printer.local", "192.0.2.1", None])).rows()
    [('api.example.co.uk', 'example.co.uk'), ('printer.local', None), (None, None), (None, None)]
    """
    codes, texts = codes_of(names)
    found = [_host_and_domain(text) for text in texts]
    return pl.DataFrame({
        name: pl.Series([pair[i] for pair in found], dtype=pl.String).gather(codes)
        for i, name in enumerate(("remote_name", "remote_domain"))
    })  # fmt: skip


class Naming:
    """Names the remote ends of flows.

    An answer names a flow of the same address that begins after it and before its lifetime and ``hold_s`` are over.
    The answer that the device itself received goes before one that anybody received.

    Parameters
    ----------
    settings
        ``hold_s``, ``max_answers``, ``enabled``.
    """

    def __init__(self, settings: NameSettings) -> None:
        self._settings = settings
        self._answers = NAME_ANSWER.empty()
        self._questions = NAME_QUESTION.empty()

    def learn_questions(self, questions: pl.DataFrame) -> None:
        """Add what was asked for (:data:`ethogram.schema.NAME_QUESTION`), as bounded as the answers."""
        if self._settings.enabled and questions.height:
            together = pl.concat([self._questions, questions]).unique().sort("time", "client", "client_port", "name")
            self._questions = together.tail(self._settings.max_answers)

    def learn(self, answers: pl.DataFrame) -> None:
        """Add answers (:data:`ethogram.schema.NAME_ANSWER`); those known already are not added again."""
        if self._settings.enabled and answers.height:
            together = pl.concat([self._answers, answers]).unique().sort("time", "client", "address", "name")
            self._answers = together.tail(self._settings.max_answers)

    def named(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Flows with ``remote_name`` and ``remote_domain``; in order of start, as they came.

        A multicast group stands for itself: its address is nobody's, and known without any name service.
        """
        group = pl.when((pl.col("scope") == "multicast") & pl.col("remote").str.contains(GROUP)).then("remote")
        if not self._settings.enabled or not flows.height:
            return flows.with_columns(remote_name=pl.lit(None, dtype=pl.String), remote_domain=group)
        if self._questions.height:
            flows = self._by_questions(flows)
        names = flows["remote_name"]
        if self._answers.height and names.null_count():
            names = self._by_answers(flows)
        if names.null_count() == len(names):
            return flows.with_columns(remote_domain=group)
        named = flows.with_columns(domains(names).get_columns())
        return named.with_columns(remote_domain=pl.coalesce("remote_domain", group)).select(FLOW.names)

    def _by_questions(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Name each DNS exchange by what was last asked in it."""
        exchange = (pl.col("protocol") == UDP) & (pl.col("remote_port") == _DNS) & pl.col("remote_name").is_null()
        rows = flows.with_row_index("row").filter(exchange).sort("end")
        if not rows.height:
            return flows
        asked = self._questions.rename({"client": "device_address", "client_port": "local_port", "server": "remote"})
        found = rows.select("row", "start", "end", "device_address", "local_port", "remote").join_asof(
            asked.sort("time"), left_on="end", right_on="time", by=["device_address", "local_port", "remote"],
            strategy="backward", check_sortedness=False,
        ).filter(pl.col("time") >= pl.col("start"))  # fmt: skip
        return flows.with_columns(remote_name=flows["remote_name"].scatter(found["row"], found["name"]))

    def _by_answers(self, flows: pl.DataFrame) -> pl.Series:
        held = round(self._settings.hold_s * 1e6)
        rows = flows.select("device_address", "remote", "start").with_row_index("row")
        wanted, known = rows.filter(flows["remote_name"].is_null()), self._answers
        # Addresses as numbers, in one numbering for answers and flows: as-of joins by text are slow.
        codes, _ = codes_of(pl.concat([known["client"], known["address"], wanted["device_address"], wanted["remote"]]))
        codes = codes.cast(pl.UInt64)
        client, address = codes.slice(0, known.height), codes.slice(known.height, known.height)
        device = codes.slice(2 * known.height, wanted.height)
        remote = codes.slice(2 * known.height + wanted.height)
        lifetime = pl.duration(seconds="ttl_s") + pl.duration(microseconds=held)
        answers = known.select("time", until=pl.col("time") + lifetime, answer="name").with_columns(
            own=client * (1 << 32) + address, any=address
        )
        asks = wanted.select("row", "start").with_columns(own=device * (1 << 32) + remote, any=remote)
        asks = asks.filter(pl.col("any").is_in(address.unique().implode())).sort("start")
        names = flows["remote_name"]
        for by in ("own", "any"):
            found = asks.join_asof(
                answers.select("time", "until", "answer", by), left_on="start", right_on="time", by=by,
                strategy="backward", check_sortedness=False,
            ).filter(pl.col("answer").is_not_null() & (pl.col("start") <= pl.col("until")))  # fmt: skip
            names = names.scatter(found["row"], found["answer"])
            asks = asks.filter(~pl.col("row").is_in(found["row"].implode()))
        return names
