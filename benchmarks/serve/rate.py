"""The live service under load: nothing is lost uncounted, memory stays flat, and page and API answer.

Usage::

    python benchmarks/serve/rate.py [--rate 50000] [--seconds 600] [--homes 667] [--output FILE]

The service is ``ethogram serve`` in a process of its own. A simulated exporter, another process, sends IPFIX of homes
with fifteen devices each over UDP on the loopback address; its flows end when they are sent. A third process reads
pages and the API, one request every fifth of a second, and holds a stream of events. What was sent is compared with
what every stage counted. The result is written as JSON, also after an interrupt.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RESULTS = Path(__file__).parents[1] / "results" / "service-rate.json"
START_S, CATCH_UP_S, STOP_S = 180.0, 90.0, 120.0
PAUSE_S = 0.2
PATHS = {
    "page: overview": "/", "page: devices": "/devices", "page: search": "/devices?search=10.0.1",
    "page: a kind": "/devices?kind=camera", "page: a device": "/devices/{id}", "page: unknown": "/unknown",
    "page: collectors": "/collectors", "API: devices": "/api/v1/devices?limit=100",
    "API: search": "/api/v1/devices?search=10.0.2&limit=100", "API: a device": "/api/v1/devices/{id}",
    "API: overview": "/api/v1/overview", "API: history": "/api/v1/history", "API: collectors": "/api/v1/collectors",
    "metrics": "/metrics",
}  # fmt: skip
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


class Sampler:
    """Memory and processor time of a process, once a second."""

    def __init__(self, pid: int) -> None:
        self.pid, self.rows, self._begin = pid, [], time.monotonic()  # type: tuple[int, list[list[float]], float]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(1.0):
            with contextlib.suppress(OSError, ValueError, IndexError):
                self.rows.append([round(time.monotonic() - self._begin, 1), *usage(self.pid)])

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(5)


def usage(pid: int) -> tuple[float, float]:
    """Resident memory in MiB, and processor seconds so far."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return memory_mib("VmRSS", pid), (int(stat[11]) + int(stat[12])) / TICK


