"""The verb probe as a function and as a command: exclusion, fitting, leaks and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.config import EncoderSettings, ProbeSettings, TrainingSettings
from ethogram.errors import InputError, LeakError, LibraryError, UsageError
from ethogram.pipeline.candidates import candidates
from ethogram.pipeline.labelled_flows import LabelledFlows, days_learnt, learnt_from, taken
from ethogram.pipeline.probe import ProbeRun, probe
from ethogram.pipeline.representations import pretrain
from ethogram.representation.encoder import Header
from labelled_flows_made import home, write_home

QUICK = ProbeSettings(level="type", seeds=2, draws=50, aggregate=(1, 5), trees=10, mlp_steps=100, tune_passes=1,
                      tune_steps=2)  # fmt: skip
TINY = EncoderSettings(kind="ae", widths=(16,), d=4, view="meta+packets")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two homes; a model of two seeds pretrained on days 0 to 2 of the first, and one on nearly all its days."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("probe")
    write_home(folder, "home", home(900, 1))
    write_home(folder, "office", home(400, 2, first_day=30, units=2))
    for name, held_out in (("model", 0.6), ("greedy", 0.0)):
        training = TrainingSettings(passes=1, seeds=2, threads=1, held_out=held_out, batch=64)
        pretrain([folder / "home.parquet"], folder / name, encoder=TINY, training=training)
    return folder


def run(place: Path, *encoders: str, name: str = "home", settings: ProbeSettings = QUICK, **more: Any) -> ProbeRun:
    named = [str(place / each) if (place / each).exists() else each for each in encoders]
    return probe([place / f"{name}.parquet"], place / f"{name}.csv", named, settings=settings, **more)


class TestByDay:
    def test_pretraining_days_are_excluded_and_accounted(self, place: Path) -> None:
        probed = run(place, "raw", "model")
        sides = probed.split.sides
        assert [np.unique(side.day).tolist() for side in sides.values()] == [[4, 5, 6], [8, 9], [0, 1, 2]]
        assert list(sides) == ["train", "test", "unlabelled of home"]
        accounting = probed.accounting["home"]
        accounting.check()
        days = home(900, 1).start_us // 86_400_000_000
        assert accounting.read == 900
        assert accounting.ignored["day the encoder learnt from"] == np.sum(days <= 3)
        assert accounting.ignored["between the sides"] == np.sum(days == 7)
        assert accounting.used == len(sides["train"]) + len(sides["test"])
        first = probed.figures.row(0, named=True)
        assert (first["trained_on"], first["tested_on"]) == (len(sides["train"]), len(sides["test"]))
        assert first["device_days"] == 6

    def test_probes_separate_types_and_rows_are_complete(self, place: Path) -> None:
        probed = run(place, "raw", "model")
        raw = probed.figures.filter(encoder="raw 40", seed=0).row(0, named=True)
        assert raw["macro_f1"] > 0.95
        assert raw["low"] <= raw["macro_f1"] <= raw["high"]
        together = probed.figures.filter(pl.col("seed").is_null())
        assert together["encoder"].to_list() == ["raw 40", "model"]
        assert together["seeds"].to_list() == [1, 2], "raw numbers draw nothing: once is enough"
        each = probed.figures.filter(pl.col("seed").is_not_null(), encoder="model")["macro_f1"]
        assert together["macro_f1"][1] == pytest.approx(each.mean())
        assert together["spread"][1] == pytest.approx(each.max() - each.min())
        confusion = probed.confusion.filter(encoder="model", seed=1)
        assert confusion["flows"].sum() == raw["tested_on"]
        right = confusion.filter(pl.col("true") == pl.col("said"))["flows"].sum()
        assert right / raw["tested_on"] == pytest.approx(
            probed.figures.filter(encoder="model", seed=1)["accuracy"].item()
        )
        assert set(probed.types["type"]) == {"camera", "hub", "plug"}

    def test_all_probes_budgets_and_baselines(self, place: Path) -> None:
        settings = QUICK.model_copy(
            update={"probes": ("logistic", "knn", "mlp", "forest"), "budgets": (10, None), "seeds": 1, "whiten": True}
        )
        probed = run(place, "raw", "random-projection:meta+packets", "pca:meta+packets", "untrained:meta+packets",
                    settings=settings)  # fmt: skip
        table = probed.figures.filter(pl.col("seed") == 0)
        assert table.height == 4 * 4 * 2
        assert set(table.filter(budget=10)["trained_on"]) == {30}
        assert table["macro_f1"].is_between(0.2, 1).all()
        whole = table.filter(pl.col("budget").is_null())
        assert whole.filter(encoder="raw 40", probe="logistic")["macro_f1"].item() > 0.95
        assert whole.filter(encoder="raw 40", probe="forest")["macro_f1"].item() > 0.95
        assert len(candidates(["baselines"])) == 5

    def test_the_linear_encoder_by_name_and_as_a_model(self, place: Path, tmp_path: Path) -> None:
        settings = EncoderSettings(kind="linear-fields", d=16)
        training = TrainingSettings(held_out=0.6)
        pretrain([place / "home.parquet"], tmp_path / "linear", encoder=settings, training=training)
        probed = run(place, "linear-fields", str(tmp_path / "linear"), settings=QUICK.model_copy(update={"seeds": 1}))
        assert dict(probed.figures.select("encoder", "d").iter_rows()) == {"linear-fields": 48, "linear": 16}
        assert (probed.figures["macro_f1"] > 0.9).all()
        assert candidates(["linear-fields"])[0].seeds == 1

    def test_an_exported_encoder_has_the_figures_of_its_model(self, place: Path) -> None:
        exported = next((place / "model").rglob("*.onnx"))
        settings = QUICK.model_copy(update={"seeds": 1})
        assert [c.header(0).d for c in candidates([str(exported)])] == [TINY.d]
        probed = run(place, str(exported), "model", settings=settings)
        by_name = {row["encoder"]: row["macro_f1"] for row in probed.figures.filter(seed=0).iter_rows(named=True)}
        assert by_name[exported.stem] == by_name["model"]
        days = home(900, 1).start_us // 86_400_000_000
        assert probed.accounting["home"].ignored["day the encoder learnt from"] == np.sum(days <= 3)
        with pytest.raises(UsageError, match="an exported encoder has no weights to train"):
            run(place, str(exported), settings=settings, tune=True)

    def test_the_bundled_encoder_goes_by_a_name(self, place: Path) -> None:
        probed = run(place, "packaged", settings=QUICK.model_copy(update={"seeds": 1}))
        assert probed.figures.filter(seed=0)["encoder"].unique().to_list() == ["packaged"]
        assert probed.figures.filter(seed=0)["d"][0] == 128

    def test_names_of_raw_features(self) -> None:
        assert candidates(["raw"])[0].header(0).d == Header(encoder=EncoderSettings.of(kind="raw")).d == 40
        assert candidates(["raw:full"])[0].header(0).d == 3040

    def test_random_labels_score_at_chance(self, place: Path, tmp_path: Path) -> None:
        flows = home(900, 1)
        random = np.random.default_rng(0)
        names = pl.Series([f"{kind} 0" for kind in random.choice(["camera", "plug", "hub"], len(flows))])
        path, labels = write_home(tmp_path, "shuffled", replace(flows, device=names))
        probed = probe([path], labels, ["raw"], settings=QUICK)
        assert probed.figures["macro_f1"][0] < 0.45

    def test_fitting_does_not_use_test_labels(self, place: Path, tmp_path: Path) -> None:
        """Swapping types in the test days does not change what is fitted, and all predictions become wrong."""
        lines = ["device,label,type,from,to"]
        for device, kind, later in (("camera 0", "camera", "plug"), ("plug 0", "plug", "hub"),
                                    ("hub 0", "hub", "camera")):  # fmt: skip
            lines += [f"{device},x,{kind},,1970-01-08", f"{device},x,{later},1970-01-08,"]
        (tmp_path / "turned.csv").write_text("\n".join(lines))
        first = probe([place / "home.parquet"], place / "home.csv", ["raw"], settings=QUICK)
        second = probe([place / "home.parquet"], tmp_path / "turned.csv", ["raw"], settings=QUICK)
        same = ["choice", "trained_on", "tested_on"]
        assert first.figures.select(same).equals(second.figures.select(same))
        assert first.figures["macro_f1"][0] > 0.95
        assert second.figures["macro_f1"][0] < 0.05
        columns = ["flows", "calibrated_on", "unknown"]
        assert first.devices.select(columns).equals(second.devices.select(columns))

    def test_one_training_day_is_not_calibrated(self, place: Path) -> None:
        probed = run(place, "raw", settings=QUICK.model_copy(update={"test_share": 0.8}))
        assert any("not calibrated" in note for note in probed.notes)
        assert probed.devices["unknown"].null_count() == probed.devices.height
        assert probed.figures["choice"][0] == "{'c': 1.0}"


class TestDevices:
    def test_verdicts_of_more_flows_are_not_worse(self, place: Path) -> None:
        probed = run(place, "model", settings=QUICK.model_copy(update={"aggregate": (1, 5), "seeds": 1}))
        table = {row["flows"]: row for row in probed.devices.to_dicts()}
        assert set(table) == {"1", "5", "3600 s"}
        assert table["1"]["macro_f1"] == pytest.approx(probed.figures["macro_f1"][0])
        assert table["5"]["macro_f1"] >= table["1"]["macro_f1"] - 0.05
        assert table["5"]["verdicts"] < table["1"]["verdicts"] / 4
        for row in table.values():
            assert 0 <= row["calibration_error"] <= 1
            assert 0 <= row["unknown"] <= 1


class TestAcrossNetworks:
    def test_strangers_of_a_test_network_are_counted(self, place: Path, tmp_path: Path) -> None:
        labels = tmp_path / "some.csv"
        labels.write_text("device,label,type\ncamera 0,a,camera\nplug 0,b,plug\n")
        probed = probe([place / "home.parquet"], labels, ["raw"], test=[place / "office.parquet"],
                      test_labels=place / "office.csv", settings=QUICK)  # fmt: skip
        assert probed.split.by == "network"
        office = probed.accounting["office"]
        strangers = int(sum(name.startswith("hub") for name in home(400, 2, units=2).device))
        assert office.ignored["type not in training"] == strangers
        assert office.used == probed.figures["tested_on"][0] == 400 - strangers
        assert probed.accounting["home"].ignored["device without a label"] > 0
        assert any("devices without a label: hub 0" in note for note in probed.notes)
        assert any(
            f"{strangers} test flows of types not in training count as strangers: hub" in note for note in probed.notes
        )
        single = probed.devices.filter(flows="1").row(0, named=True)
        assert single["strangers"] == strangers
        assert single["strangers_unknown"] is not None

    def test_only_shared_types(self, place: Path, tmp_path: Path) -> None:
        labels = tmp_path / "office.csv"
        labels.write_text("device,label,type\ncamera 0,a,camera\nplug 0,b,plug\n")
        probed = probe([place / "home.parquet"], place / "home.csv", ["raw"], test=[place / "office.parquet"],
                      test_labels=labels, settings=QUICK.model_copy(update={"shared_types": True}))  # fmt: skip
        hubs = int(sum(name.startswith("hub") for name in home(900, 1).device))
        assert probed.accounting["home"].ignored["type not tested"] == hubs
        assert set(probed.confusion["said"]) <= {"camera", "plug"}

    def test_the_same_flows_cannot_train_and_test(self, place: Path, tmp_path: Path) -> None:
        copy = tmp_path / "other.parquet"
        copy.write_bytes((place / "home.parquet").read_bytes())
        with pytest.raises(LeakError, match="900 flows are in training and in test"):
            run(place, "raw", test=[copy])

    def test_a_unit_on_both_sides_leaks(self, place: Path, tmp_path: Path) -> None:
        paths = []
        for name, seed in (("here", 3), ("there", 4)):
            flows = home(200, seed)
            names = flows.device.replace({"hub 0": "20:f8:5e:ca:91:52"})
            paths.append(write_home(tmp_path, name, replace(flows, device=names)))
        with pytest.raises(LeakError, match="20:f8:5e:ca:91:52"):
            probe([paths[0][0]], paths[0][1], ["raw"], test=[paths[1][0]], test_labels=paths[1][1],
                  settings=QUICK.model_copy(update={"level": "label"}))  # fmt: skip


class TestWhatEncodersLearntFrom:
    def test_an_encoder_of_every_day_is_refused(self, place: Path) -> None:
        with pytest.raises(LeakError, match=r"every labelled day of home .* is a pretraining day"):
            run(place, "greedy")

    def test_pretraining_on_another_network_is_allowed(self, place: Path) -> None:
        probed = run(place, "greedy", name="office", pretrained_on=[place / "home.parquet"])
        assert "cannot be proved" not in " ".join(probed.notes)
        assert "day the encoder learnt from" not in probed.accounting["office"].ignored

    def test_unknown_pretraining_files_are_reported(self, place: Path) -> None:
        assert any(
            "greedy: was pretrained on files that are not given" in n for n in run(place, "greedy", name="office").notes
        )

    def test_days_are_found_by_content_whatever_the_file_is_called(self, place: Path, tmp_path: Path) -> None:
        renamed = tmp_path / "x.parquet"
        renamed.write_bytes((place / "home.parquet").read_bytes())
        header = candidates([str(place / "model")])[0].header(0)
        known = learnt_from([place / "office.parquet"], [renamed])
        days = days_learnt(header, known, {"hub 0"})
        assert days is not None
        assert days.tolist() == [0, 1, 2]
        nobody = days_learnt(header, known, {"nobody"})
        assert nobody is not None
        assert not nobody.size
        assert days_learnt(header, [], {"hub 0"}) is None
        settings = header.encoder.model_copy(update={"kind": "untrained"})
        assert days_learnt(replace(header, encoder=settings), known, {"hub 0"}).tolist() == []  # type: ignore[union-attr]


class TestLabelNetworks:
    def test_fine_tuning_and_training_from_scratch(self, place: Path) -> None:
        before = candidates([str(place / "model")])[0].weights(0)[0].weights
        file = (place / "model" / "seed-0" / "encoder.safetensors").read_bytes()
        probed = run(
            place, "model", "raw", tune=True, settings=QUICK.model_copy(update={"seeds": 1, "budgets": (10, None)})
        )
        rows = probed.figures.filter(pl.col("seed") == 0)
        assert sorted(zip(rows["encoder"], rows["probe"], rows["trained_on"], strict=True))[:6] == [
            ("model", name, n) for name in ("logistic", "scratch", "unfrozen") for n in (30, rows["trained_on"].max())
        ]
        assert any("raw 40: not a network" in note for note in probed.notes)
        assert (place / "model" / "seed-0" / "encoder.safetensors").read_bytes() == file
        assert candidates([str(place / "model")])[0].weights(0)[0].weights == before

    def test_it_learns(self, place: Path) -> None:
        from ethogram.representation.build import build_network
        from ethogram.representation.supervised import LabelledNetwork

        part = LabelledFlows.read([place / "home.parquet"], place / "home.csv", "type")
        rows, late = np.arange(0, 900, 2), np.arange(1, 900, 20)
        settings = QUICK.model_copy(update={"tune_steps": 100, "tune_rate": 3e-3, "tune_batch": 64})
        whole = EncoderSettings(kind="ae", widths=(32,), d=8)
        losses = []
        for seed in (0, 0):
            learnt = LabelledNetwork(build_network(whole, seed), 3, settings, seed).fit(
                part.flows(), part.code, rows, late
            )
            losses.append(learnt.predict_log_proba(part.flows()))
        assert np.array_equal(losses[0], losses[1]), "same seed, same weights"
        assert np.mean(losses[0].argmax(1)[late] == part.code[late]) > 0.6, "a guess is right in a third"


class TestBadInput:
    def test_labels_without_flows_are_refused(self, place: Path, tmp_path: Path) -> None:
        (tmp_path / "l.csv").write_text("device,label,type\nstranger,x,camera\n")
        with pytest.raises(InputError, match=r"no flow with a label.*device without a label 900"):
            probe([place / "home.parquet"], tmp_path / "l.csv", ["raw"], settings=QUICK)

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (["--model", "raw", "--level", "coarse"], 5, "no label says anything at the level coarse"),
            (["--model", "nowhere"], 4, "no such file"),
            (["--model", "raw", "--model", "raw:meta+packets"], 2, "named twice"),
            (["--model", "raw:everything"], 5, "no view"),
            (["--model", "raw", "--probe", "svm"], 5, "setting probes"),
            (["--model", "raw", "--budget", "few"], 2, "--budget: invalid budget 'few'"),
            (["--model", "raw", "--set", "neighbors=3"], 5, "setting neighbors"),
            (["--model", "raw", "--gap-days", "9"], 2, "too few"),
            (["--model", "raw", "--test", "missing.parquet"], 3, "missing.parquet"),
            (["--model", "greedy"], 2, "every labelled day"),
            (["--model", "home.csv"], 4, "home.csv"),
        ],
    )
    def test_one_line_and_a_code(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
        code: int, told: str,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(place)
        level = [] if "--level" in arguments else ["--level", "type"]
        assert main(["probe", "home.parquet", "--labels", "home.csv", *level, *arguments]) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert told in lines[0]

    def test_a_single_type_is_refused(self, place: Path, tmp_path: Path) -> None:
        (tmp_path / "l.csv").write_text("device,label\nhub 0,x\n")
        with pytest.raises(UsageError, match="training flows of one label only"):
            probe([place / "home.parquet"], tmp_path / "l.csv", ["raw"], settings=ProbeSettings())

    def test_no_type_in_common_is_refused(self, place: Path, tmp_path: Path) -> None:
        (tmp_path / "l.csv").write_text("device,label,type\nhub 0,x,kettle\nhub 1,y,lamp\n")
        with pytest.raises(UsageError, match="no test type is in training: kettle, lamp"):
            run(place, "raw", test=[place / "office.parquet"], test_labels=tmp_path / "l.csv")

    def test_a_damaged_model_is_refused(self, place: Path, tmp_path: Path) -> None:
        (tmp_path / "m.safetensors").write_bytes(b"\x80\x04pickle")
        with pytest.raises(LibraryError, match="pickle"):
            run(place, str(tmp_path / "m.safetensors"))


def test_a_model_without_its_list_of_seeds_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "encoder.safetensors").write_bytes(b"")
    (tmp_path / "model.json").write_text('{"format": "ethogram.model/1", "encoder": "seed-0"}')
    with pytest.raises(LibraryError, match="not a model index of ethogram: 'seeds'"):
        candidates([str(tmp_path)])


def test_flows_come_in_the_order_of_their_rows(place: Path) -> None:
    part = LabelledFlows.read([place / "home.parquet"], place / "home.csv", "type")
    rows = np.array([0, 5, 299, 300, 301, 899])
    flows = taken(part.files, rows)
    assert np.array_equal(flows.start_us, home(900, 1).start_us[rows])
    selected = part.take(rows)
    assert selected.types.tolist() == [name.split()[0] for name in flows.device]


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_the_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.chdir(place)
    plots = ["--plots", str(tmp_path / "plots")] if form == "text" else []
    options = ["--level", "type", "--seeds", "1", "--set", "draws=20", "--format", form, *plots]
    assert main(["probe", "home.parquet", "--labels", "home.csv", "--model", "raw", "--model", "model", *options]) == 0
    output = capsys.readouterr()
    assert "900 custom flows read = " in output.err
    assert "flows train" in output.err
    if form == "json":
        value = orjson.loads(output.out)
        assert value["format"] == "ethogram.probe/1"
        assert value["split"]["gap_days"] == 1
        assert {row["encoder"] for row in value["figures"]} == {"raw 40", "model"}
        assert value["accounting"]["home"]["read"] == 900
        assert ProbeSettings.of(**value["settings"]).level == "type"
    elif form == "csv":
        assert output.out.startswith("table,encoder,seed,probe,budget,")
        assert "\ndevices,model,0,logistic,,5," in output.out
    else:
        assert "macro f1" in output.out
        assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(
            f"{name}.{end}" for name in ("confusion", "macro-f1", "verdicts") for end in ("csv", "png")
        )
