"""The flow side of a library on disk, and captures to the embeddings of the items that are enrolled or identified.

Beside ``home.jsonl.gz`` stands ``home.flows.parquet``: one row per embedded flow, with its entry's digest. It is read
as numbers alone, and its metadata names the form, the encoder's digest and its width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from ethogram.config import CustomFlowSettings, FlowSettings
from ethogram.errors import InputError, LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.library import Library
from ethogram.pipeline.representations import PACKAGED, open_embedding
from ethogram.pipeline.vectors import read_vectors
from ethogram.representation.inference import OnnxEncoder
from ethogram.schema import Windows

__all__ = ["FLOW_SIDE_FORMAT", "Embedded", "beside", "digests_of", "embed_items", "encoder_for", "enrol_flows",
           "flows_for", "read_store", "write_store"]  # fmt: skip

FLOW_SIDE_FORMAT = "ethogram.flow-side/1"
KEY = b"ethogram.flow-side"
MAX_FLOWS = 1 << 24
MOST = 200
"""Flows of an item whose embeddings are kept, drawn evenly by a fixed seed."""


def beside(library: Path) -> Path:
    """Where the flow side of a library stands.

    >>> beside(Path("home.jsonl.gz")).name
    'home.flows.parquet'
    """
    name = library.name
    for suffix in (".gz", ".jsonl"):
        name = name.removesuffix(suffix)
    return library.with_name(f"{name}.flows.parquet")


def write_store(store: FlowStore, path: Path) -> None:
    """Write it, whole or not at all; one without entries is removed."""
    if not store.z:
        path.unlink(missing_ok=True)
        return
    order = sorted(store.z)
    entry = pyarrow.array(np.repeat(order, [len(store.z[digest]) for digest in order]))
    numbers = np.concatenate([store.z[digest] for digest in order]).reshape(-1)
    z = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers), store.d)
    told = orjson.dumps({"format": FLOW_SIDE_FORMAT, "encoder": store.encoder, "d": store.d})
    table = pyarrow.table({"entry": entry, "z": z}).replace_schema_metadata({KEY: told})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pyarrow.parquet.write_table(table, part, compression="zstd", use_dictionary=["entry"])
        part.replace(path)
    except OSError as error:
        raise LibraryError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


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


def encoder_for(model: Path | None) -> OnnxEncoder | None:
    """The encoder a user names, else the packaged one; None where that or what runs it is not installed."""
    if model is None and (not PACKAGED.exists() or find_spec("onnxruntime") is None):
        return None
    return open_embedding(model, threads=1)


@dataclass(frozen=True)
class Embedded:
    """Embedded flows of some inputs: device, time and embedding of each, and what is to be said about reading them."""

    device: pl.Series
    start_us: NDArray[np.int64]
    z: NDArray[np.float32]
    encoder: str
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def of(self, windows: Windows, most: int = MOST) -> FlowWindows:
        """The flows of each item: those of its device that begin in its window; at most so many."""
        flows = pl.DataFrame({"device": self.device, "at": self.start_us}).with_row_index("row").sort("at")
        items = windows.items.select(
            "item", "device", begin=pl.col("start").dt.epoch("us"), end=pl.col("end").dt.epoch("us")
        ).sort("begin")
        found = flows.join_asof(
            items, left_on="at", right_on="begin", by="device", strategy="backward", check_sortedness=False
        ).filter(pl.col("item").is_not_null() & (pl.col("at") <= pl.col("end")))
        rows = found["row"].to_numpy().astype(np.int64)
        whole = FlowWindows(self.z[rows], found["item"].to_numpy().astype(np.int64), len(windows))
        return whole.capped(most)


def embed_items(
    inputs: Sequence[str | Path],
    encoder: OnnxEncoder,
    *,
    devices: Path | None = None,
    flow: FlowSettings | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Embedded | None:
    """Embed the custom flows of captures; None when the inputs hold no packets, as flow records do.

    Parameters
    ----------
    inputs
        Captures, or files of custom flows.
    encoder
        See :func:`encoder_for`.
    devices, flow, on_progress
        As for :func:`ethogram.pipeline.vectors.read_vectors`.
    """
    direction = encoder.header.data.get("direction") or "outgoing"
    names, starts, parts = [], [], []
    try:
        run = read_vectors(inputs, devices=devices, settings=CustomFlowSettings.of(direction=direction), flow=flow,
                           on_progress=on_progress)  # fmt: skip
        for flows in run.batches():
            names.append(flows.device)
            starts.append(flows.start_us)
            parts.append(encoder.embed(flows))
    except InputError:
        # Flow records, or captures without IPv4 from a device: fingerprints stand alone, and say so.
        return None
    device = pl.concat(names) if names else pl.Series("device", [], dtype=pl.String)
    z = np.concatenate(parts) if parts else np.zeros((0, encoder.header.d), np.float32)
    start = np.concatenate(starts) if starts else np.zeros(0, np.int64)
    return Embedded(device, start, z, encoder.digest, [f"{len(z):,} custom flows embedded"], run.errors)


def digests_of(library: Library, windows: Windows) -> list[str | None]:
    """The entry that each item became, by device and window; None where it was not enrolled."""
    known = {(o.device, o.start, o.end): entry.digest for entry in library.entries for o in entry.observed}
    return [known.get(row) for row in windows.items.select("device", "start", "end").iter_rows()]


def enrol_flows(
    inputs: Sequence[str | Path], windows: Windows, library: Library, output: Path, *, extend: Path | None = None,
    model: Path | None = None, devices: Path | None = None, flow: FlowSettings | None = None,
) -> list[str]:  # fmt: skip
    """Embed the flows of what was enrolled and write them beside the library; returns lines for people.

    Parameters
    ----------
    inputs, devices, flow
        As they were read for the library.
    windows
        What was seen.
    library, output
        What was enrolled, and where it is written.
    extend
        A library whose flow side is added to.
    model
        The encoder; without one the packaged, where there is one.
    """
    encoder = encoder_for(model)
    before = beside(extend) if extend is not None else None
    store = read_store(before) if before is not None and before.exists() else None
    kept = [entry.digest for entry in library.entries]
    if encoder is None:
        write_store(store.keep(kept) if store is not None else FlowStore("", 1), beside(output))
        return []
    store = store or FlowStore(encoder.digest, encoder.header.d)
    found = embed_items(inputs, encoder, devices=devices, flow=flow)
    if found is None:
        if model is not None:
            raise InputError("no custom flow of a device: an encoder needs the packets of captures")
        lines = []
    else:
        own = FlowStore.of(encoder.digest, found.of(windows), digests_of(library, windows))
        store = own.merge(store)
        lines = [*found.notes, f"flows of {len(own):,} entries written to {beside(output)}"]
    write_store(store.keep(kept), beside(output))
    return lines


def flows_for(
    inputs: Sequence[str | Path], windows: Windows, library: Path, model: Path | None = None, *,
    devices: Path | None = None, flow: FlowSettings | None = None,
) -> tuple[FlowStore | None, FlowWindows | None, str]:  # fmt: skip
    """A library's flow side and the embedded flows of items, where both are there; and a line that says what is used.

    Raises
    ------
    LibraryError
        When an encoder is named that is not the one the flow side was made with.
    """
    path = beside(library)
    if not path.exists():
        if model is not None:
            raise LibraryError(f"{library}: has no flow side ({path.name}): enrol captures with --encoder")
        return None, None, ""
    store = read_store(path)
    encoder = encoder_for(model)
    if encoder is None or encoder.digest != store.encoder:
        if model is not None and encoder is not None:
            raise LibraryError(f"{path}: of encoder {store.encoder}, not {encoder.digest}: name it, or enrol anew")
        return None, None, f"fingerprints alone: {path.name} is of encoder {store.encoder}; --encoder names it"
    found = embed_items(inputs, encoder, devices=devices, flow=flow)
    if found is None:
        return None, None, "fingerprints alone: the input has no packets to make custom flows of"
    items = found.of(windows)
    have = int((items.flows > 0).sum())
    said = f"fingerprints and embeddings: {have:,} of {len(items):,} items have custom flows; encoder {store.encoder}"
    return store, items, said
