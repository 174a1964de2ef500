"""Read exports on disk as flow records: find messages, group them into blocks, decode them, convert to biflows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.config import FlowSettings, WireSettings
from ethogram.errors import InputError
from ethogram.io.capture import is_capture
from ethogram.io.compressed import first_octets
from ethogram.io.wire import datagram_file
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.blocks import blocks_of
from ethogram.io.wire.capture_export import CaptureExport
from ethogram.io.wire.datagram_file import DatagramFile
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.identity_elements import IdentityElements, summed_statements
from ethogram.io.wire.ipfix_file import IpfixFile
from ethogram.io.wire.no_records import explain_no_records
from ethogram.io.wire.recording import HEAD_OCTETS, is_recording, settings_of
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.templates import TAKEN_OVER
from ethogram.schema import IDENTITY, Accounting, DatagramBatch, DatagramSource, Exporter, FlowSource

__all__ = ["ExportFiles", "ExportReader", "read_exports", "read_ipfix_file", "sniff"]

MOST_TABLES = 64
"""Tables of identity facts after which they are summed up."""


class ExportFiles:
    """Captures of an export, recordings and raw datagrams, read in sequence as one source of messages.

    Exporters keep their templates from file to file, as in the original stream.

    Parameters
    ----------
    paths
        Files in order of time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self.accounting = Accounting("messages")
        self.others: Counter[str] = Counter()
        self._paths = paths

    def datagrams(self) -> Iterator[DatagramBatch]:
        """Yield the messages of all files.

        Raises
        ------
        InputError
            After the last message, if a file was damaged; names the first one.
        """
        exporters: list[Exporter] = []
        damage: list[InputError] = []
        for path in self._paths:
            try:
                source = self._source(path, exporters)
                try:
                    yield from source.datagrams()
                finally:
                    self._count(source.accounting)
                    if isinstance(source, CaptureExport):
                        self.others += source.others
            except InputError as error:
                damage.append(error)
        if len(damage) == 1:
            raise damage[0]
        if damage:
            raise InputError(f"{damage[0].reason} ({len(damage) - 1} more files are damaged)", file=damage[0].file,
                             offset=damage[0].offset)  # fmt: skip

    @staticmethod
    def _source(path: Path, exporters: list[Exporter]) -> DatagramSource:
        head = first_octets(path, HEAD_OCTETS, may_be_export)
        if is_capture(head):
            return CaptureExport(path, exporters=exporters)
        if head[:2] == b"\0\x0a":
            return IpfixFile(path, address=str(path.parent), exporters=exporters)
        if head[:2] in (b"\0\x05", b"\0\x09"):
            return DatagramFile(path, exporters=exporters)
        raise InputError("neither a capture nor export messages", file=path)

    def _count(self, accounting: Accounting) -> None:
        """Count packets of a capture as messages."""
        accounting.unit = self.accounting.unit
        self.accounting.merge(accounting)


