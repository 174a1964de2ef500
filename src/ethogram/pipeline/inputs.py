"""Read inputs of any kind as the windows that are enrolled or identified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow
import pyarrow.parquet

from ethogram.config import CountSettings, ExporterSettings
from ethogram.errors import InputError
from ethogram.pipeline.capture import Listener
from ethogram.pipeline.counts import OnFlows, count_inputs
from ethogram.pipeline.fingerprints import windows_from_counts
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.pipeline.windows import ObservedWindows, export_counts, settled_devices
from ethogram.schema import FINGERPRINT, IDENTITY

__all__ = ["COUNTING", "WindowsRead", "is_fingerprints", "read_windows"]

COUNTING = CountSettings(other_protocols=True)
"""How flows are counted for enrolment and identification: the use of ICMP, IGMP and so on is evidence."""


@dataclass
class WindowsRead:
    """Windows read, and what the run has to say.

    Parameters
    ----------
    seen
        The windows.
    log
        Accounting and errors.
    identity
        Identity facts of the devices (:attr:`ethogram.pipeline.counts.CountedFlows.identity`); empty for fingerprints.
    """

    seen: ObservedWindows
    log: RunLog
    identity: pl.DataFrame = field(default_factory=IDENTITY.empty)


def is_fingerprints(path: str | Path) -> bool:
    """Whether a file is a Parquet table of fingerprints."""
    try:
        names = set(pyarrow.parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException):
        return False
    return {"fingerprint", "counts", "status"} <= names


def read_windows(
    inputs: Sequence[str | Path],
    options: ReadOptions | None = None,
    *,
    window_s: int = 86_400,
    export: ExporterSettings | None = None,
    counting: CountSettings = COUNTING,
    on_progress: OnProgress | None = None,
    listener: Listener | None = None,
    on_flows: OnFlows | None = None,
) -> WindowsRead:
    """Read fingerprints, or flows of any kind as windows of ``window_s``.

    Parameters
    ----------
    inputs
        Fingerprint files, or anything that ``ethogram flows`` reads; not both.
    options
        How inputs become flows of devices; of fingerprints, only those inside the span are taken.
    window_s
        Length of the windows that flows are cut into, in seconds.
    export
        Let the fingerprint exporter cut the flows into windows, instead of windows of equal length.
    counting
        How flows are counted.
    on_progress
        Called with the number of records of each batch.
    listener
        Receives the packets of captures while they are read (see :mod:`ethogram.pipeline.embed_stream`).
    on_flows
        Called with each batch of flows; never for fingerprints.

    Raises
    ------
    InputError
        If an input is missing, empty or of unknown format, or if fingerprints and flows are mixed.
    """
    options = options or ReadOptions()
    files = [path for path in inputs if is_fingerprints(path)]
    if files and len(files) < len(inputs):
        raise InputError("fingerprints and flows cannot be read together: identify them one after the other")
    if files:
        given = given_options(options.name_options, options.flow)
        given += ["--pseudonymise"] if options.pseudonymiser is not None else []
        refuse_unused(given, "a file of fingerprints", files[0], "the command that made it")
        frame = pl.concat([FINGERPRINT.conform(pl.read_parquet(path), file=str(path)) for path in files])
        frame = frame.filter(options.span.covers_expr())
        return WindowsRead(ObservedWindows.of_fingerprints(frame), RunLog(f"{frame.height:,} fingerprints read"))
    counted = count_inputs(
        list(inputs), counting, options, on_progress=on_progress, listener=listener, on_flows=on_flows
    )
    counts, log = counted.gathering.counts(), counted.log
    if export is not None:
        fingerprints = ObservedWindows.of_fingerprints(export_counts(counts, export))
        return WindowsRead(fingerprints, log, counted.identity)
    windows = windows_from_counts(counts, window_s)
    if not len(windows) and log.errors:
        raise InputError(f"no flow of a device: {'; '.join(log.errors)}")
    settled = settled_devices(counts)
    status = ["converged" if device in settled else "open" for device in windows.items["device"]]
    return WindowsRead(ObservedWindows(windows, status), log, counted.identity)
