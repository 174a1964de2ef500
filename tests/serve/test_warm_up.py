"""Everything that messages need is compiled before a collector listens."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import orjson
import pytest

from ethogram.config import ExporterSettings
from ethogram.serve.collector import Collector
from ethogram.serve.warm_up import FOLDER, warm_up
from ethogram.serve.warm_up_messages import WarmUpHosts, synthetic_messages

# In a process of its own: what other tests have compiled would hide what is missing. Whether a function is compiled or
# loaded from disk makes no difference here, so that the test need not empty the cache.
LIVE = textwrap.dedent("""
    import itertools, socket, sys, time
    from pathlib import Path
    import orjson
    from ethogram.config import CountSettings, ExporterSettings, FlowSettings, WireSettings
    from ethogram.io.receive.address import Listen
    from ethogram._numba import compiled_functions
    from ethogram.serve.collector import Collector, CollectorSettings
    from ethogram.simulate import SimulatedHome
    from ethogram.simulate.exporter import ExportSettings, FlowExporter

    folder, kind = Path(sys.argv[1]), sys.argv[2]
    home = SimulatedHome()

    def messages(protocol, sampling):
        exporter = FlowExporter(ExportSettings(protocol=protocol, sampling=sampling))
        return [message.octets for message in itertools.islice(exporter.messages(home.batches()), 150)]

    def signatures():
        return {f"{one.py_func.__module__}.{one.py_func.__qualname__}": len(one.signatures)
                for one, _ in compiled_functions()}

    sent = {(p, n): messages(p, n) for p in ("ipfix", "ipfix-uniflow", "v9", "v5") for n in (1, 4)}
    more = {}
    if kind == "devices":
        home.device_file().write_csv(folder / "devices.csv")
        more = {"devices": folder / "devices.csv", "record": folder / "recorded"}
    settings = CollectorSettings(
        wire=WireSettings.of(segment_s=0.5),
        exporter=ExporterSettings.of(epoch_s=3600, lateness_s=60, min_flows=1, min_epochs=1),
        counting=CountSettings.of(sub_epoch_s=3600, other_protocols=True),
        **({"flow": FlowSettings.of(device_by="address")} if kind == "address" else {}),
    )
    new = {}
    for run in range(2):  # the second goes on from the state of the first
        places = [Listen.parse("udp://127.0.0.1:0"), Listen.parse("tcp://127.0.0.1:0")]
        collector = Collector(places, folder / "collected", settings, **more)
        collector.start()
        before = signatures()
        udp, tcp = collector.listening
        read = 0
        for (protocol, _), octets in sent.items():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
                for message in octets:
                    opened.sendto(message, ("127.0.0.1", udp.port))
                    time.sleep(0.0005)
            if protocol.startswith("ipfix"):
                with socket.create_connection(("127.0.0.1", tcp.port)) as opened:
                    # Data before their templates too: they wait.
                    opened.sendall(b"".join(octets[3:6] + octets))
        until = time.monotonic() + 60
        while collector.udp.accounting.used < sum(map(len, sent.values())) and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.6)
        collector.stop()
        after = signatures()
        new |= {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    sys.stdout.write(orjson.dumps({"new": new, "flows": collector.flows, "fingerprints": collector.output.fingerprints,
                                   "total": sum(after.values())}).decode())
""")


@pytest.mark.parametrize("kind", ["default", "address", "devices"])
def test_nothing_is_compiled_once_it_listens(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIVE, str(tmp_path), kind], capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = orjson.loads(done.stdout)
    assert result["flows"] > 1000
    assert result["fingerprints"] > 0
    assert result["total"] > 30
    assert result["new"] == {}


def test_synthetic_traffic_is_well_formed_and_leaves_no_files(tmp_path: Path) -> None:
    made: list[Collector] = []

    def make(place: Path) -> Collector:
        made.append(Collector([], place))
        return made[-1]

    settings = ExporterSettings()
    (tmp_path / FOLDER / "0").mkdir(parents=True)
    (tmp_path / FOLDER / "rest").write_text("of a run that was killed")
    warm_up(tmp_path, [make], ("10.0.0.0/8", "fc00::/7"), settings, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert len(made) == 2
    for collector in made:
        assert collector.flows > 20
        assert collector.decoder.accounting.dropped == {}
        assert collector.output.problem is None
        for name, accounting in collector.counters.accountings().items():
            assert accounting.balanced, name
    # The second goes on from the first; the clock may begin a segment inside a run.
    assert made[1].output.segments > made[0].output.segments > 0
    warm_up(tmp_path, [make], (), settings, str(tmp_path))
    assert len(made) == 2  # once in a process


@pytest.mark.parametrize("local", [(), ("203.0.113.0/24",), ("203.0.113.7/32",), ("2001:db8:5::/64", "10.0.0.0/8")])
def test_any_prefix_that_is_inside_gives_ends(local: tuple[str, ...]) -> None:
    assert synthetic_messages(WarmUpHosts.of(local), 1_700_000_000_000)


def test_a_warm_up_that_cannot_write_does_not_stop_the_collector(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("no folder")
    warm_up(place, [lambda path: Collector([], path)], (), ExporterSettings(), str(place))
    assert place.read_text() == "no folder"