class ExportReader(FlowSource):
    """Flow records of a source of export messages (:class:`~ethogram.schema.FlowSource`).

    Parameters
    ----------
    datagrams
        The messages.
    settings
        Of decoding.
    by_time
        Whether messages are cut into blocks by the clock, as live. Files have no time of arrival, and the templates
        of one are not those of the next.

    Attributes
    ----------
    decoder, biflows
        What decodes, and what makes biflows: their counters, events and metadata.
    """

    unidirectional = True  # most exporters send one record for each direction

    def __init__(
        self, datagrams: DatagramSource, settings: WireSettings | None = None, *, by_time: bool = True
    ) -> None:
        self.name = datagrams.name
        self.accounting = Accounting("records")
        self._datagrams = datagrams
        self._settings = settings or WireSettings()
        self._by_time = by_time
        self.decoder = Decoder(self._settings)
        self.decoder.sequence = Sequences()
        self.biflows = Biflows(self._settings)
        self.identity = IdentityElements(self.decoder.store)
        self._facts = [IDENTITY.empty()]

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of messages.

        Raises
        ------
        InputError
            Where a file is damaged; what came before was given.
        """
        try:
            for block in self._blocks():
                yield self._decode(block)
            late = self.biflows.batch(self.decoder.finish())
            if late.height:
                yield late
        finally:
            self._count()

    def _blocks(self) -> Iterator[DatagramBatch]:
        if self._by_time:
            yield from blocks_of(self._datagrams.datagrams(), self._settings)
            return
        session: Exporter | None = None
        for batch in self._datagrams.datagrams():
            now = batch.exporters[int(batch.exporter[0])]
            if session is not None and session != now:
                self.decoder.end_session(session)
            session = now
            yield batch

    def _decode(self, block: DatagramBatch) -> pl.DataFrame:
        records = self.decoder.decode(block)
        facts = self.identity.learn(records)
        if facts.height:
            self._facts.append(facts)
        if len(self._facts) > MOST_TABLES:
            self._facts = [self.identity_facts()]
        frame = self.biflows.batch(records)
        on_disk = any(block.exporters[number].transport == "file" for number in np.unique(block.exporter))
        self.arrived_us = None if on_disk else int(block.arrival_ns.max()) // 1000
        self._count()
        return frame

    def _count(self) -> None:
        """Records the decoder gave and biflows took, in one sum."""
        total = Accounting("records")
        total.merge(self.biflows.accounting)
        decoded = self.decoder.records
        total.read = decoded.read
        total.ignored.update(decoded.ignored)
        total.dropped.update(decoded.dropped)
        total.corrected.update(decoded.corrected)
        self.accounting.__dict__.update(total.__dict__)

    def identity_facts(self) -> pl.DataFrame:
        """What records state about devices (:class:`~ethogram.io.wire.identity_elements.IdentityElements`)."""
        return summed_statements(self._facts)

    @property
    def notes(self) -> list[str]:
        """One line for each kind of loss before the records."""
        lines = [
            accounting.line()
            for accounting in (self._datagrams.accounting, self.decoder.accounting, self.decoder.sets)
            if accounting.dropped or accounting.corrected or accounting.ignored
        ]
        sequence = self.decoder.sequence
        if sequence is not None and sequence.totals.gaps:
            lines.append(f"sequence numbers show {sequence.totals.gaps:,} records or messages that never arrived")
        for what in ("evicted", "expired", TAKEN_OVER):
            count = self.decoder.store.counters[what]
            if count:
                lines.append(f"{count:,} templates were {what}")
        return lines

    @property
    def empty_reason(self) -> str:
        """Why there are no records, if there are none."""
        others = self._datagrams.others if isinstance(self._datagrams, ExportFiles) else Counter[str]()
        return "" if self.accounting.used else explain_no_records(self._datagrams.accounting, others, self.decoder)


def sniff(head: bytes) -> bool:
    """Whether a file that begins so holds nothing but an export: a recording, or NetFlow messages."""
    return is_recording(head) or datagram_file.sniff(head)


def may_be_export(head: bytes) -> bool:
    """Whether a file with this head may contain an export: a capture, or messages of a known version."""
    return is_capture(head) or head[:2] in {b"\0\x05", b"\0\x09", b"\0\x0a"}


def read_exports(paths: Sequence[Path], _: FlowSettings) -> ExportReader:
    """Read captures of an export, recordings, and raw datagrams as one stream; a recording is decoded as live."""
    head = first_octets(paths[0], HEAD_OCTETS, may_be_export)
    source = ExportReader(ExportFiles(paths), settings_of(head))
    source.whole_blocks = is_recording(head)
    return source


def read_ipfix_file(paths: Sequence[Path], _: FlowSettings) -> ExportReader:
    """Read an IPFIX file."""
    return ExportReader(IpfixFile(paths[0]), by_time=False)


SOURCES: dict[str, Callable[[Sequence[Path], FlowSettings], ExportReader]] = {
    "exports": read_exports,
    "ipfix": read_ipfix_file,
}
