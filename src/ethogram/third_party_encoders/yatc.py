"""YaTC: a vision transformer over the octets of the first five packets as a square grey image.

The same blocks run twice: over the 80 patches of each packet with a class token, and, after the rows of patches of a
packet are averaged, over the tokens of all packets. The embedding is the mean of the five class tokens.

The decoder is only in the pretraining file. ``fc_norm``, the norm after the mean, is initialised from ``norm`` of the
pretraining file. The authors' code also applies a norm between both runs and ignores its result; it is left out here.

Reference: R. Zhao et al., "Yet Another Traffic Classifier: A Masked Autoencoder Based Traffic Transformer with
Multi-Level Flow Representation", AAAI 2023. Names and shapes of the weights are those of the authors' files; no code
is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.attention import attended, looked
from ethogram.third_party_encoders.checkpoint import read_checkpoint, shapes_of, take
from ethogram.third_party_encoders.frozen import FrozenEncoder, parameters_of, seeded, sizes_of
from ethogram.third_party_encoders.images import HEADER, PACKETS, PAYLOAD, SIDE, octets_of, scaled
from ethogram.third_party_encoders.interface import Facts, random_weights
from ethogram.third_party_encoders.linear import linear

__all__ = ["HEADS", "PAPER", "Yatc", "YatcBlock", "YatcEncoder", "YatcSizes", "build", "expected"]

PATCH = 2
ROWS, COLUMNS = (HEADER + PAYLOAD) // SIDE // PATCH, SIDE // PATCH  # of patches in a packet
PATCHES = ROWS * COLUMNS
EPSILON = 1e-6
HEADS = ("decoder_", "mask_token", "head.")
"""Prefixes of weights that are not needed for an embedding."""
FINAL = {"fc_norm.weight": "norm.weight", "fc_norm.bias": "norm.bias"}
"""Names of the last norm in a fine-tuned file and in one of pretraining."""


@dataclass(frozen=True)
class YatcSizes:
    """Sizes of the network; default: those of the paper.

    Parameters
    ----------
    d, depth, heads, mlp
        Width of a token, blocks, heads of attention, and units between the two layers of a block.
    decoder_d, decoder_depth, decoder_heads
        Sizes of the decoder of pretraining; its feed-forward layers are four times as wide.
    addresses, ports, checksums
        Whether these parts of the headers are visible.
    """

    d: int = 192
    depth: int = 4
    heads: int = 16
    mlp: int = 768
    decoder_d: int = 128
    decoder_depth: int = 2
    decoder_heads: int = 16
    addresses: bool = True
    ports: bool = True
    checksums: bool = True

    def __post_init__(self) -> None:
        for width, heads in ((self.d, self.heads), (self.decoder_d, self.decoder_heads)):
            if width % heads or width % 4:
                raise ConfigurationError(f"yatc: a width of {width} does not divide by 4 and by {heads} heads")

    @property
    def digest(self) -> str:
        """Everything except the weights that an embedding depends on."""
        return f"{self.heads} heads, {self.addresses} {self.ports} {self.checksums}"


PAPER = YatcSizes()


class YatcAttention(nn.Module):
    """Self-attention among all tokens."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, d] of [N, L, d]."""
        given = linear(self.qkv, x)
        if not torch.is_grad_enabled():
            return linear(self.proj, attended(given, self.heads))
        query, key, value = given.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [N, heads, L, d / heads]
        output = looked(query, key, value)
        return linear(self.proj, output.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Feed-forward layers."""

    def __init__(self, d: int, mlp: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(d, mlp), nn.Linear(mlp, d)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, d] of [N, L, d]."""
        return linear(self.fc2, linear(self.fc1, x, gelu=True))


class YatcBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, d: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d, eps=EPSILON)
        self.attn = YatcAttention(d, heads)
        self.norm2 = nn.LayerNorm(d, eps=EPSILON)
        self.mlp = Perceptron(d, mlp)
        for layer in (self.attn.qkv, self.attn.proj, self.mlp.fc1, self.mlp.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, d] of [N, L, d]."""
        x = x + torch.as_tensor(self.attn(self.norm1(x)))
        return x + torch.as_tensor(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Squares of two by two octets as tokens."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, d, PATCH, PATCH)
        nn.init.xavier_uniform_(self.proj.weight.view(d, -1))

    def forward(self, x: Tensor) -> Tensor:
        """[P, L, d] of packets [P, L, 4] in patches."""
        return functional.linear(x, self.proj.weight.flatten(1), self.proj.bias)


def patches(x: Tensor) -> Tensor:
    """Divide scaled octets [P, 320] of packets into patches [P, 80, 4], row by row."""
    return x.reshape(-1, ROWS, PATCH, COLUMNS, PATCH).transpose(2, 3).reshape(-1, PATCHES, PATCH * PATCH)


def waves(d: int, side: int) -> NDArray[np.float32]:
    """Sine and cosine positions of a square of tokens, after a row of zeros for the class token: [side^2 + 1, d].

    The first half of the dimensions encodes the column, the second the row, each as sines and then cosines.
    """
    row, column = (part.ravel() for part in np.mgrid[:side, :side])
    rates = 10_000.0 ** (-np.arange(d // 4) / (d // 4))
    angles = [place[:, None] * rates for place in (column, row)]
    waves_of_cells = np.concatenate([np.concatenate([np.sin(a), np.cos(a)], 1) for a in angles], 1)
    return np.concatenate([np.zeros((1, d)), waves_of_cells]).astype(np.float32)


class Yatc(nn.Module):
    """The encoder.

    Examples
    --------
    >>> net = Yatc(YatcSizes(d=8, depth=1, heads=2, mlp=16, decoder_heads=2))
    >>> net.embed(torch.zeros(3, 5, 320)).shape
    torch.Size([3, 8])
    """

    def __init__(self, sizes: YatcSizes = PAPER) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbedding(sizes.d)
        self.cls_token = nn.Parameter(torch.randn(1, 1, sizes.d) * 0.02)
        self.pos_embed = nn.Parameter(torch.zeros(1, PACKETS * PATCHES + 1, sizes.d), requires_grad=False)
        with torch.no_grad():
            self.pos_embed.copy_(torch.from_numpy(waves(sizes.d, COLUMNS))[None])
        self.blocks = nn.ModuleList(YatcBlock(sizes.d, sizes.heads, sizes.mlp) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.d, eps=EPSILON)

    def looked(self, tokens: Tensor) -> Tensor:
        """[N, L, d]: tokens after all blocks."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def of_packets(self, x: Tensor, place: Tensor) -> Tensor:
        """States of each packet on its own.

        Parameters
        ----------
        x
            Scaled octets [P, 320] of packets.
        place
            Position of each packet in its flow, [P].

        Returns
        -------
        torch.Tensor
            [P, 21, d]: the class token, and the mean of each column of patches.
        """
        positions = self.pos_embed[0, 1:].unflatten(0, (PACKETS, PATCHES))[place]
        tokens = torch.as_tensor(self.patch_embed(patches(x))) + positions
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = self.looked(torch.cat([first, tokens], 1))
        return torch.cat([tokens[:, :1], tokens[:, 1:].unflatten(1, (ROWS, COLUMNS)).mean(1)], 1)

    def of_flows(self, tokens: Tensor) -> Tensor:
        """Embeddings [N, d] from states of the packets [N, 5, 21, d]."""
        together = self.looked(tokens.flatten(1, 2)).unflatten(1, (PACKETS, -1))
        return torch.as_tensor(self.norm(together[:, :, 0].mean(1)))

    def embed(self, x: Tensor) -> Tensor:
        """[N, d] of scaled octets [N, 5, 320]."""
        place = torch.arange(PACKETS).repeat(len(x))
        return self.of_flows(self.of_packets(x.flatten(0, 1), place).unflatten(0, (-1, PACKETS)))


