"""Text fields as columns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from ethogram._arrays import by_unique
from ethogram.io.wire.gather import copy_sets
from ethogram.io.wire.records import Records

__all__ = ["host_names", "octets_of", "texts"]

MOST = 1 << 12  # maximum octets of a text


def octets_of(records: Records, i: int) -> pl.Series:
    """A field as raw octets, one binary row per record.

    Parameters
    ----------
    records
        N records.
    i
        Index of the field.
    """
    offset, length = records.spans(i)
    # The rest would be padding; the limit keeps memory proportional to the received octets.
    length = np.minimum(length, np.int32(MOST))
    ends = np.cumsum(length, dtype=np.int64)
    content = np.empty(int(ends[-1]) if ends.size else 0, np.uint8)
    copy_sets(records.data, offset, length, content)
    bounds = np.concatenate([np.zeros(1, np.int64), ends])
    array = pa.Array.from_buffers(pa.large_binary(), len(records), [None, pa.py_buffer(bounds), pa.py_buffer(content)])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def texts(records: Records, i: int) -> pl.Series:
    """A field as UTF-8 text without padding zeros and blanks; null if empty or invalid.

    Parameters
    ----------
    records
        N records.
    i
        Index of the field.
    """
    octets = octets_of(records, i)
    try:
        text = octets.cast(pl.String)
    except pl.exceptions.ComputeError:  # invalid UTF-8 in some row: decode each row
        text = pl.Series([decoded(value) for value in octets.to_list()], dtype=pl.String)
    # Zeros are padding; after the first one, some exporters leave old buffer content.
    if text.str.contains("\x00", literal=True).any():
        text = text.str.replace(r"(?s)\x00.*$", "")
    text = text.str.strip_chars(" ")
    return text.set(text == "", None)


def decoded(octets: bytes) -> str | None:
    """Decode octets; None if they are not UTF-8."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None


def host_names(records: Records, i: int) -> pl.Series:
    """A field as host name: lower case, without port and final dot; null if invalid."""
    name = texts(records, i)
    if name.null_count() == len(name):
        return name
    return by_unique(name, plain_names)


def plain_names(name: pl.Series) -> pl.Series:
    """Host names without port and final dot; null if invalid."""
    name = name.str.to_lowercase().str.replace(r":\d+$", "").str.strip_chars_end(".")
    return name.set(~name.str.contains(r"^[a-z0-9_]([a-z0-9_.-]{0,252})$"), None)
