"""What -o may name: checked before any work begins, and by :mod:`ethogram._files` again when the file is renamed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ethogram._files import protect, require_ours, target_of
from ethogram._text import escaped_json
from ethogram.cli.terminal import write_text
from ethogram.errors import EthogramError, InputError, LibraryError, UsageError

if TYPE_CHECKING:
    from ethogram.identify.flow_store import FlowStore
    from ethogram.identify.library import Library

__all__ = ["BACKUP", "EXPORT", "LIBRARY", "PROFILES", "ROWS", "TABLE", "Form", "check_folder", "check_library",
           "check_output", "is_standard_output", "save_library"]  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A format that a command writes.

    Parameters
    ----------
    name
        For messages.
    suffixes
        Those that say this format. A name without a suffix, or with one that says no format, is good too.
    text
        Whether it can go to standard output.
    """

    name: str
    suffixes: tuple[str, ...]
    text: bool = False


TABLE = Form("Parquet", (".parquet", ".pq"))
LIBRARY = Form("a library, which is JSON lines", (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".gz"), text=True)
ROWS = Form("JSON lines", (".jsonl", ".json", ".ndjson"), text=True)
BACKUP = Form("a backup, which is JSON lines with gzip", (".gz", ".backup"))
PROFILES = Form("profiles, which are JSON", (".json",), text=True)
EXPORT = Form("an IPFIX file", (".ipfix",))

_FORMATS = frozenset({
    ".7z", ".arrow", ".avro", ".bmp", ".bz2", ".cap", ".conf", ".csv", ".db", ".doc", ".docx", ".duckdb", ".erf",
    ".exe", ".feather", ".gif", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ini", ".ipc", ".ipfix", ".jpeg", ".jpg",
    ".json", ".jsonl", ".log", ".lz4", ".lzma", ".md", ".ndjson", ".netflow", ".nf5", ".nf9", ".nfcapd", ".npy",
    ".npz", ".ods", ".onnx", ".orc", ".parquet", ".pcap", ".pcapng", ".pdf", ".pem", ".pickle", ".pkl", ".png",
    ".pq", ".pt", ".pth", ".py", ".rar", ".rst", ".safetensors", ".sqlite", ".sqlite3", ".svg", ".tar", ".tex",
    ".tgz", ".toml", ".tsv", ".txt", ".tzst", ".webp", ".xls", ".xlsx", ".xml", ".xz", ".yaml", ".yml", ".z",
    ".zip", ".zst",
})  # fmt: skip
"""Suffixes that say a format: one of these that is not the command's own contradicts what is written."""


def is_standard_output(path: Path) -> bool:
    """Whether a name means standard output."""
    return str(path) == "-"


def check_output(path: Path, form: Form, inputs: Iterable[str | Path | None] = (), *, force: bool = False) -> None:
    """Refuse a file that must not be written, before any work is done.

    Parameters
    ----------
    path
        What the user named; ``-`` is standard output.
    form
        What will be written.
    inputs
        Files, folders and globs that the command reads: none of them is written over. None stands for no input.
    force
        Replace a file even when Ethogram did not write it.

    Raises
    ------
    UsageError
        When it is an input, a device, FIFO, socket or directory, has the suffix of another format, holds what
        Ethogram did not write, or is standard output and the format is binary.
    InputError, LibraryError
        When it cannot be written where it is.
    """
    protect(_files_of(inputs), force=force)
    if is_standard_output(path):
        if not form.text:
            raise UsageError(f"-o -: {form.name} is binary and does not go to standard output: name a file")
        return
    _check_suffix(path, form)
    wrong = LibraryError if form is LIBRARY else InputError
    target = _target(path, wrong)
    if not target.parent.is_dir():
        raise _unwritten(path, "no such folder", wrong)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise _unwritten(path, "the folder may not be written to", wrong)
    require_ours(path)


def check_library(path: Path, inputs: Iterable[str | Path | None] = (), *, force: bool = False) -> None:
    """Likewise for a library and the embedded flows beside it. A library that is extended may be written in place."""
    from ethogram.pipeline.library_embeddings import embeddings_path

    check_output(path, LIBRARY, inputs, force=force)
    if not is_standard_output(path):
        _target(embeddings_path(path), LibraryError)
        require_ours(embeddings_path(path))


def save_library(library: Library, store: FlowStore | None, path: Path) -> list[str]:
    """Write a library, to standard output without its embedded flows; lines for people."""
    from dataclasses import replace

    from ethogram.identify import library_file
    from ethogram.pipeline.library_embeddings import write_library

    if not is_standard_output(path):
        return write_library(library, store, path)
    write_text(escaped_json(library_file.dump(replace(library, flows="")).decode()))
    return ["embedded flows are not written to standard output"] if store is not None and store.z else []


def check_folder(
    path: Path, marks: Iterable[str] = (), inputs: Iterable[str | Path | None] = (), *, force: bool = False
) -> None:
    """Refuse a folder that must not be written into, before any work is done.

    Parameters
    ----------
    path
        What the user named; it need not exist.
    marks
        Names of files in it that the command writes, each in a format that names Ethogram.
    inputs, force
        As for :func:`check_output`.
    """
    protect(_files_of(inputs), force=force)
    if is_standard_output(path):
        raise UsageError("-o -: a folder is written, not standard output")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: cannot be written: it is a file, and a folder is needed")
    above = path if path.exists() else next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"cannot be written: {above} may not be written to", file=path)
    for name in marks:
        target_of(path / name)
        require_ours(path / name)


def _target(path: Path, wrong: type[EthogramError]) -> Path:
    try:
        return target_of(path)
    except OSError as error:
        raise _unwritten(path, error.strerror or str(error), wrong) from None


def _unwritten(path: Path, reason: str, wrong: type[EthogramError]) -> EthogramError:
    return wrong(f"{path}: cannot be written: {reason}")


def _check_suffix(path: Path, form: Form) -> None:
    name = path.name.lower()
    matched = next((suffix for suffix in form.suffixes if name.endswith(suffix)), "")
    if matched and matched != ".gz":
        return
    last = Path(name.removesuffix(matched)).suffix
    if last in _FORMATS:
        names = " or ".join(suffix for suffix in form.suffixes if suffix != ".gz")
        raise UsageError(f"{path}: what is written is {form.name}, not {last}{matched}: let the name end in {names}")


def _files_of(inputs: Iterable[str | Path | None]) -> Iterator[Path]:
    """The files that inputs name; what names none is the command's to refuse."""
    from ethogram.io.open_files import expand

    for given in inputs:
        if given is not None:
            try:
                yield from (path for path, _ in expand([given]))
            except (InputError, OSError):
                continue
