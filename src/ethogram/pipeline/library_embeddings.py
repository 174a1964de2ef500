"""The embeddings file of a library: read it, merge several, and write it together with the library.

The embeddings of ``home.jsonl.gz`` are in ``home.flows.parquet``: one row per embedded flow, with the digest of its
library entry. The file holds numbers only; its metadata names the format, the digest of the encoder and the dimension.
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
    """The path of the embeddings file of a library.

    >>> embeddings_path(Path("home.jsonl.gz")).name
    'home.flows.parquet'
    """
    name = library.name
    for suffix in (".gz", ".jsonl"):
        name = name.removesuffix(suffix)
    return library.with_name(f"{name}.flows.parquet")


def write_store(store: FlowStore, path: Path) -> None:
    """Write a non-empty store to a file; the caller renames it into place."""
    order = sorted(store.z)
    entry = pyarrow.array(np.repeat(order, [len(store.z[digest]) for digest in order]))
    numbers = np.concatenate([store.z[digest] for digest in order]).reshape(-1)
    z = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers), store.d)
    metadata = orjson.dumps({"format": FLOW_SIDE_FORMAT, "encoder": store.encoder, "d": store.d})
    table = pyarrow.table({"entry": entry, "z": z}).replace_schema_metadata({KEY: metadata})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=["entry"])


def require_folder(path: Path) -> None:
    """Check that the folder of a library exists, before the work on its content begins.

    Raises
    ------
    LibraryError
        When the folder does not exist.
    """
    if not path.parent.is_dir():
        raise LibraryError(f"{path}: cannot be written: no such folder")


def write_library(library: Library, store: FlowStore | None, path: Path) -> list[str]:
    """Write a library and its embeddings file, both or neither; return messages for the user.

    Parameters
    ----------
    library
        The library.
    store
        Embeddings; those of entries that are not in the library are dropped. If None or empty, no embeddings file is
        written, and an existing one at its path is removed.
    path
        Path of the library; the embeddings are written to :func:`embeddings_path`.

    Raises
    ------
    LibraryError
        When the files cannot be written.
    """
    embeddings = None if store is None else store.keep([entry.digest for entry in library.entries])
    encoder = embeddings.encoder if embeddings is not None and embeddings.z else ""
    require_folder(path)
    try:
        with atomic_write_all(path, embeddings_path(path)) as (first, second):
            first.write_bytes(library_file.octets_for(replace(library, flows=encoder), path))
            if embeddings is not None and embeddings.z:
                write_store(embeddings, second)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written: {error.strerror or error}") from None
    entries, labels = plural(len(library), "entry", "entries"), plural(len(set(library.labels())), "label")
    lines = [f"{entries} of {labels} written to {path}"]
    if embeddings is not None and embeddings.z:
        file = embeddings_path(path)
        lines.append(f"embedded flows of {len(embeddings):,} of them written to {file}; encoder {encoder}")
    return lines


def read_store(path: Path) -> FlowStore:
    """Read an embeddings file.

    Raises
    ------
    LibraryError
        When the file is missing, damaged or of another format, or holds values that are not finite.
    """
    try:
        file = pyarrow.parquet.ParquetFile(path)
        metadata = _metadata(file, path)
        if file.metadata.num_rows > MAX_FLOWS:
            raise LibraryError(f"{path}: more than {MAX_FLOWS:,} flows")
        table = file.read()
    except FileNotFoundError:
        raise LibraryError(f"{path}: there is no such file") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise LibraryError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    d = int(metadata["d"])
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
    return FlowStore(str(metadata["encoder"]), d, dict(zip(names.tolist(), parts, strict=True)))


def _metadata(file: pyarrow.parquet.ParquetFile, path: Path) -> dict[str, Any]:
    text = (file.schema_arrow.metadata or {}).get(KEY)
    try:
        metadata = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or metadata.get("format") != FLOW_SIDE_FORMAT:
        raise LibraryError(f"{path}: not an embeddings file of a library: no metadata of format {FLOW_SIDE_FORMAT}")
    d = metadata.get("d")
    if not isinstance(d, int) or not 1 <= d <= 1 << 16 or not isinstance(metadata.get("encoder"), str):
        raise LibraryError(f"{path}: invalid metadata")
    return metadata


def load_embeddings(path: Path, library: Library) -> tuple[FlowStore | None, str]:
    """Load the embeddings of a library, and a message if they are missing, unusable or not all used.

    Raises
    ------
    LibraryError
        When the embeddings file is damaged or of another format.
    """
    file = embeddings_path(path)
    if not file.exists():
        return (
            None,
            f"{file} is missing: {path.name} was enrolled with encoder {library.flows}" if library.flows else "",
        )
    store = read_store(file)
    if library.flows and store.encoder != library.flows:
        return None, f"{file} was made with encoder {store.encoder}, but {path.name} was enrolled with {library.flows}"
    own_entries = store.keep([entry.digest for entry in library.entries])
    if not own_entries.z:
        return None, f"{file} belongs to another library: none of its entries is in {path.name}"
    if len(own_entries) < len(store):
        entries = plural(len(store) - len(own_entries), "entry", "entries")
        return own_entries, f"{file} has flows of {entries} not in {path.name}: not used"
    return own_entries, ""


def merged_sides(sides: Sequence[tuple[Path, FlowStore | None]]) -> FlowStore | None:
    """Merge the embeddings of several libraries; for a common entry, the larger set is kept.

    Raises
    ------
    LibraryError
        When the encoders differ.
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
                f"{embeddings_path(path)} was made with encoder {store.encoder}, but "
                f"{embeddings_path(first[0])} with {first[1].encoder}: "
                "embeddings of different encoders cannot be merged; --no-flows leaves them out"
            )
        first = first[0], first[1].merge(store)
    return None if first is None else first[1]
