"""What a command was given to the windows that are enrolled or identified: fingerprints, a flow table, or anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow
import pyarrow.parquet

from ethogram.config import CountSettings, ExporterSettings, FlowSettings
from ethogram.errors import InputError
from ethogram.fingerprint.gather import Gathering
from ethogram.pipeline.capture import Listener
from ethogram.pipeline.flows import InputReport, read_flows
from ethogram.pipeline.identify import STABLE, ObservedWindows, export_counts
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.schema import FINGERPRINT, Accounting

__all__ = ["COUNTING", "WindowsRead", "is_fingerprints", "read_counts", "read_windows"]

COUNTING = CountSettings(other_protocols=True)
"""How flows are counted to be enrolled and identified: which of ICMP, IGMP and so on a device uses tells something."""

MOST_LINES = 20
"""More inputs are told of together; what ended early is told of one by one."""


@dataclass
class WindowsRead:
    """What was seen, and what is to be said about it.

    Parameters
    ----------
    seen
        The windows.
    notes
        Lines for people: accounting of every stage.
    errors
        One line for each input that ended early; what was read before it is kept.
    """

    seen: ObservedWindows
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def is_fingerprints(path: str | Path) -> bool:
    """Whether a file is a Parquet table of fingerprints."""
    try:
        names = set(pyarrow.parquet.read_schema(path).names)
    except (OSError, pyarrow.ArrowException):
        return False
    return {"fingerprint", "counts", "status"} <= names


def read_windows(
    inputs: Sequence[str | Path],
    *,
    window_s: int = 86_400,
    devices: Path | None = None,
    flow_settings: FlowSettings | None = None,
    count_settings: CountSettings | None = None,
    time_from: datetime | None = None,
    time_to: datetime | None = None,
    on_progress: Callable[[int], None] | None = None,
    export: ExporterSettings | None = None,
    listener: Listener | None = None,
) -> WindowsRead:
    """Read fingerprints, or flows of any kind as windows of ``window_s``.

    Parameters
    ----------
    inputs
        Fingerprint files, or anything that ``ethogram flows`` reads; not both.
    window_s
        Length of the windows that flows are cut into, in seconds.
    devices, flow_settings, count_settings
        As for :func:`ethogram.pipeline.flows.read_flows` and counting.
    time_from, time_to
        Only fingerprints that lie in this span, or flows that begin in it.
    on_progress
        Called with the number of biflows of each batch.
    export
        Let the fingerprint exporter cut the flows into windows, instead of windows of equal length.
    listener
        Hears the packets of captures while they are read (see :mod:`ethogram.pipeline.embed_stream`).

    Raises
    ------
    InputError
        When an input is missing, empty or of no known format, or fingerprints and flows are mixed.
    """
    files = [path for path in inputs if is_fingerprints(path)]
    if files and len(files) < len(inputs):
        raise InputError("fingerprints and flows cannot be read together: identify them one after the other")
    if files:
        refuse_unused(
            given_options(devices, flow_settings), "a file of fingerprints", files[0], "the command that made it"
        )
        frame = pl.concat([FINGERPRINT.conform(pl.read_parquet(path), file=str(path)) for path in files])
        frame = frame.filter(
            *([] if time_from is None else [pl.col("start") >= time_from]),
            *([] if time_to is None else [pl.col("end") <= time_to]),
        )
        return WindowsRead(ObservedWindows.of_fingerprints(frame), [f"{frame.height:,} fingerprints read"])
    counts, notes, errors = read_counts(
        inputs, devices=devices, flow_settings=flow_settings, count_settings=count_settings, time_from=time_from,
        time_to=time_to, on_progress=on_progress, listener=listener,
    )  # fmt: skip
    exported = export_counts(counts, export)
    if export is not None:
        return WindowsRead(ObservedWindows.of_fingerprints(exported), notes, errors)
    seen = ObservedWindows.of_counts(counts, window_s)
    if not len(seen.windows) and errors:
        raise InputError(f"no flow of a device: {'; '.join(errors)}")
    settled = set(exported.filter(pl.col("status").cast(pl.String).is_in(STABLE))["device"])
    status = ["converged" if device in settled else "open" for device in seen.windows.items["device"]]
    return WindowsRead(ObservedWindows(seen.windows, status), notes, errors)


def read_counts(
    inputs: Sequence[str | Path],
    *,
    devices: Path | None = None,
    flow_settings: FlowSettings | None = None,
    count_settings: CountSettings | None = None,
    time_from: datetime | None = None,
    time_to: datetime | None = None,
    on_progress: Callable[[int], None] | None = None,
    listener: Listener | None = None,
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Count flows of any kind, batch by batch, so that memory holds counts and not flows.

    Returns
    -------
    counts, notes, errors
        Form :data:`ethogram.schema.COUNTS`; accounting lines; inputs that ended early.
    """
    chosen = count_settings or COUNTING
    run = read_flows(
        inputs, devices=devices, settings=flow_settings, time_from=time_from, time_to=time_to, on_progress=on_progress,
        listener=listener,
    )  # fmt: skip
    gathering = Gathering(chosen)
    for batch in run.batches():
        gathering.add(batch)
    counts = gathering.counts()
    notes = [f"count: {gathering.accounting.line()}"] if gathering.accounting.read else []
    lines = _read_lines(run.reports)
    lines += [f"{name}: passed over: {reason}" for name, reason in run.skipped]
    lines += [f"{name}: {accounting.line()}" for name, accounting in run.stages.items()]
    return counts, lines + notes, run.errors


def _read_lines(reports: Sequence[InputReport]) -> list[str]:
    """A line for each input; where there are many, one for each format."""
    if len(reports) <= MOST_LINES:
        return [f"{report.name} ({report.format}): {report.accounting.line()}" for report in reports]
    sums: dict[tuple[str, str], Accounting] = {}
    for report in reports:
        kind = report.format, report.accounting.unit
        sums.setdefault(kind, Accounting(report.accounting.unit)).merge(report.accounting)
    formats = Counter(report.format for report in reports)
    return [f"{formats[form]:,} inputs ({form}): {total.line()}" for (form, _), total in sums.items()]
