"""No command asks a network: each runs under strace, as on a user's machine, and what it opens is looked at.

Libraries may contact their makers on their own account, and some do not where they see that they run under CI. So the
commands run without any variable of CI, with an empty home.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import custom_flow_twin as twin
from custom_flow_twin import P
from ethogram.cli.app import COMMANDS
from ethogram.simulate import SimulatedHome
from labelled_flows_made import home, write_home
from tests.export import fake_netbox

TRAIN = ["--set", "training.batch=64", "--passes", "1", "--seeds", "1", "--threads", "1"]
FEW = ["--seeds", "1", "--set", "train_flows=300", "--set", "test_flows=300", "--set", "draws=20"]
STEPS: dict[str, list[list[str]]] = {
    "doctor": [["--json"]],
    "simulate": [["-o", "home.ipfix"], ["--to", "udp://127.0.0.1:SINK"]],
    "wire": [["home.ipfix"]],
    "new-key": [["key"]],
    "flows": [["home.ipfix", "-o", "flows.parquet", "--devices", "home.csv"], ["day.pcap", "-o", "capture.parquet"],
              ["home.ipfix", "-o", "hidden.parquet", "--pseudonymise", "key"]],
    "fingerprint": [["flows.parquet", "-o", "prints.parquet", "--epoch", "6h", "--min-flows", "1"]],
    "stability": [["prints.parquet", "--plots", "plots"]],
    "enrol": [["flows.parquet", "--labels", "labels.csv", "-o", "library.jsonl"],
              ["day.pcap", "--labels", "camera.csv", "-o", "camera.jsonl", "--devices", "devices.csv"]],
    "library": [["list"], ["list", "library.jsonl"]],
    "identify": [["flows.parquet"], ["day.pcap", "--library", "camera.jsonl", "--devices", "devices.csv"]],
    "changes": [["flows.parquet", "--since", "6h"]],
    "deviations": [["flows.parquet"]],
    "monitor": [["flows.parquet", "--learn", "6h"]],
    "unknown": [["flows.parquet", "--library", "library.jsonl"]],
    "knowledge": [["show", "tcp/9100"], ["show", "50:c7:bf:00:00:01"]],
    "label": [["aa:bb:cc:00:00:01", "camera", "--labels", "given.csv"]],
    "vectors": [["day.pcap", "-o", "vectors.parquet"]],
    "embed": [["vectors.parquet", "-o", "embedded.parquet"]],
    "pretrain": [["custom.parquet", "-o", "dense", "--kind", "linear-fields", "--d", "4"],
                 ["custom.parquet", "-o", "network", "--size", "small", *TRAIN]],
    "reconstruct": [["custom.parquet", "--model", "network", "--flows", "50"]],
    "probe": [["custom.parquet", "--labels", "custom.csv", "--model", "raw", "--model", "packaged", *FEW,
               "--plots", "probed"]],
    "bench": [["list"]],
    "collect": [["-o", "collected", "--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0", "--for", "1"]],
    "demo": [["--no-page", "--days", "4"]],
    "serve": [["--data", "service", "--listen", "udp://127.0.0.1:0", "--port", "0", "--for", "3s"]],
    "rejudge": [["--data", "service", "--dry-run"]],
    "alerts": [["--data", "service"], ["test", "--data", "service"],
               ["test", "flows.parquet"]],
    "users": [["--data", "service", "--add", "guest"], ["--data", "service"]],
    "backup": [["--data", "service", "-o", "store.backup"]],
    "forget": [["--data", "service"]],
    "restore": [["store.backup", "--data", "restored"]],
    "export": [["csv", "flows.parquet", "-o", "devices.csv.out"], ["mud", "flows.parquet", "-o", "mud"],
               ["ecs", "--data", "service", "-o", "stored.jsonl"],
               ["homeassistant", "flows.parquet", "-o", "devices.jsonl"],
               ["ocsf", "flows.parquet", "-o", "devices.ocsf.jsonl"],
               ["stix", "flows.parquet", "-o", "devices.stix.json"],
               ["prometheus-sd", "flows.parquet", "-o", "targets.json"],
               ["nftables", "flows.parquet", "-o", "devices.nft"], ["opnsense", "flows.parquet", "-o", "aliases.json"],
               ["nftables", "flows.parquet", "--dry-run", "--traffic", "flows.parquet", "-o", "dropped.csv"],
               ["netbox", "flows.parquet", "--url", "http://127.0.0.1:NETBOX", "--token-file", "token",
                "-o", "netbox.txt"]],
    "sinks": [["--config", "sinks.toml", "--data", "service"],
              ["--config", "sinks.toml", "--data", "service", "--test", "log"]],
}  # fmt: skip
"""What runs of each command, in order, since some read what others wrote."""

RUN = textwrap.dedent("""
    import contextlib, io, socket, sys, threading
    import orjson
    from ethogram.cli import main

    servers = contextlib.ExitStack()
    from tests.export.fake_netbox import fake_netbox
    netbox = servers.enter_context(fake_netbox(page=100))
    netbox.add("dcim/sites", name="Home", slug="home")
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    port = str(sink.getsockname()[1])
    done = []
    for verb, calls in orjson.loads(sys.argv[1]).items():
        for arguments in calls:
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                given = [one.replace("SINK", port).replace("NETBOX", str(netbox.port)) for one in arguments]
                code = main([verb, *given])
            done.append([verb, code, said.getvalue()[-500:]])
    with open("done.json", "wb") as file:
        file.write(orjson.dumps(done))
    servers.close()
