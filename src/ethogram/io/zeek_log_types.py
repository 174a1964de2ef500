"""Which of Zeek's logs a record is of: only those of ``conn`` are connections, each of them once.

``conn_long`` and ``open_conn`` report connections that are still open; ``conn`` has the same ``uid`` again, with its
final counters, when the connection ends. They are therefore ignored, even where ``conn`` is not at hand: a connection
that is open at the end of the logs is counted with those of the day on which it ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import orjson

from ethogram.io.delimited import split_header
from ethogram.io.open_text import HEAD_OCTETS

__all__ = ["CONN", "NEEDED", "Kinds", "kind_of_fields", "kinds_in", "other_log", "unescaped"]

CONN, UNKNOWN = "conn", ""
NEEDED = frozenset({"ts", "id.orig_h", "id.resp_h", "proto"})
_COUNTERS = frozenset(
    {"conn_state", "orig_pkts", "resp_pkts", "orig_ip_bytes", "resp_ip_bytes", "orig_bytes", "resp_bytes",
     "missed_bytes", "history"}
)  # fmt: skip
_OTHERS = frozenset(
    {"uid", "id.orig_p", "id.resp_p", "service", "duration", "local_orig", "local_resp", "tunnel_parents", "ip_proto",
     "vlan", "inner_vlan", "orig_l2_addr", "resp_l2_addr", "community_id"}
)  # fmt: skip
_TELLING = (
    ("query", "dns"), ("note", "notice"), ("fuid", "files"), ("uri", "http"), ("method", "http"), ("cipher", "ssl"),
    ("server_name", "ssl"), ("analyzer", "dpd"), ("mailfrom", "smtp"), ("software_type", "software"), ("name", "weird"),
)  # fmt: skip
"""A field and the log that has it, for records that do not name their log."""
_REPEATS = re.compile(r"(conn_long|open_conn)(?![a-z0-9])")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MOST_NAMES = 32
_MOST_LINES = 512


def kind_of_fields(fields: Collection[str]) -> str:
    """The log whose records have these fields; empty where it is not known.

    >>> kind_of_fields(["ts", "id.orig_h", "id.resp_h", "proto", "conn_state"]), kind_of_fields(["ts", "query"])
    ('conn', 'dns')
    """
    names = set(fields)
    if names >= NEEDED and (names & _COUNTERS or names <= NEEDED | _OTHERS):
        return CONN
    return next((kind for field, kind in _TELLING if field in names), UNKNOWN)


class Kinds:
    """Says for each record of one text why it is ignored.

    Parameters
    ----------
    file_name
        Without its folder: plain JSON records of ``conn_long`` differ from those of ``conn`` in the file's name alone.
    """

    def __init__(self, file_name: str) -> None:
        repeats = _REPEATS.match(file_name.lower().replace("-", "_"))
        self._repeats = repeats.group(1) if repeats else None
        self._reasons: dict[str, str] = {}

    def of(self, path: object, fields: Collection[str]) -> str:
        """The log that a record or a section names, else that its fields tell."""
        if isinstance(path, str):
            return path
        kind = kind_of_fields(fields)
        return self._repeats if kind == CONN and self._repeats is not None else kind

    def reason(self, path: object, fields: Collection[str]) -> str | None:
        """Why records of this log are ignored; None for those of ``conn``."""
        kind = self.of(path, fields)
        if kind == CONN:
            return None
        if kind not in self._reasons:
            if len(self._reasons) >= _MOST_NAMES:  # names come out of the file: their number is bounded
                return "another Zeek log"
            known = _NAME.fullmatch(kind) is not None
            self._reasons[kind] = f"Zeek log {kind}" if known else "not a Zeek conn record"
        return self._reasons[kind]

    def ignores(self, record: dict[str, Any]) -> str | None:
        """As :meth:`reason`, for a JSON object."""
        return self.reason(record.get("_path"), record)


def unescaped(line: str) -> str:
    r"""The separator that a ``#separator`` line names.

    >>> unescaped("#separator \\x09")
    '\t'
    """
    text = line.removeprefix("#separator").strip()
    if re.fullmatch(r"\\x[0-9a-fA-F]{2}", text):
        return chr(int(text[2:], 16))
    return text or "\t"


def kinds_in(head: bytes, file_name: str) -> list[str]:
    """The logs that the records and sections in the head of a text are of, in order; none where it is not Zeek's."""
    kinds = Kinds(file_name)
    lines = [line.strip() for line in head.split(b"\n")[:_MOST_LINES] if line.strip()]
    if not lines:
        return []
    if lines[0].startswith(b"{"):
        return _json_kinds(lines, kinds)
    if lines[0].startswith(b"#"):
        return _section_kinds(lines, kinds)
    header = split_header(lines[0])
    return [kinds.of(None, header)] if {"ts", "id.orig_h"} <= set(header) and "_path" not in header else (
        [CONN] if set(header) >= NEEDED | {"_path"} else [])  # fmt: skip


def _json_kinds(lines: list[bytes], kinds: Kinds) -> list[str]:
    found = []
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict) and (isinstance(record.get("_path"), str) or {"ts", "id.orig_h"} <= record.keys()):
            found.append(kinds.of(record.get("_path"), record))
    return found


def _section_kinds(lines: list[bytes], kinds: Kinds) -> list[str]:
    found, separator, path = [], "\t", None
    for raw in lines:
        line = raw.decode("utf-8", "replace")
        if line.startswith("#separator"):
            separator, path = unescaped(line), None
        elif line.startswith("#path"):
            path = line.split(separator, 1)[-1].strip()
        elif line.startswith("#fields"):
            found.append(kinds.of(path, line.split(separator)[1:]))
    return found


def other_log(head: bytes, file_name: str) -> str | None:
    """The one log that a text is of when it is not ``conn``; None for any other text.

    A text that goes on behind its head may hold connections there, unless its name is that of the log.
    """
    kinds = dict.fromkeys(kinds_in(head, file_name))
    if not kinds or CONN in kinds:
        return None
    whole = len(head) < HEAD_OCTETS
    named = len(kinds) == 1 and file_name.lower().replace("-", "_").startswith(next(iter(kinds)) or "\0")
    if not whole and not named:
        return None
    return " and ".join(list(kinds)[:4]) or "of an unknown kind"
