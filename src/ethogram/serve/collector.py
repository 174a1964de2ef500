"""Live collector: messages from the network to flow tables and fingerprints on disk, with every loss counted.

Receivers put messages into a bounded queue and never wait. One thread takes them out, groups them into blocks, decodes
them and makes flows; another counts and writes the flows. Blocks and segments end by arrival time, even if nothing
arrives, so that a recording gives the same blocks again.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from ethogram._files import write_bytes
from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, WireSettings
from ethogram.errors import EthogramError, InputError
from ethogram.io.receive.address import Listen
from ethogram.io.receive.queue import Exporters, MessageQueue, SessionEnd
from ethogram.io.receive.tcp import TcpReceiver
from ethogram.io.receive.udp import UdpReceiver
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.blocks import Blocks
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.export_reader import ExportReader
from ethogram.io.wire.identity_elements import IdentityElements
from ethogram.io.wire.recording import Recording
from ethogram.io.wire.records import Records
from ethogram.io.wire.sequence import Sequences
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.stage_state import StageMemory
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import Accounting, DatagramBatch
from ethogram.serve.counters import Counters
from ethogram.serve.output import Output
from ethogram.serve.state import CollectorState
from ethogram.serve.warm_up import warm_up

__all__ = ["Collector", "CollectorSettings"]

TEMPLATES, COUNTERS = "state/templates", "counters.json"
TAKE_S = 0.1
TASKS = 1  # blocks of flows that can wait for the writer thread
CLOCK_GRACE_NS = 200_000_000  # receivers queue messages at least this often


@dataclass(frozen=True)
class CollectorSettings:
    """Settings of all stages of a collector."""

    wire: WireSettings = field(default_factory=WireSettings)
    collect: CollectSettings = field(default_factory=CollectSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    exporter: ExporterSettings = field(default_factory=ExporterSettings)
    counting: CountSettings = field(default_factory=CountSettings)
    active_timeout_s: float = 1800.0


class Collector:
    """Collects from the network until stopped.

    Parameters
    ----------
    listen
        Listen addresses.
    folder
        Folder for ``flows``, ``fingerprints``, ``state`` and ``counters.json``. An existing collector folder is
        resumed: nothing in it is counted twice.
    settings
        Settings of all stages.
    devices
        Device file; without one, every internal address is a device.
    devices_only
        Only the devices that the device file names are devices.
    record
        Folder in which all received messages are recorded.
    tls
        TLS context for ``tls`` addresses.

    Attributes
    ----------
    counters
        All counters.
    failure
        Unexpected exception that ended a thread.
    problems
        Parts of an earlier run that could not be used.
    taken
        Messages taken out of the queue and decoded, by the accounting that counts their arrival.

    Examples
    --------
    >>> collector = Collector([Listen.parse("udp://127.0.0.1:0")], Path("collected"))
    >>> collector.start()  # doctest: +SKIP
    >>> collector.stop()  # doctest: +SKIP
    """

    def __init__(
        self, listen: Sequence[Listen], folder: Path, settings: CollectorSettings | None = None, *,
        devices: Path | None = None, devices_only: bool = False, record: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings or CollectorSettings()
        wire, collect = self.settings.wire, self.settings.collect
        self.folder = folder
        self.queue, self.exporters = MessageQueue(collect.queue_octets), Exporters()
        places = list(listen)
        self.udp = UdpReceiver(
            [place for place in places if place.transport == "udp"], self.queue, self.exporters, collect,
            max_exporters=wire.max_exporters,
        )  # fmt: skip
        self.tcp = TcpReceiver(
            [place for place in places if place.transport != "udp"], self.queue, self.exporters, collect, tls
        )
        self.decoder = Decoder(wire)
        self.decoder.sequence = self.sequences = Sequences()
        self.biflows = Biflows(wire)
        self.identity = IdentityElements(self.decoder.store)
        namer = DeviceNames.load(devices, devices_only).namer(self.settings.flow)
        self.stages = FlowStages(self.settings.flow, namer, self.settings.active_timeout_s)
        self._memory = StageMemory(self.stages)
        self.output = Output(folder, self.settings.exporter, self.settings.counting, collect, wire.segment_s)
        self.recorded = Accounting("messages")
        self.counters = Counters(self)
        self.failure: BaseException | None = None
        self.problems: list[str] = []
        self.taken: Counter[str] = Counter()
        self._record_folder, self._listens = record, bool(places)
        self._devices, self._devices_only = devices, devices_only
        self._recording: Recording | None = None
        self._blocks = Blocks(wire)
        self._segment_ns = max(int(wire.segment_s * 1e9), 1)
        self._segment: int | None = None
        self._waiting = False  # messages that are not in a block yet
        self._ended: list[SessionEnd] = []
        self._stopping, self._stopped = threading.Event(), threading.Event()
        self._worker: threading.Thread | None = None
        self._tasks: queue.Queue[Callable[[], object] | None] = queue.Queue(TASKS)
        self._failed = threading.Event()
        self._flows = 0

    @property
    def flows(self) -> int:
        """Number of flows so far."""
        return self._flows

    @property
    def listening(self) -> list[Listen]:
        """Listen addresses, with ports chosen by the system."""
        return self.udp.listening + self.tcp.listening

    def start(self) -> None:
        """Lock the folder, resume its state, and start to receive.

        Raises
        ------
        InputError
            If the folder cannot be written, or an address is not available.
        UsageError
            If another collector uses the folder.
        LibraryError
            If the folder was written with other settings.
        """
        state, self.problems = self.output.open()
        try:
            if self._record_folder is not None:
                self._recording = Recording(self._record_folder, self.settings.wire)
            self._restore(state)
            if self._listens:  # the warm-up collector does not listen
                self._warm_up()
            self.udp.start()
            self.tcp.start()
        except BaseException:
            self.udp.stop()
            self.tcp.stop()
            self.output.close()
            raise
        self._worker = threading.Thread(target=self._run_worker, name="collect", daemon=True)
        self._worker.start()

    def _warm_up(self) -> None:
        """Compile or load everything that messages need."""
        settings, recorded = self.settings, self._record_folder is not None

        def maker(devices: Path | None) -> Callable[[Path], Collector]:
            return lambda place: Collector(
                [], place, settings, devices=devices, devices_only=self._devices_only and devices is not None,
                record=place / "recorded" if recorded else None,
            )  # fmt: skip

        # A device file contains none of the synthetic devices, so later stages are only reached without one.
        makers = [maker(None)] if self._devices is None else [maker(None), maker(self._devices)]
        warm_up(self.folder, makers, settings.flow.local, settings.exporter, f"{settings!r} {self._devices} {recorded}")

    def stop(self) -> None:
        """Process and write what has arrived, and close everything.

        Raises
        ------
        EthogramError
            If a thread had failed.
        """
        self.udp.stop()
        self.tcp.stop()
        self._stopping.set()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        self.output.close()
        failure = self.failure or self.udp.failure or self.tcp.failure
        if failure is not None:
            raise EthogramError(f"the collector failed: {failure!r}") from failure

    def wait(self, timeout_s: float) -> bool:
        """Wait; returns whether the collector has ended by itself, which is a failure."""
        return self._stopped.wait(timeout_s) or any(each.failure is not None for each in (self.udp, self.tcp))

    def _run_worker(self) -> None:
        writer = threading.Thread(target=self._write, name="write", daemon=True)
        writer.start()
        try:
            self._work()
        except BaseException as error:  # raised again by stop()
            self.failure = self.failure or error
        finally:
            self._tasks.put(None)
            writer.join()
            self._stopped.set()

    def _work(self) -> None:
        while True:
            ending = self._stopping.is_set()
            item = self.queue.take(0.0 if ending else TAKE_S)
            if isinstance(item, DatagramBatch):
                self._waiting = True
                # Receivers run in parallel: an earlier batch can be queued later, and know fewer exporters.
                for block in self._blocks.add(replace(item, exporters=self.exporters.now)):
                    self._block(block)
            elif item is not None:
                self._ended.append(item)
            elif ending:
                break
            else:
                self._close_by_clock()
        self._last_blocks()
        self._finish()

    def _close_by_clock(self) -> None:
        """End a segment whose time has passed, as the next message would."""
        segment = self._blocks.segment
        if segment is None or not (self._waiting or self._segment is not None):
            self._end_sessions(time.time_ns())
            return
        end_ns = (segment + 1) * self._segment_ns
        if time.time_ns() >= end_ns + CLOCK_GRACE_NS and self.queue.passed(end_ns):
            self._last_blocks()
            self._commit()

    def _last_blocks(self) -> None:
        for block in self._blocks.last():
            self._block(block)
        self._waiting = False

    def _block(self, block: DatagramBatch) -> None:
        """Process a block through all stages."""
        segment = int(block.arrival_ns[0]) // self._segment_ns
        if self._segment is not None and segment > self._segment:
            self._commit()
        if self._segment is None:
            self._begin(segment)
        self._record(block)
        self._count_taken(block)
        arrived_us = int(block.arrival_ns.max()) // 1000
        records = self.decoder.decode(block)
        self._learn_identity(records)
        flows = self.stages.flows(self._biflows(records), arrived_us)
        self._flows += flows.height
        self._enqueue_write(lambda: self.output.add(flows, arrived_us))
        self._end_sessions(int(block.arrival_ns[-1]))

    def _count_taken(self, block: DatagramBatch) -> None:
        for index, number in enumerate(np.bincount(block.exporter).tolist()):
            if number:
                self.taken["datagrams" if block.exporters[index].transport == "udp" else "stream"] += number

    def _learn_identity(self, records: Sequence[Records]) -> None:
        facts = self.identity.learn(records)
        if facts.height:
            self._enqueue_write(lambda: self.output.learn(facts))

    def _biflows(self, records: Sequence[Records]) -> pl.DataFrame:
        return self.stages.mark_one_way(self.biflows.batch(records), unidirectional=ExportReader.unidirectional)

    def _begin(self, segment: int) -> None:
        self._segment = segment
        self._enqueue_write(lambda: self.output.begin(segment * self._segment_ns))

    def _enqueue_write(self, task: Callable[[], object]) -> None:
        """Queue a task for the writer thread; waits if it is behind."""
        if self._failed.is_set():
            raise EthogramError("the writer thread has stopped")
        self._tasks.put(task)

    def _write(self) -> None:
        """Writer thread: run one task after another."""
        while (task := self._tasks.get()) is not None:
            if self._failed.is_set():
                continue  # callers must not wait forever
            try:
                task()
            except BaseException as error:  # raised again by stop()
                self.failure = error
                self._failed.set()

    def _record(self, block: DatagramBatch) -> None:
        """Record a block; a full disk does not stop the other stages."""
        if self._recording is None:
            return
        self.recorded.read += len(block)
        try:
            self._recording.write(block)
            self.recorded.used += len(block)
        except InputError as error:
            self.recorded.drop("cannot be written", len(block))
            self.output.problem = str(error)

    def _end_sessions(self, now_ns: int) -> None:
        """Forget sessions that had ended before this block was complete."""
        ended, self._ended = self._ended, []
        for session in ended:
            if session.exporter.transport != "udp":
                self.decoder.end_session(session.exporter, now_ns)
            self.sequences.end_session(session.index)
            self.exporters.release(session.index)

    def _commit(self, *, last: bool = False) -> None:
        """Commit the segment with the current state, after everything before it is written."""
        self._segment = None
        self._save_templates()
        snapshot = self._snapshot()

        def commit() -> None:
            self.output.commit(snapshot, last=last)
            self._write_counters()

        self._enqueue_write(commit)

    def _finish(self) -> None:
        """Emit everything that waits for later messages."""
        now_ns = time.time_ns()
        if self._segment is None:
            self._begin(now_ns // self._segment_ns)
        records = self.decoder.finish()
        self._learn_identity(records)
        flows = self.stages.flows(self._biflows(records), last=True)
        self._flows += flows.height
        self._enqueue_write(lambda: self.output.add(flows, now_ns // 1000))
        self._end_sessions(now_ns)
        self._commit(last=True)
        if self._recording is not None:
            try:
                self._recording.close()
            except OSError as error:
                self.output.problem = f"{self._record_folder}: cannot be written: {error.strerror or error}"

    def _save_templates(self) -> None:
        path = self.folder / TEMPLATES
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # it may have been removed
            self.decoder.store.save(path)
        except (EthogramError, OSError) as error:
            self.output.problem = str(error)

    def _write_counters(self) -> None:
        try:
            write_bytes(self.folder / COUNTERS, self.counters.json())
        except (EthogramError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            self.output.problem = f"{self.folder / COUNTERS}: cannot be written: {reason}"

    def _snapshot(self) -> CollectorState:
        """State at the end of the segment; later segments do not modify it."""
        followed = set(self.sequences.by_exporter())
        return CollectorState(
            counters=self.counters.totals(),
            exporters={
                index: exporter
                for index, exporter in self.exporters.live.items()
                if exporter.transport == "udp" and index in followed
            },
            sequences=self.sequences.state(),
            stages=self._memory.state(),
            metadata=self.biflows.metadata.state(),
            waiting_sets=len(self.decoder.pending),
        )

    def _restore(self, state: CollectorState | None) -> None:
        templates = self.folder / TEMPLATES
        if templates.exists() and (problem := self.decoder.store.load(templates)) is not None:
            self.problems.append(problem)
        if state is None:
            return
        self.counters.restore(state.counters)
        self.exporters.restore(state.exporters)
        self.sequences.restore(state.sequences)
        for index in self.sequences.by_exporter():
            if index not in state.exporters:
                self.sequences.end_session(index)
        if not self._memory.restore(state.stages):
            self.problems.append("flows awaiting their reverse direction were saved by another version and are lost")
        self.biflows.metadata.restore(state.metadata)
        self.counters.lost_waiting += state.waiting_sets
