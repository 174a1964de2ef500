"""Inputs of the public API: paths, or DataFrames of any library that Narwhals knows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ethogram.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from ethogram.identify.labels import Label

__all__ = ["Inputs", "LabelsLike", "as_labels", "as_paths", "as_polars", "labels_file"]

Inputs = Any
"""A path, a DataFrame (Polars, pandas, PyArrow), a table that a function of the API gave, or a sequence of them."""

LabelsLike = Any
"""A label file, a DataFrame with its columns, or a mapping from device to label."""


@runtime_checkable
class Savable(Protocol):
    """A result whose file says more than its columns."""

    def save(self, path: str | Path) -> None:
        """Write the file."""
        ...


def as_polars(frame: Any) -> pl.DataFrame:
    """Convert a DataFrame of any library that Narwhals knows to Polars.

    Raises
    ------
    InputError
        If the object is no DataFrame.
    """
    import narwhals.stable.v2 as nw

    try:
        native = nw.from_native(frame)
    except TypeError:
        raise InputError(f"{type(frame).__name__} is neither a path nor a DataFrame") from None
    eager = native.collect() if isinstance(native, nw.LazyFrame) else native
    return eager.to_polars()


@contextmanager
def as_paths(inputs: Inputs) -> Iterator[list[str | Path]]:
    """Give every input as a path; DataFrames and results are written to a temporary folder, and checked as files are.

    Raises
    ------
    InputError
        If there is no input, or one is neither a path nor a DataFrame.
    """
    several = isinstance(inputs, Sequence) and not isinstance(inputs, str)
    items = list(inputs) if several else [inputs]
    if not items:
        raise InputError("no input")
    with tempfile.TemporaryDirectory(prefix="ethogram-") as folder:
        paths: list[str | Path] = []
        for number, item in enumerate(items, 1):
            if isinstance(item, str | Path):
                paths.append(item)
                continue
            path = Path(folder) / f"dataframe-{number}.parquet"
            if isinstance(item, Savable):
                item.save(path)
            elif hasattr(item, "to_frame") and not hasattr(item, "columns"):
                as_polars(item.to_frame()).write_parquet(path)
            else:
                as_polars(item).write_parquet(path)
            paths.append(path)
        yield paths


def as_labels(labels: LabelsLike) -> list[Label]:
    """Read labels from a file, a DataFrame, or a mapping from device to label."""
    from ethogram.identify.labels import Label, read_labels
    from ethogram.identify.library import Identity

    if isinstance(labels, str | Path):
        return read_labels(labels)
    if isinstance(labels, Mapping):
        return [Label(str(device), Identity(str(label))) for device, label in labels.items()]
    with tempfile.TemporaryDirectory(prefix="ethogram-") as folder:
        return read_labels(labels_file(labels, Path(folder) / "labels.csv"))


def labels_file(labels: LabelsLike, path: Path) -> Path:
    """The label file; a DataFrame, or a mapping from device to label, is written to ``path``."""
    import polars as pl

    if isinstance(labels, str | Path):
        return Path(labels)
    if isinstance(labels, Mapping):
        labels = pl.DataFrame({"device": list(labels), "label": [str(label) for label in labels.values()]})
    as_polars(labels).write_csv(path)
    return path
