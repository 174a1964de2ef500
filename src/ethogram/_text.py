"""Foreign text made safe to show: names of devices, labels, exporters and files may hold anything.

One rule for all renderers. Text for people and CSV show what cannot be seen as an escape such as ``\\x1b``; JSON keeps
the exact text, in JSON's own escapes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import orjson

__all__ = ["csv_cell", "csv_text", "escaped_json", "json_text", "visible"]

# Letters and marks that Unicode calls printable, but of which nothing shows.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
_UNUSUAL = re.compile(r"[^\n -~]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _shows(character: str) -> bool:
    """Controls, line ends, bidirectional and zero-width marks, unassigned code points and surrogates do not show."""
    return character.isprintable() and character not in _BLANK


def visible(text: str) -> str:
    r"""The text on one line, with every character that does not show as itself written as an escape.

    Examples
    --------
    >>> visible("a\nb\x1b[2J\u202e")
    'a\\x0ab\\x1b[2J\\u202e'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _shows(c) else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def csv_cell(value: object) -> object:
    """A cell as a spreadsheet may open it: text is visible, and no text begins a formula.

    Text that begins with ``=``, ``+``, ``-`` or ``@`` gets an apostrophe; numbers stay numbers.

    Examples
    --------
    >>> csv_cell("=1+1"), csv_cell(-1.5), csv_cell("a\\tb")
    ("'=1+1", -1.5, 'a\\\\x09b')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    formula = value.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(value)
    return f"{chr(39) if formula else ''}{visible(value)}"


def csv_text(names: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A header and rows as CSV; every cell goes through :func:`csv_cell`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def json_text(value: object, *, indent: bool = False) -> str:
    """One JSON value, ending in a line end; characters that do not show are JSON escapes, so the text stays exact."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(value, option=option).decode()
    except orjson.JSONEncodeError:  # lone surrogates, as in names of files that are not UTF-8
        text = json.dumps(_plain(value), indent=2 if indent else None) + "\n"
    return escaped_json(text)


def escaped_json(text: str) -> str:
    """JSON text with every character in it that does not show as a JSON escape."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNUSUAL.sub(lambda match: match[0] if _shows(match[0]) else _json_escape(match[0]), text)


def _json_escape(character: str) -> str:
    # The standard library leaves DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def _plain(value: Any) -> Any:
    """What the standard library's JSON writes as orjson does."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
