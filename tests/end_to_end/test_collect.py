"""``ethogram collect`` as a process: killed at any moment it loses at most the segment that was not written."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import polars as pl
import pytest

from ethogram.cli.app import main
from ethogram.config import CountSettings, ExporterSettings
from ethogram.pipeline.fingerprints import fingerprint, read_fingerprints
from ethogram.serve.segments import segments_in
from sending import CountingSender

RUN = "from ethogram.cli import main; raise SystemExit(main())"


@pytest.fixture(autouse=True)
def default_hangup() -> Iterator[None]:
    """Collectors inherit an ignored SIGHUP from tests that run under nohup: start them with the default."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Process:
    """A collector in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, listen: str = "udp://127.0.0.1:0") -> None:
        command = [sys.executable, "-c", RUN, "collect", "-o", str(folder), "--listen", listen,
                   "--local", "10.0.0.0/8", "--counters-every", "0", *arguments]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        while not (line := self.read()).startswith("listening at"):
            assert line, "".join(self.lines)
        self.place = line.split()[-1]
        self.port = int(self.place.rsplit(":", 1)[1])

    def read(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        self.lines.append(line)
        return line

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal and wait."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class Sending(threading.Thread):
    """Sends messages from one socket to one port, whoever listens there, until told to stop."""

    def __init__(self, sender: CountingSender, port: int) -> None:
        super().__init__(daemon=True)
        self.sender, self.port = sender, port
        self.ending = threading.Event()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))

    def run(self) -> None:
        self.socket.sendto(self.sender.announce(), ("127.0.0.1", self.port))
        while not self.ending.is_set():
            self.socket.sendto(self.sender.message(), ("127.0.0.1", self.port))
            time.sleep(0.002)


def numbers_on_disk(folder: Path) -> list[int]:
    tables = [pl.read_parquet(path, columns=["octets_out"]) for path in segments_in(folder / "flows").values()]
    return sorted(pl.concat(tables)["octets_out"] - 1) if tables else []


def quiet_port(rng: random.Random) -> int:
    """A free port that the system gives to nobody who asks for any: it must still be free after a kill."""
    while True:
        port = rng.randrange(20_000, 30_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            try:
                opened.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def until_committed(folder: Path, more_than: int) -> None:
    for _ in range(3000):
        if len(segments_in(folder / "flows")) > more_than:
            return
        time.sleep(0.01)
    pytest.fail("no segment was written in 30 s")


def test_killed_at_any_moment_it_loses_at_most_one_segment_and_counts_nothing_twice(tmp_path: Path) -> None:
    rng = random.Random(11)
    options = ("--segment", "0.4", "--epoch", "1h", "--lateness", "1s", "--granularity", "8")
    collector = Process(tmp_path, *options, listen=f"udp://127.0.0.1:{quiet_port(rng)}")
    sending = Sending(CountingSender(), collector.port)
    sending.start()
    committed: list[int] = []
    for _ in range(4):
        # The template was sent once, to the first of them: later ones know it from before.
        until_committed(tmp_path, len(segments_in(tmp_path / "flows")))
        time.sleep(rng.uniform(0.0, 0.9))
        collector.end(signal.SIGKILL)
        before = numbers_on_disk(tmp_path)
        assert set(committed) <= set(before), "what was committed has gone"
        committed = before
        collector = Process(tmp_path, *options, listen=collector.place)
    until_committed(tmp_path, len(segments_in(tmp_path / "flows")))
    sending.ending.set()
    sending.join()
    time.sleep(0.3)
    status, _, err = collector.end(signal.SIGTERM)
    assert status == 0, err

    numbers = numbers_on_disk(tmp_path)
    assert len(numbers) == len(set(numbers)), "counted twice"
    assert set(committed) <= set(numbers)
    missing = sorted(set(range(sending.sender.records)) - set(numbers))
    runs = sum(1 for at, number in enumerate(missing) if at == 0 or missing[at - 1] != number - 1)
    assert runs <= 4, "more was lost than what each kill took"
    assert not missing or missing[-1] < max(numbers)
    report = orjson.loads((tmp_path / "counters.json").read_bytes())
    assert report["sequence"]["received"] == len(numbers)
    assert report["sequence"]["gaps"] == len(missing)
    assert report["sequence"]["sent"] == sending.sender.records
    assert report["stages"]["output"]["used"] == report["stages"]["fingerprints"]["read"] == len(numbers)

    exporter = ExporterSettings.of(epoch_s=3600, lateness_s=1, representation={"granularity": 8})
    tables = sorted((tmp_path / "flows").glob("*.parquet"))
    whole = fingerprint(tables, exporter, CountSettings.of(sub_epoch_s=3600)).table.sort("device", "start")
    parts = [*sorted((tmp_path / "fingerprints").glob("*.parquet")), tmp_path / "open.parquet"]
    live = pl.concat([read_fingerprints(part).table for part in parts]).sort("device", "start")
    assert live.equals(whole)


def test_its_output_is_read_by_the_other_commands_and_its_counters_are_printed(tmp_path: Path) -> None:
    collector = Process(tmp_path / "out", "--segment", "0.3", "--json", "--record", str(tmp_path / "raw"))
    sending = Sending(CountingSender(), collector.port)
    sending.start()
    until_committed(tmp_path / "out", 1)
    sending.ending.set()
    sending.join()
    collector.process.send_signal(signal.SIGUSR1)
    while "ethogram.collect-counters/1" not in collector.read():
        pass
    while collector.read() != "}\n":
        pass
    time.sleep(0.3)
    status, out, _ = collector.end(signal.SIGINT)
    assert status == 0
    report = orjson.loads(out)
    records = sending.sender.records
    assert report["sequence"]["sent"] == report["sequence"]["received"] == records
    assert report["stages"]["recording"]["used"] == report["stages"]["datagrams"]["used"]
    assert report["lost"] == []
    assert main(["flows", str(tmp_path / "raw"), "-o", str(tmp_path / "again.parquet"), "--local", "10.0.0.0/8"]) == 0
    order = ["octets_out", "device"]
    again = pl.read_parquet(tmp_path / "again.parquet").sort(order)
    live = pl.concat([pl.read_parquet(p) for p in segments_in(tmp_path / "out" / "flows").values()]).sort(order)
    assert again.equals(live)
    assert live.height == records
    fingerprints = tmp_path / "fp.parquet"
    assert main(["fingerprint", str(tmp_path / "out" / "flows"), "-o", str(fingerprints)]) == 0
    assert read_fingerprints(fingerprints).table["flows"].sum() == records


def test_a_wrong_call_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status, text in (
        (["--listen", "http://x"], 2, "Invalid listen address"),
        (["--listen", "tls://127.0.0.1:0"], 2, "tls:// needs --cert"),
        (["--listen", "tls://127.0.0.1:0", "--cert", str(tmp_path / "none.pem")], 5, "no such file"),
        (["--allow", "10.0.0.0/40"], 5, "invalid prefix"),
        (["--listen", "udp://192.0.2.77:9"], 3, "cannot listen"),
        (["--segment", "0"], 5, "segment_s"),
        (["--devices", str(tmp_path / "none.csv")], 5, "none.csv"),
    ):
        result = main(["collect", "-o", str(tmp_path / "out"), "--for", "0.1", *arguments])
        error = capsys.readouterr().err.strip()
        assert text in error
        assert "\n" not in error
        assert result == status, error


def test_it_stops_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["collect", "-o", str(tmp_path), "--listen", "udp://127.0.0.1:0", "--for", "0.5", "--counters-every", "0.2"]
    assert main(call) == 0
    error = capsys.readouterr().err
    assert "0 records/s" in error
    assert "lost: nothing" in error
    assert f"0 segments and 0 fingerprints written to {tmp_path}" in error


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_that_ends_it_has_everything_written(number: signal.Signals, tmp_path: Path) -> None:
    collector = Process(tmp_path)
    sender = CountingSender()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for message in (sender.announce(), sender.message(), sender.message()):
            out.sendto(message, ("127.0.0.1", collector.port))
    time.sleep(0.3)
    status, _, err = collector.end(number)
    assert status == 0, err
    assert numbers_on_disk(tmp_path) == list(range(sender.records))


def test_under_nohup_it_goes_on_when_the_terminal_closes(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        collector = Process(tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    collector.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        collector.process.wait(1.0)
    assert collector.end(signal.SIGTERM)[0] == 0
