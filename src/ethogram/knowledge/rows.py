"""Rows of the knowledge pack, and the rules that every row meets: those of the package and those of users alike.

One row is one fact. A table is a text file with tab-separated columns:

``key``
    A name, a service, a pattern of texts.
``subject``
    What kind of value it is: ``vendor``, ``kind``, ``platform``, ``shared`` ...
``value``
    The vendor, kind or platform; the class of a shared name.
``weight``
    Strength of the evidence; a share from 0 to 1 in the table of kinds.
``source``
    Identifier of the source; ``sources.tsv`` has the licence and date of each source.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from ethogram._parents import Parents
from ethogram._tables import TextFileError, utf8_text
from ethogram.errors import ConfigurationError, InputError
from ethogram.schema import KINDS

__all__ = [
    "COLUMNS",
    "PORT_KEY",
    "TABLES",
    "TEXT_KINDS",
    "WEIGHTS",
    "KnowledgeSource",
    "Row",
    "UserRows",
    "key_problem",
    "packaged_rows",
    "packaged_sources",
    "row_problem",
    "user_rows",
]

COLUMNS = ("key", "subject", "value", "weight", "source")
WEIGHTS = ("strong", "fair", "weak", "none")
"""Strength of a fact. A name is ``strong`` if only devices of this vendor contact it, ``fair`` if its other products
and visitors of its site do too, ``weak`` if many devices of other vendors do."""

TABLES: dict[str, tuple[str, ...]] = {
    "parents": ("shared",),
    "vendors": ("name", "alias", "owner"),
    "platforms": ("name",),
    "kinds": ("kind",),
    "names": ("vendor", "platform", "kind"),
    "words": ("kind",),
    "ports": ("kind", "platform", "vendor", "shared"),
    "groups": ("kind", "platform", "vendor", "shared"),
    "mdns": ("kind", "platform", "vendor", "shared"),
    "hosts": ("kind", "platform", "vendor"),
    "dhcp": ("kind", "platform", "vendor"),
    "texts": ("kind", "platform", "vendor"),
    "macs": ("vendor", "platform", "kind"),
    "modules": ("platform", "kind"),
}
"""Tables, and the subjects that their rows may have."""

TEXT_KINDS = (
    "homekit-category", "homekit-model", "http-server", "lldp", "mdns-model", "mdns-name", "mdns-vendor", "sip-agent",
    "ssdp-manufacturer", "ssdp-model", "ssdp-server", "ssdp-type",
)  # fmt: skip
"""Kinds of text in which devices describe themselves; a key of the table ``texts`` begins with one of them."""

PORT_KEY = re.compile(r"(tcp|udp)/(\d{1,5}) (client|server|\*) (wan|lan|multicast|\*)")

_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_GROUP = re.compile(r"2(?:2[4-9]|3\d)(?:\.\d{1,3}){3}|ff[0-9a-f]{2}:[0-9a-f:]+")
_SERVICE = re.compile(r"_[a-z0-9_-]+\._(?:tcp|udp)")
_MAC = re.compile(r"[0-9a-f]{6,12}")
_WORD = re.compile(r"[a-z0-9]{2,24}")

_OPTIONAL = {"subject", "weight", "source", "licence", "date"}
_REQUIRED = {"table", "key", "value"}
_MAX_FIELD = 200
_MAX_FILE = 16 << 20  # octets
_MAX_ROWS = 200_000
_MAX_MESSAGES = 20
_MAX_NAMED = 5  # unknown columns


class Row(NamedTuple):
    """One fact of one table; ``source`` is an identifier of ``sources.tsv``, or a user's own text."""

    table: str
    key: str
    subject: str
    value: str
    weight: str
    source: str


class KnowledgeSource(NamedTuple):
    """Source of facts."""

    name: str
    licence: str
    date: str


