"""From a capture to biflows and the names that were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import polars as pl

from ethogram._address_text import AddressText
from ethogram.config import CaptureSettings, MeterSettings
from ethogram.flow.devices import Namer
from ethogram.io.capture import CaptureSource, open_capture
from ethogram.io.dns import DNS, read_answers, read_questions
from ethogram.io.identity.packets import PacketFacts
from ethogram.meter.biflow import BiflowMeter
from ethogram.meter.mirrored import mirrored
from ethogram.schema import NAME_ANSWER, NAME_QUESTION, Accounting, FlowSource, PacketBatch

__all__ = ["CaptureFlows", "Listener", "capture_flows"]

MAX_ANSWERS = 1 << 21  # kept of one capture: some 200 MiB


class Listener(Protocol):
    """A second consumer of the packets of captures that are read for their flows."""

    def feed(self, batch: PacketBatch) -> None:
        """Take packets, in the order of the capture; they are not to be changed."""
        ...

    def end(self) -> None:
        """A capture has ended, whole or not."""
        ...

    def name_devices(self, namer: Namer) -> None:
        """Assign devices to the packets received so far, as the flow table does; called after each of its blocks."""
        ...


class CaptureFlows(FlowSource):
    """The biflows of one capture.

    Attributes
    ----------
    accounting
        In packets; complete when the batches end.
    dns
        Counts of DNS responses, their answers, and what of them could not be read.
    """

    def __init__(
        self, source: CaptureSource, meter: BiflowMeter, names: bool, listener: Listener | None = None,
        *, identity: bool = False,
    ) -> None:  # fmt: skip
        self.name = source.name
        self.source = source
        self.meter = meter
        self.names = names
        self._listener = listener
        self._facts = PacketFacts() if identity else None
        self.accounting: Accounting = source.accounting
        self.dns: Counter[str] = Counter()
        self._text = AddressText()
        self._answers: list[pl.DataFrame] = []
        self._kept = 0
        self._questions: list[pl.DataFrame] = []
        self._asked = 0

    @property
    def notes(self) -> list[str]:
        """One line for each place where reading had to stop early."""
        return self.source.notes

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give the biflows as they end, then those still live."""
        copies = 0
        for batch in self._packets():
            copies += mirrored(batch)
            if self.names and bool((batch.source_port == DNS).any()):
                self._read_names(batch)
                self._read_questions(batch)
            if self._facts is not None:
                self._facts.feed(batch)
            ended = self.meter.feed(batch)
            if ended.height:
                yield ended
        rest = self.meter.flush()
        if rest.height:
            yield rest
        self.accounting.correct("evicted flow", self.meter.evicted)
        self.accounting.correct("counted though equal to a packet just before: mirrored twice?", copies)
        self.accounting.correct("clock went back inside a flow", self.meter.set_back)
        if self._facts is not None:
            self._facts.feed_frames(self.source.link_messages)
            self.accounting.correct("messages of identity facts left out", self._facts.left_out)

    def _packets(self) -> Iterator[PacketBatch]:
        """The packets, heard by the listener, too: each is decoded once."""
        if self._listener is None:
            yield from self.source.batches()
            return
        try:
            for batch in self.source.batches():
                self._listener.feed(batch)
                yield batch
        finally:
            self._listener.end()

    def _read_names(self, batch: PacketBatch) -> None:
        """Keep the DNS answers of a batch, up to a bound."""
        answers = read_answers(batch)
        self.dns.update({reason: count for reason, count in answers.counts.items() if count})
        if not answers.row.size:
            return
        frame = pl.DataFrame(
            {
                "time": pl.Series(batch.time_ns[answers.row] // 1000).cast(NAME_ANSWER.schema["time"]),
                "client": self._text(
                    batch.version[answers.row], batch.destination_high[answers.row], batch.destination_low[answers.row]
                ),
                "address": self._text(answers.version, answers.high, answers.low),
                "name": answers.name,
                "ttl_s": pl.Series(answers.ttl_s),
            }
        )
        room = MAX_ANSWERS - self._kept
        if frame.height > room:
            self.accounting.correct("name answer left out", frame.height - room)
            frame = frame.head(room)
        self._kept += frame.height
        self._answers.append(NAME_ANSWER.conform(frame))

    def _read_questions(self, batch: PacketBatch) -> None:
        """Keep what was asked for, up to a bound; what one port asks again within a minute is kept once."""
        asked = read_questions(batch)
        if not asked.row.size:
            return
        high, low = batch.destination_high[asked.row], batch.destination_low[asked.row]
        version = batch.version[asked.row]
        frame = pl.DataFrame(
            {
                "time": pl.Series(batch.time_ns[asked.row] // 1000).cast(NAME_QUESTION.schema["time"]),
                "client": self._text(version, high, low),
                "client_port": pl.Series(batch.destination_port[asked.row]),
                "server": self._text(version, batch.source_high[asked.row], batch.source_low[asked.row]),
                "name": asked.name,
            }
        ).with_columns(minute=pl.col("time").dt.truncate("1m"))
        frame = frame.unique(["minute", "client", "client_port", "server", "name"], keep="last", maintain_order=True)
        room = MAX_ANSWERS - self._asked
        if frame.height > room:
            self.accounting.correct("name question left out", frame.height - room)
            frame = frame.head(room)
        self._asked += frame.height
        self._questions.append(NAME_QUESTION.conform(frame))

    def name_answers(self) -> pl.DataFrame:
        """DNS answers that were seen; call after the batches."""
        return pl.concat(self._answers) if self._answers else NAME_ANSWER.empty()

    def name_questions(self) -> pl.DataFrame:
        """Names that were asked for (:data:`ethogram.schema.NAME_QUESTION`); call after the batches."""
        return pl.concat(self._questions) if self._questions else NAME_QUESTION.empty()

    def identity_facts(self) -> pl.DataFrame:
        """What devices say of themselves (:data:`ethogram.schema.IDENTITY`); call after the batches."""
        return super().identity_facts() if self._facts is None else self._facts.table()


def capture_flows(
    path: Path | str, settings: MeterSettings, names: bool = True, capture: CaptureSettings | None = None,
    listener: Listener | None = None, *, identity: bool = False,
) -> CaptureFlows:  # fmt: skip
    """Open a capture to be metered.

    Parameters
    ----------
    path
        A pcap or pcapng file, plain, gzipped or zipped.
    settings
        The meter's settings.
    names
        Whether DNS answers in the capture are read.
    capture
        The reader's settings.
    listener
        Hears the packets, too.
    identity
        Whether to read what devices say of themselves (:mod:`ethogram.io.identity`).

    Raises
    ------
    InputError
        When there is no such file; while reading, when it is no capture.
    """
    meter = BiflowMeter(settings)
    return CaptureFlows(open_capture(path, capture), meter, names, listener, identity=identity)
