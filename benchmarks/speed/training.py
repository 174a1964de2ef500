"""Training the base autoencoder beside a plain float32 loop over the same flows, and its memory over many flows.

The plain loop is what one would write: expand a batch, forward, mean squared error, backward, clip, Adam; all in
eager torch with its defaults. Both begin with packed flows and make every step.

    python benchmarks/speed/training.py [--flows N] [--threads 2] [--json FILE]
    python benchmarks/speed/training.py --memory 2000000 [--steps N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from drawn_flows import drawn

from ethogram.config import CustomFlowSettings, EncoderSettings, TrainingSettings
from ethogram.pipeline.flow_days import FlowFiles, TrainingFlows
from ethogram.pipeline.vector_files import write_custom_flows
from ethogram.representation.autoencoder import Autoencoder
from ethogram.representation.training import InMemoryBlocks, Training
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

BATCH = 256
ROUNDS = 3


def plain(flows: CustomFlows, threads: int) -> float:
    """Seconds of one pass of the plain loop."""
    torch.set_num_threads(threads)
    net = Autoencoder(EncoderSettings(kind="ae"))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    layers = [*net.encoder, net.mean, *net.decoder]
    linear = {len(net.encoder), len(layers) - 1}
    rows = np.random.default_rng(0).permutation(len(flows))
    began = time.perf_counter()
    for i in range(0, len(rows), BATCH):
        x = torch.from_numpy(expand(flows, "full", rows[i : i + BATCH]))
        h = x
        for j, layer in enumerate(layers):
            h = layer(h) if j in linear else torch.relu(layer(h))
        loss = torch.nn.functional.mse_loss(h, x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        loss.item()
    return time.perf_counter() - began


def ours(flows: CustomFlows, arithmetic: str, threads: int) -> float:
    """Seconds of one pass of ours."""
    settings = TrainingSettings.of(loss="mse", batch=BATCH, passes=1, arithmetic=arithmetic, threads=threads)
    training = Training(Autoencoder(EncoderSettings(kind="ae")), settings)
    began = time.perf_counter()
    training.run(InMemoryBlocks(flows), None)
    return time.perf_counter() - began


def speed(given: argparse.Namespace) -> None:
    """In turns, best of each."""
    flows = drawn(given.flows)
    runs = {
        "plain loop, float32": plain,
        "ethogram, float32": lambda given, threads: ours(given, "float32", threads),
        "ethogram, bfloat16": lambda given, threads: ours(given, "bfloat16", threads),
    }
    small = drawn(2 * BATCH)
    for run in runs.values():
        run(small, 1)
    best = dict.fromkeys(runs, np.inf)
    # On a shared machine two threads may be slower than one: each has its better number.
    for threads in sorted({1, given.threads}) * ROUNDS:
        for name, run in runs.items():
            best[name] = min(best[name], run(flows, threads))
    peer = best["plain loop, float32"]
    print(f"{given.flows:,} flows, one pass, batch {BATCH}, 1 or {given.threads} threads, best of {ROUNDS} in turns; "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name, seconds in best.items():
        print(f"{name:24} {seconds:7.2f} s {given.flows / seconds:10,.0f} flows/s {peer / seconds:6.2f} x")
    if given.json is not None:
        result = {"flows": given.flows, "threads": given.threads, "load": os.getloadavg()[0],
                "seconds": best, "ratio": {name: peer / seconds for name, seconds in best.items()}}  # fmt: skip
        given.json.write_text(json.dumps(result, indent=1) + "\n")


def memory(given: argparse.Namespace) -> None:
    """Peak memory of training on a file of many flows: all blocks are read and shuffled, some steps are made."""
    with tempfile.TemporaryDirectory() as folder:
        path, block = Path(folder) / "flows.parquet", 1 << 16
        parts = (drawn(min(block, given.memory - i), i) for i in range(0, given.memory, block))
        write_custom_flows(path, parts, CustomFlowSettings())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        files = FlowFiles([path])
        settings = TrainingSettings.of(passes=1, batch=given.batch, threads=given.threads)
        split = TrainingFlows.of(files, settings)
        steps = 0

        def stop() -> bool:
            nonlocal steps
            steps += 1
            return steps == given.steps

        began = time.perf_counter()
        training = Training(Autoencoder(EncoderSettings(kind="vae")), settings)
        done = training.run(split.train, split.held_out, should_stop=stop)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.json is not None:
        result = {"flows": len(files), "steps": steps, "batch": given.batch, "peak_mib": peak, "before_mib": before}
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{len(files):,} flows, {path.name}; {steps:,} steps of {given.batch} in {seconds:.0f} s"
          f"{'' if done else ' (stopped)'}; peak {peak:,.0f} MiB, {before:,.0f} MiB before")  # fmt: skip


def main() -> None:
    """One of the two measurements."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--flows", type=int, default=10_000)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--memory", type=int)
    arguments.add_argument("--batch", type=int, default=BATCH)
    arguments.add_argument("--steps", type=int, default=10**9)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    (speed if given.memory is None else memory)(given)


if __name__ == "__main__":
    main()
