"""The live demo: the service in a temporary folder, to which the household's router sends days in seconds.

The router's IPFIX goes over UDP on the loopback address, and some messages are lost on purpose, so that the loss shows.
The service is the one that ``ethogram serve`` runs: it judges by the time of flows, which pass as fast as they arrive.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from ethogram.config import JudgeSettings, ServeSettings, WireSettings
from ethogram.config.web import WebSettings
from ethogram.demo.household import Household, HouseholdDevice
from ethogram.demo.inventory import LOSS, NETWORKS, REORDER, Export, packaged
from ethogram.errors import EthogramError, InputError
from ethogram.identify import library_file
from ethogram.io.receive.address import Listen
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.library import PACKAGED
from ethogram.schema import Accounting, DeviceRow
from ethogram.serve.segments import segments_in
from ethogram.serve.service import Service
from ethogram.serve.state import accounting_of
from ethogram.simulate.exporter import ExportSettings, FlowExporter, Sent
from ethogram.simulate.impairment import Impairment, Message
from ethogram.simulate.send import Delivery, Pace, send

__all__ = ["LiveDemo", "StatedDevice"]

PLAY_S = 25.0
"""Time in which all days pass."""
START_S, SETTLE_S = 600.0, 30.0
"""Longest time for starting, in which slow machines compile, and for judging what arrived last."""
SEGMENT_S, INTERVAL_S = 1.0, 0.5
LOOPBACK = "127.0.0.1"
USER = "demo"


@dataclass(frozen=True)
class StatedDevice:
    """What the page states about one device of the household; no row if it has not been seen."""

    member: HouseholdDevice
    row: DeviceRow | None


class LiveDemo:
    """A household whose router exports to a live service; construction starts nothing.

    Parameters
    ----------
    household
        The household.
    port
        Port of the page; another one is taken if it is in use.
    say
        Called with lines for the user.
    play_s
        Time in which all days pass; None: :data:`PLAY_S`.

    Attributes
    ----------
    folder
        Where the service stores everything; removed by :meth:`stop`.

    Examples
    --------
    >>> demo = LiveDemo(Household(days=4))
    >>> with demo.running():  # doctest: +SKIP
    ...     demo.play()
    """

    def __init__(
        self, household: Household, port: int = 8470, say: Callable[[str], None] = lambda _: None,
        play_s: float | None = None,
    ) -> None:  # fmt: skip
        self.household = household
        self._port, self._say, self._play_s = port, say, PLAY_S if play_s is None else play_s
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._service: Service | None = None
        self._exporter = FlowExporter(ExportSettings(names=True, flush_s=600, template_s=86_400))
        self._network = Impairment(LOSS, REORDER, seed=household.seed)
        self._delivery = Delivery()
        self._ending = threading.Event()
        self._noted: set[str] = set()
        self._visits = (0, 0)
        self._visited = 0.0

    @property
    def service(self) -> Service:
        """The service, once it runs."""
        assert self._service is not None
        return self._service

    @property
    def folder(self) -> Path:
        """Where the service stores everything."""
        assert self._temporary is not None
        return Path(self._temporary.name)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the service, and stop it at the end, also after an error; its folder is removed.

        Raises
        ------
        InputError
            If the service does not start within ten minutes, or no folder for temporary files can be written.
        """
        try:
            self._temporary = tempfile.TemporaryDirectory(prefix="ethogram-demo-", ignore_cleanup_errors=True)
        except OSError as error:
            raise InputError(f"no folder for temporary files can be written: {error.strerror or error}") from None
        try:
            self._start()
            yield
        finally:
            self._ending.set()
            if self._service is not None:
                self._service.stop()
            self._temporary.cleanup()

    def _start(self) -> None:
        household, hosts, library = self.household, self.folder / "hosts", self.folder / "household.jsonl.gz"
        # The library knows the real devices from earlier days.
        known = packaged(PACKAGED)
        entries = tuple(entry for entry in known.entries if entry.observed[0].source in NETWORKS)
        library_file.write(replace(known, entries=entries), library)
        hosts.write_text("".join(
            f"{member.address} simulated-{member.address.rpartition('.')[2]}\n"
            for member in household.members
            if member.simulated
        ))  # fmt: skip
        settings = ServeSettings(
            data=str(self.folder / "service"), listen=(f"udp://{LOOPBACK}:0",), names=(str(hosts),),
            library=(str(library),), wire=WireSettings(segment_s=SEGMENT_S),
            judge=JudgeSettings(interval_s=INTERVAL_S, oldest_days=household.days + 2),
            web=WebSettings(host=LOOPBACK, port=self._free_port()),
        )  # fmt: skip
        self._service = Service(settings)
        self._service.start()
        self._wait_for(lambda: bool(self.service.url))

    def _wait_for(self, condition: Callable[[], object]) -> None:
        """Wait for a part of the service.

        Raises
        ------
        InputError
            If it does not start in time.
        """
        end = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > end:
                parts = ", ".join(f"{each.part} {each.state} {each.message}".rstrip() for each in self.service.health())
                raise InputError(f"the service did not start within {START_S:.0f} s: {parts}")
            self.service.wait(0.05)
        self._visited = time.monotonic()

    def _free_port(self) -> int:
        """The port that was asked for, or 0 if it is in use."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind((LOOPBACK, self._port))
            except OSError as error:
                self._say(f"port {self._port}: {error.strerror or error}; the page takes another")
                return 0
        return self._port

    @property
    def url(self) -> str:
        """Address of the page."""
        return self.service.url

    @property
    def token(self) -> str:
        """Token to sign in with."""
        return self.service.token_file.read_text().strip()

    def play(self, on_day: Callable[[int], None] = lambda _: None) -> None:
        """Let all days pass; returns when the service has judged what arrived.

        Parameters
        ----------
        on_day
            Called with 1 whenever a day has passed.

        Raises
        ------
        InputError
            If nothing can be received or sent on the loopback address.
        """
        self._wait_for(self.service.listening)  # the first start compiles
        failures: list[BaseException] = []
        sender = threading.Thread(target=self._send, args=(failures,), name="ethogram router", daemon=True)
        begin, passed = time.monotonic(), 0
        sender.start()
        while sender.is_alive():
            sender.join(0.5)
            self._note_truth()
            day = min(int((time.monotonic() - begin) / self._play_s * self.household.days), self.household.days)
            if day > passed:
                on_day(day - passed)
                passed = day
        if failures:
            raise failures[0]
        self._settle()
        self._note_truth()

    def _send(self, failures: list[BaseException]) -> None:
        [place] = [text for text in self.service.listening() if text.startswith("udp://")]
        messages = self._network(self._exporter.messages(self.household.batches()))
        pace = Pace(speed=self.household.days * 86_400 / self._play_s)
        try:
            self._delivery = send(self._until_end(messages), Listen.parse(place), pace)
        except BaseException as error:  # raised by play()
            failures.append(error)

    def _until_end(self, messages: Iterator[Message]) -> Iterator[Message]:
        for message in messages:
            if self._ending.is_set():
                return
            yield message

    def _settle(self) -> None:
        """Wait until everything that arrived is judged, for a limited time."""
        end = time.monotonic() + SETTLE_S
        quiet = 0
        while time.monotonic() < end and quiet < 3:
            self.service.wait(INTERVAL_S)
            quiet = quiet + 1 if self._judged_all() else 0

    def _judged_all(self) -> bool:
        store = self.service.store
        if store is None:
            return False
        segments = segments_in(self.service.collector_folder / "flows")
        clock = store.clock()
        return store.position("collector") >= max(segments, default=0) and (clock is None or not store.due(clock))

    def _note_truth(self) -> None:
        """Add the true identity of new devices, as notes of a user."""
        store = self.service.store
        if store is None:
            return
        with contextlib.suppress(EthogramError):  # a locked store is noted later
            for statement in self.statements():
                member, row = statement.member, statement.row
                if row is None or row.id in self._noted:
                    continue
                what = "This device is simulated" if member.simulated else f"The truth, from {member.source}"
                store.note(row.id, f"{what}: {member.truth} ({member.name}).", USER)
                self._noted.add(row.id)

    def statements(self) -> list[StatedDevice]:
        """What the page states about every device of the household."""
        store = self.service.store
        rows = () if store is None else store.devices(limit=1000).rows
        by_mac = {row.mac: row for row in rows if row.mac}
        return [StatedDevice(member, by_mac.get(member.mac)) for member in self.household.members]

    def idle_s(self) -> float:
        """Time since the last visit of the page, or since the start."""
        visits = self.service.visits()
        if visits != self._visits or visits[1]:
            self._visits, self._visited = visits, time.monotonic()
        return time.monotonic() - self._visited

    def flows(self) -> pl.DataFrame:
        """Flows of the simulated home as the collector has written them, with the names of its devices."""
        names = {member.mac: member.name for member in self.household.members if member.simulated}
        flows = collect(read_flows([self.service.collector_folder / "flows"]))
        return flows.filter(pl.col("device").is_in(list(names))).with_columns(pl.col("device").replace(names))

    def reason(self, statement: StatedDevice) -> str:
        """Why that is stated; empty before the first judgement."""
        store = self.service.store
        detail = None if store is None or statement.row is None else store.device(statement.row.id)
        return "" if detail is None or not detail.verdict else str(detail.verdict.get("reason", ""))

    def stages(self) -> dict[str, Accounting]:
        """Accounting of every stage of the collector."""
        counters = self.service.collector_counters() or {}
        return {name: accounting_of(saved) for name, saved in counters.get("stages", {}).items()}

    def export(self) -> Export:
        """How the flows arrived, and which the collector counts as missing."""
        counters = self.service.collector_counters() or {}
        sequence = counters.get("sequence", {"received": 0, "gaps": 0})
        [place] = [text for text in self.service.listening() if text.startswith("udp://")]
        sent: Sent = self._exporter.sent
        return Export(place, sent, self._network.lost, sequence["received"], sequence["gaps"], self._delivery.seconds)
