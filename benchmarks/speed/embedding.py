"""Embedding with the base encoder on two cores, beside the same network in eager torch float32, in the same run.

torch is given its vectors ready in memory, in the batch and with the threads it is fastest with; ours begins with the
packed flows. Rows with the vectors made inside the clock, with bfloat16 and with 8-bit weights stand beside it, with
the error each brings, in standard deviations of the embedding.

    python benchmarks/speed/embedding.py [--flows N] [--data FLOWS.parquet] [--model DIR] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from drawn_flows import drawn

from ethogram.config import EncoderSettings
from ethogram.errors import LibraryError
from ethogram.pipeline.vector_files import load_vectors
from ethogram.representation.autoencoder import Autoencoder
from ethogram.representation.checkpoint import load, model_file
from ethogram.representation.export_onnx import export_dense, export_fields
from ethogram.representation.fields import FieldEncoder
from ethogram.representation.inference import OnnxEncoder
from ethogram.representation.network import Network
from ethogram.representation.payload_length import payload_symbols
from ethogram.representation.vector import expand

BATCHES = (256, 1024, 4096)
ROUNDS = 5


def network(model: Path | None, kind: str = "ae") -> Network:
    """The trained base encoder named, or one with its first weights: they cost the same."""
    if model is None:
        net: Network = (
            FieldEncoder(EncoderSettings(kind="fields"))
            if kind == "fields"
            else Autoencoder(EncoderSettings.of(kind=kind))
        )
        net.header = replace(net.header, weights=net.digest)
        return net
    header, tensors = load(model_file(model, ".safetensors"))
    net = FieldEncoder(header.encoder) if header.encoder.kind == "fields" else Autoencoder(header.encoder)
    net.load(tensors)
    net.header = header
    return net


def exported(net: Network, folder: Path, threads: int, name: str = "encoder") -> OnnxEncoder:
    """The network in ONNX Runtime."""
    path = folder / f"{name}.onnx"
    fields = isinstance(net, FieldEncoder)
    path.write_bytes(export_fields(net, net.header) if fields else export_dense(net.header, net.tensors()))
    return OnnxEncoder(path, threads)


def eight_bit(encoder: Path, folder: Path) -> OnnxEncoder | None:
    """The same with weights of 8 bits, scaled by ONNX Runtime's own tool; None where it or its result cannot be loaded.

    Encoder files may hold only the operators that exported encoders use, and those of 8-bit weights are not among them.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        print(f"8-bit weights: not measured: {error}")
        return None
    quantize_dynamic(encoder, folder / "eight.onnx", weight_type=QuantType.QInt8, per_channel=True)
    try:
        return OnnxEncoder(folder / "eight.onnx", 0)
    except LibraryError as error:
        print(f"8-bit weights: not measured: {error}")
        return None


def main() -> None:
    """Measure in turns, so that neighbours disturb all alike; print rates, ratios and errors."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--flows", type=int, default=20_000)
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--model", type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    flows = drawn(given.flows) if given.data is None else load_vectors([given.data])
    flows = flows.take(np.random.default_rng(0).permutation(len(flows))[: given.flows])
    n = len(flows)
    net = network(given.model)
    x = expand(flows, net.settings.view)
    tensor = torch.from_numpy(x)
    rounded = Autoencoder(net.settings)
    rounded.load(net.tensors())
    rounded = rounded.to(torch.bfloat16)

    def eager(of: Network, values: torch.Tensor, batch: int, threads: int = given.threads) -> np.ndarray:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            parts = []
            for i in range(0, n, batch):
                h = values[i : i + batch]
                for layer in of.encoder:
                    h = torch.relu(layer(h))
                parts.append(of.mean(h))
            return torch.cat(parts).float().numpy()

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ours = exported(net, folder, given.threads)
        fields = exported(network(None, "fields"), folder, given.threads, "fields")
        eight = eight_bit(folder / "encoder.onnx", folder)
        runs: dict[str, Callable[[], np.ndarray]] = {
            f"torch float32, vectors ready, batch {batch}, {threads} threads": lambda batch=batch, threads=threads: (
                eager(net, tensor, batch, threads)
            )
            for batch in BATCHES
            for threads in sorted({1, given.threads})
        }
        runs |= {
            "torch float32, vectors made": lambda: eager(
                net, torch.from_numpy(expand(flows, net.settings.view)), BATCHES[1]
            ),
            "ethogram, from packed flows": lambda: ours.embed(flows),
            "ethogram, vectors ready": lambda: ours.encode(x),
            "torch bfloat16, vectors ready": lambda: eager(rounded, tensor.to(torch.bfloat16), BATCHES[1]),
            "fields, from packed flows": lambda: fields.embed(flows),
        }
        if eight is not None:
            runs["8-bit weights, from packed flows"] = lambda: eight.embed(flows)
        results = {name: run() for name, run in runs.items()}  # compile before the clock runs
        best = dict.fromkeys(runs, np.inf)
        for _ in range(ROUNDS):
            for name, run in runs.items():
                began = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - began)

    peer = min(seconds for name, seconds in best.items() if name.startswith("torch float32, vectors ready"))
    exact = results[next(iter(runs))]
    spread = exact.std(0).mean()
    used = payload_symbols(flows).mean()
    print(f"{n:,} flows, {used:.0f} of 3,000 payload symbols used; {given.threads} threads; best of {ROUNDS} in turns;"
          f" load {os.getloadavg()[0]:.1f}")  # fmt: skip
    rows = []
    for name, seconds in best.items():
        off = None if name.startswith("fields") else np.abs(results[name] - exact) / spread
        error = "" if off is None else f"error {off.mean():.1e} mean, {off.max():.1e} most"
        print(f"{name:52} {n / seconds:10,.0f} flows/s {peer / seconds:6.2f} x  {error}")
        rows.append({"name": name, "flows_s": n / seconds, "ratio": peer / seconds,
                     "error_mean": None if off is None else float(off.mean())})  # fmt: skip
    if given.json is not None:
        result = {"flows": n, "symbols": float(used), "threads": given.threads, "load": os.getloadavg()[0],
                  "rows": rows}  # fmt: skip
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
