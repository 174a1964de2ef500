"""Open files of flow records: detect the format by content, then by suffix, and load its reader on use.

Packet captures contain no flow records. They get the format ``capture``, and the pipeline meters them.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ethogram.config import FlowSettings
from ethogram.errors import InputError, UsageError
from ethogram.io.compressed import first_octets
from ethogram.io.open_files import texts_of
from ethogram.io.open_text import HEAD_OCTETS, TextInput
from ethogram.io.unsupported import describe
from ethogram.schema import FlowSource

__all__ = [
    "CAPTURE",
    "FLOW_TABLE",
    "MAPPED",
    "PARQUET",
    "READERS",
    "WIRE",
    "Input",
    "format_names",
    "join_exports",
    "open_inputs",
]

CAPTURE, PARQUET, FLOW_TABLE, MAPPED = "capture", "parquet", "flow-table", "csv"
PCAPNG = b"\x0a\x0d\x0d\x0a"
PARQUET_MAGIC = b"PAR1"


class TextFormat(NamedTuple):
    """A text format of flow records.

    Parameters
    ----------
    module
        Defines ``sniff(head)``, which tests whether a file has this format, and the reader.
    reader
        Name of the reader class in ``module``, constructed with a :class:`~ethogram.io.open_text.TextInput` and the
        settings.
    meaning
        Description for users.
    suffixes
        Usual file name suffixes; they break ties between formats.
    """

    module: str
    reader: str
    meaning: str
    suffixes: tuple[str, ...]


READERS = {
    "yaf": TextFormat(
        "ethogram.io.supermediator", "SupermediatorReader", "YAF flows as super_mediator's JSON", (".json",)
    ),
    "zeek": TextFormat(
        "ethogram.io.zeek", "ZeekReader", "Zeek conn log: tab-separated, JSON or CSV", (".log", ".csv", ".json")
    ),
    "nfdump": TextFormat("ethogram.io.nfdump", "NfdumpReader", "nfdump -o csv or -o json", (".csv", ".json")),
    "joy": TextFormat("ethogram.io.joy", "JoyReader", "Joy's JSON", (".json",)),
}
"""Text formats by name."""

IPFIX, EXPORTS = "ipfix", "exports"
WIRE = {
    IPFIX: "IPFIX file (RFC 5655)",
    EXPORTS: "recording, capture of an export, or raw NetFlow datagrams",
}
"""Formats of export messages and their meaning. Only the user can say that a packet capture contains an export."""


@dataclass(frozen=True)
class Input:
    """An input of known format that is not read yet.

    Parameters
    ----------
    name
        Name for messages.
    path
        The file.
    format
        A key of :data:`READERS` or :data:`WIRE`, ``csv``, ``parquet``, ``flow-table`` or ``capture``.
    source
        Creates the reader; None for a capture.
    passed_over
        Why this archive member is skipped; None when it is read.
    """

    name: str
    path: Path
    format: str
    source: Callable[[], FlowSource] | None
    passed_over: str | None = None


def format_names() -> list[str]:
    """All values of ``--input-format``."""
    return [*READERS, MAPPED, PARQUET, CAPTURE, *WIRE]


def _module(name: str) -> ModuleType:
    return importlib.import_module(READERS[name].module)


def _reader(name: str) -> Callable[[TextInput, FlowSettings], FlowSource]:
    reader: Callable[[TextInput, FlowSettings], FlowSource] = getattr(_module(name), READERS[name].reader)
    return reader


def open_inputs(
    path: Path,
    settings: FlowSettings,
    is_capture: Callable[[bytes], bool],
    *,
    form: str | None = None,
    mapping: Path | None = None,
    named: bool = True,
) -> Iterator[Input]:
    """Detect the format of a file, or of every member of an archive.

    Parameters
    ----------
    path
        The file.
    settings
        Settings of the readers.
    is_capture
        Tests whether the first octets are those of a packet capture.
    form
        The format stated by the user; None to detect it.
    mapping
        Mapping file for delimited text.
    named
        Whether the user named the file itself. In folders and globs, files of another format than the stated one, such
        as a README, are refused without an attempt to read them.

    Raises
    ------
    InputError
        If the file is empty, cannot be opened, or has no known format.
    UsageError
        If ``form`` is unknown, or is ``csv`` without a mapping.
    """
    if form is not None and form not in format_names():
        raise UsageError(f"unknown format {form!r}; expected one of {', '.join(format_names())}")
    if form == MAPPED and mapping is None:
        raise UsageError("--input-format csv needs --mapping")
    if form is not None and not named and not _fits(path, form, is_capture):
        raise InputError(f"not in format {form}", file=path)
    if form == CAPTURE:
        yield Input(str(path), path, CAPTURE, None)
        return
    if form in WIRE:
        yield _exported(form, [path], settings)
        return
    request = _Request(settings, is_capture, form, mapping, named)
    members: list[Input | InputError] = []
    damage: InputError | None = None
    try:
        for text, problem in texts_of(path):
            members.append(_open_or_error(text, problem, request))
    except InputError as error:
        damage = error
    opened = [member for member in members if isinstance(member, Input)]
    if not opened:
        refusals = (member for member in members if isinstance(member, InputError))
        raise damage or next(refusals, InputError("the archive is empty", file=path))
    joined: set[str] = set()
    for member in members:
        if isinstance(member, InputError):
            yield Input(member.file or str(path), path, "unknown", None, member.reason)
        elif member.format not in {CAPTURE, *WIRE}:
            yield member
        elif member.format not in joined:
            # All captures of an archive form one input, and so do all its export messages.
            joined.add(member.format)
            yield member
    if damage is not None and not joined:  # readers of a joined input find the damage themselves
        source = importlib.import_module("ethogram.io.damaged").DamagedArchive
        yield Input(str(path), path, "archive", lambda: source(damage))


def _fits(path: Path, form: str, is_capture: Callable[[bytes], bool]) -> bool:
    """Whether the head of a file, or of any archive member, has the format. Any head can be delimited text."""
    if form in READERS:
        sniff = _module(form).sniff
        return any(problem is None and sniff(text.head()) for text, problem in texts_of(path))
    wire = importlib.import_module("ethogram.io.wire.export_reader")
    begins: dict[str, Callable[[bytes], bool]] = {
        CAPTURE: is_capture, PARQUET: lambda head: head.startswith(PARQUET_MAGIC), MAPPED: bool,
        **dict.fromkeys(WIRE, wire.may_be_export),
    }  # fmt: skip
    return begins[form](first_octets(path, HEAD_OCTETS, begins[form]))


@dataclass(frozen=True)
class _Request:
    """The arguments of :func:`open_inputs` that hold for all members of a file."""

    settings: FlowSettings
    is_capture: Callable[[bytes], bool]
    form: str | None
    mapping: Path | None
    named: bool


def _open_or_error(text: TextInput, problem: str | None, request: _Request) -> Input | InputError:
    """Open an archive member, or return why it cannot be opened: an archive may contain a README."""
    try:
        if problem is not None:
            raise InputError(problem, file=text.name)
        head = text.raw_head()
        if not head:
            raise InputError("the file is empty", file=text.name)
        undeclared = request.form is None
        if undeclared and request.mapping is None and (wire := _wire_format(head)) is not None:
            return _exported(wire, [text.path], request.settings)
        if undeclared and request.is_capture(head):
            return Input(str(text.path), text.path, CAPTURE, None)
        return _open_text(text, head, request)
    except InputError as error:
        return error


def _wire_format(head: bytes) -> str | None:
    """The format of export messages that a head has; their decoder is only loaded if it may be one."""
    if head[:1] != b"\0" and head[:4] != PCAPNG:
        return None
    for name, module in ((IPFIX, "ethogram.io.wire.ipfix_file"), (EXPORTS, "ethogram.io.wire.export_reader")):
        if importlib.import_module(module).sniff(head):
            return name
    return None


def _exported(form: str, paths: Sequence[Path], settings: FlowSettings) -> Input:
    def source() -> FlowSource:
        reader: FlowSource = importlib.import_module("ethogram.io.wire.export_reader").SOURCES[form](paths, settings)
        return reader

    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    return Input(name, paths[0], form, source)


def join_exports(inputs: Sequence[Input], settings: FlowSettings) -> list[Input]:
    """Join consecutive recordings and captures of an export into one input.

    They are pieces of one stream: templates of one file apply to the next.

    Parameters
    ----------
    inputs
        Inputs in order of time.
    settings
        Settings of the reader.
    """
    joined: list[Input] = []
    for form, group in itertools.groupby(inputs, lambda entry: entry.format):
        pieces = list(group)
        if form == EXPORTS and len(pieces) > 1:
            joined.append(_exported(EXPORTS, [piece.path for piece in pieces], settings))
        else:
            joined += pieces
    return joined


def _open_text(text: TextInput, head: bytes, request: _Request) -> Input:
    form, mapping = request.form, request.mapping
    if form == PARQUET or (form is None and head.startswith(PARQUET_MAGIC)):
        return _parquet(text, head)
    if mapping is not None and form in {None, MAPPED}:
        module = importlib.import_module("ethogram.io.mapping")
        columns = module.Mapping.load(mapping)
        if not request.named and not columns.fits(text.head()):
            raise InputError(f"does not have the columns of {mapping}", file=text.name)
        return Input(text.name, text.path, MAPPED, lambda: module.MappedTextReader(text, columns))
    name = form or _detect(text.head(), text, head)
    return Input(text.name, text.path, name, lambda: _reader(name)(text, request.settings))


def _detect(head: bytes, text: TextInput, raw: bytes) -> str:
    other = importlib.import_module("ethogram.io.zeek_log_types").other_log(head, text.file_name)
    if other is not None:
        raise InputError(f"Zeek log {other}: only conn records are connections", file=text.name)
    suffix = Path(text.file_name).suffix.lower()
    # Formats with this suffix are tried first: the content decides, and the suffix breaks ties.
    order = sorted(READERS, key=lambda name: suffix not in READERS[name].suffixes)
    for name in order:
        if _module(name).sniff(head):
            return name
    description = describe(raw, text.file_name) or describe(head)
    if description is not None:
        raise InputError(f"unknown format: {description}", file=text.name)
    hint = "; CSV with other columns needs --mapping" if suffix in {".csv", ".tsv", ".txt"} else ""
    raise InputError(f"unknown format{hint}", file=text.name)


def _parquet(text: TextInput, head: bytes) -> Input:
    with text.path.open("rb") as stream:
        packed = text.member is not None or stream.read(len(PARQUET_MAGIC)) != head[: len(PARQUET_MAGIC)]
    if packed:
        raise InputError("Parquet in an archive or compressed file cannot be read: unpack it first", file=text.name)
    module = importlib.import_module("ethogram.io.parquet")
    if module.kind_of(text.path) == "flow":
        return Input(text.name, text.path, FLOW_TABLE, lambda: module.FlowParquetReader(text.path))
    return Input(text.name, text.path, PARQUET, lambda: module.BiflowParquetReader(text.path))
