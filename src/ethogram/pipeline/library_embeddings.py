"""The flow side of a library on disk: read, joined, and written with the library it belongs to.

Beside ``home.jsonl.gz`` stands ``home.flows.parquet``: one row per embedded flow, with its entry's digest. It is read
as numbers alone, and its metadata names the form, the encoder's digest and its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
import pyarrow.parquet

from ethogram._files import atomic_write_all
from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.library import Library
from ethogram.pipeline.text import plural

__all__ = [
    "FLOW_SIDE_FORMAT",
    "embeddings_path",
    "load_embeddings",
    "merged_sides",
    "read_store",
    "require_folder",
    "write_library",
    "write_store",
]  # fmt: skip

FLOW_SIDE_FORMAT = "ethogram.flow-side/1"
KEY = b"ethogram.flow-side"
MAX_FLOWS = 1 << 24


def embeddings_path(library: Path) -> Path:
    """Where the flow side of a library stands.

    >>> embeddings_path(Path("home.jsonl.gz")).name
    'home.flows.parquet'
    """
    name = library.name
    for suffix in (".gz", ".jsonl"):
        name = name.removesuffix(suffix)
    return library.with_name(f"{name}.flows.parquet")


def write_store(store: FlowStore, path: Path) -> None:
    """Write a flow side that has some entry; the caller puts it in its place."""
    order = sorted(store.z)
    entry = pyarrow.array(np.repeat(order, [len(store.z[digest]) for digest in order]))
    numbers = np.concatenate([store.z[digest] for digest in order]).reshape(-1)
    z = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers), store.d)
    told = orjson.dumps({"format": FLOW_SIDE_FORMAT, "encoder": store.encoder, "d": store.d})
    table = pyarrow.table({"entry": entry, "z": z}).replace_schema_metadata({KEY: told})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=["entry"])


def require_folder(path: Path) -> None:
    """Say that a library cannot be written before hours are spent on what would be in it.

    Raises
    ------
    LibraryError
        When there is no such folder.
    """
    if not path.parent.is_dir():
        raise LibraryError(f"{path}: cannot be written: no such folder")


def write_library(library: Library, store: FlowStore | None, path: Path) -> list[str]:
    """Write a library and its flow side: both, or after an error neither; returns lines for people.

    Parameters
    ----------
    library
        What is known.
    store
        Embeddings, of which those of the library's entries are kept; None or none: there is no flow side, and one of
        a library that stood there before is removed.
    path
        Of the library; the flow side stands at :func:`embeddings_path`.
    """
    kept = None if store is None else store.keep([entry.digest for entry in library.entries])
    encoder = kept.encoder if kept is not None and kept.z else ""
    require_folder(path)
    try:
        with atomic_write_all(path, embeddings_path(path)) as (first, second):
            first.write_bytes(library_file.octets_for(replace(library, flows=encoder), path))
            if kept is not None and kept.z:
                write_store(kept, second)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written: {error.strerror or error}") from None
    entries, labels = plural(len(library), "entry", "entries"), plural(len(set(library.labels())), "label")
    lines = [f"{entries} of {labels} written to {path}"]
    if kept is not None and kept.z:
        lines.append(f"embedded flows of {len(kept):,} of them written to {embeddings_path(path)}; encoder {encoder}")
    return lines


def read_store(path: Path) -> FlowStore:
    """Read it.

    Raises
    ------
    LibraryError
        When it is missing, damaged, of another form or version, or holds what is no number.
    """
    try:
        file = pyarrow.parquet.ParquetFile(path)
        told = _told(file, path)
        if file.metadata.num_rows > MAX_FLOWS:
            raise LibraryError(f"{path}: more than {MAX_FLOWS:,} flows")
        table = file.read()
    except FileNotFoundError:
        raise LibraryError(f"{path}: there is no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise LibraryError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    d = int(told["d"])
    if set(table.column_names) != {"entry", "z"} or table.schema.field("z").type != pyarrow.list_(pyarrow.float32(), d):
        raise LibraryError(f"{path}: its columns are not entry and z, {d} numbers of float32 each")
    flat = table["z"].combine_chunks()
    if table["entry"].null_count or flat.null_count:
        raise LibraryError(f"{path}: an empty entry or embedding")
    z = np.asarray(flat.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, d)
    if not np.isfinite(z).all():
        raise LibraryError(f"{path}: an embedding is not finite")
    names, codes = np.unique(np.asarray(table["entry"].to_pylist(), np.str_), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(z[order], np.flatnonzero(np.diff(codes[order])) + 1) if len(z) else []
    return FlowStore(str(told["encoder"]), d, dict(zip(names.tolist(), parts, strict=True)))


def _told(file: pyarrow.parquet.ParquetFile, path: Path) -> dict[str, Any]:
    text = (file.schema_arrow.metadata or {}).get(KEY)
    try:
        told = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or told.get("format") != FLOW_SIDE_FORMAT:
        raise LibraryError(f"{path}: not the flow side of a library: no metadata of {FLOW_SIDE_FORMAT}")
    d = told.get("d")
    if not isinstance(d, int) or not 1 <= d <= 1 << 16 or not isinstance(told.get("encoder"), str):
        raise LibraryError(f"{path}: its metadata is wrong")
    return told


def load_embeddings(path: Path, library: Library) -> tuple[FlowStore | None, str]:
    """The flow side of a library that was read; and where it has none, or not all of it, a line that says so.

    Raises
    ------
    LibraryError
        When it is damaged, or of another version.
    """
    place = embeddings_path(path)
    if not place.exists():
        return (
            None,
            f"{place} is missing: {path.name} was enrolled with encoder {library.flows}" if library.flows else "",
        )
    store = read_store(place)
    if library.flows and store.encoder != library.flows:
        return None, f"{place} is of encoder {store.encoder}, but {path.name} was enrolled with {library.flows}"
    mine = store.keep([entry.digest for entry in library.entries])
    if not mine.z:
        return None, f"{place} belongs to another library: none of its entries is in {path.name}"
    if len(mine) < len(store):
        entries = plural(len(store) - len(mine), "entry", "entries")
        return mine, f"{place} has flows of {entries} not in {path.name}: not used"
    return mine, ""


def merged_sides(sides: Sequence[tuple[Path, FlowStore | None]]) -> FlowStore | None:
    """The flow sides of several libraries as one; of an entry that two have, those of which there are more.

    Raises
    ------
    LibraryError
        When they are of different encoders.
    """
    first: tuple[Path, FlowStore] | None = None
    for path, store in sides:
        if store is None:
            continue
        if first is None:
            first = path, store
            continue
        if (store.encoder, store.d) != (first[1].encoder, first[1].d):
            raise LibraryError(
                f"{embeddings_path(path)} is of encoder {store.encoder}, but "
                f"{embeddings_path(first[0])} of {first[1].encoder}: "
                "embeddings of two encoders do not go together; --no-flows leaves them out"
            )
        first = first[0], first[1].merge(store)
    return None if first is None else first[1]