""")

CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)$")
RESUMED = re.compile(r"^(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
ADDRESS = re.compile(r'sa_family=(AF_\w+)(?:.*?(?:inet_addr\("([^"]*)"\)|inet_pton\(AF_INET6, "([^"]*)"))?')
SENDING = {"bind", "connect", "sendmmsg", "sendmsg", "sendto"}


def breaches(trace: Iterator[str]) -> Iterator[str]:
    """Lines of a trace that reach further than this machine, and sockets that may.

    Allowed are sockets of the file system, and those of IP that are bound, connected or sent to a loopback address; one
    that is neither might be used for anything, and asking the kernel about networks (netlink) is a first step.
    """
    unused: dict[int, str] = {}
    begun: dict[str, str] = {}
    for raw in trace:
        line = raw.rstrip("\n")
        result = CALL.match(line)
        if result is not None:
            name, rest = result["name"], result["rest"]
            if rest.endswith("<unfinished ...>"):
                begun[result["thread"]] = rest
        elif (result := RESUMED.match(line)) is not None:
            name, rest = result["name"], begun.pop(result["thread"], "") + result["rest"]
        else:
            continue
        if name in SENDING:
            for family, v4, v6 in ADDRESS.findall(rest):
                if family not in {"AF_UNIX", "AF_UNSPEC"} and not (v4.startswith("127.") or v6 == "::1"):
                    yield line
            if (number := re.match(r"\d+", rest)) and ("sa_family=AF_INET" in rest):
                unused.pop(int(number[0]), None)
        if name == "socket" and not rest.startswith(("AF_UNIX", "AF_INET")):
            yield line
        if name == "socket" and rest.startswith("AF_INET") and (number := re.search(r"= (\d+)$", rest)):
            if (earlier := unused.get(int(number[1]))) is not None:
                yield earlier
            unused[int(number[1])] = line
    yield from unused.values()


def test_every_command_is_listed() -> None:
    assert set(STEPS) == set(COMMANDS), "say above what runs of a new command, so that its network calls are seen"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("9.9.9.9")}, 16) = 0', 1),
        ('1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}, 16) = 0', 0),
        ('1 bind(3, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}, 16) = 0', 1),
        ('1 bind(3, {sa_family=AF_INET6, sin6_port=htons(0), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::", '
         '&sin6_addr), sin6_scope_id=0}, 28) = 0', 1),
        ('1 bind(3, {sa_family=AF_INET6, sin6_port=htons(0), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", '
         '&sin6_addr), sin6_scope_id=0}, 28) = 0', 0),
        ('1 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = 0', 0),
        ("1 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3", 1),
        ("1 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = 3", 1),
        ("1 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP <unfinished ...>\n1 <... socket resumed>) = 3", 1),
        ("1 socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3", 0),
        ("1 socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 3\n"
         '1 sendto(3, "a", 1, 0, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, 16) = 1', 0),
        ('1 sendmmsg(3, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("10.0.0.1")}', 1),
    ],
)  # fmt: skip
def test_what_reaches_further_is_seen(line: str, found: int) -> None:
    assert len(list(breaches(iter(line.splitlines())))) == found


def write_inputs(folder: Path) -> None:
    """Made-up inputs: a capture of a camera, custom flows, and what the simulated home's devices are."""
    second, start = 1_000_000_000, 1_556_668_800 * 1_000_000_000
    packets = []
    for minute in range(30):
        asked = P(start + minute * 60 * second, payload=b"hello", source_port=40_000 + minute)
        packets += [asked, asked.back(asked.time_ns + second, payload=b"world")]
    (folder / "day.pcap").write_bytes(twin.capture(packets))
    (folder / "devices.csv").write_text("device,mac,ip\ncamera,02:00:00:00:00:07,\n")
    (folder / "camera.csv").write_text("device,label\ncamera,camera\n")
    (folder / "token").write_text(fake_netbox.TOKEN)
    (folder / "sinks.toml").write_text('[sinks.log]\ntype = "file"\npath = "events.jsonl"\n')
    write_home(folder, "custom", home(600))
    simulated = SimulatedHome()
    simulated.labels().write_csv(folder / "labels.csv")
    simulated.device_file().write_csv(folder / "home.csv")


def test_no_command_asks_a_network(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: what commands open cannot be seen")
    for needed in ("onnx", "onnxruntime", "safetensors", "torch"):
        pytest.importorskip(needed)
    work, own = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    own.mkdir()
    write_inputs(work)
    trace = tmp_path / "trace"
    variables = {"HOME": str(own), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=network", "-o", str(trace)]
    probe = subprocess.run([*strace, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()}")
    done = subprocess.run(
        [*strace, sys.executable, "-c", RUN, orjson.dumps(STEPS).decode()], cwd=work, env=variables,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = orjson.loads((work / "done.json").read_bytes())
    assert [step for step in codes if step[1] != 0] == []
    assert len(codes) == sum(map(len, STEPS.values()))
    with trace.open(errors="replace") as lines:
        assert list(breaches(lines)) == []
    # The cache of fonts is Matplotlib's; nobody else leaves anything with the user.
    left = [str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()]
    assert [name for name in left if not re.match(r"\.(cache|config)/matplotlib/", name)] == []