class YatcEncoder(FrozenEncoder):
    """The frozen encoder; the state of an absent packet is computed once."""

    batch = 16
    net: Yatc

    def __init__(self, facts: Facts, net: Yatc, origin: str, given: str = "") -> None:
        super().__init__(facts, net, origin, given)
        with torch.inference_mode():
            self._absent = net.of_packets(-torch.ones(PACKETS, HEADER + PAYLOAD), torch.arange(PACKETS))

    def run(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Embeddings [K, d] of some flows."""
        sizes = self.net.sizes
        octets = octets_of(flows, rows, addresses=sizes.addresses, ports=sizes.ports, checksums=sizes.checksums)
        there = octets.any(2)  # [K, 5]
        tokens = self._absent.expand(len(rows), -1, -1, -1).clone()
        if there.any():
            place = torch.from_numpy(np.nonzero(there)[1])
            tokens[torch.from_numpy(there)] = self.net.of_packets(torch.from_numpy(scaled(octets[there])), place)
        return self.net.of_flows(tokens)


def expected(widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, as in a file of pretraining; none is allocated."""
    sizes = sizes_of(PAPER, widths, "yatc")
    return shapes_of(lambda: Yatc(sizes))


def build(*, checkpoint: Path | None = None, seed: int = 0, widths: Mapping[str, int] | None = None) -> YatcEncoder:
    """The encoder, of a user's file or with random weights."""
    sizes = sizes_of(PAPER, widths, "yatc")
    shapes = expected(widths)
    net, origin = seeded(lambda: Yatc(sizes), seed), random_weights(seed)
    if checkpoint is not None:
        origin = fill(net, shapes, checkpoint)
    name = "yatc" if sizes == PAPER else f"yatc ({sizes.depth} blocks, {sizes.d} wide)"
    source = "AAAI 2023, doi:10.1609/aaai.v37i4.25674"
    facts = Facts(name, parameters_of(shapes), sizes.d, PACKETS, "none stated", source)
    return YatcEncoder(facts, net, origin, sizes.digest)


def fill(net: Yatc, shapes: Mapping[str, tuple[int, ...]], checkpoint: Path) -> str:
    """Load the weights of a file into the network; return their source.

    Raises
    ------
    LibraryError
        When it has other weights, or neither of the last norms.
    """
    either = {final: shapes[before] for final, before in FINAL.items()}
    read = read_checkpoint(checkpoint, {**shapes, **either}, heads=HEADS, optional=[*FINAL, *FINAL.values()])
    tensors = {name: value for name, value in read.tensors.items() if name not in FINAL}
    for final, before in FINAL.items():
        given = read.tensors.get(final, read.tensors.get(before))
        if given is None:
            raise LibraryError(f"{checkpoint}: has neither {final} nor {before}")
        tensors[before] = given
    take(net, tensors)
    return read.origin
