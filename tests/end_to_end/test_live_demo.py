"""The live demo: the household arrives over UDP, the service finds its devices, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ethogram.cli.app import main
from ethogram.schema import BIFLOW

pytest.importorskip("fastapi")

from ethogram.demo.household import Household
from ethogram.demo.live import LiveDemo
from ethogram.serve.client import Client

NOW = datetime(2026, 3, 20, 1, 30, tzinfo=UTC)
FAST_S = 8.0


def test_the_household_has_the_flows_of_stored_days() -> None:
    household = Household(days=4, now=NOW)
    assert len(household.members) == 35
    assert sum(member.simulated for member in household.members) == 15
    assert len({member.address for member in household.members}) == 35
    tables = list(household.batches())
    assert [table.schema for table in tables] == [BIFLOW.schema] * 4
    for day, table in enumerate(tables):
        midnight = household.start + timedelta(days=day)
        assert table["start"].is_between(midnight, midnight + timedelta(days=1)).all()
        assert table["end"].max() < NOW  # type: ignore[operator]
    real = household.replayed[0]
    last = tables[3].filter(pl.any_horizontal(pl.col("source_mac", "destination_mac") == real.member.mac))
    assert last.height > 100
    assert last["destination_name"].null_count() < last.height
    again = list(Household(days=4, now=NOW).batches())
    assert all(table.equals(other) for table, other in zip(tables, again, strict=True))


def test_real_devices_join_one_after_the_other() -> None:
    household = Household(days=4, now=NOW)
    [first, second, *_] = household.batches()
    macs = [member.mac for member in household.members if not member.simulated]

    def present(table: pl.DataFrame) -> int:
        return len(set(table["source_mac"]) & set(macs))

    assert 5 < present(first) < present(second)


def test_all_devices_appear_on_the_page_and_nothing_is_left() -> None:
    threads = {thread.name for thread in threading.enumerate()}
    demo = LiveDemo(Household(days=4), port=0, play_s=FAST_S)
    with demo.running():
        folder = demo.folder
        demo.play()
        statements = demo.statements()
        assert all(each.row is not None for each in statements)
        real = [each for each in statements if not each.member.simulated]
        right = [each for each in real if each.row is not None and each.row.statement == each.member.truth]
        wrong = [each.member.truth for each in real
                 if each.row is not None and each.row.level == "device" and each.row.statement != each.member.truth]
        assert len(right) >= 12, [(each.member.truth, each.row and each.row.statement) for each in real]
        assert len(wrong) <= 2, wrong
        assert demo.export().exact
        assert demo.export().gaps == demo.export().lost["units"] > 0
        client = Client(demo.url, demo.token)
        rows = {row["mac"]: row for row in client.devices()}
        simulated = next(each.member for each in statements if each.member.simulated)
        assert rows[simulated.mac]["name"].startswith("simulated-")
        [note] = client.device(rows[simulated.mac]["id"])["notes"]
        assert note["text"].startswith("This device is simulated: ")
        assert demo.idle_s() < 5, "requests are visits"
        clock = demo.service.store.clock()  # type: ignore[union-attr]
        assert clock is not None
        assert abs(clock - demo.household.start - timedelta(days=4)) < timedelta(days=1), "days passed in seconds"
        flows = demo.flows()
        assert set(flows["device"]) == {device.name for device in demo.household.home.devices}
    assert not folder.exists()
    left = {thread.name for thread in threading.enumerate()} - threads
    assert not {name for name in left if name.startswith("ethogram")}


def test_a_page_takes_another_port_if_its_own_is_in_use() -> None:
    lines: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = LiveDemo(Household(days=4), port=port, say=lines.append)
        with demo.running():
            assert not demo.url.endswith(f":{port}/")
    assert lines == [f"port {port}: Address already in use; the page takes another"]


def test_the_command_ends_by_itself_without_a_visitor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ethogram.demo.live.PLAY_S", FAST_S)
    monkeypatch.setattr("ethogram.cli.demo.VISIT_S", 1.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    begin = time.monotonic()
    assert main(["demo", "--days", "8", "--port", "0"]) == 0
    assert time.monotonic() - begin < 150
    text = capsys.readouterr().out
    assert "Watch the page fill: http://127.0.0.1:" in text
    assert "Sign in with the token " in text
    assert text.count("(simulated)") >= 25
    assert "study-plug left its fingerprint on day 7" in text
    assert "= sent" in text
    assert "Real devices: 20 seen" in text
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    """As Ctrl-C in the middle; without HOME, as in some containers."""
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ethogram", "demo", "--port", "0", "--stay"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment | {"TMPDIR": str(tmp_path), "HOME": ""}, start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(150, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Watch the page fill")
        process.stdout.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        watchdog.cancel()
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_inventory_is_on_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethogram.cli.demo.EXTRA", ("no_such_library",))
    assert main(["demo", "--days", "4"]) == 0
    output = capsys.readouterr()
    assert "pip install 'ethogram[serve]'" in output.err
    assert "none of these devices exists" in output.out
