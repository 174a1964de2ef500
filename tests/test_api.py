"""The public API: its names, its lightness, and that each function does what the command of its name does."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet
import pytest

import ethogram
from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.errors import EthogramWarning, InputError, UsageError

VERBS = (
    "changes", "deviations", "embed", "enrol", "export", "fingerprint", "identify", "monitor", "pretrain", "stability",
    "unknown",
    "vectors",
)  # fmt: skip
OUTPUT_OPTIONS = {"all_labels", "as_json", "force", "form", "name", "output", "packets_output", "plots"}


def test_every_public_name_can_be_loaded_and_is_documented() -> None:
    assert sorted(ethogram.__all__) == ethogram.__all__
    assert set(ethogram.__all__) <= set(dir(ethogram))
    for name in ethogram.__all__:
        value = getattr(ethogram, name)
        if name != "__version__":
            assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = ethogram.nonesuch  # type: ignore[attr-defined]


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("numpy", "polars", "pydantic", "numba", "torch")
    code = f"import sys, ethogram; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("first", ["import ethogram.identify.library, ethogram.fingerprint.key", "pass"])
def test_functions_keep_their_names_beside_subpackages(first: str) -> None:
    code = (
        f"{first}\nimport ethogram\nfrom ethogram import identify, fingerprint\n"
        "from ethogram.identify.library import Library\nfrom ethogram.identify import library\n"
        "assert callable(identify) and ethogram.fingerprint is fingerprint and ethogram.Library is Library"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_functions_and_commands_have_the_same_options_and_defaults(verb: str) -> None:
    function = dict(inspect.signature(getattr(ethogram, verb)).parameters)
    command = dict(inspect.signature(importlib.import_module(f"ethogram.cli.{verb}").command).parameters)
    if verb == "pretrain":  # the function takes settings as objects
        return
    if verb in ("changes", "export"):  # the command without inputs reads the live service
        command = {name: option for name, option in command.items() if name not in ("config", "data", "store")}
        command["inputs"] = function["inputs"]
    options = OUTPUT_OPTIONS - {"form"} if verb == "export" else OUTPUT_OPTIONS
    assert {*function} - {"on_progress"} == {*command} - options - (
        {"output"} if "output" not in function else set()
    )
    for name in {*function} & {*command}:
        ours, theirs = function[name].default, command[name].default
        assert ours == theirs or (ours, theirs) == (inspect.Parameter.empty, inspect.Parameter.empty), name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two devices over two days, as captures of a day each, with labels."""
    folder = tmp_path_factory.mktemp("home")
    for day in range(2):
        packets = []
        for hour in range(0, 24, 2):
            at = (1_714_521_600 + day * 86_400 + hour * 3_600) * 1_000_000_000
            for number, port in ((5, 443), (6, 8883)):
                sent = P(at, f"192.168.1.{number}", "198.51.100.7", 40_000 + hour, port, payload=b"x",
                         source_mac=f"02:00:00:00:00:0{number}")  # fmt: skip
                packets += [sent, sent.back(at + 100_000_000)]
        (folder / f"day-{day}.pcap").write_bytes(capture(sorted(packets, key=lambda packet: packet.time_ns)))
    (folder / "labels.csv").write_text("device,label\n02:00:00:00:00:05,camera\n02:00:00:00:00:06,plug\n")
    return folder


def test_a_flow_table_is_that_of_the_command(home: Path, tmp_path: Path) -> None:
    assert main(["flows", str(home / "day-0.pcap"), "-o", str(tmp_path / "flows.parquet"), "-q"]) == 0
    flows = ethogram.read_flows(home / "day-0.pcap")
    written = pl.read_parquet(tmp_path / "flows.parquet")
    assert flows.to_frame().equals(written.cast(flows.to_frame().schema))
    assert len(flows) == len(flows.to_dict()) == len(json.loads(flows.to_json()))
    assert flows.log.errors == []
    assert "flows" in flows.log.summary


def test_dataframes_of_any_library_are_inputs(home: Path) -> None:
    flows = ethogram.read_flows([home / "day-0.pcap", home / "day-1.pcap"]).to_frame()
    # A DataFrame of flows holds no identity facts.
    expected = ethogram.identify([home / "day-0.pcap", home / "day-1.pcap"], identity=False)
    for frame in (flows, flows.lazy(), flows.to_arrow()):
        assert ethogram.identify(frame, identity=False).to_dict() == expected.to_dict()
    with pytest.raises(InputError, match="int is neither a path nor a DataFrame"):
        ethogram.identify(3)
    with pytest.raises(InputError, match="no input"):
        ethogram.identify([])


def test_verdicts_are_those_of_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = str(home / "day-0.pcap")
    inventory = ethogram.identify(day)
    assert main(["identify", day, "--format", "json", "--all"]) == 0
    assert json.loads(capsys.readouterr().out) == inventory.to_dict() == json.loads(inventory.to_json())
    frame = inventory.to_frame()
    assert frame["device"].to_list() == [verdict.device for verdict in inventory.devices]
    assert frame["score"].to_list() == [verdict.score for verdict in inventory.devices]


