"""Packets of both directions on disk, beside the custom flows whose packets they are: as many rows, the same order.

The file's metadata names its form and the settings it was made with. Which custom flows it belongs to it does not
need to say: what the device sent stands in both files, and is compared when they are read together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pyarrow
import pyarrow.parquet

from ethogram._files import atomic_write
from ethogram._version import __version__
from ethogram.config import PacketFlowSettings
from ethogram.errors import InputError
from ethogram.schema import PACKET_FLOW, PACKET_FORMAT, CustomFlows, PacketFlows

__all__ = ["PacketFile", "load_packets", "written_beside"]

KEY = b"ethogram.packet-flows"

Pairs = Iterable[tuple[CustomFlows, PacketFlows]]


class PacketFile:
    """A file of packets beside custom flows.

    Parameters
    ----------
    path
        A Parquet file.

    Attributes
    ----------
    rows
        Flows in it.
    settings
        What was kept of packets.

    Raises
    ------
    InputError
        When it is no such file, or of a later version of the form.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError("no such file", file=path)
        try:
            self._file = pyarrow.parquet.ParquetFile(self.path)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(f"not a readable Parquet file: {str(error).splitlines()[0]}", file=path) from None
        schema = self._file.schema_arrow
        missing = [name for name in PACKET_FLOW.names if name not in schema.names]
        if missing:
            raise InputError(f"Parquet, but no packet_flow table: no column {', '.join(missing)}", file=path)
        try:
            metadata = orjson.loads((schema.metadata or {}).get(KEY, b"null"))
        except orjson.JSONDecodeError:
            metadata = None
        if not isinstance(metadata, dict) or metadata.get("format") != PACKET_FORMAT:
            form = metadata.get("format") if isinstance(metadata, dict) else "no readable metadata"
            raise InputError(f"packets of another form: {form!r}, not {PACKET_FORMAT!r}", file=path)
        self.rows = int(self._file.metadata.num_rows)
        self.settings: dict[str, object] = metadata.get("settings") or {}

    def batches(self, rows: int = 1 << 14) -> Iterator[PacketFlows]:
        """Give the flows in batches of at most ``rows``.

        Raises
        ------
        InputError
            When the file is damaged.
        """
        read = 0
        try:
            for batch in self._file.iter_batches(batch_size=rows, columns=PACKET_FLOW.names):
                read += batch.num_rows
                yield PacketFlows.of_arrow(pyarrow.Table.from_batches([batch]), file=self.path)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise InputError(f"damaged Parquet file: {str(error).splitlines()[0]}", file=self.path) from None
        if read != self.rows:
            raise InputError(f"damaged Parquet file: {read:,} rows, not {self.rows:,}", file=self.path)


def load_packets(path: str | Path, flows: CustomFlows | None = None) -> PacketFlows:
    """All packets of a file.

    Parameters
    ----------
    path
        The file.
    flows
        The custom flows it belongs to; when they are given, it is held that it does.

    Raises
    ------
    InputError
        When the file has no packets of flows, or packets of other flows.
    """
    packets = PacketFlows.concat(list(PacketFile(path).batches()))
    if flows is not None:
        packets.check_beside(flows, file=path)
    return packets


@contextmanager
def written_beside(path: Path, settings: PacketFlowSettings) -> Iterator[Callable[[Pairs], Iterator[CustomFlows]]]:
    """Write packets while their custom flows go by; the file appears at the end, when it is whole and not empty.

    Parameters
    ----------
    path
        The Parquet file; its folder exists.
    settings
        What was kept of packets; stands in the file.

    Yields
    ------
    A function that takes batches of flows and packets, writes the packets, and gives the flows.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    if not path.parent.is_dir():
        raise InputError("cannot be written: no such folder", file=path)
    metadata = {
        "format": PACKET_FORMAT,
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings.digest,
        "ethogram": __version__,
    }
    schema = PacketFlows.empty().arrow().schema.with_metadata({KEY: orjson.dumps(metadata)})
    rows = 0

    def passing(pairs: Pairs) -> Iterator[CustomFlows]:
        nonlocal rows
        for flows, packets in pairs:
            if len(packets):
                try:
                    writer.write_table(packets.arrow().cast(schema))
                except OSError as error:
                    raise _unwritten(path, error) from None
                rows += len(packets)
            yield flows

    try:
        with atomic_write(path) as part:
            with pyarrow.parquet.ParquetWriter(
                part, schema, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False
            ) as writer:
                yield passing
            if not rows:
                part.unlink()
    except OSError as error:
        raise _unwritten(path, error) from None


def _unwritten(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot be written: {error.strerror or error}", file=path)
