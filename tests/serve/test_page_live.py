"""The page of a service that receives real datagrams: counters that move, then devices, without reloading."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ethogram.cli import main
from ethogram.config import ServeSettings
from ethogram.serve.service import Service
from serve.browser import chromium, visiting
from serve.web_made import FakeService, RunningPage

WAIT_S = 300.0
"""Compiling for first use takes minutes on a busy machine."""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[RunningPage, int]]:
    """A service with collector, judge and page; and the port that it receives flows at."""
    port = free_port()
    service = Service(ServeSettings.of(
        data=str(tmp_path), listen=[f"udp://127.0.0.1:{port}"], web={"port": 0, "rate_limit": 1e6, "burst": 100_000},
        judge={"interval_s": 0.5, "oldest_days": 10_000}, wire={"segment_s": 2.0},
    ))  # fmt: skip
    service.start()
    try:
        end = time.monotonic() + WAIT_S
        while not service.collector_counters() or service._web is None or service._store is None:
            assert time.monotonic() < end, [part for part in service.health() if part.state != "running"]
            time.sleep(0.2)
        url, token = service._web.url, (tmp_path / "token").read_text().strip()
        yield RunningPage(url, token, service._store, FakeService(), [], tmp_path, None), port  # type: ignore[arg-type]
    finally:
        service.stop()


def send(port: int, days: int) -> None:
    assert main(["simulate", "--to", f"udp://127.0.0.1:{port}", "--days", str(days), "--rate", "4000", "-q"]) == 0


def test_datagrams_become_counters_and_devices_on_the_page(browser: Any, live: tuple[RunningPage, int]) -> None:
    running, port = live
    with visiting(browser, running) as visit:
        page = visit.go("")
        page.get_by_role("heading", name="Waiting for the first flow").wait_for()
        assert page.get_by_text(f"udp://127.0.0.1:{port}", exact=True).is_visible()
        numbers = page.locator(".number b")
        assert numbers.first.inner_text() == "0"
        send(port, 2)
        page.get_by_role("heading", name="By kind", exact=True).wait_for(timeout=90_000)
        count = running.store.overview().devices
        assert count >= 15  # the devices of the simulated home
        page = visit.go("collectors")
        row = page.get_by_role("row").filter(has_text="127.0.0.1:").filter(has_text="udp")
        row.first.wait_for()
        assert page.get_by_role("row", name="datagrams used").is_visible()
        page = visit.go("devices")
        assert page.locator(".devices tbody tr").count() == running.store.overview().devices >= count
        page.locator(".devices .c-name a").first.click()
        page.get_by_role("heading", name="What it is").wait_for()
        page.get_by_role("heading", name="Peers by name").wait_for()