def test_fingerprints_are_those_of_the_command(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "fingerprints.parquet"
    assert main(["fingerprint", str(home / "day-0.pcap"), "-o", str(out), "--epoch", "6h"]) == 0
    fingerprints = ethogram.fingerprint(home / "day-0.pcap", epoch="6h")
    fingerprints.save(tmp_path / "again.parquet")
    assert pl.read_parquet(tmp_path / "again.parquet").equals(pl.read_parquet(out))
    assert len(json.loads(fingerprints.to_json())) == len(fingerprints) > 0


def test_a_library_is_that_of_the_command(home: Path, tmp_path: Path) -> None:
    days = [str(home / f"day-{day}.pcap") for day in range(2)]
    command = ["enrol", *days, "--labels", str(home / "labels.csv"), "-o", str(tmp_path / "home.jsonl"), "--no-flows"]
    assert main(command) == 0
    library = ethogram.enrol(days, home / "labels.csv", flows=False)
    written = ethogram.open_library(tmp_path / "home.jsonl")
    assert isinstance(library, ethogram.Library)
    assert library.digest == written.digest
    same = ethogram.enrol(days, {"02:00:00:00:00:05": "camera", "02:00:00:00:00:06": "plug"}, flows=False)
    framed = ethogram.enrol(days, pl.read_csv(home / "labels.csv"), flows=False)
    assert same.digest == framed.digest == library.digest
    assert json.loads(library.to_json())["digest"] == library.digest
    assert library.to_frame().height == len(library)
    library.save(tmp_path / "again.jsonl")
    again = ethogram.identify(days[1], library=tmp_path / "again.jsonl")
    direct = ethogram.identify(days[1], library=library)
    assert again.devices == direct.devices
    groups = ethogram.unknown(days[1], library=library)
    assert main(["unknown", days[1], "--library", str(tmp_path / "home.jsonl"), "--format", "json"]) == 0
    assert groups.known == len(direct.devices) - direct.to_frame().filter(pl.col("verdict") == "unknown").height


def test_an_input_that_ends_early_warns(home: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes((home / "day-0.pcap").read_bytes()[:-5])
    with pytest.warns(EthogramWarning):
        flows = ethogram.read_flows(cut)
    assert len(flows) > 0
    assert flows.log.errors


def test_embeddings_are_those_of_the_command(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    out = tmp_path / "z.parquet"
    assert main(["embed", str(home / "day-0.pcap"), "-o", str(out)]) == 0
    embeddings = ethogram.embed(home / "day-0.pcap")
    assert embeddings.to_frame().equals(pl.read_parquet(out))
    assert embeddings.dimensions == pyarrow.parquet.read_schema(out).field("embedding").type.list_size


def test_custom_flows_and_probes_are_those_of_the_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [str(home / f"day-{day}.pcap") for day in range(2)]
    assert main(["vectors", *days, "-o", str(tmp_path / "flows.parquet")]) == 0
    flows = ethogram.vectors(days)
    flows.save(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "flows.parquet").read_bytes()
    assert len(flows) == len(flows.to_dict()) == 48
    command = ["probe", str(tmp_path / "flows.parquet"), "--labels", str(home / "labels.csv"), "--model", "raw"]
    capsys.readouterr()
    assert main([*command, "--gap-days", "0", "--seeds", "1", "--set", "held_out=0", "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    settings = {"gap_days": 0, "seeds": 1, "held_out": 0}
    for inputs, labels in (
        (tmp_path / "flows.parquet", home / "labels.csv"),
        (flows, {"02:00:00:00:00:05": "camera", "02:00:00:00:00:06": "plug"}),
    ):
        run = ethogram.probe(inputs, labels, "raw", settings=settings)
        assert run.to_frame().height == len(run.to_dict()["figures"]) > 0
        assert [row["macro_f1"] for row in json.loads(run.to_json())["figures"]] == [
            row["macro_f1"] for row in printed["figures"]
        ]


def test_stability_is_that_of_the_command(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fingerprints = ethogram.fingerprint([home / "day-0.pcap", home / "day-1.pcap"], epoch="6h", min_flows=1)
    fingerprints.save(tmp_path / "fingerprints.parquet")
    labels = ["--labels", str(home / "labels.csv"), "--level", "label"]
    assert main(["stability", str(tmp_path / "fingerprints.parquet"), *labels, "--format", "json"]) == 0
    measured = ethogram.stability(fingerprints, labels=home / "labels.csv", level="label")
    assert json.loads(measured.to_json()) == json.loads(capsys.readouterr().out)
    assert measured.to_frame().filter(pl.col("table") == "convergence")["of"].n_unique() == 2
    with pytest.raises(UsageError, match="invalid level 'coarse'"):
        ethogram.stability(fingerprints, labels=home / "labels.csv", level="coarse")


@pytest.mark.parametrize("form", ["csv", "mud", "prometheus-sd"])
def test_an_export_is_that_of_the_command(home: Path, tmp_path: Path, form: str) -> None:
    day, output = str(home / "day-0.pcap"), tmp_path / "written"
    assert main(["export", form, day, "-o", str(output), "-q"]) == 0
    made = ethogram.export(form, day)
    assert made.devices == 2
    made.save(tmp_path / "saved")
    for name, text in made.files.items():
        written, saved = ((tmp_path / place / name).read_text() for place in ("written", "saved"))
        assert saved == text
        assert without_times(written) == without_times(text)
    if form == "mud":
        assert len(made.files) == len(list(output.iterdir())) == 2
        with pytest.raises(UsageError, match="there is a file for each device"):
            _ = made.text
        assert len(ethogram.export(form, day, device="192.168.1.5").files) == 1
    else:
        assert made.text == made.files[""]


def without_times(text: str) -> list[str]:
    """Lines of an export, without the time at which it was made."""
    return [line for line in text.splitlines() if "last-update" not in line]


def test_an_unknown_export_format_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no format 'xml'; there are csv, ecs"):
        ethogram.export("xml", home / "day-0.pcap")
    with pytest.raises(InputError, match=r"--device: there is no device 'nobody'"):
        ethogram.export("csv", home / "day-0.pcap", device="nobody")