def memory_mib(field: str, pid: int | str = "self") -> float:
    """A size in the status of a process, such as ``VmRSS`` or ``VmHWM``, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    [value] = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{field}:")]
    return round(value, 1)


@contextlib.contextmanager
def service(folder: Path, segment_s: float, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """``ethogram serve`` with a free port for flows; the lines that it prints so far."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ethogram", "serve", "--data", str(folder), "--listen", "udp://127.0.0.1:0", *options],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | {"ETHOGRAM_SERVE_WIRE__SEGMENT_S": str(segment_s)},
    )  # fmt: skip
    lines: list[str] = []
    assert process.stderr is not None
    stream = process.stderr
    reader = threading.Thread(target=lambda: lines.extend(line.rstrip() for line in stream), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def wait_for(pattern: str, lines: list[str], process: subprocess.Popen[str]) -> str:
    """The first group of a pattern in what the service prints."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        for line in list(lines):
            if match := re.search(pattern, line):
                return match[1]
        time.sleep(0.05)
    sys.exit(f"the service did not start: {lines[-3:]}")


# Other processes


def send(port: int, rate: float, seconds: float, homes: int) -> None:
    """The exporter: prints what it sent, also after SIGTERM."""
    from ethogram.io.receive.address import Listen
    from ethogram.simulate.load import Load

    load = Load(homes=homes, live=True)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    used = time.process_time()
    sent = load.send(Listen.parse(f"udp://127.0.0.1:{port}"), seconds=seconds, rate=rate, ending=ending)
    print(json.dumps(vars(sent) | {"cpu_s": time.process_time() - used, "devices": load.devices}), flush=True)


class Visitor:
    """Reads pages and the API, one request after the other, and counts events of an open stream."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._place = (str(parts.hostname), int(parts.port or 80))
        self._headers = {"Authorization": f"Bearer {token}"}
        self.rows: list[list[Any]] = []
        self.events = 0

    def get(self, path: str, timeout_s: float = 30.0) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection(*self._place, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def follow(self) -> None:
        """Count events until the stream ends."""
        connection = http.client.HTTPConnection(*self._place, timeout=60)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/api/v1/events", headers=self._headers)
            for line in connection.getresponse():
                self.events += line.startswith(b"data: ")

    def read(self, seconds: float, ending: threading.Event) -> None:
        """Read all paths in turn for some time; failures have status 0."""
        begin, device, number = time.monotonic(), "", 0
        while time.monotonic() - begin < seconds and not ending.wait(PAUSE_S):
            name, path = list(PATHS.items())[number % len(PATHS)]
            number += 1
            if "{id}" in path and not device:
                rows = json.loads(self.get("/api/v1/devices?limit=1")[1])["rows"]
                device = rows[0]["id"] if rows else ""
                if not device:
                    continue
            at = time.perf_counter()
            try:
                status = self.get(path.format(id=device))[0]
            except (OSError, http.client.HTTPException):
                status = 0
            self.rows.append([round(time.monotonic() - begin, 1), name, status,
                              round((time.perf_counter() - at) * 1000, 1)])  # fmt: skip


def visit(url: str, token: str, seconds: float) -> None:
    """The visitor: prints every request, also after SIGTERM."""
    visitor, ending = Visitor(url, token), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=visitor.follow, daemon=True).start()
    visitor.read(seconds, ending)
    print(json.dumps({"requests": visitor.rows, "events": visitor.events}), flush=True)


# The measurement


def child(*arguments: object) -> subprocess.Popen[str]:
    """This program as another process, whose answer is read later."""
    command = [sys.executable, __file__, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer_of(process: subprocess.Popen[str], *, end: bool) -> dict[str, Any]:
    """What another process printed; empty if it failed."""
    if end and process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return dict(json.loads(process.communicate(timeout=60)[0] or "{}"))
    except (subprocess.TimeoutExpired, ValueError):
        process.kill()
        return {}


def measure(rate: float, seconds: float, homes: int, segment_s: float, folder: Path) -> dict[str, Any]:
    """One measurement; after an interrupt, the part until then."""
    result: dict[str, Any] = {"rate": rate, "seconds": seconds, "homes": homes, "complete": False}
    with service(folder, segment_s, "--port", "0") as (process, lines):
        port = wait_for(r"receiving flows at udp://127.0.0.1:(\d+)", lines, process)
        url = wait_for(r"page at (\S+/);", lines, process)
        token = (folder / "token").read_text().strip()
        before = usage(process.pid)[1]
        sampler = Sampler(process.pid)
        sender, visitor = child("--send", port, "--rate", rate, "--seconds", seconds, "--homes", homes), None
        try:
            visitor = child("--visit", url, f"--token={token}", "--seconds", seconds)
            sender.wait(seconds + 60)
            result["catch_up_s"] = catch_up(Visitor(url, token))
            result["complete"] = True
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            pass
        finally:
            for name, each in (("sent", sender), ("visitor", visitor)):
                result[name] = {} if each is None else answer_of(each, end=True)
            result["cpu_s"] = usage(process.pid)[1] - before if process.poll() is None else None
            begin = time.monotonic()
    result["stop_s"] = time.monotonic() - begin
    sampler.stop()
    return result | {"memory": sampler.rows, "printed": lines[2:]} | counted(folder)


def catch_up(visitor: Visitor) -> float:
    """Time until the judge has read everything that was sent, as the service says; at most :data:`CATCH_UP_S`."""
    begin = time.monotonic()
    while time.monotonic() - begin < CATCH_UP_S:
        time.sleep(1.0)
        try:
            answer = json.loads(visitor.get("/api/v1/collectors")[1])
            output = answer["live"]["stages"]["output"]
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            continue
        judged = [row["value"] for row in answer["counters"]
                  if (row["stage"], row["outcome"]) == ("judge collector flows", "read")]  # fmt: skip
        if judged == [output["used"]] == [output["read"]]:
            break
    return time.monotonic() - begin


def counted(folder: Path) -> dict[str, Any]:
    """Final counters of the service, and the size of its files."""
    from ethogram.serve.store import Store

    counters = json.loads((folder / "collector" / "counters.json").read_text())
    store = Store.open(folder / "store.db")
    try:
        judge = [[row.stage, row.outcome, row.reason, row.value] for row in store.counters()
                 if row.stage.startswith("judge")]  # fmt: skip
        devices = store.overview().devices
    finally:
        store.close()
    octets = {name: sum(file.stat().st_size for file in (folder / name).rglob("*") if file.is_file())
              for name in ("collector", "facts")}  # fmt: skip
    octets["store"] = sum(file.stat().st_size for file in folder.glob("store.db*"))
    return {"stages": counters["stages"], "sequence": counters["sequence"], "judge": judge, "devices": devices,
            "octets": octets, "queue_highest_octets": counters["queue"]["highest_octets"]}  # fmt: skip


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """What the measurement shows."""
    sent, stages, sequence = result["sent"], result["stages"], result["sequence"]
    judge = {(stage, outcome): value for stage, outcome, reason, value in result["judge"] if not reason}
    lost = {f"{name}: {reason}": count for name, stage in stages.items() for reason, count in stage["dropped"].items()}
    requests = result["visitor"].get("requests", [])
    answered = sorted(ms for _, _, status, ms in requests if status == 200)
    memory = [mib for _, mib, _ in result["memory"]]
    part = max(len(memory) // 5, 1)
    datagrams = stages.get("datagrams", {"read": 0})
    return {
        "flows_per_s": sent["flows"] / sent["seconds"] if sent else None,
        "lost": lost,
        "uncounted_datagrams": sent["messages"] - datagrams["read"] if sent else None,
        "uncounted_records": sent["units"] - sequence["received"] - sequence["gaps"] if sent else None,
        "sums": {name: stage["read"] == stage["used"] + sum(stage["ignored"].values()) + sum(stage["dropped"].values())
                 for name, stage in stages.items()},
        "judged_flows_missing": stages["output"]["used"] - judge.get(("judge collector flows", "read"), 0),
        "cpu_s_per_million_flows": result["cpu_s"] / sent["flows"] * 1e6 if sent and result["cpu_s"] else None,
        "memory_mib": {"second_fifth": median(memory[part:2 * part]), "last_fifth": median(memory[-part:]),
                       "peak": max(memory, default=None)},
        "requests": len(requests), "failed": sum(status != 200 for _, _, status, _ in requests),
        "p50_ms": quantile(answered, 0.5), "p95_ms": quantile(answered, 0.95), "p99_ms": quantile(answered, 0.99),
    }  # fmt: skip


def median(values: list[float]) -> float | None:
    """The middle value; None without values."""
    return quantile(sorted(values), 0.5)


def quantile(ordered: list[float], share: float) -> float | None:
    """A quantile of ordered values; None without values."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def machine() -> dict[str, Any]:
    """The machine and its load average, for the page of results."""
    [memory] = [line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line]
    return {"machine": platform.machine(), "cores": os.cpu_count(), "memory_gib": round(int(memory) / MIB, 1),
            "load": round(os.getloadavg()[0], 1), "python": platform.python_version(),
            "time": time.strftime("%Y-%m-%d", time.gmtime())}  # fmt: skip


def main() -> None:
    """Measure, print what it shows, and keep the result."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rate", type=float, default=50_000, help="flow records a second")
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--homes", type=int, default=667, help="homes of fifteen devices")
    arguments.add_argument("--segment-s", type=float, default=60, help="length of a segment of the service")
    arguments.add_argument("--output", type=Path, default=RESULTS, help="file of the result")
    arguments.add_argument("--send", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--visit", help=argparse.SUPPRESS)
    arguments.add_argument("--token", default="", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.send is not None:
        send(options.send, options.rate, options.seconds, options.homes)
        return
    if options.visit is not None:
        visit(options.visit, options.token, options.seconds)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="ethogram-load-") as folder:
        result = machine() | {
            "command": f"benchmarks/serve/rate.py --rate {options.rate:g} --seconds {options.seconds:g} "
                       f"--homes {options.homes}",
        } | measure(options.rate, options.seconds, options.homes, options.segment_s,
                    Path(folder) / "service")  # fmt: skip
    result["summary"] = summary(result)
    options.output.parent.mkdir(exist_ok=True, parents=True)
    options.output.write_text(json.dumps(result) + "\n")
    print(json.dumps(result["summary"], indent=2))


if __name__ == "__main__":
    main()
