"""The verb *flows*: captures and flow records of any kind to one flow table.

Memory: a block of ``block_flows`` records, what the stages hold (:mod:`ethogram.pipeline.stages`), and the meter's live
flows. Ties of the service side and shared MACs are judged on the blocks read so far, and an answer names what is read
with it or after it: an input of one block is judged whole.
"""

from __future__ import annotations

import zoneinfo
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet

from ethogram._files import atomic_write
from ethogram.config import CaptureSettings, FlowSettings, MeterSettings
from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.flow.local import LocalNetwork
from ethogram.flow.repeats import Repeats
from ethogram.io.capture import is_capture
from ethogram.io.open import CAPTURE, FLOW_TABLE, MAPPED, Input, join_exports, open_inputs
from ethogram.io.open_files import expand
from ethogram.io.parquet import IDENTITY_KEY, identity_text, kind_of
from ethogram.pipeline.capture import Listener, capture_flows
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.input_report import InputReport
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.resolver_logs import ResolverLogs
from ethogram.pipeline.stages import FlowStages
from ethogram.pipeline.text import plural
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.schema import BIFLOW, FLOW, FLOW_METADATA, Accounting, FlowSource

__all__ = ["FlowRun", "collect", "load_flows", "read_flows", "write_flows"]


class FlowRun:
    """One reading of inputs, begun by :meth:`batches`; each call of it reads anew.

    Attributes
    ----------
    reports
        One for each input read so far.
    stages
        Accountings of *repeats*, *twins*, *join*, *pair* and *orient*.
    skipped
        Files in directories and globs that are of no known format, with the reason.
    rows
        Rows of the flow table given so far.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        names: DeviceNames,
        options: ReadOptions | None = None,
        *,
        on_progress: Callable[[int], None] | None = None,
        listener: Listener | None = None,
        skipped: Sequence[tuple[str, str]] = (),
        unused: Sequence[str] = (),
        logs: ResolverLogs | None = None,
    ) -> None:
        options = options or ReadOptions()
        self._inputs = inputs
        self.names = names
        self.logs = logs or ResolverLogs()
        self._settings = options.flow or FlowSettings()
        self._meter = options.meter or MeterSettings()
        self._span = options.span
        self._strict = options.strict
        self._on_progress = on_progress
        self._listener = listener
        self._unused = unused
        self._identity = options.identity
        self._pseudonymiser = options.pseudonymiser
        self.skipped = list(skipped)
        self._reset()

    def _reset(self) -> None:
        settings = self._settings
        self.reports: list[InputReport] = []
        self.rows = 0
        self._arrived_us: int | None = 0  # when what waits had arrived; None: unknown, 0: nothing waits
        self._table: pl.DataFrame | None = None
        several = sum(opened.format != FLOW_TABLE for opened in self._inputs) > 1
        self._repeats = Repeats() if several else None
        self._repeated = 0
        self._namer = self.names.namer(settings)
        self._stages = FlowStages(
            settings, self._namer, self._meter.active_timeout_s, self._span, identity=self._identity
        )
        self._stages.learn_logs(self.logs.answers, self.logs.questions)

    @property
    def stages(self) -> dict[str, Accounting]:
        """Accountings of the stages after reading, by name, in order; those that saw nothing are left out."""
        repeats = {} if self._repeats is None else {"repeats": self._repeats.accounting}
        counted = {name: accounting for name, accounting in repeats.items() if accounting.corrected}
        return counted | self._stages.accountings

    def identity(self) -> pl.DataFrame:
        """Identity facts of the devices with flows (:data:`ethogram.schema.IDENTITY`); call after the batches."""
        if self._table is None:
            self._stages.learn_facts(self.names.facts())
            facts = self._stages.identity()
            self._table = facts if self._pseudonymiser is None else self._pseudonymiser.identity(facts)
        return self._table

    @property
    def notices(self) -> list[str]:
        """Lines for the user about files that name devices, and about resolver logs."""
        return self.names.notices + self.logs.notices

    @property
    def identity_lines(self) -> list[str]:
        """Lines on files that name devices, and on identity facts; call after :meth:`identity`."""
        lines = [f"{report.name} ({report.format}): {report.accounting.line()}" for report in self.names.reports]
        lines += self.logs.lines
        facts = self.identity()
        if facts.height:
            left_out = "".join(f", {reason} {count:,}" for reason, count in self._stages.identity_counts.items())
            lines.append(f"identity: {plural(facts.height, 'fact')} of {plural(facts['device'].n_unique(), 'device')}"
                         f"{left_out}")  # fmt: skip
        return lines

    @property
    def errors(self) -> list[str]:
        """One line for each place where an input, or a capture in it, ended early."""
        return [line for report in self.reports for line in report.errors]

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give the flow table (:data:`ethogram.schema.FLOW`) in batches, each in order of start.

        Raises
        ------
        InputError
            When the inputs hold nothing at all; under ``strict``, at the first record that cannot be used.
        """
        self._reset()
        waiting: list[pl.DataFrame] = []
        rows = 0
        for opened in self._inputs:
            if opened.format == FLOW_TABLE:
                yield from map(self._given, self._pass_through(opened))
                continue
            source = self._source(opened)
            # A source that was cut where a live run cut it gives whole blocks, and so the flows of that run.
            whole = source.whole_blocks
            if self._repeats is not None:
                self._repeats.next_input()
            self._repeated = 0
            for batch in self._read(opened, source):
                if whole and waiting:
                    yield self._block(waiting, source)
                    rows = 0
                waiting.append(self._said(batch, source))
                self._note_arrival(source.arrived_us)
                rows += batch.height
                if whole or rows >= self._settings.block_flows:
                    yield self._block(waiting, source)
                    rows = 0
            if self._repeated:
                repeats = plural(self._repeated, "record")
                self.reports[-1].notes.append(f"{repeats} also in an earlier input, counted again; leave out copies")
            self._stages.learn_names(source)
            self._stages.learn_identity(source)
        rest = pl.concat(waiting or [BIFLOW.empty()])
        yield self._given(self._flows(rest, self._arrived_us or None, last=True))
        self._check()

    def _block(self, waiting: list[pl.DataFrame], source: FlowSource) -> pl.DataFrame:
        """The flows of all waiting records; none wait afterwards."""
        self._stages.learn_names(source)
        block = pl.concat(waiting)
        waiting.clear()
        arrived_us, self._arrived_us = self._arrived_us, 0
        return self._given(self._flows(block, arrived_us))

    def _flows(self, block: pl.DataFrame, arrived_us: int | None, *, last: bool = False) -> pl.DataFrame:
        """The flows of a block; a listener then names its packets with what the block taught about devices."""
        flows = self._stages.flows(block, arrived_us, last=last)
        if self._listener is not None:
            namer, pseudonymiser = self._namer, self._pseudonymiser
            self._listener.name_devices(namer if pseudonymiser is None else pseudonymiser.namer(namer))
        return flows

    def _note_arrival(self, arrived_us: int | None) -> None:
        """What waits had arrived by the latest arrival of its batches; unknown when that of one is."""
        known = self._arrived_us
        self._arrived_us = None if known is None or arrived_us is None else max(known, arrived_us)

    def _said(self, batch: pl.DataFrame, source: FlowSource) -> pl.DataFrame:
        """New records, each of which says whether its other direction is a record of its own."""
        if self._repeats is not None:
            self._repeated += self._repeats.count(batch)
        return self._stages.mark_one_way(batch, unidirectional=source.unidirectional)

    def _given(self, frame: pl.DataFrame) -> pl.DataFrame:
        self.rows += frame.height
        return frame if self._pseudonymiser is None else self._pseudonymiser.flows(frame)

    def _source(self, opened: Input) -> FlowSource:
        if opened.format == CAPTURE or opened.source is None:
            named, capture = self._settings.names.enabled, CaptureSettings(strict=self._strict)
            return capture_flows(
                opened.path, self._meter, named, capture, self._listener, identity=self._identity
            )
        return opened.source()

    def _read(self, opened: Input, source: FlowSource) -> Iterator[pl.DataFrame]:
        """Batches of one input; damage ends the input, not the run, unless strict."""
        report = InputReport(opened.name, opened.format, source.accounting)
        self.reports.append(report)
        try:
            for batch in source.batches():
                if self._on_progress is not None:
                    self._on_progress(batch.height)
                self._raise_if_strict(source)
                yield batch
            self._raise_if_strict(source)
        except InputError as error:
            if self._strict:
                raise
            report.errors.append(str(error))
        finally:
            problem = source.first_problem
            report.first_problem = problem and str(InputError(problem[1], file=source.name, line=problem[0]))
            report.nothing = source.empty_reason
            notes = list(source.notes)
            if opened.format == CAPTURE:  # a capture's notes are the places where it is damaged
                report.errors += notes
            else:
                report.notes = notes
            if opened.format == FLOW_TABLE and self._unused:
                report.notes.append(f"no effect on a flow table: {', '.join(self._unused)}")

    def _raise_if_strict(self, source: FlowSource) -> None:
        """Under ``strict``, stop at the first record, or field of a record, that could not be read."""
        problems = [problem for problem in (source.first_problem, source.first_unreadable) if problem is not None]
        if self._strict and problems:
            line, reason = min(problems)
            raise InputError(reason, file=source.name, line=line)

    def _pass_through(self, opened: Input) -> Iterator[pl.DataFrame]:
        """A flow table stays as it is, but for the time asked for."""
        assert opened.source is not None
        source = opened.source()
        named = True
        if self._identity:
            self._stages.learn_identity(source)
            named = bool(source.identity_facts()["device"].is_not_null().any())
        for batch in self._read(opened, source):
            inside = self._span.filter(batch)
            if not named:  # a table of the collector
                self._stages.learn_table(inside)
            source.accounting.used -= batch.height - inside.height
            source.accounting.ignore("outside the time asked for", batch.height - inside.height)
            yield inside

    def _check(self) -> None:
        """Hold the sums, and refuse inputs that gave nothing: an empty table would look like a silent network."""
        for accounting in (*(report.accounting for report in self.reports), *self.stages.values()):
            accounting.check()
        if not any(report.accounting.read for report in self.reports) and not self.errors:
            names = self.reports[0].name if len(self.reports) == 1 else None
            nothing = "no packets and no flow records in it" if names else "no packets and no flow records"
            reasons = "; ".join(report.nothing for report in self.reports if report.nothing)
            raise InputError(nothing + (f": {reasons}" if reasons else ""), file=names)
        problem = next((report.first_problem for report in self.reports if report.first_problem), None)
        if problem is not None and not any(report.accounting.used for report in self.reports):
            raise InputError(f"no record can be used; the first: {problem}")
        read = [report for report in self.reports if report.format != FLOW_TABLE]
        if read and len(read) == len(self.reports) and not self.errors:
            self._check_used(read)

    @staticmethod
    def _check_used(reports: Sequence[InputReport]) -> None:
        """Say why none of what was read can be used: an unknown link type, other logs, ARP alone."""
        if any(report.accounting.used for report in reports):
            return
        reasons: Counter[str] = Counter()
        for report in reports:
            reasons.update(report.accounting.ignored)
            reasons.update(report.accounting.dropped)
        unit = reports[0].accounting.unit if len({report.accounting.unit for report in reports}) == 1 else "inputs"
        counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        name = reports[0].name if len(reports) == 1 else None
        raise InputError(f"none of the {unit} can be used: {counts}", file=name)


