"""Representations of single flows, after arXiv 2601.19315: pretrain an encoder, freeze it, embed, probe.

python examples/flow_representations.py                         # captures of a simulated home of six days
python examples/flow_representations.py CAPTURES LABELS.csv     # a folder of captures, and the labels of its devices

The extras "train" and "embed" are needed: pip install 'ethogram[train,embed]'.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import ethogram
from ethogram.simulate import DEMO_HOME, SimulatedHome
from ethogram.simulate.capture import write_capture


def simulated_home(folder: Path) -> tuple[Path, dict[str, str]]:
    """A capture of a simulated home, and its labels. Its payloads are random but for a header for each service."""
    home = SimulatedHome([*DEMO_HOME[:5], *DEMO_HOME[7:9]], days=6)
    write_capture(home.batches(), folder / "home.pcap", packets=6)
    return folder / "home.pcap", {home.mac_of(device): device.label for device in home.devices}


def main(captures: str | None = None, labels_file: str | None = None) -> None:
    """Print what the encoder learns, and what simple classifiers make of its embeddings."""
    pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, tbl_rows=20, float_precision=3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if captures is None:
            inputs, labels = simulated_home(folder)
        else:
            inputs, labels = Path(captures), Path(labels_file or "labels.csv")

        # The paper's record: the packets that a device sent within a minute of one five-tuple, as 3,040 numbers.
        vectors = ethogram.vectors(inputs)
        print(f"{len(vectors):,} custom flows of {vectors.frame['device'].n_unique()} devices")

        # Pretraining reads no labels. The last half of the days is kept for the classifiers. Simulated payloads are
        # random, so that the encoder of the simulated home reads the 40 numbers of metadata and packets alone.
        network = {"kind": "vae", "view": "full" if captures else "meta+packets", "widths": (128,), "d": 16}
        encoder = ethogram.pretrain(
            vectors, folder / "vae", encoder=network,
            training={"held_out": 0.5, "seeds": 1, "passes": 8, "held_out_flows": 2_000},
        )  # fmt: skip
        curves = encoder.to_frame()
        print(f"\nPretraining of a variational autoencoder: {', '.join(encoder.notes)}")
        print(curves.select("pass", "train_loss", "held_out_loss", "held_out_kl", "held_out_reconstruction").tail(3))

        # Frozen: one embedding for each flow. Flows of one service lie close together, without any label.
        embeddings = ethogram.embed(vectors, model=encoder.path)
        z = np.stack(embeddings.frame["embedding"].to_numpy())
        print(f"\n{len(embeddings):,} embeddings of {embeddings.dimensions} numbers; standard deviation of each: "
              f"{z.std(axis=0).min():.3f} to {z.std(axis=0).max():.3f}")  # fmt: skip

        # Probing: a linear classifier on frozen embeddings, trained on earlier days than it is tested on. Beside it the
        # bundled encoder, the first 40 numbers of the record as they are, and the same network untrained.
        models = [encoder, "packaged", "raw", "untrained"]
        probed = ethogram.probe(
            vectors, labels, models,
            settings={"seeds": 1, "gap_days": 0, "train_flows": 1_000, "test_flows": 3_000, "logistic_c": (1.0,)},
        )  # fmt: skip
        figures = probed.figures.filter(pl.col("seed").is_null())
        print("\nFlows: macro-F1 over the labels (95 % interval by device-day)")
        print(figures.select("encoder", "d", "types", "device_days", "macro_f1", "low", "high", "accuracy"))
        print("\nDevices: verdicts from several flows of a device")
        print(probed.devices.filter(pl.col("encoder") == probed.devices["encoder"][0])
              .select("encoder", "flows", "verdicts", "macro_f1", "unknown"))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
