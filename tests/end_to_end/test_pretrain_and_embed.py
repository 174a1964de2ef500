"""Real captures to custom flows, an encoder and embeddings, by the commands alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ethogram.cli import main
from ethogram.representation.build import load_encoder

QUICK = ["--seeds", "1", "--threads", "1", "--passes", "6", "--d", "8", "--gap-days", "0", "--set", "training.batch=32"]
KINDS = {
    "vae": ["--set", "encoder.widths=[64]"],
    "fields": ["--set", "encoder.fields.hidden=64", "--set", "encoder.fields.token=16"],
}


@pytest.mark.corpus
@pytest.mark.parametrize("kind", KINDS)
def test_captures_to_embeddings(kind: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = corpus / "aalto_iot_sentinel_2016" / "captures_IoT_Sentinel" / "captures_IoT-Sentinel"
    captures = [str(folder / name) for name in ("WeMoSwitch", "D-LinkCam")]
    flows, model, out = (str(tmp_path / name) for name in ("flows.parquet", "model", "z.parquet"))
    assert main(["vectors", *captures, "-o", flows]) == 0
    capsys.readouterr()
    assert main(["pretrain", flows, "-o", model, "--kind", kind, *QUICK, *KINDS[kind]]) == 0
    assert " later days for early stopping" in capsys.readouterr().err
    curves = load_encoder(Path(model)).header.curves
    assert curves[-1]["train_loss"] < 0.7 * curves[0]["train_loss"]
    assert min(row["held_out_loss"] for row in curves) < curves[0]["held_out_loss"]
    assert main(["embed", flows, "--model", model, "-o", out]) == 0
    result = pl.read_parquet(out)
    z = result["embedding"].to_numpy()
    assert z.shape == (pl.read_parquet(flows).height, 8)
    assert np.isfinite(z).all()
    # Units that differ from flow to flow, and protocols that lie apart.
    assert (z.std(0) > 0.1).sum() >= 2
    centres = [z[(result["protocol"] == protocol).to_numpy()].mean(0) for protocol in (6, 17)]
    assert np.linalg.norm(centres[0] - centres[1]) > 0.5
    # Straight from captures it is the same.
    assert main(["embed", *captures, "--model", model, "-o", str(tmp_path / "direct.parquet")]) == 0
    direct = pl.read_parquet(tmp_path / "direct.parquet")["embedding"].to_numpy()
    assert np.abs(direct - z).max() < 1e-5
