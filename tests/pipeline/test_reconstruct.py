"""The verb reconstruct, as a function and as a command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.config import EncoderSettings, ReconstructionSettings, TrainingSettings
from ethogram.errors import LeakError
from ethogram.pipeline.reconstruct import Reconstructions, reconstructions
from ethogram.pipeline.representations import pretrain
from labelled_flows_made import home, write_home

SMALL = ReconstructionSettings(flows=150, least_flows=5, first_symbols=20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("reconstruct")
    write_home(folder, "home", home(400, 1))
    write_home(folder, "office", home(200, 2, first_day=30, units=2))
    training = TrainingSettings(passes=1, seeds=2, threads=1, held_out=0.6, batch=64)
    for name, kind, d in (("ae", "ae", 4), ("vae", "vae", 8)):
        encoder = EncoderSettings(kind=kind, widths=(8,), d=d)
        pretrain([folder / "home.parquet"], folder / name, encoder=encoder, training=training)
    return folder


@pytest.fixture(scope="module")
def found(place: Path) -> Reconstructions:
    home_file, models = place / "home.parquet", [str(place / "ae"), str(place / "vae"), "raw:meta+packets"]
    return reconstructions([home_file], models, there=[place / "office.parquet"], labels=place / "home.csv",
                           there_labels=place / "office.csv", level="type", settings=SMALL)  # fmt: skip


def test_pretraining_days_are_excluded(found: Reconstructions) -> None:
    days = home(400, 1).start_us // 86_400_000_000
    assert f"home: {np.sum(days <= 2)} flows of pretraining days are excluded" in found.notes
    assert "home: 150 of 400 flows, of 7 days" in found.notes
    assert "home: labels: 150 custom flows read = 150 used + 0 ignored + 0 dropped" in found.notes


def test_errors_here_and_there_with_their_ratio(found: Reconstructions) -> None:
    table = found.errors.filter(pl.col("encoder") != "raw 40")
    assert table.height == 2 * 2 * 5, "two encoders, two seeds, five parts"
    assert table["part"].to_list()[:5] == ["overall", "meta", "packets", "payload", "non-padding"]
    for row in table.to_dicts():
        assert row["shift_ratio"] == pytest.approx(row["mean_there"] / row["mean_here"])
        assert row["median_here"] <= row["p95_here"]
    raw = found.errors.filter(encoder="raw 40")
    assert raw["mean_here"].to_list() == [0, 0, 0]
    assert raw["shift_ratio"].null_count() == 3


def test_curves_rise_and_end_at_the_quantiles(found: Reconstructions) -> None:
    curve = found.cdf.filter(encoder="ae", seed=0, part="packets", network="there")
    assert curve["share"].to_list() == pytest.approx(np.linspace(0, 1, 101))
    assert (curve["error"].diff().drop_nulls() >= 0).all()
    row = found.errors.filter(encoder="ae", seed=0, part="packets")
    assert curve["error"][50] == pytest.approx(row["median_there"].item())
    assert curve["error"][95] == pytest.approx(row["p95_there"].item())


def test_by_service_and_label_adds_up_to_all(found: Reconstructions) -> None:
    for by in ("service", "label"):
        part = found.by.filter(encoder="vae", seed=1, network="here", by=by)
        assert part["flows"].sum() == 150
        mean = (part["flows"] * part["packets"]).sum() / 150
        assert mean == pytest.approx(found.errors.filter(encoder="vae", seed=1, part="packets")["mean_here"].item())
    assert set(found.by.filter(by="service")["name"]) == {"TCP/443", "TCP/80", "UDP/53"}
    assert set(found.by.filter(by="label")["name"]) == {"camera", "plug", "hub"}


def test_latent_units_and_agreement_of_seeds(found: Reconstructions) -> None:
    units = found.units.filter(encoder="vae", seed=0, network="here")
    assert units["unit"].to_list() == list(range(8))
    assert (units["kl"] >= 0).all()
    assert found.units.filter(encoder="ae")["kl"].null_count() == 2 * 2 * 4
    assert found.agreement.select("encoder", "seed", "other").rows() == [("ae", 0, 1), ("vae", 0, 1)]
    assert found.agreement["linear_cka"].is_between(0, 1).all()


def test_drawn_baselines_are_drawn_more_than_once(place: Path) -> None:
    drawn = reconstructions([place / "home.parquet"], ["random-projection:meta+packets"], settings=SMALL)
    assert drawn.errors["seed"].unique().sort().to_list() == [0, 1, 2]
    assert drawn.agreement.height == 3


def test_octets_of_the_first_symbols(found: Reconstructions) -> None:
    row = found.octets.filter(encoder="ae", seed=0, network="here").row(0, named=True)
    assert row["symbols"] == 20
    assert 0 < row["octets"] <= 150 * 20
    assert 0 <= row["accuracy"] <= 1
    assert row["constant"] > row["accuracy"], "after one pass on little data"


def test_pca_is_fitted_on_pretraining_days_or_reported(place: Path) -> None:
    both = reconstructions([place / "home.parquet"], ["pca:meta+packets", str(place / "ae")], settings=SMALL)
    assert not any("fitted on the flows" in note for note in both.notes)
    alone = reconstructions([place / "home.parquet"], ["pca:meta+packets"], settings=SMALL)
    assert any("fitted on the flows" in note for note in alone.notes)
    assert "shift_ratio" not in alone.errors.columns


def test_an_encoder_of_every_day_is_refused(place: Path, tmp_path: Path) -> None:
    training = TrainingSettings(passes=1, seeds=1, threads=1, held_out=0.0)
    encoder = EncoderSettings(kind="ae", widths=(8,), d=4)
    pretrain([place / "office.parquet"], tmp_path / "m", encoder=encoder, training=training)
    with pytest.raises(LeakError, match="office: an encoder was pretrained on every day"):
        reconstructions([place / "office.parquet"], [str(tmp_path / "m")], settings=SMALL)


@pytest.mark.parametrize("name", ["linear-fields", "model"])
def test_an_encoder_without_a_decoder_is_refused_in_one_line(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "model":
        name, settings = str(tmp_path / "model"), EncoderSettings(kind="linear-fields", d=4)
        pretrain([place / "home.parquet"], tmp_path / "model", encoder=settings, training=TrainingSettings())
    assert main(["reconstruct", str(place / "home.parquet"), "--model", name]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("an encoder of kind linear-fields has no decoder")


def test_an_exported_encoder_is_refused_in_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconstruct", str(place / "home.parquet"), "--model", "packaged"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "ethogram: packaged: an exported encoder has no decoder: name its directory"


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_the_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.chdir(place)
    plots = ["--plots", str(tmp_path / "plots")] if form == "text" else []
    options = ["--there", "office.parquet", "--labels", "home.csv", "--there-labels", "office.csv", "--flows", "100"]
    assert (
        main(["reconstruct", "home.parquet", "--model", "vae", "--model", "ae", *options, "--format", form, *plots])
        == 0
    )
    output = capsys.readouterr()
    assert "home: 100 of 400 flows" in output.err
    if form == "json":
        value = orjson.loads(output.out)
        assert value["format"] == "ethogram.reconstruction/1"
        assert {row["part"] for row in value["errors"]} == {"overall", "meta", "packets", "payload", "non-padding"}
    elif form == "csv":
        assert output.out.startswith("table,encoder,kind,d,seed,part,mean_here,")
        assert "\nagreement,vae,0,1," in output.out
    else:
        assert "shift ratio" in output.out
        assert "Latent units" in output.out
        assert sorted(path.stem for path in (tmp_path / "plots").glob("*.png")) == sorted(
            ["by-service-and-label", "error-by-d", "errors", "shift", "units"]
        )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["missing.parquet", "--model", "raw"], 3, "missing.parquet"),
        (["home.parquet", "--model", "nowhere"], 4, "no such file"),
        (["home.parquet", "--model", "raw", "--level", "colour"], 2, "--level"),
        (["home.csv", "--model", "raw"], 3, "home.csv"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int,
    told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    assert main(["reconstruct", *arguments]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
