"""Time of every page and list of the live service, with many devices: median, 95th percentile, and CPU time.

The CPU time of a request includes the client's, since both run in one process; it is what an idle core needs.

``python benchmarks/serve/latency.py --devices 10000`` fills a store with that many devices, starts page and API on a
free port of the loopback interface, and asks for each address one after another. ``--url`` and ``--token`` measure a
service that runs.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from rate import quantile

PAGES = (
    "/", "/devices", "/devices?search=192.168.4", "/devices?kind=camera&sort=score&descending=true",
    "/devices?state=unknown", "/devices?offset=5000", "/unknown", "/alerts", "/library", "/collectors", "/settings",
    "/about",
)  # fmt: skip
LISTS = (
    "/api/v1/overview", "/api/v1/devices", "/api/v1/devices?fields=id&fields=name&limit=1000",
    "/api/v1/devices?search=plug", "/api/v1/groups", "/api/v1/alerts", "/api/v1/history", "/api/v1/collectors",
    "/metrics",
)  # fmt: skip


class Timing(NamedTuple):
    """Milliseconds of requests to one address, and octets of an answer."""

    path: str
    median_ms: float
    p95_ms: float
    cpu_ms: float
    octets: int


def measure(url: str, token: str, paths: Sequence[str], requests: int = 40) -> list[Timing]:
    """Ask for each path some times over one connection, after two requests that do not count.

    Raises
    ------
    SystemExit
        If an answer is not a success.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=60)
    rows = []
    for path in paths:
        times = []
        used = 0.0
        for number in range(requests + 2):
            if number == 2:
                used = time.process_time()
            begin = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = answer.read()
            times.append(1000 * (time.perf_counter() - begin))
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status}")
        cpu_ms = 1000 * (time.process_time() - used) / requests
        times = sorted(times[2:])
        p95_ms = quantile(times, 0.95) or 0.0
        rows.append(Timing(path, statistics.median(times), p95_ms, cpu_ms, len(body)))
    connection.close()
    return rows


@contextmanager
def filled_page(count: int) -> Iterator[tuple[str, str, str]]:
    """A page over a store with devices; gives its address, a token, and the id of a device."""
    from ethogram.config import ServeSettings
    from ethogram.config.web import WebSettings
    from ethogram.serve.api.app import create_app
    from ethogram.serve.api.server import WebServer
    from ethogram.serve.service import Service
    from ethogram.serve.store import Store

    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "store.db") as store:
        device = fill(store, count)
        web = WebSettings.of(port=0, rate_limit=1e6, burst=1_000_000)
        service = Service(ServeSettings.of(data=folder))
        server = WebServer(create_app(store, service, web, folder=Path(folder)), web)
        server.start()
        try:
            yield server.url, store.create_user("benchmark", "editor"), device
        finally:
            server.stop()


def fill(store: object, count: int) -> str:
    """Store devices with the verdicts of the package's real ones, again and again under other addresses."""
    from importlib import resources

    from ethogram.identify import library_file
    from ethogram.pipeline.device_identifier import DeviceIdentifier
    from ethogram.schema import COUNTS, DeviceSighting, Judgement, RoundResult
    from ethogram.serve.store import Store

    assert isinstance(store, Store)
    with resources.as_file(resources.files("ethogram") / "data" / "later.jsonl.gz") as path:
        windows = library_file.read(path).windows()
    counts = windows.counts.join(windows.items.select("item", "device"), on="item").select(COUNTS.names)
    verdicts = [verdict.model_dump(mode="json") for verdict in DeviceIdentifier().verdicts(COUNTS.conform(counts))]
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for start in range(0, count, 5000):
        sightings = []
        for i in range(start, min(start + 5000, count)):
            seen = now - timedelta(hours=i % 70)
            mac = f"02:00:{i >> 24 & 255:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}"
            address = f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
            sightings.append(DeviceSighting(
                mac, mac, (address,), (f"device-{i}",) if i % 3 else (), seen - timedelta(days=1 + i % 30), seen, 100,
                4000, seen,
            ))  # fmt: skip
        at = store.position("benchmark")
        store.record_round(RoundResult("benchmark", at, at + 1, now, "library 1", tuple(sightings)))
        due = store.due(now, limit=5000)
        judgements = tuple(
            Judgement(each.id, verdicts[i % len(verdicts)], i % 6 == 5, None) for i, each in enumerate(due)
        )
        store.record_round(RoundResult("benchmark", at + 1, at + 1, now, "library 1", judgements=judgements))
    return due[0].id


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--url", default="", help="of a service that runs")
    parser.add_argument("--token", type=Path, help="file with its token")
    options = parser.parse_args()
    if options.url:
        rows = measure(options.url, options.token.read_text().strip(), PAGES + LISTS, options.requests)
    else:
        with filled_page(options.devices) as (url, token, device):
            device_paths = (f"/devices/{device}", f"/api/v1/devices/{device}")
            rows = measure(url, token, PAGES + LISTS + device_paths, options.requests)
    print(f"{'median ms':>9} {'p95 ms':>8} {'CPU ms':>8} {'kB':>7}  address")
    for row in rows:
        print(f"{row.median_ms:9.1f} {row.p95_ms:8.1f} {row.cpu_ms:8.1f} {row.octets / 1000:7.0f}  {row.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
