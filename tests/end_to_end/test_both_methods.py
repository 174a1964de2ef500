"""Both methods as a user calls them: enrol, identify, unknown and library over captures, and what goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.identify import library_file
from ethogram.pipeline.library_embeddings import embeddings_path, read_store
from ethogram.pipeline.representations import PACKAGED
from ethogram.representation.export_onnx import METADATA

S = 1_000_000_000
CAMERA, PLUG, HUB = (f"02:00:00:00:00:0{k}" for k in (1, 2, 3))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        result = capfd.readouterr()
        assert "Traceback" not in result.err
        assert "Warning" not in result.err
        return code, result.out, result.err

    return call


def packets_of(day: int) -> list[P]:
    """A day of three devices, each with a service of its own; no two days are the same."""
    packets = []
    for hour in range(24):
        for k, (mac, protocol, port, count) in enumerate(
            ((CAMERA, 6, 443, 6), (PLUG, 6, 8883, 2), (HUB, 17, 123, 1)), 1
        ):
            for n in range(count):
                at = ((day * 24 + hour) * 3600 + k) * S + n * S // 10
                sent = P(at, f"192.168.1.{k}", f"198.51.100.{k}", 40_000 + hour, port, protocol,
                         bytes([k]) * (50 * k + hour + 7 * day), source_mac=mac)  # fmt: skip
                packets += [sent, sent.back(sent.time_ns + S // 100, payload=b"ok")]
    return sorted(packets, key=lambda packet: packet.time_ns)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures of five days, a library of three of them with its flow side, and an encoder that is another one."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    home = tmp_path_factory.mktemp("made")
    for day in range(5):
        (home / f"day-0{day}.pcap").write_bytes(capture(packets_of(day)))
    (home / "who.csv").write_text(
        f"device,label,model,vendor,type,coarse\n{CAMERA},cam,c-1,acme,camera,camera\n{PLUG},plug,p-1,acme,plug,plug\n"
    )
    enrolled = [home / f"day-0{day}.pcap" for day in range(3)]
    assert main(["enrol", *map(str, enrolled), "--labels", str(home / "who.csv"), "-o", str(home / "home.jsonl")]) == 0
    _other_encoder(home / "other.onnx")
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


def test_enrol_reads_once_and_says_what_is_written(home: Path, run: Run) -> None:
    code, out, err = run("enrol", home / "day-00.pcap", home / "day-01.pcap", "--labels", home / "who.csv",
                         "-o", home / "x.jsonl", "--to", "1970-01-02T12:00")  # fmt: skip
    assert (code, out) == (0, "")
    assert "4 windows of 2 labels enrolled" in err
    assert f"left out, without a label: 1 device: {HUB}" in err
    assert "custom flows: 108 read, 72 kept as embeddings" in err
    assert "4 entries of 2 labels written to" in err
    assert "embedded flows of 4 of them written to" in err
    library = library_file.read(home / "x.jsonl")
    store = read_store(embeddings_path(home / "x.jsonl"))
    assert library.flows == store.encoder
    assert sorted(len(rows) for rows in store.z.values()) == [12, 12, 24, 24]


def test_json_has_the_weight_of_each_method(home: Path, run: Run) -> None:
    later = [home / "day-03.pcap", home / "day-04.pcap"]
    code, out, err = run("identify", *later, "--library", home / "home.jsonl", "--format", "json")
    assert code == 0
    assert "fingerprints and embeddings: 3 of 3 items have custom flows; encoder" in err
    document = {verdict["device"]: verdict for verdict in orjson.loads(out)["devices"]}
    assert document[CAMERA]["nearest"] == "cam"
    for verdict in document.values():
        assert {share["method"] for share in verdict["methods"]} == {"fingerprints", "embeddings"}
        assert all(share["weight"] > 0 for share in verdict["methods"])
        # Six windows were held out, and the pooled figures count as fifty: no label is surer than 57 of 58.
        assert max(verdict["known_types"].values()) <= 57 / 58 + 1e-9
        # The rest is the probability that the device is none of them.
        assert sum(verdict["known_types"].values()) <= 1.0 + 1e-6
    code, out, err = run("identify", *later, "--library", home / "home.jsonl", "--format", "json", "--no-flows")
    assert (code, err) == (0, "")
    assert all(verdict["methods"] == [] for verdict in orjson.loads(out)["devices"])
    for per in ("epoch", "fingerprint"):
        code, out, err = run("identify", *later, "--library", home / "home.jsonl", "--per", per, "--format", "json")
        assert code == 0
        items = len(orjson.loads(out)["devices"])
        assert f"{items} of {items} items have custom flows" in err


def test_libraries_change_with_their_flow_sides(home: Path, run: Run) -> None:
    library, part, other = home / "home.jsonl", home / "part.jsonl", home / "other.jsonl"
    before = read_store(embeddings_path(library))
    code, _, err = run("library", "remove", library, "--label", "cam", "-o", part)
    assert code == 0
    assert "3 of 6 windows removed" in err
    stored = [entry.digest for entry in library_file.read(part).entries]
    assert sorted(read_store(embeddings_path(part)).z) == sorted(stored)
    assert run("library", "remove", library, "--label", "plug", "-o", other)[0] == 0
    assert run("library", "merge", part, other, "-o", home / "again.jsonl")[0] == 0
    again = read_store(embeddings_path(home / "again.jsonl"))
    assert {name: rows.tolist() for name, rows in again.z.items()} == {
        name: rows.tolist() for name, rows in before.z.items()
    }
    assert (home / "again.jsonl").read_bytes() == library.read_bytes()
    code, _, err = run("library", "rename", library, "--name", "plug=desk plug,,,outlet", "-o", library)
    assert code == 0
    assert "3 entries renamed" in err
    named = library_file.read(library)
    assert sorted(set(named.labels())) == ["cam", "desk plug"]
    assert {entry.identity.at("family") for entry in named.entries} == {"acme/camera", "acme/outlet"}
    assert sorted(read_store(embeddings_path(library)).z) == sorted(entry.digest for entry in named.entries)
    assert "embedded flows of 6 entries, 144 in all; encoder" in run("library", "list", library)[1]
    code, out, _ = run("identify", home / "day-04.pcap", "--library", library, "--format", "json")
    assert code == 0
    devices = orjson.loads(out)["devices"]
    assert {verdict["nearest"] for verdict in devices if verdict["device"] == PLUG} == {"desk plug"}
    assert run("library", "remove", library, "--label", "cam", "--label", "desk plug", "-o", library)[0] == 0
    assert not embeddings_path(library).exists()


def test_a_group_that_is_named_has_embedded_flows_too(home: Path, run: Run) -> None:
    asked = ("unknown", home / "day-03.pcap", home / "day-04.pcap", "--library", home / "home.jsonl")
    code, out, err = run(*asked, "--format", "json")
    assert code == 0, err
    (group,) = [verdict["group"] for verdict in orjson.loads(out)["groups"] if HUB in verdict["devices"]]
    code, _, err = run(*asked, "--name", f"{group}=hub", "-o", home / "named.jsonl")
    assert code == 0, err
    named = library_file.read(home / "named.jsonl")
    assert "hub" in named.labels()
    assert len(read_store(embeddings_path(home / "named.jsonl"))) == len(named)
    code, out, _ = run("identify", home / "day-04.pcap", "--library", home / "named.jsonl", "--format", "json")
    assert code == 0
    assert [verdict["nearest"] for verdict in orjson.loads(out)["devices"] if verdict["device"] == HUB] == ["hub"]


def test_extending_keeps_the_flows_of_both_and_without_flows_those_of_the_first(home: Path, run: Run) -> None:
    arguments = ("enrol", home / "day-03.pcap", "--labels", home / "who.csv", "-o", home / "more.jsonl",
                 "--extend", home / "home.jsonl")  # fmt: skip
    assert run(*arguments)[0] == 0
    assert len(read_store(embeddings_path(home / "more.jsonl"))) == 8
    assert run(*arguments, "--no-flows")[0] == 0
    assert len(library_file.read(home / "more.jsonl")) == 8
    assert len(read_store(embeddings_path(home / "more.jsonl"))) == 6


def test_fingerprints_stand_alone_where_flows_cannot_be_compared_and_it_is_said(home: Path, run: Run) -> None:
    day, library = home / "day-04.pcap", home / "home.jsonl"

    def said(*arguments: object) -> str:
        code, out, err = run("identify", *arguments, "--format", "json")
        assert code == 0, err
        assert orjson.loads(out)["encoder"] == ""
        (line,) = err.splitlines()
        return str(line)

    assert run("flows", day, "-o", home / "flows.parquet")[0] == 0
    assert "using fingerprints only: the input has no packets" in said(home / "flows.parquet", "--library", library)
    six = home / "six.pcap"
    six.write_bytes(capture([P(k * S, version=6) for k in range(20)]))
    assert "no custom flow of a device (TCP or UDP over IPv4)" in said(six, "--library", library)
    ping = home / "ping.pcap"
    ping.write_bytes(capture([P(k * S, protocol=1, payload=b"x" * 20) for k in range(20)]))
    assert "no custom flow of a device (TCP or UDP over IPv4)" in said(ping, "--library", library)
    other = home / "other.jsonl"
    shutil.copy(library, other)
    assert "other.flows.parquet is missing: other.jsonl was enrolled with encoder" in said(day, "--library", other)
    code, _, err = run("enrol", home / "day-00.pcap", "--labels", home / "who.csv", "-o", other, "--encoder",
                       home / "other.onnx")  # fmt: skip
    assert code == 0, err
    assert "was made with encoder" in said(day, "--library", other)
    shutil.copy(embeddings_path(other), embeddings_path(library))
    assert "home.flows.parquet was made with encoder" in said(day, "--library", library)


def test_mistakes_are_one_line_and_a_named_code(home: Path, run: Run) -> None:
    day, library, labels = home / "day-04.pcap", home / "home.jsonl", home / "who.csv"
    whole = day.read_bytes()
    cut, header, empty = home / "cut.pcap", home / "header.pcap", home / "empty.pcap"
    cut.write_bytes(whole[: len(whole) // 2 + 7])
    header.write_bytes(whole[:30])
    empty.write_bytes(b"")
    (home / "nothing").mkdir()
    foreign = home / "other.onnx"
    six = home / "six.pcap"
    six.write_bytes(capture([P(k * S, version=6, source_mac=CAMERA) for k in range(20)]))
    assert run("flows", day, "-o", home / "flows.parquet")[0] == 0
    other, damaged = home / "others.jsonl", home / "damaged.jsonl"
    assert run("enrol", day, "--labels", labels, "-o", other, "--encoder", foreign)[0] == 0
    shutil.copy(library, damaged)
    embeddings_path(damaged).write_bytes(embeddings_path(library).read_bytes()[:-40])
    old = home / "old.jsonl"
    old.write_text(library.read_text().replace("ethogram.library/1", "ethogram.library/9", 1))
    out = ("-o", home / "x.jsonl")
    cases: list[tuple[int, str, list[object]]] = [
        (3, "truncated record", ["identify", header, "--library", library]),
        (3, "empty", ["identify", empty, "--library", library]),
        (3, "contains no files", ["enrol", home / "nothing", "--labels", labels, *out]),
        (4, "format ethogram.library/9", ["identify", day, "--library", old]),
        (4, "no such file", ["identify", day, "--library", library, "--encoder", home / "none.onnx"]),
        (4, "was made with", ["identify", day, "--library", library, "--encoder", foreign]),
        (4, "cannot be read", ["identify", day, "--library", damaged]),
        (4, "is missing", ["identify", day, "--library", _copied(library, home / "alone.jsonl"), "--encoder",
                           foreign]),
        (4, "add fingerprints only with --no-flows", ["enrol", day, "--labels", labels, "--extend", other, *out]),
        (3, "an encoder needs captures with TCP or UDP over IPv4", ["enrol", home / "flows.parquet", "--labels", labels,
                                                                    *out, "--encoder", foreign]),
        (3, "an encoder needs captures with TCP or UDP over IPv4", ["enrol", six, "--labels", labels, *out, "--encoder",
                                                       foreign]),
        (4, "seen: 02:00:00:00:00:07", ["enrol", _ping(home), "--labels", labels, *out]),
        (4, "no such folder", ["enrol", day, "--labels", labels, "-o", home / "none" / "x.jsonl"]),
        (4, "of different encoders cannot be merged", ["library", "merge", library, other, *out]),
        (4, "no entry has the label 'lamp'", ["library", "rename", library, "--name", "lamp=x", *out]),
        (2, "contradict each other", ["enrol", day, "--labels", labels, *out, "--encoder", foreign, "--no-flows"]),
        (2, "contradict each other", ["identify", day, "--library", library, "--encoder", foreign, "--no-flows"]),
        (2, "contradict each other", ["unknown", day, "--library", library, "--encoder", foreign, "--no-flows"]),
        (2, "--encoder needs --library", ["identify", day, "--encoder", foreign]),
        (2, "rename needs --name", ["library", "rename", library, *out]),
    ]  # fmt: skip
    for code, words, arguments in cases:
        got, printed, err = run(*arguments)
        assert (got, printed) == (code, ""), (arguments, err)
        (line,) = err.splitlines()
        assert line.startswith("ethogram: ")
        assert words in line, line
        assert not (home / "x.jsonl").exists()
    code, printed, err = run("identify", cut, "--library", library)
    assert code == 3
    assert "3 verdicts" in printed
    assert [line for line in err.splitlines() if "truncated" in line and line.startswith("ethogram: ")]
    assert run("library", "merge", library, other, *out, "--no-flows")[0] == 0
    assert not embeddings_path(home / "x.jsonl").exists()


def _other_encoder(path: Path) -> None:
    """The packaged encoder, with a header that states other weights."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(PACKAGED))
    for said in model.metadata_props:
        if said.key == METADATA:
            header = orjson.loads(said.value)
            header["weights"] = "0123456789abcdef"
            said.value = orjson.dumps(header).decode()
    onnx.save(model, str(path))


def _copied(library: Path, path: Path) -> Path:
    shutil.copy(library, path)
    return path


def _ping(home: Path) -> Path:
    path = home / "ping.pcap"
    path.write_bytes(capture([P(k * S, protocol=1, payload=b"x" * 20) for k in range(20)]))
    return path
