"""Inputs of any kind to counts: the only loop over flows that fingerprinting, enrolment and identification use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ethogram.config import CountSettings
from ethogram.errors import InputError
from ethogram.fingerprint.count import FLOW_COLUMNS
from ethogram.fingerprint.gather import CodedFlows, Gathering
from ethogram.flow.identity import facts_of_device_names, facts_of_flows, facts_of_named, summed_facts
from ethogram.io.parquet import PARQUET_MAGIC, identity_of, kind_of
from ethogram.pipeline.capture import Listener
from ethogram.pipeline.flows import load_flows, read_flows
from ethogram.pipeline.input_report import InputReport
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog, run_log
from ethogram.pipeline.summary import summary_line
from ethogram.pipeline.text import plural
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.schema import IDENTITY, Accounting, TimeSpan

__all__ = ["CountedFlows", "FlowInputs", "OnFlows", "count_inputs"]

OnFlows = Callable[[pl.DataFrame], None]
"""Called with each batch of flows that is counted, in order."""

FlowInputs = pl.LazyFrame | pl.DataFrame | str | Path | Sequence[str | Path]
"""A flow table, or files of any kind."""

OUTSIDE = "outside the time asked for"
_THREADS = 2  # slices read at once: one alone keeps one core busy
_SLICE = 1 << 20  # flows decoded at once: the engine left alone reads ahead without bound


@dataclass
class CountedFlows:
    """Counts of flows, with the accounting of everything read.

    Parameters
    ----------
    gathering
        Counts per device, hour and service, and their accounting.
    outside
        Flows outside the span.
    reports, stages, skipped
        Accounting by input and by stage; files passed over, with the reason. Empty for a flow table.
    errors
        One line for each input that ended early; what was read before it is kept.
    identity
        Identity facts of the devices that have flows, in the form :data:`ethogram.schema.IDENTITY`: one row per
        ``device`` (as in the flow table and in the counts), ``fact``, ``value`` and ``source``, in that order. ``mac``
        and ``address`` are those that the fact was last seen with. For example, a camera with two addresses has one
        row with the fact ``mac`` and the source ``flows``, two with the fact ``address``, and if its DHCP request was
        captured, one each with ``host_name``, ``dhcp_vendor_class`` and ``dhcp_parameters`` and the source ``DHCP``.
        Of a flow table without stored facts, the MACs and addresses in its columns. Empty for a flow table in memory,
        and under ``identity=False`` in the options.
    notices, identity_lines
        What could not be used of files that name devices; accounting of those files and of identity facts.
    """

    gathering: Gathering
    outside: int = 0
    reports: list[InputReport] = field(default_factory=list)
    stages: dict[str, Accounting] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    identity: pl.DataFrame = field(default_factory=IDENTITY.empty)
    notices: list[str] = field(default_factory=list)
    identity_lines: list[str] = field(default_factory=list)

    @property
    def accounting(self) -> Accounting:
        """Accounting of all flows, those outside the span included."""
        accounting = Accounting("flows")
        accounting.merge(self.gathering.accounting)
        accounting.read += self.outside
        accounting.ignore(OUTSIDE, self.outside)
        accounting.check()
        return accounting

    @property
    def log(self) -> RunLog:
        """What the run has to say."""
        counted = self.accounting
        result = f"{plural(counted.used, 'flow')} counted"
        if self.reports:
            stages = {**self.stages, "count": counted}
            log = run_log(self.reports, stages, self.skipped, result, self.errors)
            log.notices += self.notices
            log.details += [*self.identity_lines, *self.notices]
            return log
        details = [f"flows: {counted.line()}", *self.notices]
        return RunLog(summary_line([counted], [], result), list(self.notices), details, [], self.errors)


def count_inputs(
    inputs: FlowInputs,
    counting: CountSettings,
    options: ReadOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    listener: Listener | None = None,
    column_facts: bool = True,
    on_flows: OnFlows | None = None,
) -> CountedFlows:
    """Count flows batch by batch, so that memory holds counts and not flows.

    Parameters
    ----------
    inputs
        A flow table in memory, or files that :func:`ethogram.pipeline.flows.read_flows` opens. Flow tables on disk are
        read in slices by several threads.
    counting
        Which flows count, and the length of a count's interval.
    options
        How inputs become flows of devices.
    on_progress
        Called with the number of records of each batch.
    listener
        Receives the packets of captures while they are read.
    column_facts
        Of flow tables without identity facts, take those in their columns, which is another pass over these.
    on_flows
        Called with each batch of flows, so that what else is needed of them takes no second reading.

    Raises
    ------
    InputError
        If an input is missing, empty or of unknown format.
    UsageError
        If an option has no effect on any input.
    """
    options = options or ReadOptions()
    if isinstance(inputs, pl.DataFrame | pl.LazyFrame):
        return CountedFlows(*_count_table(inputs.lazy(), counting, options, on_flows=on_flows))
    entries = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    paths = [Path(entry) for entry in entries]
    if all(_is_flow_table(path) for path in paths):
        given = given_options([name for name in options.name_options if name != "--names"], options.flow)
        refuse_unused(given, "a flow table", paths[0], "the 'ethogram flows' that makes it")
        tables = [load_flows(path) for path in paths]
        try:
            counted = CountedFlows(*_count_table(pl.concat(tables), counting, options, on_progress, on_flows))
            if options.identity:
                stored = pl.concat([_facts_of(path, options.span, columns=column_facts) for path in paths])
                names = options.device_names()
                named = names.facts()
                if options.pseudonymiser is not None:  # equal values have equal pseudonyms: facts still find devices
                    stored, named = map(options.pseudonymiser.identity, (stored, named))
                devices = counted.gathering.devices()
                unassigned = stored.filter(pl.col("device").is_null())
                stored = stored.filter(pl.col("device").is_not_null())
                stored = pl.concat([stored, facts_of_device_names(devices, stored)])
                facts = facts_of_named(pl.concat([unassigned, named]), stored, devices)
                counted.identity, counted.notices = summed_facts(pl.concat([stored, facts])), names.notices
            return counted
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"cannot be read: {reason}", file=paths[0] if len(paths) == 1 else None) from None
    run = read_flows(entries, options, on_progress=on_progress, listener=listener)
    gathering = Gathering(counting)
    for batch in run.batches():
        gathering.add(batch)
        if on_flows is not None:
            on_flows(batch)
    outside = sum(stage.ignored[OUTSIDE] for stage in run.stages.values())
    identity = run.identity()
    return CountedFlows(
        gathering, outside, run.reports, run.stages, run.skipped, run.errors, identity, run.notices,
        run.identity_lines,
    )  # fmt: skip


def _facts_of(path: Path, span: TimeSpan, *, columns: bool) -> pl.DataFrame:
    """Identity facts of a flow table: those stored in it, and without any of a device, those in its columns."""
    stored = identity_of(path)
    if stored["device"].is_not_null().any() or not columns:
        return stored
    return pl.concat([stored, facts_of_flows(span.filter(load_flows(path)))])


def _count_table(
    flows: pl.LazyFrame, counting: CountSettings, options: ReadOptions, on_progress: OnProgress | None = None,
    on_flows: OnFlows | None = None,
) -> tuple[Gathering, int]:  # fmt: skip
    """Count a flow table slice by slice; also the number of flows outside the span."""
    rows = int(flows.select(pl.len()).collect().item())
    gathering = Gathering(counting)
    span, pseudonymiser = options.span, options.pseudonymiser

    def read(start: int) -> tuple[CodedFlows, pl.DataFrame | None]:
        part = flows.slice(start, _SLICE)
        if on_flows is None and pseudonymiser is None:
            return gathering.read(span.filter(part.select(FLOW_COLUMNS))), None
        rows = span.filter(part if on_flows is not None else part.select(FLOW_COLUMNS)).collect()
        rows = rows if pseudonymiser is None else pseudonymiser.flows(rows)
        return gathering.read(rows.select(FLOW_COLUMNS)), None if on_flows is None else rows

    def fold(reading: Future[tuple[CodedFlows, pl.DataFrame | None]]) -> None:
        coded, batch = reading.result()
        gathering.fold(coded)  # in order, so that bounds act independently of thread timing
        if on_flows is not None and batch is not None:
            on_flows(batch)
        if on_progress is not None:
            on_progress(min(_SLICE, rows))

    pool = ThreadPoolExecutor(_THREADS)
    pending: deque[Future[tuple[CodedFlows, pl.DataFrame | None]]] = deque()
    try:
        for start in range(0, max(rows, 1), _SLICE):
            pending.append(pool.submit(read, start))
            if len(pending) > _THREADS:
                fold(pending.popleft())
        while pending:
            fold(pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
    return gathering, rows - gathering.accounting.read


def _is_flow_table(path: Path) -> bool:
    """Whether this is one Parquet file that holds a flow table; anything else goes through the readers."""
    try:
        with path.open("rb") as file:
            return file.read(4) == PARQUET_MAGIC and kind_of(path) == "flow"
    except OSError:
        return False
