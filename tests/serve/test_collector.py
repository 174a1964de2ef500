"""The collector: sent = received + gaps, files on disk are complete, and a recording gives the same flows."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, WireSettings
from ethogram.errors import InputError, LibraryError, UsageError
from ethogram.io.receive.address import Listen
from ethogram.io.wire.records import Records
from ethogram.pipeline.fingerprints import fingerprint, read_fingerprints
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import FLOW, DatagramBatch
from ethogram.serve.collector import Collector, CollectorSettings
from ethogram.serve.segments import segments_in
from ethogram.serve.state import CollectorState
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from ethogram.simulate.impairment import Impairment
from sending import CountingSender, needs_ipv6, send_all


def settings_of(segment_s: float = 0.5, epoch_s: int = 86_400, **collect_settings: object) -> CollectorSettings:
    return CollectorSettings(
        wire=WireSettings.of(segment_s=segment_s),
        collect=CollectSettings.of(**collect_settings),
        flow=FlowSettings.of(local=("10.0.0.0/8",)),
        exporter=ExporterSettings.of(epoch_s=epoch_s, lateness_s=0, min_flows=1, min_epochs=1),
        counting=CountSettings.of(sub_epoch_s=min(epoch_s, 3600)),
    )


@contextmanager
def collecting(
    folder: Path, *places: str, settings: CollectorSettings | None = None, record: Path | None = None
) -> Iterator[Collector]:
    collector = Collector(
        [Listen.parse(place) for place in places or ("udp://127.0.0.1:0",)], folder, settings or settings_of(),
        record=record,
    )  # fmt: skip
    collector.start()
    try:
        yield collector
    finally:
        collector.stop()
    for name, accounting in collector.counters.accountings().items():
        assert accounting.balanced, name


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def port_of(collector: Collector) -> int:
    return collector.listening[0].port


def flows_in(folder: Path) -> pl.DataFrame:
    tables = [pl.read_parquet(path) for path in segments_in(folder / "flows").values()]
    return pl.concat([FLOW.empty(), *(FLOW.conform(table) for table in tables)])


def numbers_in(folder: Path) -> list[int]:
    """The records on disk, by the number that each carries."""
    return sorted(flows_in(folder)["octets_out"] - 1)


def test_every_record_is_received_or_in_a_gap(tmp_path: Path) -> None:
    rng = random.Random(3)
    sender = CountingSender()
    messages = [sender.announce(), *(sender.message() for _ in range(1000))]
    lost = set(rng.sample(range(2, len(messages) - 1), 150))
    # Some are reordered by one or two positions, and some are duplicated.
    arriving = [m for i, m in enumerate(messages) if i not in lost]
    for at in rng.sample(range(2, len(arriving) - 4), 40):
        arriving[at], arriving[at + 1] = arriving[at + 1], arriving[at]
    doubled = rng.sample(range(2, len(arriving) - 1), 10)
    arriving = [m for i, m in enumerate(arriving) for _ in range(1 + (i in doubled))]
    with collecting(tmp_path) as collector:
        send_all(arriving, port_of(collector))
        until(lambda: collector.udp.accounting.read == len(arriving))
    totals = collector.sequences.totals
    assert totals.sent == sender.records == 20_000
    assert totals.gaps == 150 * 20
    assert totals.received == 850 * 20
    assert totals.duplicates == 10 * 20
    assert collector.udp.accounting.used == len(arriving)
    assert collector.output.accounting.used == flows_in(tmp_path).height == 860 * 20
    report = orjson.loads((tmp_path / "counters.json").read_bytes())
    assert report["sequence"]["gaps"] == 3000
    assert {"place": "sequence", "reason": "gap", "count": 3000, "unit": "units"} in report["lost"]


def test_data_that_comes_before_its_template_is_settled_when_it_comes(tmp_path: Path) -> None:
    sender = CountingSender()
    early, announced, late = [sender.message() for _ in range(5)], sender.announce(), [sender.message()]
    with collecting(tmp_path, settings=settings_of(segment_s=0.2)) as collector:
        send_all([early[0], early[1], early[3], early[4]], port_of(collector))
        until(lambda: len(collector.decoder.pending) == 4)
        assert collector.sequences.totals.gaps == 0
        send_all([announced, *late], port_of(collector))
        until(lambda: collector.flows == 100)
    totals = collector.sequences.totals
    assert (totals.sent, totals.received, totals.gaps, totals.undecoded) == (120, 100, 20, 0)
    assert numbers_in(tmp_path) == [n for n in range(120) if not 40 <= n < 60]


def test_segments_close_by_the_clock_when_nothing_arrives(tmp_path: Path) -> None:
    sender = CountingSender()
    with collecting(tmp_path) as collector:
        send_all([sender.announce(), sender.message()], port_of(collector))
        until(lambda: bool(segments_in(tmp_path / "flows")))
        assert numbers_in(tmp_path) == list(range(20))
        send_all([sender.message()], port_of(collector))
        until(lambda: len(segments_in(tmp_path / "flows")) == 2)
    assert numbers_in(tmp_path) == list(range(40))
    assert collector.output.segments == 2


def test_a_recording_gives_the_same_flows(tmp_path: Path) -> None:
    sender = CountingSender()
    with collecting(tmp_path / "out", settings=settings_of(segment_s=0.2), record=tmp_path / "raw") as collector:
        for _ in range(6):
            send_all([sender.announce(), *(sender.message() for _ in range(40))], port_of(collector))
            time.sleep(0.1)
        until(lambda: collector.udp.accounting.read == 6 * 41)
    assert collector.recorded.used == 6 * 41
    run = read_flows([tmp_path / "raw"], ReadOptions(flow=collector.settings.flow))
    order = ["octets_out", "device"]
    assert collect(run).sort(order).equals(flows_in(tmp_path / "out").sort(order))
    assert flows_in(tmp_path / "out").height == 4800


@pytest.mark.parametrize("protocol", ["v9", "v5"])
def test_a_recording_of_halves_gives_the_same_pairs(protocol: str, tmp_path: Path) -> None:
    exporter = FlowExporter(ExportSettings.of(protocol=protocol))
    arriving = [m.octets for m in exporter.messages(SimulatedHome(days=1).batches())]
    settings = CollectorSettings(wire=WireSettings.of(segment_s=0.2))
    with collecting(tmp_path / "out", settings=settings, record=tmp_path / "raw") as collector:
        # Over more than a second: segments of a fifth of one are several, however the machine is.
        part = len(arriving) // 8
        for at in range(0, len(arriving), part):
            send_all(arriving[at : at + part], port_of(collector))
            time.sleep(0.15)
        until(lambda: collector.udp.accounting.read == len(arriving))
    assert collector.output.segments > 2
    assert collector.stages.accountings["pair"].corrected["paired with the opposite direction"] > 1000
    replayed = collect(read_flows([tmp_path / "raw"], ReadOptions(flow=settings.flow)))
    live = flows_in(tmp_path / "out")
    assert live.height > 5000
    assert replayed.sort(FLOW.names).equals(live.sort(FLOW.names))


def test_flows_and_fingerprints_are_read_by_the_other_commands(tmp_path: Path) -> None:
    sender = CountingSender()
    # Event time runs faster than the clock: 20 hours in 2,000 records.
    sender.start_ms = 1_700_000_000_000 // 86_400_000 * 86_400_000
    with collecting(tmp_path, settings=settings_of(epoch_s=3600)) as collector:
        for hour in range(20):
            sender.start_ms = 1_699_920_000_000 + hour * 3_600_000
            send_all([sender.announce(), *(sender.message() for _ in range(5))], port_of(collector))
            until(lambda: collector.udp.accounting.read == 6 * (hour + 1))  # noqa: B023
    live = pl.concat([read_fingerprints(p).table for p in sorted((tmp_path / "fingerprints").glob("*.parquet"))])
    live = pl.concat([live, read_fingerprints(tmp_path / "open.parquet").table]).sort("device", "start")
    tables = sorted((tmp_path / "flows").glob("*.parquet"))
    batch = fingerprint(tables, collector.settings.exporter, collector.settings.counting).table.sort("device", "start")
    assert live.height == collector.output.fingerprints + 8
    assert live.equals(batch)


def test_a_restart_resumes_and_counts_nothing_twice(tmp_path: Path) -> None:
    sender = CountingSender()
    with collecting(tmp_path) as first:
        send_all([sender.announce(), *(sender.message() for _ in range(10))], port_of(first))
        until(lambda: first.udp.accounting.read == 11)
        place = str(first.listening[0])
    missed = [sender.message() for _ in range(3)]
    assert len(missed) == 3
    with collecting(tmp_path, place) as second:
        # No template is sent again: the one of before is still known.
        send_all([sender.message() for _ in range(5)], port_of(second))
        until(lambda: second.udp.accounting.read == 5)
    assert numbers_in(tmp_path) == [*range(200), *range(260, 360)]
    totals = second.counters.accountings()
    assert totals["datagrams"].read == 16
    assert totals["output"].used == totals["fingerprints"].read == 300
    # The port of the sender is new, so that it counts as another stream: what was sent meanwhile is not known.
    assert second.sequences.totals.received == 300
    whole = fingerprint(sorted((tmp_path / "flows").glob("*.parquet")), second.settings.exporter).table
    assert read_fingerprints(tmp_path / "open.parquet").table.equals(whole)


def test_messages_sent_while_stopped_are_a_gap_of_the_same_sender(tmp_path: Path) -> None:
    sender = CountingSender()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("127.0.0.1", 0))
        with collecting(tmp_path) as first:
            place = first.listening[0]
            for message in (sender.announce(), sender.message()):
                out.sendto(message, ("127.0.0.1", place.port))
            until(lambda: first.udp.accounting.read == 2)
        sender.message()
        with collecting(tmp_path, str(place)) as second:
            out.sendto(sender.message(), ("127.0.0.1", place.port))
            until(lambda: second.udp.accounting.read == 1)
    totals = second.sequences.totals
    assert (totals.sent, totals.received, totals.gaps) == (60, 40, 20)


def test_sessions_over_tcp_end_with_their_templates(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with collecting(tmp_path, "tcp://127.0.0.1:0", settings=settings_of(segment_s=0.2), record=raw) as collector:
        for turn in (1, 2):
            sender = CountingSender()
            with socket.create_connection(("127.0.0.1", port_of(collector))) as out:
                out.sendall(sender.announce() + b"".join(sender.message() for _ in range(10)))
            until(lambda: collector.flows == 200 * turn and len(collector.decoder.store) == 0)  # noqa: B023
        assert collector.flows == 400
        until(lambda: len(collector.decoder.store) == 0)
        assert len(collector.decoder.store) == 0
        # A session without templates of its own has none, and its index is one that was used before.
        with socket.create_connection(("127.0.0.1", port_of(collector))) as out:
            out.sendall(CountingSender().message())
            until(lambda: len(collector.decoder.pending) == 1)
        until(lambda: collector.decoder.sets.dropped["session ended while waiting"] == 1)
    assert len(collector.exporters.now) <= 2
    replayed = collect(read_flows([raw], ReadOptions(flow=collector.settings.flow)))
    assert replayed.sort("start", "octets_out").equals(flows_in(tmp_path).sort("start", "octets_out"))
    assert replayed.height == 400
    totals = collector.sequences.totals
    assert (totals.received, totals.gaps) == (400, 0)
    assert totals.undecoded == 0  # the unknown message was the last of its stream


def test_sockets_of_all_kinds_side_by_side_keep_their_exporters_apart(tmp_path: Path) -> None:
    needs_ipv6()
    places = ("udp://127.0.0.1:0", "udp://[::1]:0", "tcp://127.0.0.1:0")
    with collecting(tmp_path, *places, settings=settings_of(segment_s=0.1)) as collector:
        ports = [place.port for place in collector.listening]
        senders = 0
        for turn in range(30):
            sender = CountingSender(per_message=5)
            messages = [sender.announce(), *(sender.message() for _ in range(10))]
            if turn % 3 == 2:
                with socket.create_connection(("127.0.0.1", ports[2])) as out:
                    out.sendall(b"".join(messages))
            else:
                family, host = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))[turn % 3]
                with socket.socket(family, socket.SOCK_DGRAM) as out:
                    for message in messages:
                        out.sendto(message, (host, ports[turn % 3]))
            senders += 1
            time.sleep(0.01)
        until(lambda: collector.flows == senders * 50)
    totals = collector.sequences.totals
    assert (totals.received, totals.gaps, totals.resets, totals.duplicates) == (1500, 0, 0, 0)
    assert flows_in(tmp_path).height == 1500
    transports = Counter(exporter.transport for exporter in collector.exporters.now)
    assert transports["udp"] == 20


def test_a_full_disk_is_counted_and_receiving_continues(tmp_path: Path) -> None:
    sender = CountingSender()
    with collecting(tmp_path) as collector:
        send_all([sender.announce(), sender.message()], port_of(collector))
        until(lambda: collector.output.segments == 1)
        # A folder in the place of a file cannot be written over, whoever runs the test.
        (tmp_path / "flows").rename(tmp_path / "away")
        (tmp_path / "flows").write_text("no folder")
        send_all([sender.message()], port_of(collector))
        until(lambda: collector.output.problem is not None)
        assert "cannot be written" in str(collector.output.problem)
        (tmp_path / "flows").unlink()
        (tmp_path / "away").rename(tmp_path / "flows")
        send_all([sender.message()], port_of(collector))
        # The number of segments changes first.
        until(lambda: collector.output.segments == 2 and collector.output.problem is None)
    assert numbers_in(tmp_path) == [*range(20), *range(40, 60)]
    assert collector.output.accounting.dropped == {"cannot be written": 20}
    assert collector.output.accounting.read == 60


def test_a_folder_has_one_collector_and_one_set_of_settings(tmp_path: Path) -> None:
    with collecting(tmp_path) as collector:
        with pytest.raises(UsageError, match="another collector uses this folder"), collecting(tmp_path):
            pass
        sender = CountingSender()
        send_all([sender.announce(), sender.message()], port_of(collector))
        until(lambda: collector.udp.accounting.read == 2)
    with pytest.raises(LibraryError, match="other settings"), collecting(tmp_path, settings=settings_of(epoch_s=3600)):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), collecting(tmp_path / "file"):
        pass


def test_a_damaged_state_is_reported_and_flows_are_fed_again(tmp_path: Path) -> None:
    sender = CountingSender()
    with collecting(tmp_path) as collector:
        for _ in range(3):
            send_all([sender.announce(), sender.message()], port_of(collector))
            time.sleep(0.6)
    [state] = (tmp_path / "state").glob("*.state")
    state.write_bytes(state.read_bytes()[:-5])
    [exporter] = (tmp_path / "state").glob("exporter-*")
    exporter.write_bytes(exporter.read_bytes()[:-5])
    with collecting(tmp_path) as collector:
        assert [problem.split(": ")[1] for problem in collector.problems] == [
            "collector state is damaged (its checksum does not agree)",
            "exporter state is damaged (its checksum does not agree); the stored flows are counted again",
        ]
        assert collector.output.exporter.accounting.used == 60
    assert read_fingerprints(tmp_path / "open.parquet").table["flows"].sum() == 60


@pytest.mark.parametrize("protocol", ["ipfix", "ipfix-uniflow", "v9", "v5"])
def test_a_simulated_router_with_loss_reordering_and_a_restart_is_accounted_for_exactly(
    protocol: str, tmp_path: Path
) -> None:
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    exporter = FlowExporter(ExportSettings.of(protocol=protocol, domains=3, restarts=(noon,)))
    disturbed = Impairment(loss=0.1, reorder=0.1, seed=4)
    arriving = [m.octets for m in disturbed(list(exporter.messages(SimulatedHome(days=1).batches())))]
    with collecting(tmp_path) as collector:
        send_all(arriving, port_of(collector))
        until(lambda: collector.udp.accounting.read == len(arriving))
    totals, sent, lost = collector.sequences.totals, exporter.sent, disturbed.lost
    assert collector.udp.accounting.used == sent.messages - lost["messages"]
    assert totals.sent == sent.units
    assert totals.received + totals.gaps + totals.undecoded == sent.units
    assert lost["units"] > 0
    assert totals.resets == 3
    if collector.decoder.sets.dropped:
        # A template was lost: sets that never found theirs cover gaps that lie within their reach.
        assert totals.gaps + totals.undecoded >= lost["units"]
    else:
        assert (totals.gaps, totals.undecoded) == (lost["units"], 0)
        assert totals.reordered == disturbed.reordered
        assert collector.decoder.records.used == sent.flows - lost["flows"]


def test_what_is_saved_counts_no_message_that_a_kill_would_lose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[dict[str, Any]] = []
    sender = CountingSender()
    places = ("udp://127.0.0.1:0", "tcp://127.0.0.1:0")
    with collecting(tmp_path, *places, settings=settings_of(segment_s=0.1)) as collector:
        commit, decode = collector.output.commit, collector.decoder.decode

        def noted(state: CollectorState, *, last: bool = False) -> bool:
            saved.append(state.counters["accountings"])
            return commit(state, last=last)

        def slowly(batch: DatagramBatch) -> list[Records]:
            time.sleep(0.05)  # messages arrive meanwhile
            return decode(batch)

        monkeypatch.setattr(collector.output, "commit", noted)
        monkeypatch.setattr(collector.decoder, "decode", slowly)
        with socket.create_connection(("127.0.0.1", collector.listening[1].port)) as stream:
            stream.sendall(sender.announce())
            for _ in range(60):
                send_all([sender.announce()], port_of(collector))
                stream.sendall(sender.message())
                time.sleep(0.01)
    assert len(saved) > 3
    for counters in saved:
        arrived = [counters[name] for name in ("datagrams", "stream") if name in counters]
        assert sum(each["used"] for each in arrived) == counters["messages"]["read"]
        assert all(each["read"] == each["used"] for each in arrived)
    assert (saved[-1]["datagrams"]["used"], saved[-1]["stream"]["used"]) == (60, 61)
    with collecting(tmp_path) as again:
        assert again.counters.accountings()["messages"].read == 121
        assert again.counters.accountings()["stream"].used == 61


def test_an_output_folder_that_is_removed_meanwhile_is_whole_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sender = CountingSender()
    with collecting(folder, settings=settings_of(segment_s=0.2)) as collector:
        send_all([sender.announce(), sender.message()], port_of(collector))
        until(lambda: collector.output.segments == 1)
        folder.rename(tmp_path / "gone")  # at once: the collector may be writing in it
        send_all([sender.message()], port_of(collector))
        until(lambda: collector.output.segments == 2)
        with pytest.raises(UsageError, match="another collector uses this folder"), collecting(folder):
            pass
    assert collector.output.problem is None
    assert numbers_in(folder) == list(range(20, 40))
    with collecting(folder) as again:
        # Templates are there again, too.
        send_all([sender.message()], port_of(again))
        until(lambda: again.flows == 20)
    assert numbers_in(folder) == list(range(20, 60))
    assert again.counters.accountings()["output"].used == 60


@pytest.mark.parametrize("name", ["counters.json", "state/templates"])
def test_a_folder_in_the_place_of_a_file_costs_that_file_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "kept").mkdir(parents=True)
    sender = CountingSender()
    with collecting(tmp_path, settings=settings_of(segment_s=0.2)) as collector:
        send_all([sender.announce(), sender.message()], port_of(collector))
        until(lambda: collector.output.segments == 1)
    assert numbers_in(tmp_path) == list(range(20))
