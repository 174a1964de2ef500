"""From a capture to biflows and the names that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ethogram.config import CaptureSettings, MeterSettings
from ethogram.io.capture import CaptureSource, open_capture
from ethogram.meter.biflow import BiflowMeter
from ethogram.schema import NAME_ANSWER, Accounting

__all__ = ["CaptureFlows", "capture_flows"]


class CaptureFlows:
    """The biflows of one capture (:class:`~ethogram.schema.FlowSource`); ``accounting`` is in packets."""

    def __init__(self, source: CaptureSource, meter: BiflowMeter, names: bool) -> None:
        self.name = source.name
        self.source = source
        self.meter = meter
        self.names = names
        self.accounting: Accounting = source.accounting
        self._answers: list[pl.DataFrame] = []

    @property
    def notes(self) -> list[str]:
        """One line for each place where reading had to stop early."""
        return self.source.notes

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give the biflows as they end, then those still live."""
        for batch in self.source.batches():
            ended = self.meter.feed(batch)
            if ended.height:
                yield ended
        rest = self.meter.flush()
        if rest.height:
            yield rest
        self.accounting.correct("evicted flow", self.meter.evicted)

    def name_answers(self) -> pl.DataFrame:
        """DNS answers that were seen; call after the batches."""
        return pl.concat(self._answers) if self._answers else NAME_ANSWER.empty()


def capture_flows(
    path: Path | str, settings: MeterSettings, names: bool = True, capture: CaptureSettings | None = None
) -> CaptureFlows:
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

    Raises
    ------
    InputError
        When there is no such file; while reading, when it is no capture.
    """
    return CaptureFlows(open_capture(path, capture), BiflowMeter(settings), names)
