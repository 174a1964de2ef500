"""Real captures to custom flows, an encoder, its reconstruction and probes on its embeddings, by the commands alone."""

from __future__ import annotations

import csv
from pathlib import Path

import orjson
import pytest

from ethogram.cli import main

DEVICES = ("Ring_Doorbell", "tp-link_LightBulb", "tp-link_SmartPlug")
TRAIN = ["--kind", "ae", "--size", "small", "--passes", "2", "--seeds", "1", "--threads", "1", "--held-out", "0.6"]


@pytest.mark.corpus
def test_captures_to_verdicts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    with (corpus / "labels.csv").open(newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if row["source"] == "stevens_lsif_2019" and row["device"] in DEVICES
        ]
    Path("devices.csv").write_text("device,mac,ip\n" + "".join(f"{r['device']},,{r['ip']}\n" for r in rows))
    Path("labels.csv").write_text(
        "device,label,type\n" + "".join(f"{r['device']},{r['device']},{r['type']}\n" for r in rows)
    )
    captures = [str(corpus / "stevens_lsif_2019" / name) for name in DEVICES]
    assert main(["vectors", *captures, "--devices", "devices.csv", "-o", "flows.parquet"]) == 0
    assert main(["pretrain", "flows.parquet", "-o", "model", *TRAIN]) == 0
    capsys.readouterr()

    models = ["--model", "raw", "--model", "pca:meta+packets", "--model", "untrained", "--model", "model"]
    options = ["--seeds", "1", "--set", "train_flows=1500", "--set", "test_flows=3000", "--set", "draws=100"]
    assert main(["probe", "flows.parquet", "--labels", "labels.csv", *models, *options, "--format", "json"]) == 0
    value = orjson.loads(capsys.readouterr().out)
    accounting = value["accounting"]["flows"]
    assert accounting["ignored"]["day the encoder learnt from"] > 1000
    assert accounting["read"] == accounting["used"] + sum(accounting["ignored"].values())
    figures = {row["encoder"]: row for row in value["figures"] if row["seed"] is None}
    assert set(figures) == {"raw 40", "pca:meta+packets", "untrained", "model"}
    for row in figures.values():
        assert row["types"] == 3
        assert row["device_days"] >= 12
        assert row["low"] <= row["macro_f1"] <= row["high"]
        assert row["macro_f1"] > 0.45, "a guess of three is right in a third"
    for encoder in figures:
        table = {row["flows"]: row for row in value["devices"] if row["encoder"] == encoder}
        assert table["20"]["macro_f1"] > table["1"]["macro_f1"]
        assert table["20"]["calibrated_on"] > 0

    assert (
        main(["reconstruct", "flows.parquet", *models[:4], "--model", "model", "--flows", "500", "--format", "json"])
        == 0
    )
    errors = {(row["encoder"], row["part"]): row for row in orjson.loads(capsys.readouterr().out)["errors"]}
    assert errors["raw 40", "overall"]["mean_here"] == 0
    assert 0 < errors["model", "overall"]["mean_here"] < 0.05
    assert errors["model", "non-padding"]["mean_here"] > errors["model", "payload"]["mean_here"]
