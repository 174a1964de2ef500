"""Embedding speed of the adapters of pretrained encoders, beside the same network run naively.

Naive: flows as they come, each padded to the whole length, layers as torch multiplies them, all positions of the last
layer. Times are processor time of one thread, so that other work on the machine does not count. Weights are random,
which changes no speed.

    python benchmarks/speed/pretrained.py PACKETS.parquet [--flows 48] [--encoders et-bert traffic-former]

where PACKETS.parquet is what ``ethogram vectors --packets-output`` wrote.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn import functional

from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders import adapter, bert


def naive(encoder: bert.BertEncoder, flows: PacketFlows, rows: np.ndarray, batch: int = 16) -> np.ndarray:
    """The state of [CLS], whole batches padded to the whole length."""
    usual, bert.linear = bert.linear, plain
    parts = []
    try:
        with torch.inference_mode():
            for begin in range(0, len(rows), batch):
                tokens, lengths = encoder.tokens(flows, rows[begin : begin + batch])
                segments = torch.from_numpy((np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64))
                parts.append(encoder.net(torch.from_numpy(tokens.astype(np.int64)), segments)[:, 0].numpy())
    finally:
        bert.linear = usual
    return np.concatenate(parts)


def plain(layer: torch.nn.Linear, x: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
    """A layer as torch multiplies it."""
    output = functional.linear(x, layer.weight, layer.bias)
    return functional.gelu(output) if gelu else output


def main() -> None:
    """Print one line for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packets", type=Path)
    parser.add_argument("--flows", type=int, default=48)
    parser.add_argument("--encoders", nargs="+", default=["et-bert", "traffic-former"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    flows = PacketFlows.of_arrow(pq.read_table(given.packets))
    rows = np.random.default_rng(0).permutation(len(flows))[: given.flows]
    print("| encoder | tokens a flow | naive, flows/s | here, flows/s | times | largest difference |")
    print("|---|---|---|---|---|---|")
    for name in given.encoders:
        encoder = adapter(name)
        assert isinstance(encoder, bert.BertEncoder)
        _, lengths = encoder.tokens(flows, rows)
        encoder.embed(flows, rows[:2])
        begun = time.process_time()
        ours = encoder.embed(flows, rows)
        between = time.process_time()
        theirs = naive(encoder, flows, rows)
        here, there = between - begun, time.process_time() - between
        print(
            f"| {name} | {lengths.mean():.0f} | {len(rows) / there:.2f} | {len(rows) / here:.2f} "
            f"| {there / here:.1f} | {np.abs(ours - theirs).max():.1e} |"
        )


if __name__ == "__main__":
    main()
