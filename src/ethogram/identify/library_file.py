"""Library files: JSON Lines with a header and one entry per line, readable and editable by people.

A name ending in .gz means gzip. A file cannot execute code. Lines, octets, rows, texts, numbers and times are bounded
while reading, so that hostile files cost little time and memory. Writing is atomic.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from ethogram._files import write_bytes
from ethogram._version import __version__
from ethogram.errors import LibraryError
from ethogram.identify.library import ROW, Entry, Identity, Library, Observation, Source, utc

__all__ = ["LIBRARY_FORMAT", "dump", "load", "octets_for", "read", "read_header", "write"]

LIBRARY_FORMAT = "ethogram.library/1"
MAX_LINE = 1 << 25
MAX_OCTETS = 1 << 30  # of the text, after decompression
MAX_BLANK = 1_000  # lines
MAX_ENTRIES = 1 << 20
MAX_ROWS = 1 << 22
MAX_TEXT = 1_024  # characters of one label, name or note
MAX_COUNT = 1 << 53  # beyond it, sums of floats lose units
MAX_OFFSET_S = 10 * 366 * 86_400
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


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
    """Serialise a library deterministically."""
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
    """Serialise a library for a file name; compressed if it ends in .gz.

    Raises
    ------
    LibraryError
        When an entry exceeds the bounds of :func:`read`, so that the file could not be read again.
    """
    for entry in library.entries:
        _check_bounds(entry, f"{path}: cannot be written: entry {entry.digest}")
    octets = dump(library)
    return gzip.compress(octets, compresslevel=9, mtime=0) if path.suffix == ".gz" else octets


def write(library: Library, path: str | Path) -> None:
    """Write a library atomically.

    Raises
    ------
    LibraryError
        When it cannot be written, or an entry exceeds the bounds of :func:`read`.
    """
    target = Path(path)
    try:
        write_bytes(target, octets_for(library, target))
    except OSError as error:
        raise LibraryError(f"{target}: cannot be written: {error.strerror}") from None


def read(path: str | Path) -> Library:
    """Read a library.

    Raises
    ------
    LibraryError
        When the file is missing, of another format, or invalid; the message names the line.
    """
    return _read(Path(path))


def _read(source: Path, *, only_header: bool = False) -> Library:
    try:
        with source.open("rb") as raw:
            head = raw.read(2)
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if head == b"\x1f\x8b" else raw
            given = stream.readline(MAX_LINE + 1) if only_header else stream
            return load(given, name=source.name, place=str(source))
    except FileNotFoundError:
        raise LibraryError(f"{source}: there is no such library") from None
    except (OSError, EOFError, zlib.error) as error:
        raise LibraryError(f"{source}: cannot be read: {error}") from None


def read_header(path: str | Path) -> Library:
    """Read the first line of a library: its name, sources and encoder, without entries.

    Raises
    ------
    LibraryError
        As for :func:`read`.
    """
    return _read(Path(path), only_header=True)


def load(stream: BinaryIO | bytes, *, name: str = "library", place: str = "library") -> Library:
    """Read a library from a binary stream, or from its octets."""
    lines = _lines(io.BytesIO(stream) if isinstance(stream, bytes) else stream, place)
    first = next(lines, None)
    if first is None:
        raise LibraryError(f"{place}: the file is empty, not a library")
    fields = first[1]
    if not str(fields.get("format", "")).startswith("ethogram.library/"):
        raise LibraryError(f"{place}:1: not a library: its first line does not name the format {LIBRARY_FORMAT}")
    if fields["format"] != LIBRARY_FORMAT:
        raise LibraryError(f"{place}:1: format {fields['format']}, but this version reads {LIBRARY_FORMAT}")
    try:
        header = _Header.model_validate(fields)
        sources = tuple(sorted(Source(**source) for source in header.sources))
    except (ValidationError, TypeError) as error:
        raise LibraryError(f"{place}:1: {_reason(error)}") from None
    if header.columns != list(ROW):
        raise LibraryError(f"{place}:1: columns are not {' '.join(ROW)}")
    _check_texts([header.note, header.flows, *(text for source in header.sources for text in source.values())],
                 f"{place}:1")  # fmt: skip
    entries: list[Entry] = []
    rows = 0
    for number, line in lines:
        counts = line.get("counts")
        rows += len(counts) if isinstance(counts, list) else 0
        if len(entries) >= MAX_ENTRIES or rows > MAX_ROWS:
            raise LibraryError(f"{place}:{number}: more than {MAX_ENTRIES:,} entries or {MAX_ROWS:,} counts")
        entries.append(_entry(line, f"{place}:{number}"))
    return replace(Library(name=name).merge(Library(tuple(entries), sources, name)), flows=header.flows)


def _lines(stream: BinaryIO, place: str) -> Iterator[tuple[int, dict[str, Any]]]:
    number = octets = blank = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        octets += len(line)
        if len(line) > MAX_LINE:
            raise LibraryError(f"{place}:{number}: the line has more than {MAX_LINE:,} octets")
        if octets > MAX_OCTETS:
            raise LibraryError(f"{place}:{number}: more than {MAX_OCTETS:,} octets")
        if not line.strip():
            blank += 1
            if blank > MAX_BLANK:
                raise LibraryError(f"{place}:{number}: more than {MAX_BLANK:,} blank lines")
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
        observed = tuple(sorted(_observation(seen) for seen in line.observed))
    except (ValidationError, ValueError) as error:
        raise LibraryError(f"{place}: {_reason(error)}") from None
    if not line.label or not observed or not line.counts:
        raise LibraryError(f"{place}: an entry needs a label, an observation and counts")
    if any(min(row[6:]) < 0 or row[3] not in _SCOPES or row[2] not in _ROLES for row in line.counts):
        raise LibraryError(f"{place}: a count with a negative number, or an unknown role or scope")
    identity = Identity(line.label, line.model, line.vendor, line.type, line.coarse)
    entry = Entry(identity, observed, line.status, tuple(sorted(line.counts, key=_row_order)))
    _check_bounds(entry, place)
    return entry


def _check_bounds(entry: Entry, place: str) -> None:
    """Check the bounds of an entry, after reading and before writing."""
    if any(max(row[6:]) > MAX_COUNT or abs(row[0]) > MAX_OFFSET_S for row in entry.counts):
        raise LibraryError(f"{place}: a count above {MAX_COUNT:,}, or an offset of more than ten years")
    for seen in entry.observed:
        if seen.end < seen.start:
            raise LibraryError(f"{place}: observed: the end {seen.end} is before the start {seen.start}")
        if seen.start < EARLIEST or seen.end >= LATEST:
            raise LibraryError(f"{place}: observed: {seen.start} to {seen.end} is not between 1970 and 2200")
    who = entry.identity
    texts = [who.label, who.model, who.vendor, who.type, who.coarse, entry.status]
    texts += [text for seen in entry.observed for text in (seen.device, seen.source)]
    texts += [text for row in entry.counts for text in (row[1], row[5] or "")]
    _check_texts(texts, place)


def _observation(line: _Observed) -> Observation:
    return Observation(line.device, _time(line.start), _time(line.end), line.source)


def _time(text: str) -> datetime:
    try:
        return utc(text)
    except ValueError:
        raise ValueError(f"observed: not a time: {text!r:.60}") from None


def _check_texts(texts: Iterable[str], place: str) -> None:
    if any(len(text) > MAX_TEXT for text in texts):
        raise LibraryError(f"{place}: a text of more than {MAX_TEXT:,} characters")


_ROLES, _SCOPES = {"client", "server"}, {"wan", "lan", "multicast"}


def _row_order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:5], row[5] is not None, row[5] or "")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
