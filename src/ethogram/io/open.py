"""One door to files of flow records: the format is told by content, then by name, and its reader loaded on use.

Captures are no flow records: :func:`formats_of` says ``capture`` and the pipeline meters them.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ethogram.config import FlowSettings
from ethogram.errors import InputError, UsageError
from ethogram.io.compressed import first_octets
from ethogram.io.known import describe
from ethogram.io.open_files import texts_of
from ethogram.io.open_text import HEAD_OCTETS, TextInput
from ethogram.schema import FlowSource

__all__ = [
    "CAPTURE",
    "FLOW_TABLE",
    "MAPPED",
    "PARQUET",
    "READERS",
    "WIRE",
    "Opened",
    "format_names",
    "join_exports",
    "open_inputs",
]

CAPTURE, PARQUET, FLOW_TABLE, MAPPED = "capture", "parquet", "flow-table", "csv"
PCAPNG = b"\x0a\x0d\x0d\x0a"
PARQUET_MAGIC = b"PAR1"

READERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "yaf": ("ethogram.io.supermediator", "YAF flows as super_mediator's JSON", (".json",)),
    "zeek": ("ethogram.io.zeek", "Zeek conn log: tab-separated, JSON or CSV", (".log", ".csv", ".json")),
    "nfdump": ("ethogram.io.nfdump", "nfdump -o csv or -o json", (".csv", ".json")),
    "joy": ("ethogram.io.joy", "Joy's JSON", (".json",)),
}
"""Format -> module, meaning, suffixes. A module has ``recognises(head)`` and ``Source(text, settings)``."""

IPFIX, EXPORTS = "ipfix", "exports"
WIRE = {
    IPFIX: "IPFIX file (RFC 5655)",
    EXPORTS: "recording, capture of an export, or raw NetFlow datagrams",
}
"""Formats of export messages -> meaning. A capture of an export is only known by its user for one."""


@dataclass(frozen=True)
class Opened:
    """One input whose format is known and whose reading has not begun.

    Parameters
    ----------
    name
        For messages.
    path
        The file.
    format
        A key of :data:`READERS` or :data:`WIRE`, ``csv``, ``parquet``, ``flow-table`` or ``capture``.
    source
        Makes the reader; None for a capture.
    passed_over
        Why a member of an archive is not read, when others in it are.
    """

    name: str
    path: Path
    format: str
    source: Callable[[], FlowSource] | None
    passed_over: str | None = None


def format_names() -> list[str]:
    """Every name ``--format`` takes."""
    return [*READERS, MAPPED, PARQUET, CAPTURE, *WIRE]


def _module(name: str) -> ModuleType:
    return importlib.import_module(READERS[name][0])


def open_inputs(
    path: Path,
    settings: FlowSettings,
    is_capture: Callable[[bytes], bool],
    *,
    form: str | None = None,
    mapping: Path | None = None,
    named: bool = True,
) -> Iterator[Opened]:
    """Tell the format of a file, or of every member of an archive.

    Parameters
    ----------
    path
        The file.
    settings
        Given to the readers.
    is_capture
        Whether first octets are those of a packet capture.
    form
        The format, when the user says it; then nothing is guessed.
    mapping
        A mapping file: delimited text is read through it.
    named
        Whether the user named the file itself; in folders and globs, what has not the format that the user says is
        another thing that lies there, such as a read-me.

    Raises
    ------
    InputError
        When the file is empty, cannot be opened, or is of no known format.
    """
    if form is not None and form not in format_names():
        raise UsageError(f"no format {form!r}; there are {', '.join(format_names())}")
    if form == MAPPED and mapping is None:
        raise UsageError("--format csv needs --mapping")
    if form is not None and not named and not _fits(path, form, is_capture):
        raise InputError(f"not of the format {form}", file=path)
    if form == CAPTURE:
        yield Opened(str(path), path, CAPTURE, None)
        return
    if form in WIRE:
        yield _exported(form, [path], settings)
        return
    members: list[Opened | InputError] = []
    damage: InputError | None = None
    try:
        for text, problem in texts_of(path):
            members.append(_member(text, problem, settings, is_capture, form, mapping, named))
    except InputError as error:
        damage = error
    opened = [member for member in members if isinstance(member, Opened)]
    if not opened:
        refusals = (member for member in members if isinstance(member, InputError))
        raise damage or next(refusals, InputError("the archive is empty", file=path))
    together: set[str] = set()
    for member in members:
        if isinstance(member, InputError):
            yield Opened(member.file or str(path), path, "unknown", None, member.reason)
        elif member.format not in {CAPTURE, *WIRE}:
            yield member
        elif member.format not in together:
            # All captures of an archive are metered together, as one input; so are its export messages decoded.
            together.add(member.format)
            yield member
    if damage is not None and not together:  # who reads these meets the damage
        source = importlib.import_module("ethogram.io.damaged").DamagedSource
        yield Opened(str(path), path, "archive", lambda: source(damage))


def _fits(path: Path, form: str, is_capture: Callable[[bytes], bool]) -> bool:
    """Whether a file, or some member of an archive, begins like the format; delimited text may begin anyhow."""
    if form in READERS:
        recognises = _module(form).recognises
        return any(problem is None and recognises(text.head()) for text, problem in texts_of(path))
    wire = importlib.import_module("ethogram.io.wire.source")
    begins: dict[str, Callable[[bytes], bool]] = {
        CAPTURE: is_capture, PARQUET: lambda head: head.startswith(PARQUET_MAGIC), MAPPED: bool,
        **dict.fromkeys(WIRE, wire.may_be_export),
    }  # fmt: skip
    return begins[form](first_octets(path, HEAD_OCTETS, begins[form]))


def _member(
    text: TextInput, problem: str | None, settings: FlowSettings, is_capture: Callable[[bytes], bool],
    form: str | None, mapping: Path | None, named: bool,
) -> Opened | InputError:  # fmt: skip
    """The opened member, or why it cannot be: an archive may hold a read-me beside its records."""
    try:
        if problem is not None:
            raise InputError(problem, file=text.name)
        head = text.raw_head()
        if not head:
            raise InputError("the file is empty", file=text.name)
        if form is None and mapping is None and (wire := _wire_format(head)) is not None:
            return _exported(wire, [text.path], settings)
        if form is None and is_capture(head):
            return Opened(str(text.path), text.path, CAPTURE, None)
        return _opened(text, head, settings, form, mapping, named)
    except InputError as error:
        return error


def _wire_format(head: bytes) -> str | None:
    """Which of the formats of export messages begins so. Only then is what decodes them loaded."""
    if head[:1] != b"\0" and head[:4] != PCAPNG:
        return None
    for name, module in ((IPFIX, "ethogram.io.wire.file"), (EXPORTS, "ethogram.io.wire.source")):
        if importlib.import_module(module).recognises(head):
            return name
    return None


def _exported(form: str, paths: Sequence[Path], settings: FlowSettings) -> Opened:
    def source() -> FlowSource:
        made: FlowSource = importlib.import_module("ethogram.io.wire.source").SOURCES[form](paths, settings)
        return made

    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    return Opened(name, paths[0], form, source)


def join_exports(inputs: Sequence[Opened], settings: FlowSettings) -> list[Opened]:
    """Make one input of recordings and captures of an export that follow each other.

    They are pieces of one stream: the templates in one are those of the next.

    Parameters
    ----------
    inputs
        In order.
    settings
        Given to the reader.
    """
    joined: list[Opened] = []
    for form, group in itertools.groupby(inputs, lambda one: one.format):
        pieces = list(group)
        if form == EXPORTS and len(pieces) > 1:
            joined.append(_exported(EXPORTS, [one.path for one in pieces], settings))
        else:
            joined += pieces
    return joined


def _opened(
    text: TextInput, head: bytes, settings: FlowSettings, form: str | None, mapping: Path | None, named: bool
) -> Opened:
    if form == PARQUET or (form is None and head.startswith(PARQUET_MAGIC)):
        return _parquet(text, head)
    if mapping is not None and form in {None, MAPPED}:
        module = importlib.import_module("ethogram.io.mapping")
        columns = module.Mapping.load(mapping)
        if not named and not columns.fits(text.head()):
            raise InputError(f"does not have the columns of {mapping}", file=text.name)
        return Opened(text.name, text.path, MAPPED, lambda: module.Source(text, columns))
    name = form or _recognised(text.head(), text, head)
    return Opened(text.name, text.path, name, lambda: _module(name).Source(text, settings))


def _recognised(head: bytes, text: TextInput, raw: bytes) -> str:
    other = importlib.import_module("ethogram.io.zeek_kinds").other_log(head, text.file_name)
    if other is not None:
        raise InputError(f"Zeek log {other}: only records of conn are connections", file=text.name)
    suffix = Path(text.file_name).suffix.lower()
    # Formats whose usual suffix this is are asked first: content decides, the suffix only breaks ties.
    order = sorted(READERS, key=lambda name: suffix not in READERS[name][2])
    for name in order:
        if _module(name).recognises(head):
            return name
    known = describe(raw, text.file_name) or describe(head)
    if known is not None:
        raise InputError(f"unknown format: {known}", file=text.name)
    hint = "; CSV with other columns needs --mapping" if suffix in {".csv", ".tsv", ".txt"} else ""
    raise InputError(f"unknown format{hint}", file=text.name)


def _parquet(text: TextInput, head: bytes) -> Opened:
    with text.path.open("rb") as stream:
        packed = text.member is not None or stream.read(len(PARQUET_MAGIC)) != head[: len(PARQUET_MAGIC)]
    if packed:
        raise InputError("Parquet inside an archive or a compressed file is not read: unpack it", file=text.name)
    module = importlib.import_module("ethogram.io.parquet")
    if module.kind_of(text.path) == "flow":
        return Opened(text.name, text.path, FLOW_TABLE, lambda: module.FlowTableSource(text.path))
    return Opened(text.name, text.path, PARQUET, lambda: module.Source(text.path))
