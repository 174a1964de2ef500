"""Results of the public API: tables that can be converted, and what the run has to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ethogram._text import json_text
from ethogram.pipeline.run_log import RunLog
from ethogram.schema import IDENTITY

if TYPE_CHECKING:
    from ethogram.config import CustomFlowSettings
    from ethogram.pipeline.fingerprints import FingerprintRun
    from ethogram.representation.encoder import Header
    from ethogram.schema import CustomFlows

__all__ = ["CustomFlowTable", "Embeddings", "EncoderFiles", "Fingerprints", "FlowTable"]


@dataclass(frozen=True, eq=False)
class _Table:
    """A table with its accounting.

    Parameters
    ----------
    frame
        The rows.
    log
        Accounting and errors of the run; see :class:`ethogram.pipeline.run_log.RunLog`.
    """

    frame: pl.DataFrame
    log: RunLog = field(default_factory=RunLog, repr=False)

    def __len__(self) -> int:
        return self.frame.height

    def to_frame(self) -> pl.DataFrame:
        """The table as a Polars DataFrame; ``.to_pandas()`` and ``.to_arrow()`` convert it further."""
        return self.frame

    def to_dict(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [_plain(row) for row in self.frame.iter_rows(named=True)]

    def to_json(self) -> str:
        """The rows as a JSON array."""
        return json_text(self.to_dict())


@dataclass(frozen=True, eq=False)
class FlowTable(_Table):
    """Flows of devices; columns in docs/reference/flow-table.md.

    Parameters
    ----------
    identity
        Identity facts of the devices (:data:`ethogram.schema.IDENTITY`).
    """

    identity: pl.DataFrame = field(default_factory=IDENTITY.empty, repr=False)


@dataclass(frozen=True, eq=False)
class CustomFlowTable(_Table):
    """One-minute custom flows; columns in docs/reference/custom-flow.md."""

    flows: CustomFlows | None = field(default=None, repr=False)
    settings: CustomFlowSettings | None = field(default=None, repr=False)

    def save(self, path: str | Path) -> None:
        """Write them to Parquet, as ``ethogram vectors`` does."""
        from ethogram.pipeline.vector_files import write_custom_flows

        assert self.flows is not None
        assert self.settings is not None
        write_custom_flows(Path(path), [self.flows], self.settings)


@dataclass(frozen=True, eq=False)
class Embeddings(_Table):
    """Embedded flows: key, totals, and the embedding as a fixed-size list of ``dimensions`` numbers.

    Parameters
    ----------
    encoder
        Digest of the encoder.
    dimensions
        Length of an embedding.
    """

    encoder: str = ""
    dimensions: int = 0


@dataclass(frozen=True, eq=False)
class Fingerprints(_Table):
    """Exported fingerprints; columns in :data:`ethogram.schema.FINGERPRINT`."""

    run: FingerprintRun | None = field(default=None, repr=False)

    def save(self, path: str | Path) -> None:
        """Write them to Parquet, as ``ethogram fingerprint`` does."""
        from ethogram.pipeline.fingerprints import write_fingerprints

        assert self.run is not None
        write_fingerprints(self.run, path)


@dataclass(frozen=True)
class EncoderFiles:
    """A trained encoder on disk.

    Parameters
    ----------
    path
        Its folder, which ``embed`` and ``identify`` take as an encoder.
    headers
        One for each seed.
    chosen
        Index of the seed that is the encoder.
    notes
        Lines on the data and the split.
    """

    path: Path
    headers: Sequence[Header]
    chosen: int
    notes: Sequence[str] = ()

    @property
    def header(self) -> Header:
        """Of the encoder."""
        return self.headers[self.chosen]

    def to_dict(self) -> dict[str, Any]:
        """The model file as plain data."""
        import orjson

        return dict(orjson.loads((self.path / "model.json").read_bytes()))

    def to_json(self) -> str:
        """The model file as JSON."""
        return json_text(self.to_dict(), indent=True)

    def to_frame(self) -> pl.DataFrame:
        """Training curves: one row for each seed and pass."""
        rows = [{"seed": header.seed, **row} for header in self.headers for row in header.curves]
        return pl.DataFrame(rows, infer_schema_length=None)


def _plain(value: Any) -> Any:
    """Values that JSON knows: times as ISO 8601 text, durations as seconds."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    return value
