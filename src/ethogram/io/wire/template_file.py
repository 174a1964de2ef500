"""Templates on disk, so that a collector that starts again can decode at once.

The first line has a checksum of the second, which holds all templates. A file is replaced as a whole: it is written
beside its place, brought to disk, and renamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from ethogram._files import write_bytes
from ethogram.errors import InputError
from ethogram.io.wire.template import Template, field_of, problem_of, same
from ethogram.schema import Exporter

__all__ = ["load_templates", "save_templates"]

FORMAT = {"format": "ethogram templates", "version": 1}
MAX_OCTETS = 1 << 30

Row = tuple[Exporter, Template, int]


def save_templates(path: Path, rows: Iterable[Row]) -> None:
    """Write templates: exporter, template, and when it was last sent. Those of sessions end with them: left out.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    body = orjson.dumps([
        [
            one.address, one.port, template.version, template.domain, template.id, template.options, seen_ns,
            [[f.enterprise, f.id, f.length, f.scope, f.reverse] for f in template.fields],
        ]
        for one, template, seen_ns in rows
        if one.transport == "udp"
    ])  # fmt: skip
    head = orjson.dumps({**FORMAT, "sha256": hashlib.sha256(body).hexdigest()})
    try:
        write_bytes(path, head + b"\n" + body + b"\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None


def load_templates(path: Path, max_fields: int) -> list[Row]:
    """Read what :func:`save_templates` wrote; nothing when there is no file yet.

    Raises
    ------
    InputError
        When the file is of another form or version, or is not what was written.
    """
    try:
        if not path.exists():
            return []
        if path.stat().st_size > MAX_OCTETS:
            raise InputError("too long for a template file", file=path)
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None
    body = body.removesuffix(b"\n")
    try:
        stated = orjson.loads(head)
        if not isinstance(stated, dict) or {name: stated.get(name) for name in FORMAT} != FORMAT:
            raise InputError("not a template file of this version", file=path)
        if stated.get("sha256") != hashlib.sha256(body).hexdigest():
            raise InputError("damaged: checksum mismatch", file=path)
        rows = orjson.loads(body)
        if not isinstance(rows, list):
            raise InputError("not a list of templates", file=path)
        return [row_of(row, max_fields) for row in rows]
    except (ValueError, TypeError, KeyError, IndexError):
        raise InputError("not a template file", file=path) from None


def row_of(row: list[Any], max_fields: int) -> Row:
    """One template, checked as one that came over the network would be."""
    address, port, version, domain, number, options, seen_ns, given = row
    fields = same(
        tuple(
            field_of(whole(one[0], 32), whole(one[1], 16), whole(one[2], 16), bool(one[3]), bool(one[4]))
            for one in given
        )
    )
    scopes = sum(one.scope for one in fields)
    if (
        not isinstance(address, str)
        or version not in (9, 10)
        or problem_of(list(fields), len(fields), scopes, max_fields)
    ):
        raise ValueError
    if whole(number, 16) < 256:
        raise ValueError
    template = Template(version, whole(domain, 32), number, fields, bool(options))
    return Exporter(address, whole(port, 16)), template, whole(seen_ns, 63)


def whole(value: object, bits: int) -> int:
    """A whole number of so many bits."""
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError
    return value
