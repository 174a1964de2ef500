"""Custom flows on disk: written in bounded blocks, ragged and raw, and read again whatever the file's layout.

The file's metadata names its form, the scaling it is meant for, the direction and the settings it was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow
import pyarrow.parquet

from ethogram._files import atomic_write
from ethogram._version import __version__
from ethogram.config import CustomFlowSettings
from ethogram.errors import InputError
from ethogram.representation.published import is_published, published_flows
from ethogram.representation.vector import SCALING
from ethogram.schema import CUSTOM_FLOW, CUSTOM_FORMAT, Accounting, CustomFlows

__all__ = ["VectorFile", "load_vectors", "write_custom_flows"]

KEY = b"ethogram.custom-flows"
_TEXT = ["device"]  # the only column that repeats enough for a dictionary to pay


class VectorFile:
    """A file of custom flows: our own, or of the published layout.

    Parameters
    ----------
    path
        A Parquet file.

    Attributes
    ----------
    published
        Whether it has the published layout.
    direction
        ``outgoing``, ``bidirectional``, or None where the file does not say.
    accounting
        Over the unit ``custom flows``; complete when the batches end.

    Raises
    ------
    InputError
        When it is no such file, or is made for another scaling or by a later version of the form.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.accounting = Accounting("custom flows")
        if not self.path.exists():
            raise InputError("no such file", file=path)
        self._file = _opened(self.path)
        self.rows = int(self._file.metadata.num_rows)
        self.direction: str | None = None
        names = set(self._file.schema_arrow.names)
        self.published = is_published(names)
        if self.published:
            return
        missing = [name for name in CUSTOM_FLOW.names if name not in names]
        if missing:
            raise InputError(f"Parquet, but no custom_flow table: no column {', '.join(missing)}", file=path)
        metadata = _told(self._file, path)
        self.direction = str(metadata.get("direction")) if "direction" in metadata else None

    def batches(self, rows: int = 1 << 15) -> Iterator[CustomFlows]:
        """Give the flows in batches of at most ``rows``.

        Raises
        ------
        InputError
            When the file is damaged.
        """
        if self.published:
            yield from published_flows(self.path, self.accounting)
            return
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=CUSTOM_FLOW.names):
                flows = CustomFlows.of_arrow(pyarrow.Table.from_batches([batch]), file=self.path)
                self.accounting.read += len(flows)
                self.accounting.used += len(flows)
                yield flows
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(f"damaged Parquet file: {str(error).splitlines()[0]}", file=self.path) from None


def load_vectors(paths: Sequence[str | Path]) -> CustomFlows:
    """All custom flows of some files, packed in memory: about half a kilobyte each.

    Raises
    ------
    InputError
        When one of them holds no custom flows.
    """
    return CustomFlows.concat([flows for path in paths for flows in VectorFile(path).batches()])


def write_custom_flows(path: Path, batches: Iterable[CustomFlows], settings: CustomFlowSettings) -> int:
    """Write custom flows, batch by batch; the file appears only when it is whole.

    Parameters
    ----------
    path
        The Parquet file; its folder exists.
    batches
        Custom flows; each becomes a row group.
    settings
        They were made with; kept in the file.

    Returns
    -------
    int
        Rows written; when there are none, no file is.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    if not path.parent.is_dir():
        raise InputError("cannot be written: no such folder", file=path)
    metadata = {
        "format": CUSTOM_FORMAT,
        "scaling": SCALING,
        "direction": settings.direction,
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings.digest,
        "ethogram": __version__,
    }
    schema = CustomFlows.empty().arrow().schema.with_metadata({KEY: orjson.dumps(metadata)})
    rows = 0
    try:
        with atomic_write(path) as part:
            with pyarrow.parquet.ParquetWriter(
                part, schema, compression="zstd", compression_level=1, use_dictionary=_TEXT, write_statistics=["start"]
            ) as writer:
                for flows in batches:
                    if len(flows):
                        writer.write_table(flows.arrow().cast(schema))
                        rows += len(flows)
            if not rows:
                part.unlink()
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    return rows


def _opened(path: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"not a readable Parquet file: {str(error).splitlines()[0]}", file=path) from None


def _told(file: pyarrow.parquet.ParquetFile, path: str | Path) -> dict[str, object]:
    """What the metadata of a file of ours says."""
    text = (file.schema_arrow.metadata or {}).get(KEY)
    if text is None:
        raise InputError("the columns of custom flows, but no metadata that names form and scaling", file=path)
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or metadata.get("format") != CUSTOM_FORMAT:
        form = metadata.get("format") if isinstance(metadata, dict) else "unreadable metadata"
        raise InputError(f"custom flows of another form: {form!r}, not {CUSTOM_FORMAT!r}", file=path)
    if metadata.get("scaling") != SCALING:
        raise InputError(f"custom flows for scaling {metadata.get('scaling')!r}, not {SCALING!r}", file=path)
    return metadata
