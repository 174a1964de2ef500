"""The verb *vectors*: captures, and files of custom flows, to one table of custom flows.

Memory: that of :mod:`ethogram.pipeline.vector_stream`; a record is half a kilobyte, three at most. Each input is a
stream of its own: its records end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ethogram.config import CaptureSettings, CustomFlowSettings, FlowSettings, PacketFlowSettings
from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.flow.local import LocalNetwork
from ethogram.io.capture import CaptureSource, is_capture, open_capture
from ethogram.io.open import CAPTURE, open_inputs
from ethogram.io.open_files import expand
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.input_report import InputReport
from ethogram.pipeline.packet_files import written_beside
from ethogram.pipeline.pseudonymise import Pseudonymiser
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.pipeline.vector_files import VectorFile, write_custom_flows
from ethogram.pipeline.vector_stream import Block, VectorStream
from ethogram.schema import Accounting, CustomFlows, PacketFlows

__all__ = ["VectorRun", "collect_pairs", "collect_vectors", "read_vectors", "write_vectors"]

PARQUET_MAGIC = b"PAR1"
CUSTOM, PUBLISHED = "custom-flows", "published"


@dataclass(frozen=True)
class VectorInput:
    """One input, of known format and not yet read."""

    path: Path
    format: str


class VectorRun:
    """One reading of inputs, begun by :meth:`batches`; each call of it reads anew.

    Attributes
    ----------
    reports
        One for each input read so far.
    stages
        Accountings of *meter* and *device*, over packets.
    skipped
        Files in directories and globs that are of no format read here, with the reason.
    settings, packets
        Of custom flows, and of packets kept beside them (None: none are).
    pseudonymiser
        Replaces devices and remote addresses; the payload stays until it is written. None: they stay.
    """

    def __init__(
        self,
        inputs: Sequence[VectorInput],
        stream: Callable[[], VectorStream],
        settings: CustomFlowSettings,
        capture: CaptureSettings,
        on_progress: Callable[[int], None] | None = None,
        skipped: Sequence[tuple[str, str]] = (),
        packets: PacketFlowSettings | None = None,
        pseudonymiser: Pseudonymiser | None = None,
    ) -> None:
        self.pseudonymiser = pseudonymiser
        self._inputs = inputs
        self._make_stream = stream
        self._capture = capture
        self._on_progress = on_progress
        self.settings = settings
        self.packets = packets
        self.skipped = list(skipped)
        self._reset()

    def _reset(self) -> None:
        self.reports: list[InputReport] = []
        self._stream = self._make_stream()

    @property
    def rows(self) -> int:
        """Custom flows given so far."""
        return self._stream.rows

    @property
    def stages(self) -> dict[str, Accounting]:
        """Accountings of the stages after reading captures, by name."""
        return self._stream.stages

    @property
    def errors(self) -> list[str]:
        """One line for each place where an input ended early."""
        return [line for report in self.reports for line in report.errors]

    def batches(self) -> Iterator[CustomFlows]:
        """Give custom flows in batches, each in the order in which they began.

        Raises
        ------
        InputError
            When the inputs hold nothing at all, or no custom flow.
        """
        for flows, _ in self._batches():
            yield flows

    def pairs(self) -> Iterator[tuple[CustomFlows, PacketFlows]]:
        """Give custom flows as :meth:`batches` does, and beside each batch the packets of both directions, row by row.

        Raises
        ------
        InputError
            As :meth:`batches`.
        ConfigurationError
            When the run was opened without settings of packets.
        """
        if self.packets is None:
            raise ConfigurationError("packets of both directions were not asked for: give read_vectors their settings")
        for flows, packets in self._batches():
            assert packets is not None
            yield flows, packets

    def _batches(self) -> Iterator[Block]:
        """Custom flows and their packets.

        Raises
        ------
        InputError
            When the inputs hold nothing at all, or no custom flow.
        """
        self._reset()
        for flows, packets in self._read():
            yield (flows if self.pseudonymiser is None else self.pseudonymiser.custom_flows(flows)), packets
        self._check()

    def _read(self) -> Iterator[Block]:
        for given in self._inputs:
            if given.format == CAPTURE:
                yield from self._of_capture(given)
            else:
                yield from map(self._stream.within, self._of_file(given))
        yield from self._stream.rest()

    def _of_capture(self, given: VectorInput) -> Iterator[Block]:
        """Blocks of one capture; damage ends the input, not the run, unless strict."""
        source: CaptureSource = open_capture(given.path, self._capture)
        report = InputReport(source.name, given.format, source.accounting)
        self.reports.append(report)
        try:
            for batch in source.batches():
                yield from self._stream.feed(batch)
                if self._on_progress is not None:
                    self._on_progress(len(batch))
        except InputError as error:
            if self._capture.strict:
                raise
            report.errors.append(str(error))
        report.errors += source.notes
        yield from self._stream.end()

    def _of_file(self, given: VectorInput) -> Iterator[CustomFlows]:
        """Custom flows of a file, ours or published; only flows of the same direction go together."""
        file = VectorFile(given.path)
        report = InputReport(file.name, given.format, file.accounting)
        self.reports.append(report)
        if file.direction not in {None, self.settings.direction}:
            raise InputError(
                f"{file.direction} flows, but {self.settings.direction} ones are asked for", file=given.path
            )
        try:
            for flows in file.batches():
                if self._on_progress is not None:
                    self._on_progress(int(flows.packets.sum()))
                yield flows
        except InputError as error:
            if self._capture.strict:
                raise
            report.errors.append(str(error))

    def _check(self) -> None:
        """Hold the sums, and refuse inputs that gave nothing: an empty file would look like a silent network."""
        for accounting in (*(report.accounting for report in self.reports), *self.stages.values()):
            accounting.check()
        if self.rows:
            return
        name = self.reports[0].name if len(self.reports) == 1 else None
        if not any(report.accounting.read for report in self.reports):
            raise InputError(
                "; ".join(self.errors) or "no packets and no custom flows", file=None if self.errors else name
            )
        why = "; ".join(accounting.line() for accounting in self.stages.values() if accounting.read)
        why = why or "; ".join(report.accounting.line() for report in self.reports)
        hint = ""
        if self._stream.outside:
            hint = " (--local says what is inside, --devices names devices)"
        raise InputError(f"no custom flow of a device: {why}{hint}", file=name)


def read_vectors(
    inputs: Sequence[str | Path],
    options: ReadOptions | None = None,
    *,
    settings: CustomFlowSettings | None = None,
    capture: CaptureSettings | None = None,
    packets: PacketFlowSettings | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> VectorRun:
    """Open captures, and files of custom flows, to be read as one; nothing is read before :meth:`VectorRun.batches`.

    Parameters
    ----------
    inputs
        Files, directories and globs. In directories and globs, files of another format are passed over and named in
        ``skipped``.
    options
        Which addresses are devices, and the span of a flow's first packet; None: the defaults.
    settings
        Direction, interval, what is kept of packets, and bounds.
    capture
        The reader's settings; under ``strict`` damage is an error.
    packets
        Keep the packets of both directions beside outgoing flows (:meth:`VectorRun.pairs`); the custom flows are the
        same with and without. Of captures alone.
    on_progress
        Called with the number of packets of each batch.

    Raises
    ------
    InputError
        When an input is missing, empty, or holds no packets, such as a file of flow records.
    ConfigurationError
        When the device file or a prefix is wrong, or packets are asked for beside bidirectional flows.
    UsageError
        When packets are to be pseudonymised.

    Examples
    --------
    >>> run = read_vectors(["day.pcap"])  # doctest: +SKIP
    >>> flows = collect_vectors(run)  # doctest: +SKIP
    """
    options = options or ReadOptions()
    settings, flow = settings or CustomFlowSettings(), options.flow or FlowSettings()
    LocalNetwork(flow.local)  # a wrong prefix is said before anything is read
    if packets is not None and settings.direction != "outgoing":
        raise ConfigurationError("setting direction: packets are kept beside outgoing flows alone")
    if packets is not None and options.pseudonymiser is not None:
        raise UsageError("packets cannot be pseudonymised: leave out --packets-output or --pseudonymise")
    names = DeviceNames.load(options.devices, options.devices_only)
    opened: list[VectorInput] = []
    skipped: list[tuple[str, str]] = []
    for path, by_user in expand(inputs):
        try:
            opened.append(VectorInput(path, _format_of(path, flow)))
            if packets is not None and opened[-1].format != CAPTURE:
                del opened[-1]
                raise InputError("custom flows without packets: packets need a capture", file=path)
        except InputError as error:
            if by_user:
                raise
            skipped.append((str(path), error.reason))
    if not opened:
        raise InputError("no captures there", file=str(inputs[0]) if len(inputs) == 1 else None)
    if all(each.format != CAPTURE for each in opened):
        made_by = "the 'ethogram vectors' that made it"
        given = given_options(options.name_options, flow)
        refuse_unused(given, "a file of custom flows", opened[0].path, made_by)

    def stream() -> VectorStream:
        return VectorStream(settings, flow, names, options.span, packets)

    return VectorRun(
        opened, stream, settings, capture or CaptureSettings(), on_progress, skipped, packets, options.pseudonymiser
    )


def _format_of(path: Path, flow: FlowSettings) -> str:
    """Kind of an input; flow records have no packets and are refused with the name of their format."""
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise InputError(error.strerror or str(error), file=path) from None
    if not magic:
        raise InputError("empty file", file=path)
    if magic == PARQUET_MAGIC:
        return PUBLISHED if VectorFile(path).published else CUSTOM
    formats = [candidate.format for candidate in open_inputs(path, flow, is_capture) if candidate.passed_over is None]
    if CAPTURE not in formats:
        raise InputError(f"flow records ({formats[0]}): custom flows need the packets of a capture", file=path)
    return CAPTURE


def collect_vectors(run: VectorRun) -> CustomFlows:
    """All custom flows of a run in memory."""
    return CustomFlows.concat(list(run.batches()))


def collect_pairs(run: VectorRun) -> tuple[CustomFlows, PacketFlows]:
    """All custom flows of a run in memory, and beside them the packets of both directions, row by row."""
    flows, packets = zip(*run.pairs(), strict=True)
    return CustomFlows.concat(flows), PacketFlows.concat(packets)


def write_vectors(run: VectorRun, path: Path, packets: Path | None = None) -> int:
    """Write the custom flows of a run to Parquet, batch by batch; a file appears only when it is whole.

    Parameters
    ----------
    run
        Not yet begun.
    path
        Of the custom flows.
    packets
        Where to write the packets of both directions, row by row the same flows; None: nowhere.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        When a file cannot be written, or the inputs hold no custom flow.
    ConfigurationError
        When packets are to be written and the run was opened without their settings.
    """
    if packets is None:
        batches = run.batches()
        if run.pseudonymiser is not None:
            batches = map(run.pseudonymiser.without_payload, batches)
        return write_custom_flows(path, batches, run.settings)
    if run.packets is None:
        raise ConfigurationError("packets of both directions were not asked for: give read_vectors their settings")
    with written_beside(packets, run.packets) as beside:
        return write_custom_flows(path, beside(run.pairs()), run.settings)
