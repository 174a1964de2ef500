"""Make the encoder that the package ships: ``src/ethogram/data/encoder.onnx`` and its card.

    ETHOGRAM_CORPUS=... python benchmarks/packaged_encoder.py FOLDER

It learns without labels from all days of the sources below, the same number of flows at most from each device and day;
FOLDER keeps the flows and the state, so that the same command goes on after an interruption. Runs of one unit are one
device, named by its address, as a meter names it. The card ends with figures from held-out networks, made by
``ethogram bench`` (:data:`FIGURES`): of encoders of the same design that had not seen the network they were tested on.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from ethogram.bench.flows.split import drawn
from ethogram.config import CustomFlowSettings, EncoderSettings, TrainingSettings
from ethogram.corpora.card import card
from ethogram.corpora.custom_flows import load_flows
from ethogram.pipeline.representations import pretrain
from ethogram.pipeline.vector_files import write_custom_flows
from ethogram.representation.card import card as card_of

DATA = Path(__file__).parent.parent / "src" / "ethogram" / "data"
SOURCES = ("stevens_lsif_2019", "aalto_iot_sentinel_2016", "nku_lifecycle_2025")
"""Sources whose licence, or whose authors' wish to be cited, lets weights learnt from them be shared under ours."""
CAP = 300  # flows of a device and day
STEPS = 2_500
TRAINING = TrainingSettings(
    batch=128, learning_rate=0.002, learning_rate_end=0.0, held_out=0.0, seeds=1, arithmetic="float32", threads=1
)
FIGURES = Path(__file__).parent / "packaged_encoder.md"


def main(folder: Path) -> None:
    """Flows of all sources to a file, an encoder of them, and both files of it into the package."""
    folder.mkdir(parents=True, exist_ok=True)
    flows, cited = [], []
    for name in SOURCES:
        loaded = load_flows(card(name), Path(os.environ["ETHOGRAM_CORPUS"]))
        rows = np.flatnonzero(drawn(loaded) < CAP)
        # Only the device's key goes on, no label.
        flows.append(replace(loaded.flows.take(rows), device=loaded.truth["unit"].gather(rows)))
        cited.append(f"{name} ({len(rows):,} flows; {loaded.card.licence})")
    write_custom_flows(folder / "flows.parquet", flows, CustomFlowSettings())
    total = sum(map(len, flows))
    training = TRAINING.model_copy(update={"passes": round(STEPS / -(-total // TRAINING.batch))})
    run = pretrain(
        [folder / "flows.parquet"], folder / "model", encoder=EncoderSettings(kind="fields"), training=training,
        source="; ".join(cited), licence="each source's own; weights: Apache-2.0",
        on_progress=lambda at: print(f"pass {at.pass_number + 1} of {at.passes}, step {at.step}: {at.loss:.4f}, "
                                     f"{at.seconds_left:.0f} s left", end="\r", flush=True),
    )  # fmt: skip
    print()
    model = folder / "model"
    shutil.copyfile(model / f"seed-{run.headers[run.chosen].seed}" / "encoder.onnx", DATA / "encoder.onnx")
    text = card_of(run.headers, run.chosen, "The packaged encoder")
    (DATA / "encoder.md").write_text(text + "\n" + FIGURES.read_text())
    print(f"{DATA / 'encoder.onnx'}: {(DATA / 'encoder.onnx').stat().st_size:,} octets")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
