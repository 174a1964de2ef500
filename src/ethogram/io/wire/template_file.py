"""Templates on disk, so that a restarted collector can decode at once.

The first line contains a checksum of the second, which contains all templates. Files are replaced atomically.
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
    """Write templates: exporter, template, and time of last transmission; those of sessions are omitted.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    body = orjson.dumps([
        [
            exporter.address, exporter.port, template.version, template.domain, template.id, template.options, seen_ns,
            [[f.enterprise, f.id, f.length, f.scope, f.reverse] for f in template.fields],
        ]
        for exporter, template, seen_ns in rows
        if exporter.transport == "udp"
    ])  # fmt: skip
    head = orjson.dumps({**FORMAT, "sha256": hashlib.sha256(body).hexdigest()})
    try:
        write_bytes(path, head + b"\n" + body + b"\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None


def load_templates(path: Path, max_fields: int) -> list[Row]:
    """Read the output of :func:`save_templates`; empty if there is no file.

    Raises
    ------
    InputError
        If the file has another format or version, or is damaged.
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
    """One template, validated like one received from the network."""
    address, port, version, domain, number, options, seen_ns, given = row
    fields = same(
        tuple(
            field_of(whole(spec[0], 32), whole(spec[1], 16), whole(spec[2], 16), bool(spec[3]), bool(spec[4]))
            for spec in given
        )
    )
    scopes = sum(field.scope for field in fields)
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
    """An integer of at most this many bits."""
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError
    return value