@dataclass
class UserRows:
    """Rows of a user's file, their sources, and one message per row or column that cannot be used, up to a bound."""

    rows: list[Row] = field(default_factory=list)
    sources: dict[str, KnowledgeSource] = field(default_factory=dict)
    rejected: int = 0
    messages: list[str] = field(default_factory=list)

    def _reject(self, path: Path, line: int, reason: str) -> None:
        self.rejected += 1
        if len(self.messages) < _MAX_MESSAGES:
            self.messages.append(str(InputError(reason, file=path, line=line)))


def packaged_rows(table: str) -> list[Row]:
    """Rows of one bundled table, in the order of its keys."""
    text = files("ethogram").joinpath(f"data/knowledge/{table}.tsv").read_text(encoding="utf-8")
    return [Row._make((table, *line.split("\t"))) for line in text.splitlines()[1:]]


@cache
def packaged_sources() -> dict[str, KnowledgeSource]:
    """Sources of the bundled tables by identifier."""
    text = files("ethogram").joinpath("data/knowledge/sources.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines()[1:])
    return {fields[0]: KnowledgeSource(*fields[1:4]) for fields in rows}


def key_problem(table: str, key: str) -> str | None:
    """Why a key cannot stand in a table; None if it can."""
    if table == "parents":
        try:
            Parents([(key, "cloud")])
        except ValueError as error:
            return str(error)
    elif table in ("vendors", "platforms", "kinds"):
        return None if _SLUG.fullmatch(key) else f"invalid identifier {key!r}"
    elif table == "names":
        return None if _NAME.fullmatch(key) else f"invalid name {key!r}"
    elif table == "words":
        return None if _WORD.fullmatch(key) else f"invalid word {key!r}"
    elif table == "ports":
        match = PORT_KEY.fullmatch(key)
        if match is None or not 0 < int(match[2]) < 1 << 16:
            return f"invalid service {key!r}; expected such as 'tcp/9100 server lan'"
    elif table == "macs":
        return None if _MAC.fullmatch(key) else f"invalid MAC prefix {key!r}; expected 6 to 12 hexadecimal digits"
    elif table == "groups":
        return None if _GROUP.fullmatch(key) else f"invalid multicast group {key!r}"
    elif table == "mdns":
        return None if _SERVICE.fullmatch(key) else f"invalid service type {key!r}; expected such as '_ipp._tcp'"
    elif table == "texts":
        kind, _, pattern = key.partition(" ")
        if kind not in TEXT_KINDS:
            return f"unknown kind of text {kind!r}; expected one of {', '.join(TEXT_KINDS)}"
        return None if pattern.strip("*? ") else f"pattern {pattern!r} matches any text"
    elif not key.strip("*? "):
        return f"pattern {key!r} matches any text"
    return None


def row_problem(row: Row) -> str | None:
    """Why a row is invalid; None if it is sound. Whether its vendor is known is not checked here."""
    if row.table not in TABLES:
        return f"unknown table {row.table!r}; expected one of {', '.join(TABLES)}"
    if any(len(text) > _MAX_FIELD or not text.isprintable() or text != text.strip() for text in row):
        return f"a field is longer than {_MAX_FIELD} characters or holds characters that do not print"
    if not row.key or not row.value:
        return f"no {'value' if row.key else 'key'}"
    if row.subject not in TABLES[row.table]:
        return f"unknown subject {row.subject!r} in table {row.table}; expected {' or '.join(TABLES[row.table])}"
    if row.subject == "kind" and row.value not in KINDS:
        return f"unknown kind {row.value!r}; expected one of {', '.join(KINDS)}"
    if row.subject in ("vendor", "platform", "owner", "shared") and not _SLUG.fullmatch(row.value):
        return f"invalid {row.subject} {row.value!r}; expected lower-case letters, digits and hyphens"
    if row.table == "kinds":
        if not _is_share(row.weight):
            return f"invalid share {row.weight!r}; expected a number above 0 and up to 1"
    elif row.weight not in WEIGHTS:
        return f"unknown weight {row.weight!r}; expected one of {', '.join(WEIGHTS)}"
    return key_problem(row.table, row.key)


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def user_rows(path: Path) -> UserRows:
    """Read a user's rows: tab- or comma-separated, with the columns ``table``, ``key`` and ``value``.

    Further columns are ``subject`` (may be left out if the table has only one), ``weight`` (default ``strong``; in the
    table ``kinds`` a share, default 1), ``source`` (default: the file's name), ``licence`` and ``date``. Other columns
    are reported and not read.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is too large, or lacks a column. Invalid rows are counted instead.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise ConfigurationError(f"knowledge file {path}: larger than {_MAX_FILE >> 20} MiB")
        lines = utf8_text(content).splitlines()
    except OSError as error:
        raise ConfigurationError(f"knowledge file {path}: {error.strerror or error}") from None
    except TextFileError as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise ConfigurationError(f"knowledge file {place}: {error.reason}") from None
    first = next((number for number, text in enumerate(lines) if _is_row(text)), None)
    if first is None:
        raise ConfigurationError(f"knowledge file {path}: empty")
    separator = "\t" if "\t" in lines[first] else ","
    names = [name.strip().lower() for name in lines[first].split(separator)]
    place = f"knowledge file {path}:{first + 1}"
    missing = sorted(_REQUIRED - set(names))
    if missing or len(names) != len(set(names)):
        reason = f"no column {missing[0]!r}" if missing else "a column appears twice"
        raise ConfigurationError(f"{place}: {reason}")
    if len(lines) - first > _MAX_ROWS:
        raise ConfigurationError(f"knowledge file {path}: more than {_MAX_ROWS:,} rows")
    result = UserRows()
    unknown = [name for name in names if name not in _REQUIRED | _OPTIONAL]
    if unknown:
        text = f"unknown column{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown[:_MAX_NAMED]))}"
        reason = f"{text}{', ...' if len(unknown) > _MAX_NAMED else ''}; not read; known are {', '.join(_expected())}"
        result.messages.append(str(InputError(reason, file=path, line=first + 1)))
    seen: dict[tuple[str, ...], int] = {}
    for number, text in enumerate(lines[first + 1 :], first + 2):
        if not _is_row(text):
            continue
        try:
            row, source = _user_row(text, separator, names, path.name)
        except ValueError as error:
            result._reject(path, number, str(error))
            continue
        problem = row_problem(row)
        before = seen.setdefault((row.table, row.key, row.subject, row.value), number)
        if problem is None and before != number:
            problem = f"the same fact as in line {before}"
        if problem is not None:
            result._reject(path, number, problem)
            continue
        result.rows.append(row)
        result.sources[row.source] = source
    return result


def _expected() -> list[str]:
    return [*sorted(_REQUIRED), *sorted(_OPTIONAL)]


def _is_row(text: str) -> bool:
    return bool(text.strip(" \t,")) and not text.startswith("#")


def _user_row(text: str, separator: str, names: list[str], file: str) -> tuple[Row, KnowledgeSource]:
    fields = _fields(text, separator)
    if len(fields) > len(names):
        raise ValueError(f"{len(fields)} fields where the header has {len(names)}")
    cells = dict(zip(names, (cell.strip() for cell in fields), strict=False))
    table, subject, weight = (cells.get(name, "").lower() for name in ("table", "subject", "weight"))
    subjects = TABLES.get(table, ())
    if not subject and len(subjects) == 1:
        subject = subjects[0]
    if table == "vendors" and not subject:
        subject = "name"
    weight = weight or ("1" if table == "kinds" else "none" if subject == "shared" else "strong")
    source = KnowledgeSource(cells.get("source") or file, cells.get("licence", ""), cells.get("date", ""))
    # A user's source has an identifier of its own, so that it cannot pass for a packaged one.
    identifier = "user:" + "|".join(source)
    key, value = cells.get("key", ""), cells.get("value", "")
    if table == "macs":
        key = re.sub(r"[:.-]", "", key)
    if table != "texts":
        key = key.lower()
    if subject not in ("name", "alias"):
        value = value.lower()
    row = Row(table, key, subject, value, weight, identifier[:_MAX_FIELD])
    return row, source


def _fields(text: str, separator: str) -> list[str]:
    if separator == "\t":
        return text.split("\t")
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
