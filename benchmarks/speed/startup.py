"""CPU time of short commands, warm: identify on a small capture, doctor and help, beside the bare imports.

    python benchmarks/speed/startup.py [--corpus FOLDER] [--runs 7] [--json FILE]

Each command runs in a process of its own, once to warm the caches of files and compiled code and then ``--runs`` times;
the least CPU time counts, since other work on the machine only adds to it. The bare imports (NumPy, Polars, PyArrow,
Numba, Typer, Rich, pydantic) are the floor of any command that reads a capture. Without a corpus, the capture is one of
a device that asks its resolver once a minute for an hour.

With a corpus, the captures of one day of a home (Stevens, seven devices) are read and judged as well: by the command,
and by ``ethogram.identify`` in a process that has judged them once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

CAPTURE = Path("aalto_iot_sentinel_2016/captures_IoT_Sentinel/captures_IoT-Sentinel/WeMoSwitch2/Setup-C-1-STA.pcap")
GOAL_S = 2.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Python keeps compiled modules, as an installed package has them."""
HOME, DAY = Path("stevens_lsif_2019"), "2019-07-04.pcap"
WARM = """
import sys, time, ethogram
ethogram.identify(sys.argv[1])
start = time.process_time()
ethogram.identify(sys.argv[1])
print(time.process_time() - start)
"""
BARE = "import numpy, polars, pyarrow, numba, typer, rich, pydantic"


def made_capture(path: Path) -> None:
    """A capture of an hour: one question to the resolver a minute, and its answer."""
    question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05maker\x07example\x00\x00\x01\x00\x01"
    device, router = b"\x02\x00\x00\x00\x00\x05", b"\x02\x00\x00\x00\x00\x01"
    out = [struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)]
    for minute in range(60):
        for answer in (False, True):
            body = question[:2] + (b"\x81\x80" if answer else question[2:4]) + question[4:]
            ports = (53, 40_000 + minute) if answer else (40_000 + minute, 53)
            udp = struct.pack(">HHHH", *ports, 8 + len(body), 0) + body
            hosts = (b"\xc0\xa8\x01\x01", b"\xc0\xa8\x01\x05")
            source, target = hosts if answer else hosts[::-1]
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), minute, 0, 64, 17, 0, source, target) + udp
            frame = (device + router if answer else router + device) + b"\x08\x00" + ip
            out.append(struct.pack("<IIII", 1_767_600_000 + 60 * minute, 1000 * answer, len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(out))


def cpu_s(command: list[str]) -> tuple[float, int]:
    """CPU time of a command, user and system, and its exit code."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, process.returncode


def home_day(corpus: Path, folder: Path) -> Path:
    """Extract one day's captures of a home."""
    folder.mkdir()
    for archive in sorted((corpus / HOME).glob("*/*.zip")):
        with zipfile.ZipFile(archive) as members:
            if DAY in members.namelist():
                (folder / f"{archive.stem}.pcap").write_bytes(members.read(DAY))
    return folder


def measure_warm(inputs: Path, runs: int) -> dict[str, float]:
    """Least and median CPU time of a second call in one process."""
    command = [sys.executable, "-c", WARM, str(inputs)]
    times = [float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(runs)]
    return {"cpu_s": min(times), "median_s": statistics.median(times)}


def measure(command: list[str], runs: int) -> dict[str, float]:
    """Least and median CPU time of some runs after a first one."""
    _, code = cpu_s(command)
    if code not in (0, 1):  # the doctor's 1 says that something is absent
        raise SystemExit(f"{' '.join(command)}: exit code {code}")
    times = [cpu_s(command)[0] for _ in range(runs)]
    return {"cpu_s": min(times), "median_s": statistics.median(times)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default=os.environ.get("ETHOGRAM_CORPUS"))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(options.corpus or folder) / CAPTURE
        corpus = capture.is_file()
        if not corpus:
            capture = Path(folder) / "small.pcap"
            made_capture(capture)
        ethogram = [sys.executable, "-m", "ethogram"]
        commands = {
            "identify small.pcap": [*ethogram, "identify", str(capture)], "doctor": [*ethogram, "doctor"],
            "--help": [*ethogram, "--help"], "bare imports": [sys.executable, "-c", BARE],
        }  # fmt: skip
        days = home_day(Path(options.corpus), Path(folder) / "day") if corpus else None
        if days:
            commands["identify home-day"] = [*ethogram, "identify", str(days)]
        load = os.getloadavg()[0]
        report: dict[str, Any] = {
            "capture": str(CAPTURE) if corpus else "made", "octets": capture.stat().st_size, "runs": options.runs,
            "load": load, "commands": {name: measure(line, options.runs) for name, line in commands.items()},
        }  # fmt: skip
        if days:
            report["commands"]["identify(home-day)"] = measure_warm(days, options.runs)
            report["home_day_octets"] = sum(file.stat().st_size for file in days.iterdir())
    for name, row in report["commands"].items():
        print(f"{name:22} {row['cpu_s']:6.2f} s of CPU, median {row['median_s']:.2f} s")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
