"""The live service: parts are supervised apart, settings are refused or found, and a stop loses nothing."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ethogram.cli import app
from ethogram.config.serve import ServeSettings, read_serve_settings
from ethogram.errors import ConfigurationError, InputError, UsageError
from ethogram.serve.judge import Judge
from ethogram.serve.service import Service
from ethogram.serve.store import Store
from ethogram.serve.store.database import head
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter
from sending import send_all
from serve.segments_made import flows, segment

MAC = "aa:bb:cc:00:00:01"
QUICK = {"judge": {"interval_s": 0.1, "provisional_s": 1, "oldest_days": 3650}, "wire": {"segment_s": 0.5}}


def settings_of(folder: Path, **values: object) -> ServeSettings:
    defaults = {"data": str(folder), "collect": False, "page": False, "listen": ("udp://127.0.0.1:0",)} | QUICK
    return ServeSettings.of(**defaults | values)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def serving(settings: ServeSettings, lines: list[str] | None = None) -> Iterator[Service]:
    service = Service(settings, (lines if lines is not None else []).append)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def state_of(service: Service, part: str) -> str:
    return next(health.state for health in service.health() if health.part == part)


def message_of(service: Service, part: str) -> str:
    return next(health.message for health in service.health() if health.part == part)


def test_a_collector_folder_is_judged(tmp_path: Path) -> None:
    now = datetime.now(tz=UTC) - timedelta(hours=1)
    segment(tmp_path / "collector", 1, flows(MAC, now, address="10.0.0.2"), at=now)
    with serving(settings_of(tmp_path)) as service:
        wait_for(lambda: state_of(service, "judge") == "running" and message_of(service, "judge") == "")
        store = Store.open(tmp_path / "store.db")
        wait_for(lambda: store.devices().total and store.devices().rows[0].judged)
        (row,) = store.devices().rows
        assert row.address == "10.0.0.2"
        assert [(each.name, each.octets) for each in service.activity(row.id)] == [("TCP/443", 600)]
        assert [each.octets for each in service.traffic()] == [600]
        assert [len(library) > 50 for library in service.libraries()] == [True]
        store.close()
    assert {health.state for health in service.health()} == {"stopped"}


def test_flows_over_udp_become_devices(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, collect=True)
    with serving(settings) as service:
        wait_for(lambda: state_of(service, "collector") == "running", 120)
        port = int(service.listening()[0].rpartition(":")[2])
        home = SimulatedHome(days=1)
        send_all([message.octets for message in FlowExporter(ExportSettings()).messages(home.batches())], port)
        store = Store.open(tmp_path / "store.db")
        wait_for(lambda: store.devices().total >= 10 and all(row.judged for row in store.devices().rows))
        assert service.collector_counters() is not None
        wait_for(store.exporters)

        def balanced() -> bool:
            read = {(each.stage, each.outcome): each.value for each in store.counters()}
            return read["judge collector flows", "read"] == sum(row.flows for row in store.devices().rows)

        wait_for(balanced)
        store.close()


def test_one_folder_has_one_service(tmp_path: Path) -> None:
    with serving(settings_of(tmp_path)), pytest.raises(UsageError, match="another service uses this folder"):
        Service(settings_of(tmp_path)).start()


def test_a_port_in_use_is_one_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        settings = settings_of(tmp_path, collect=True, listen=(f"udp://127.0.0.1:{port}",))
        with serving(settings, lines) as service:
            wait_for(lambda: state_of(service, "collector") == "failed", 120)
            wait_for(lambda: state_of(service, "judge") == "running")
            assert "in use" in message_of(service, "collector")
    assert len([line for line in lines if "in use" in line]) == 1


def test_a_store_of_a_newer_version_stops_only_what_needs_it(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db").close()
    database = sqlite3.connect(tmp_path / "store.db")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.commit()
    lines: list[str] = []
    with serving(settings_of(tmp_path, page=True, web={"port": 0}), lines) as service:
        wait_for(lambda: state_of(service, "store") == "failed")
        assert "newer version" in message_of(service, "store")
        wait_for(lambda: state_of(service, "web") == "degraded")
        url = message_of(service, "web").rpartition(" ")[2]
        ready = httpx.get(f"{url}readyz")
        assert (ready.status_code, ready.json()["ready"], ready.json()["parts"]["store"]) == (503, False, "failed")
        page = httpx.get(url, headers={"accept": "text/html"})
        assert page.status_code == 503
        assert "written by a newer version" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        problem = httpx.get(f"{url}api/v1/devices")
        assert (problem.status_code, problem.json()["detail"]) == (503, "The store cannot be opened.")
        assert httpx.get(url, headers={"host": "elsewhere.example"}).status_code == 400
        assert httpx.get(f"{url}healthz").text == "ok\n"
        database.execute(f"UPDATE alembic_version SET version_num = '{head()}'")
        database.commit()
        database.close()
        wait_for(lambda: state_of(service, "judge") == "running")
        wait_for(lambda: state_of(service, "web") == "running")
        assert httpx.get(f"{service.url}readyz").status_code == 200
    assert len([line for line in lines if "newer version" in line]) == 1
    assert "store: works again" in lines


def test_a_library_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    library = tmp_path / "mine.jsonl"
    with serving(settings_of(tmp_path / "data", library=str(library))) as service:
        wait_for(lambda: state_of(service, "judge") == "degraded")
        assert "mine.jsonl" in message_of(service, "judge")
        assert (state_of(service, "library"), message_of(service, "library")) == (
            "failed", f"{library}: there is no such library"
        )  # fmt: skip
        assert state_of(service, "store") == "running"


def test_an_internal_error_is_shown_and_the_judge_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = Judge.round, [0]

    def fail_once(judge: Judge) -> object:
        calls[0] += 1
        if calls[0] == 1:
            raise KeyError("odd")
        return original(judge)

    monkeypatch.setattr(Judge, "round", fail_once)
    lines: list[str] = []
    with serving(settings_of(tmp_path), lines) as service:
        wait_for(lambda: calls[0] > 1 and state_of(service, "judge") == "running")
    assert "judge: internal error: KeyError: 'odd'; please report it" in lines


def test_options_come_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('data = "file"\nstore = "file.db"\n[judge]\nwindow_days = 3\nepoch_s = 7200\n')
    environment = {"ETHOGRAM_SERVE_STORE": "postgresql://h/n", "ETHOGRAM_SERVE_JUDGE__EPOCH_S": "3600", "HOME": "x"}
    settings = read_serve_settings(file, environment, {"data": "option", "web.port": 0, "watch": None})
    assert (settings.data, settings.store, settings.web.port) == ("option", "postgresql://h/n", 0)
    assert (settings.judge.window_days, settings.judge.epoch_s) == (3, 3600)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("speed = 3", ConfigurationError, "setting speed: Extra inputs"),
        ("[judge]\nepochs = 3", ConfigurationError, "setting judge.epochs: Extra inputs"),
        ("[judge]\nwindow_days = 0", ConfigurationError, "setting judge.window_days: "),
        ("data = [", ConfigurationError, "serve.toml: not TOML"),
    ],
)
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(error, match=message):
        read_serve_settings(file, {}, {})
    with pytest.raises(InputError, match="no such file"):
        read_serve_settings(tmp_path / "none.toml", {}, {})
    with pytest.raises(ConfigurationError, match="setting colour"):
        read_serve_settings(None, {"ETHOGRAM_SERVE_COLOUR": "red"}, {})


def test_check_names_everything_that_does_not_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["serve", "--check", "--data", str(tmp_path / "data")]) == 0
    capsys.readouterr()
    code = app.main([
        "serve", "--check", "--data", str(tmp_path / "data"), "--library", str(tmp_path / "none.jsonl"), "--watch",
        str(tmp_path / "nowhere"), "--host", "0.0.0.0", "--names", str(tmp_path / "leases"),
    ])  # fmt: skip
    text = capsys.readouterr().err
    assert code == 5
    for part in ("none.jsonl", "nowhere", "0.0.0.0", "leases"):
        assert part in text
    assert len(text.strip().splitlines()) == 4


def test_the_command_stops_cleanly(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ethogram", "serve", "--data", tmp_path, "--no-collect", "--port", "0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("ethogram: page at http://127.0.0.1:")
        assert line.rstrip().endswith(str(tmp_path / "token"))
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    finally:
        process.terminate()
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "stopping\n")
