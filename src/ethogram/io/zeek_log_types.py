"""Detect which Zeek log a record belongs to: only ``conn`` records are counted as connections.

``conn_long`` and ``open_conn`` report connections that are still open; ``conn`` repeats each ``uid`` with its final
counters when the connection ends. They are therefore ignored, even without a ``conn`` log: a connection that is open at
the end of the logs is counted on the day on which it ends.
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
"""Fields that identify a log, for records that do not name theirs."""
_REPEATS = re.compile(r"(conn_long|open_conn)(?![a-z0-9])")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_MOST_NAMES = 32
_MOST_LINES = 512


def kind_of_fields(fields: Collection[str]) -> str:
    """The log whose records have these fields; empty if unknown.

    >>> kind_of_fields(["ts", "id.orig_h", "id.resp_h", "proto", "conn_state"]), kind_of_fields(["ts", "query"])
    ('conn', 'dns')
    """
    names = set(fields)
    if names >= NEEDED and (names & _COUNTERS or names <= NEEDED | _OTHERS):
        return CONN
    return next((kind for field, kind in _TELLING if field in names), UNKNOWN)


class Kinds:
    """Determines for each record of a text whether and why it is ignored.

    Parameters
    ----------
    file_name
        Name without directory: plain JSON records of ``conn_long`` differ from those of ``conn`` only by file name.
    """

    def __init__(self, file_name: str) -> None:
        repeats = _REPEATS.match(file_name.lower().replace("-", "_"))
        self._repeats = repeats.group(1) if repeats else None
        self._reasons: dict[str, str] = {}

    def of(self, path: object, fields: Collection[str]) -> str:
        """The log named by a record or section, else the one identified by its fields."""
        if isinstance(path, str):
            return path
        kind = kind_of_fields(fields)
        return self._repeats if kind == CONN and self._repeats is not None else kind

    def reason(self, path: object, fields: Collection[str]) -> str | None:
        """Why records of this log are ignored; None for ``conn``."""
        kind = self.of(path, fields)
        if kind == CONN:
            return None
        if kind not in self._reasons:
            if len(self._reasons) >= _MOST_NAMES:  # names come from the file, so their number is bounded
                return "another Zeek log"
            known = _NAME.fullmatch(kind) is not None
            self._reasons[kind] = f"Zeek log {kind}" if known else "not a Zeek conn record"
        return self._reasons[kind]

    def ignores(self, record: dict[str, Any]) -> str | None:
        """Like :meth:`reason`, for a JSON object."""
        return self.reason(record.get("_path"), record)


def unescaped(line: str) -> str:
    r"""The separator stated by a ``#separator`` line.

    >>> unescaped("#separator \\x09")
    '\t'
    """
    text = line.removeprefix("#separator").strip()
    if re.fullmatch(r"\\x[0-9a-fA-F]{2}", text):
        return chr(int(text[2:], 16))
    return text or "\t"


def kinds_in(head: bytes, file_name: str) -> list[str]:
    """Logs of the records and sections in the head of a text, in order; empty if it is not a Zeek log."""
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
    logs = []
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict) and (isinstance(record.get("_path"), str) or {"ts", "id.orig_h"} <= record.keys()):
            logs.append(kinds.of(record.get("_path"), record))
    return logs


def _section_kinds(lines: list[bytes], kinds: Kinds) -> list[str]:
    logs, separator, path = [], "\t", None
    for raw in lines:
        line = raw.decode("utf-8", "replace")
        if line.startswith("#separator"):
            separator, path = unescaped(line), None
        elif line.startswith("#path"):
            path = line.split(separator, 1)[-1].strip()
        elif line.startswith("#fields"):
            logs.append(kinds.of(path, line.split(separator)[1:]))
    return logs


def other_log(head: bytes, file_name: str) -> str | None:
    """The single log that a text contains if it is not ``conn``; None otherwise.

    A text longer than its head may contain connections further on, unless the file name states the log.
    """
    kinds = dict.fromkeys(kinds_in(head, file_name))
    if not kinds or CONN in kinds:
        return None
    whole = len(head) < HEAD_OCTETS
    named = len(kinds) == 1 and file_name.lower().replace("-", "_").startswith(next(iter(kinds)) or "\0")
    if not whole and not named:
        return None
    return " and ".join(list(kinds)[:4]) or "of an unknown kind"
