"""Parquet files that contain a biflow table or a flow table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import orjson
import polars as pl
import pyarrow
import pyarrow.parquet

from ethogram.errors import InputError
from ethogram.io.record_reader import RecordReader, to_biflows, to_flows
from ethogram.schema import BIFLOW, FLOW, IDENTITY, Accounting, Table

__all__ = ["IDENTITY_KEY", "PARQUET_MAGIC", "BiflowParquetReader", "FlowParquetReader", "identity_of",
           "identity_text", "kind_of", "parse_identity"]  # fmt: skip

PARQUET_MAGIC = b"PAR1"
BATCH_ROWS = 1 << 18
IDENTITY_KEY = "ethogram.identity"
"""Key of the metadata of a flow table under which identity facts of its devices are stored."""
MAX_FACTS = 1 << 16


def _opened(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"not a readable Parquet file: {str(error).splitlines()[0]}", file=path) from None


def kind_of(path: Path) -> Literal["flow", "biflow"]:
    """Kind of table in a Parquet file.

    Raises
    ------
    InputError
        If it is neither; the message names the missing columns.
    """
    names = set(_opened(path).schema_arrow.names)
    missing: dict[str, list[str]] = {}
    for table in (FLOW, BIFLOW):
        missing[table.name] = [c.name for c in table.columns if not c.nullable and c.name not in names]
    if not missing["flow"]:
        return "flow"
    if not missing["biflow"]:
        return "biflow"
    nearest = min(missing, key=lambda name: len(missing[name]))
    raise InputError(f"not a {nearest} table: the Parquet file has no column {', '.join(missing[nearest])}", file=path)


def identity_text(facts: pl.DataFrame) -> str:
    """Identity facts (:data:`ethogram.schema.IDENTITY`) as JSON, column by column; at most 65,536 rows.

    >>> row = {"device": "cam", "fact": "host_name", "value": "cam", "source": "DHCP", "times": 1}
    >>> facts = pl.DataFrame([row])
    >>> identity_text(IDENTITY.conform(facts))[:36]
    '{"device":["cam"],"mac":[null],"addr'
    """
    frame = facts.head(MAX_FACTS).with_columns(pl.col("first", "last").dt.epoch("us"), pl.col("fact").cast(pl.String))
    return orjson.dumps(frame.to_dict(as_series=False)).decode()


def identity_of(path: Path) -> pl.DataFrame:
    """Identity facts stored in a flow table (:data:`ethogram.schema.IDENTITY`); empty if it has none.

    Raises
    ------
    InputError
        If they are damaged, or the file is no Parquet file.
    """
    return parse_identity((_opened(path).metadata.metadata or {}).get(IDENTITY_KEY.encode()), path)


def parse_identity(stored: bytes | str | None, path: Path) -> pl.DataFrame:
    """The facts of :func:`identity_text`; empty for None.

    Raises
    ------
    InputError
        If they are damaged; names the file.
    """
    if stored is None:
        return IDENTITY.empty()
    try:
        types: dict[str, pl.DataType] = {"first": pl.Int64(), "last": pl.Int64(), "fact": pl.String()}
        frame = pl.DataFrame(orjson.loads(stored), schema={**IDENTITY.schema, **types})
        frame = frame.with_columns(pl.col("first", "last").cast(pl.Datetime("us", "UTC")))
        if frame.select(pl.any_horizontal(pl.col("fact", "value", "source", "times").is_null()).any()).item():
            raise InputError("damaged identity facts: a required value is missing", file=path)
        return IDENTITY.conform(frame, file=str(path))
    except (orjson.JSONDecodeError, pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        raise InputError("damaged identity facts: not what 'ethogram flows' writes", file=path) from None


def _frame(batch: pyarrow.RecordBatch) -> pl.DataFrame:
    """Convert to Polars. The batch is validated and schema metadata is dropped, since Polars assumes valid UTF-8."""
    batch.validate(full=True)
    fields = [pyarrow.field(field.name, field.type) for field in batch.schema if str(field.type)]
    return pl.DataFrame(pl.from_arrow(pyarrow.RecordBatch.from_arrays(batch.columns, schema=pyarrow.schema(fields))))


def _batches(path: Path, table: Table) -> Iterator[tuple[pl.DataFrame, range]]:
    """Yield the columns of a table as stored in the file, with row numbers from 1."""
    file = _opened(path)
    columns = [name for name in table.names if name in file.schema_arrow.names]
    first = 1
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            frame = _frame(batch)
            yield frame, range(first, first + frame.height)
            first += frame.height
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"damaged Parquet file: {str(error).splitlines()[0]}", file=path) from None


class BiflowParquetReader(RecordReader):
    """Reader of a biflow table; cells are checked like those of text formats."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables of bounded length."""
        for frame, rows in _batches(self._path, BIFLOW):
            yield to_biflows(frame.to_dict(), self, rows)


class FlowParquetReader(RecordReader):
    """Reader of a flow table, which needs no orientation."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.accounting = Accounting("flows")
        self._path = path

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield flow tables of bounded length."""
        for frame, rows in _batches(self._path, FLOW):
            yield to_flows(frame.to_dict(), self, rows)

    def identity_facts(self) -> pl.DataFrame:
        """Identity facts stored in the file, with their devices."""
        return identity_of(self._path)