def read_flows(
    inputs: Sequence[str | Path],
    options: ReadOptions | None = None,
    *,
    format: str | None = None,  # noqa: A002 (the word of the command line)
    mapping: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
    listener: Listener | None = None,
) -> FlowRun:
    """Open inputs of any kind to be read as one flow table; nothing is read before :meth:`FlowRun.batches`.

    Parameters
    ----------
    inputs
        Files, directories and globs; captures and records may be mixed. In directories and globs, files of unknown
        format are passed over and named in ``skipped``.
    options
        How inputs become flows of devices; None: the defaults.
    format
        Format of all inputs, instead of detecting it by content.
    mapping
        Mapping file for CSV.
    on_progress
        Called with the number of biflows of each batch.
    listener
        Receives the packets of captures while they are read: one reading serves two.

    Raises
    ------
    InputError
        When an input is missing, empty, or of unknown format.
    ConfigurationError
        When a file that names devices, or a mapping, is wrong.

    Examples
    --------
    >>> run = read_flows(["day.pcap", "conn.log"])  # doctest: +SKIP
    >>> table = collect(run)  # doctest: +SKIP
    """
    options = options or ReadOptions()
    settings, meter = options.flow or FlowSettings(), options.meter or MeterSettings()
    LocalNetwork(settings.local)  # a wrong prefix is said before anything is read
    try:
        zoneinfo.ZoneInfo(settings.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(f"setting time_zone: {settings.time_zone!r} is no time zone") from None
    device_names = options.device_names()
    logs = ResolverLogs.load(options.dns_logs, settings.time_zone, names=settings.names.enabled)
    opened: list[Input] = []
    skipped: list[tuple[str, str]] = []
    for path, by_user in expand(inputs):
        try:
            for candidate in open_inputs(path, settings, is_capture, form=format, mapping=mapping, named=by_user):
                if candidate.passed_over is None:
                    opened.append(candidate)
                else:
                    skipped.append((candidate.name, candidate.passed_over))
        except InputError as error:
            if by_user:
                raise
            skipped.append((str(path), error.reason))
    if not opened:
        why = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise InputError(f"no file of a known format{why}", file=str(inputs[0]) if len(inputs) == 1 else None)
    if mapping is not None and all(candidate.format != MAPPED for candidate in opened):
        raise UsageError(f"--mapping {mapping}: no input is read through it; {opened[0].name} is {opened[0].format}")
    unused = given_options(options.name_options, settings, meter)
    if all(candidate.format == FLOW_TABLE for candidate in opened):
        refuse_unused(unused, "a flow table", opened[0].name, "the 'ethogram flows' that makes it")

    opened = join_exports(opened, settings)
    return FlowRun(
        opened, device_names, options, on_progress=on_progress, listener=listener, skipped=skipped, unused=unused,
        logs=logs,
    )  # fmt: skip


def collect(run: FlowRun) -> pl.DataFrame:
    """The whole flow table of a run in memory, in order of start."""
    return pl.concat([FLOW.empty(), *run.batches()]).sort("start", maintain_order=True)


def write_flows(run: FlowRun, path: Path) -> int:
    """Write the flow table of a run to Parquet, batch by batch; the file appears only when it is whole.

    Returns
    -------
    int
        Rows written.
    """
    if not path.parent.is_dir():
        raise InputError("cannot be written: no such folder", file=path)
    try:
        schema = _arrow(FLOW.empty()).schema.with_metadata(FLOW_METADATA)
        with atomic_write(path) as part, pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in run.batches():
                if batch.height:
                    writer.write_table(_arrow(batch).cast(schema))
            facts = run.identity()
            if facts.height:
                writer.add_key_value_metadata({IDENTITY_KEY: identity_text(facts)})
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None
    return run.rows


def _arrow(frame: pl.DataFrame) -> pyarrow.Table:
    # Enums go out as plain text with a dictionary: any Parquet reader knows that.
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def load_flows(path: str | Path) -> pl.LazyFrame:
    """A flow table on disk, read when it is needed.

    Raises
    ------
    InputError
        When the file is missing, or is no flow table.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", file=path)
    if kind_of(path) != "flow":
        raise InputError("a biflow table: 'ethogram flows' makes a flow table of it", file=path)
    lazy = pl.scan_parquet(path)
    present = set(lazy.collect_schema().names())
    return lazy.select(
        pl.col(c.name).cast(c.dtype) if c.name in present else pl.lit(None, dtype=c.dtype).alias(c.name)
        for c in FLOW.columns
    )
