"""The library's file: JSON, a header line and then one entry a line, so that people can read, diff and edit it.

A name that ends in .gz is compressed. Nothing in a file can run, every length is checked, and a write is atomic.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from ethogram import __version__
from ethogram.errors import LibraryError
from ethogram.identify.library import ROW, Entry, Identity, Library, Observation, Source, utc
from ethogram.schema.whole import written_whole

__all__ = ["LIBRARY_FORMAT", "dump", "load", "octets_for", "read", "write"]

LIBRARY_FORMAT = "ethogram.library/1"
MAX_LINE = 1 << 26
MAX_ENTRIES = 1 << 20
MAX_ROWS = 1 << 25


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)


class _Header(_Line):
    format: str
    version: str = ""
    columns: list[str]
    sources: list[dict[str, str]] = []
    note: str = ""
    flows: str = ""


class _Observed(_Line):
    device: str
    start: str
    end: str
    source: str = ""


class _Entry(_Line):
    label: str
    model: str = ""
    vendor: str = ""
    type: str = ""
    coarse: str = ""
    status: str = "open"
    observed: list[_Observed]
    flows: int = 0
    digest: str = ""
    counts: list[tuple[int, str, str, str, bool, str | None, int, int, int, int, int, int]]


def dump(library: Library) -> bytes:
    """The file's octets: the same library gives the same octets."""
    header = {
        "format": LIBRARY_FORMAT,
        "version": __version__,
        "columns": list(ROW),
        "sources": [asdict(source) for source in library.sources],
        **({"flows": library.flows} if library.flows else {}),
    }
    lines = [orjson.dumps(header)]
    for entry in library.entries:
        who = {name: value for name, value in asdict(entry.identity).items() if value}
        observed = [
            {"device": o.device, "start": o.start.isoformat(), "end": o.end.isoformat(), "source": o.source}
            for o in entry.observed
        ]
        lines.append(
            orjson.dumps(
                {
                    **who,
                    "status": entry.status,
                    "flows": entry.flows,
                    "digest": entry.digest,
                    "observed": observed,
                    "counts": entry.counts,
                }
            )
        )
    return b"\n".join(lines) + b"\n"


def octets_for(library: Library, path: Path) -> bytes:
    """The octets of a file of that name: compressed where it ends in .gz."""
    octets = dump(library)
    return gzip.compress(octets, compresslevel=9, mtime=0) if path.suffix == ".gz" else octets


def write(library: Library, path: str | Path) -> None:
    """Write a library, whole or not at all."""
    target = Path(path)
    try:
        written_whole(target, octets_for(library, target))
    except OSError as error:
        raise LibraryError(f"{target}: cannot be written: {error.strerror}") from None


def read(path: str | Path) -> Library:
    """Read a library.

    Raises
    ------
    LibraryError
        When it is missing, of another version, or broken; says the line.
    """
    source = Path(path)
    try:
        with source.open("rb") as raw:
            head = raw.read(2)
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if head == b"\x1f\x8b" else raw
            return load(stream, name=source.name, place=str(source))
    except FileNotFoundError:
        raise LibraryError(f"{source}: there is no such library") from None
    except (OSError, EOFError, zlib.error) as error:
        raise LibraryError(f"{source}: cannot be read: {error}") from None


def load(stream: BinaryIO | bytes, *, name: str = "library", place: str = "library") -> Library:
    """Read a library from a binary stream, or from its octets."""
    lines = _lines(io.BytesIO(stream) if isinstance(stream, bytes) else stream, place)
    first = next(lines, None)
    if first is None:
        raise LibraryError(f"{place}: the file is empty, not a library")
    fields = first[1]
    if not str(fields.get("format", "")).startswith("ethogram.library/"):
        raise LibraryError(f"{place}:1: not a library: its first line names no format {LIBRARY_FORMAT}")
    if fields["format"] != LIBRARY_FORMAT:
        raise LibraryError(f"{place}:1: format {fields['format']}, but this version reads {LIBRARY_FORMAT}")
    try:
        header = _Header.model_validate(fields)
        sources = tuple(sorted(Source(**source) for source in header.sources))
    except (ValidationError, TypeError) as error:
        raise LibraryError(f"{place}:1: {_reason(error)}") from None
    if header.columns != list(ROW):
        raise LibraryError(f"{place}:1: columns are not {' '.join(ROW)}")
    entries: list[Entry] = []
    rows = 0
    for number, line in lines:
        entry = _entry(line, f"{place}:{number}")
        rows += len(entry.counts)
        if len(entries) >= MAX_ENTRIES or rows > MAX_ROWS:
            raise LibraryError(f"{place}:{number}: more than {MAX_ENTRIES:,} entries or {MAX_ROWS:,} counts")
        entries.append(entry)
    return replace(Library(name=name).merge(Library(tuple(entries), sources, name)), flows=header.flows)


def _lines(stream: BinaryIO, place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise LibraryError(f"{place}:{number}: a line of more than {MAX_LINE:,} octets")
        if not line.strip():
            continue
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise LibraryError(f"{place}:{number}: not JSON: {error.msg}") from None
        if not isinstance(fields, dict):
            raise LibraryError(f"{place}:{number}: not a JSON object")
        yield number, fields


def _entry(fields: dict[str, Any], place: str) -> Entry:
    try:
        line = _Entry.model_validate(fields)
        observed = tuple(sorted(Observation(o.device, utc(o.start), utc(o.end), o.source) for o in line.observed))
    except (ValidationError, ValueError) as error:
        raise LibraryError(f"{place}: {_reason(error)}") from None
    if not line.label or not observed or not line.counts:
        raise LibraryError(f"{place}: an entry needs a label, an observation and counts")
    if any(min(row[6:]) < 0 or row[3] not in _SCOPES or row[2] not in _ROLES for row in line.counts):
        raise LibraryError(f"{place}: a count with a negative number, or an unknown role or scope")
    identity = Identity(line.label, line.model, line.vendor, line.type, line.coarse)
    return Entry(identity, observed, line.status, tuple(sorted(line.counts, key=_row_order)))


_ROLES, _SCOPES = {"client", "server"}, {"wan", "lan", "multicast"}


def _row_order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:5], row[5] is not None, row[5] or "")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
