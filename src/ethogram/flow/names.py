"""Names of remote ends, from the record itself or from an earlier DNS answer, and their registrable domains.

Under a shared parent (a cloud, a CDN, a clock pool, an IoT broker) the domain is too coarse: ``amazonaws.com`` says
nothing, while the account in ``a1b2c3.iot.us-east-1.amazonaws.com`` belongs to one vendor. There the domain is the name
that :func:`ethogram._parents.shared_parent` keeps.

A DNS exchange is named by the name in the question, so that a device is recognised even if its cloud no longer exists.

Only host names are kept, nothing of what users send. The public suffix list is bundled with the library that reads it,
and is never fetched from a network. Only its ICANN section is used; what lies below is a matter of shared parents.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import polars as pl
from publicsuffixlist import PSLFILE, PublicSuffixList

from ethogram._arrays import codes_of
from ethogram._parents import shared_parent
from ethogram.config import NameSettings
from ethogram.schema import FLOW, GROUP, NAME_ANSWER, NAME_QUESTION, UDP

__all__ = ["Naming", "domains", "suffix_list_date", "suffix_list_works"]

_HOST = re.compile(r"^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$")
_ICANN_BEGINS, _ICANN_ENDS = "// ===BEGIN ICANN DOMAINS===", "// ===END ICANN DOMAINS==="
_MAX_REMEMBERED = 1 << 18
_DNS = 53
_CLOCKS_S = 2
_known: dict[str, tuple[str | None, str | None]] = {}


@cache
def _suffixes() -> PublicSuffixList:
    """The public suffix list, read on first use; a name without a known suffix has no domain."""
    return PublicSuffixList(_icann_rules(), accept_unknown=False, accept_encoded_idn=False)


def _icann_rules() -> list[str]:
    """Rules of the ICANN section, and rules of other scripts in punycode, too.

    The library would encode each of 7,000 rules, which takes a tenth of a second; 500 are not ASCII.
    """
    text = Path(PSLFILE).read_text(encoding="utf-8")
    section = text.partition(_ICANN_BEGINS)[2].partition(_ICANN_ENDS)[0]
    rules = [line.strip().lower() for line in section.splitlines() if line.strip() and not line.startswith("//")]
    encoded = [
        "!" * rule.startswith("!") + rule.removeprefix("!").encode("idna").decode("ascii")
        for rule in rules if not rule.isascii()
    ]  # fmt: skip
    return rules + encoded


def suffix_list_date() -> str | None:
    """Date of the bundled public suffix list, as YYYY-MM-DD; None if it states none."""
    try:
        with Path(PSLFILE).open("rb") as stream:
            match = re.search(rb"VERSION: (\d{4}-\d\d-\d\d)", stream.read(1 << 12))
    except OSError:
        return None
    return match[1].decode() if match else None


def suffix_list_works() -> bool:
    """Whether the bundled public suffix list can be read."""
    return _suffixes().privatesuffix("a.example.co.uk") == "example.co.uk"


def _host_and_domain(text: str) -> tuple[str | None, str | None]:
    pair = _known.get(text)
    if pair is None:
        # A Host header may contain a port, and a record a final dot.
        host = text.strip().lower().rsplit(":", 1)[0] if text.count(":") == 1 else text.strip().lower()
        host = host.rstrip(".")
        numeric = not host or host.replace(".", "").isdigit()
        is_host = not numeric and _HOST.match(host)
        pair = (host, _domain(host)) if is_host else (None, None)
        if len(_known) >= _MAX_REMEMBERED:
            _known.clear()
        _known[text] = pair
    return pair


def _domain(host: str) -> str | None:
    domain = _suffixes().privatesuffix(host)
    shared = shared_parent(host, domain)
    return domain if shared is None else shared[0]


def domains(names: pl.Series) -> pl.DataFrame:
    """Host name and registrable domain of each name, length N; null if it is not a host name or has no domain.

    Under a shared parent the domain is the name to keep.

    >>> domains(pl.Series(["API.Example.co.uk.", "printer.local", "192.0.2.1", None])).rows()
    [('api.example.co.uk', 'example.co.uk'), ('printer.local', None), (None, None), (None, None)]
    >>> domains(pl.Series(["a1b2c3d4e5f6-ats.iot.eu-west-1.amazonaws.com"]))["remote_domain"].item()
    'a1b2c3d4e5f6.iot.amazonaws.com'
    """
    codes, texts = codes_of(names)
    pairs = [_host_and_domain(text) for text in texts]
    return pl.DataFrame({
        name: pl.Series([pair[i] for pair in pairs], dtype=pl.String).gather(codes)
        for i, name in enumerate(("remote_name", "remote_domain"))
    })  # fmt: skip


def _by_client(exchanges: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """Row and name of DNS exchanges whose client asked for the name during them, by logs that state no port.

    Clocks of resolver and meter, and logs with whole seconds, differ by up to ``_CLOCKS_S``.
    """
    slack = pl.duration(seconds=_CLOCKS_S)
    ends = exchanges.select("row", "start", "device_address", until=pl.col("end") + slack).sort("until")
    asked = questions.select("time", "name", device_address="client").sort("time")
    matches = ends.join_asof(
        asked, left_on="until", right_on="time", by="device_address", strategy="backward", check_sortedness=False
    )
    return matches.filter(pl.col("time") >= pl.col("start") - slack).select("row", "name")


class Naming:
    """Names the remote ends of flows.

    An answer names flows to its address that begin after it, and before its lifetime plus ``hold_s`` has passed. An
    answer that the device itself received takes precedence over those of other devices.

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
        """Add questions (:data:`ethogram.schema.NAME_QUESTION`), with the same bound as answers."""
        if self._settings.enabled and questions.height:
            together = pl.concat([self._questions, questions]).unique().sort("time", "client", "client_port", "name")
            self._questions = together.tail(self._settings.max_answers)

    def learn(self, answers: pl.DataFrame) -> None:
        """Add answers (:data:`ethogram.schema.NAME_ANSWER`); duplicates are ignored."""
        if self._settings.enabled and answers.height:
            together = pl.concat([self._answers, answers]).unique().sort("time", "client", "address", "name")
            self._answers = together.tail(self._settings.max_answers)

    def named(self, flows: pl.DataFrame) -> pl.DataFrame:
        """Fill in ``remote_name`` and ``remote_domain``; the order of flows is kept.

        The domain of a multicast group is its address, since a group is not a host and is known without DNS.
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
        """Name each DNS exchange by its last question."""
        exchange = (pl.col("protocol") == UDP) & (pl.col("remote_port") == _DNS) & pl.col("remote_name").is_null()
        rows = flows.with_row_index("row").filter(exchange).sort("end")
        if not rows.height:
            return flows
        bare = self._questions.filter(pl.col("client_port").is_null() | pl.col("server").is_null())
        questions = self._questions.filter(pl.col("client_port").is_not_null() & pl.col("server").is_not_null())
        asked = questions.rename({"client": "device_address", "client_port": "local_port", "server": "remote"})
        matches = rows.select("row", "start", "end", "device_address", "local_port", "remote").join_asof(
            asked.sort("time"), left_on="end", right_on="time", by=["device_address", "local_port", "remote"],
            strategy="backward", check_sortedness=False,
        ).filter(pl.col("time") >= pl.col("start"))  # fmt: skip
        names = flows["remote_name"].scatter(matches["row"], matches["name"])
        rows = rows.filter(~pl.col("row").is_in(matches["row"].implode()))
        if bare.height and rows.height:
            matches = _by_client(rows, bare)
            names = names.scatter(matches["row"], matches["name"])
        return flows.with_columns(remote_name=names)

    def _by_answers(self, flows: pl.DataFrame) -> pl.Series:
        hold_us = round(self._settings.hold_s * 1e6)
        rows = flows.select("device_address", "remote", "start").with_row_index("row")
        wanted, known = rows.filter(flows["remote_name"].is_null()), self._answers
        # Encode addresses of answers and flows as numbers, because as-of joins by text are slow.
        codes, _ = codes_of(pl.concat([known["client"], known["address"], wanted["device_address"], wanted["remote"]]))
        codes = codes.cast(pl.UInt64)
        client, address = codes.slice(0, known.height), codes.slice(known.height, known.height)
        device = codes.slice(2 * known.height, wanted.height)
        remote = codes.slice(2 * known.height + wanted.height)
        lifetime = pl.duration(seconds="ttl_s") + pl.duration(microseconds=hold_us)
        answers = known.select("time", until=pl.col("time") + lifetime, answer="name").with_columns(
            device_and_address=client * (1 << 32) + address, address=address
        )
        asks = wanted.select("row", "start").with_columns(
            device_and_address=device * (1 << 32) + remote, address=remote
        )
        asks = asks.filter(pl.col("address").is_in(address.unique().implode())).sort("start")
        names = flows["remote_name"]
        for by in ("device_and_address", "address"):
            matches = asks.join_asof(
                answers.select("time", "until", "answer", by), left_on="start", right_on="time", by=by,
                strategy="backward", check_sortedness=False,
            ).filter(pl.col("answer").is_not_null() & (pl.col("start") <= pl.col("until")))  # fmt: skip
            names = names.scatter(matches["row"], matches["answer"])
            asks = asks.filter(~pl.col("row").is_in(matches["row"].implode()))
        return names
