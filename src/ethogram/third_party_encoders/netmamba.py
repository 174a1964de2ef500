"""NetMamba: one-directional Mamba over the octets of the first five packets, addresses set to zero.

Every four octets are a token. The class token is the last one, since only its state depends on all tokens. Padding is
not skipped: each padding token has its own position, and the recurrence runs over all of them.

Reference: T. Wang et al., "NetMamba: Efficient Network Traffic Classification via Pre-training Unidirectional Mamba",
ICNP 2024, arXiv 2405.11449. Names and shapes of the weights are those of the authors' files; no code is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.checkpoint import read_checkpoint, shapes_of, take
from ethogram.third_party_encoders.frozen import FrozenEncoder, parameters_of, seeded, sizes_of
from ethogram.third_party_encoders.images import OCTETS, PACKETS, octets_of, scaled
from ethogram.third_party_encoders.interface import Facts, random_weights
from ethogram.third_party_encoders.linear import linear, multiplied
from ethogram.third_party_encoders.scan import convolved, gated_scan, selective_scan

__all__ = ["HEADS", "PAPER", "NetMamba", "NetMambaEncoder", "NetMambaSizes", "build", "expected"]

STRIDE = 4
TOKENS = OCTETS // STRIDE
EPSILON = 1e-5
HEADS = ("decoder_", "mask_token", "head.")
"""Prefixes of weights that are not needed for an embedding."""


@dataclass(frozen=True)
class NetMambaSizes:
    """Sizes of the network; default: those of the paper.

    Parameters
    ----------
    d, depth
        Width of a token, and blocks.
    inner, state, conv, rank
        Channels, states of a channel, length of the convolution, and rank of the step sizes.
    decoder_d, decoder_depth
        Sizes of the decoder of pretraining.
    addresses, ports, checksums
        Whether these parts of the headers are visible; the paper sets only the addresses to zero.
    """

    d: int = 256
    depth: int = 4
    inner: int = 512
    state: int = 16
    conv: int = 4
    rank: int = 16
    decoder_d: int = 128
    decoder_depth: int = 2
    addresses: bool = False
    ports: bool = True
    checksums: bool = True

    @property
    def digest(self) -> str:
        """Everything except the weights that an embedding depends on."""
        return f"{self.addresses} {self.ports} {self.checksums}"


PAPER = NetMambaSizes()


class RootMeanSquare(nn.Module):
    """Root-mean-square norm over the last axis."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; the shape stays."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * self.weight


class Mixer(nn.Module):
    """A causal selective state space with convolution and gate."""

    def __init__(self, d: int, inner: int, state: int, conv: int, rank: int) -> None:
        super().__init__()
        self.inner, self.state, self.rank = inner, state, rank
        self.in_proj = nn.Linear(d, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1, dtype=torch.float32)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d, bias=False)
        for layer in (self.in_proj, self.x_proj, self.dt_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
        # Initial step sizes are between 0.001 and 0.1; the bias is their inverse softplus.
        steps = torch.exp(torch.rand(inner) * math.log(100) + math.log(1e-3))
        with torch.no_grad():
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor, last: bool = False) -> Tensor:
        """[N, L, d] of [N, L, d]; with ``last`` [N, 1, d]: only the last token."""
        channels, gate = self.in_proj.weight.split(self.inner)
        u = self._convolved(multiplied(x, channels))
        z = multiplied(x[:, -1:].contiguous() if last else x, gate)
        step, b, c = linear(self.x_proj, u).split((self.rank, self.state, self.state), -1)
        step = functional.softplus(linear(self.dt_proj, step.contiguous()))
        given = (step, u, b, c, -torch.exp(self.A_log), self.D)
        if torch.is_grad_enabled():
            y = selective_scan(*given) * functional.silu(z)
            return linear(self.out_proj, y[:, -1:] if last else y)
        return linear(self.out_proj, gated_scan(*given, z, last=last))

    def _convolved(self, x: Tensor) -> Tensor:
        """SiLU of the causal convolution over tokens."""
        weight = self.conv1d.weight[:, 0]  # [inner, conv], the last one for the token itself
        if not torch.is_grad_enabled():
            return convolved(x, weight, self.conv1d.bias)
        padded = functional.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
        return functional.silu(torch.as_tensor(self.conv1d(padded))).transpose(1, 2)


class MambaBlock(nn.Module):
    """A pre-norm mixer with a residual connection."""

    def __init__(self, d: int, inner: int, state: int, conv: int, rank: int) -> None:
        super().__init__()
        self.mixer = Mixer(d, inner, state, conv, rank)
        self.norm = RootMeanSquare(d)

    def forward(self, x: Tensor, last: bool = False) -> Tensor:
        """[N, L, d] of [N, L, d]; with ``last`` only the last token."""
        return (x[:, -1:] if last else x) + torch.as_tensor(self.mixer(self.norm(x), last))


class StrideEmbedding(nn.Module):
    """Every four octets as one token."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.proj = nn.Conv1d(1, d, STRIDE, STRIDE)
        nn.init.xavier_uniform_(self.proj.weight.view(d, -1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 400, d] of scaled octets [N, 1600]."""
        return functional.linear(x.reshape(-1, TOKENS, STRIDE), self.proj.weight[:, 0], self.proj.bias)


class NetMamba(nn.Module):
    """The encoder.

    Examples
    --------
    >>> net = NetMamba(NetMambaSizes(d=8, depth=2, inner=16, state=4, rank=2))
    >>> net.embed(torch.zeros(3, 1600)).shape
    torch.Size([3, 8])
    """

    def __init__(self, sizes: NetMambaSizes = PAPER) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = StrideEmbedding(sizes.d)
        self.cls_token = nn.Parameter(torch.randn(1, 1, sizes.d) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, TOKENS + 1, sizes.d) * 0.02)
        self.blocks = nn.ModuleList(
            MambaBlock(sizes.d, sizes.inner, sizes.state, sizes.conv, sizes.rank) for _ in range(sizes.depth)
        )
        self.norm_f = RootMeanSquare(sizes.d)

    def tokens(self, x: Tensor) -> Tensor:
        """[N, 400, d] of scaled octets [N, 1600]: tokens with positions, without the class token."""
        return torch.as_tensor(self.patch_embed(x)) + self.pos_embed[:, :-1]

    def closed(self, tokens: Tensor) -> Tensor:
        """Append the class token."""
        last = (self.cls_token + self.pos_embed[:, -1:]).expand(len(tokens), -1, -1)
        return torch.cat([tokens, last], 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """States of the tokens after all blocks, [N, L, d]."""
        for block in self.blocks:
            tokens = block(tokens)
        return torch.as_tensor(self.norm_f(tokens))

    def embed(self, x: Tensor) -> Tensor:
        """[N, d] of scaled octets [N, 1600]: the state of the class token, which is the last."""
        tokens = self.closed(self.tokens(x))
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return torch.as_tensor(self.norm_f(self.blocks[-1](tokens, True)))[:, 0]


class NetMambaEncoder(FrozenEncoder):
    """NetMamba with frozen weights."""

    batch = 8
    net: NetMamba

    def run(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Embeddings [K, d] of some flows."""
        return self.net.embed(torch.from_numpy(seen(flows, rows, self.net.sizes)))


def seen(flows: PacketFlows, rows: NDArray[np.int64] | None, sizes: Any) -> NDArray[np.float32]:
    """Scaled octets [K, 1600] of flows; parts that are not visible are zero."""
    octets = octets_of(flows, rows, addresses=sizes.addresses, ports=sizes.ports, checksums=sizes.checksums)
    return scaled(octets.reshape(-1, OCTETS))


def expected(widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights; none is allocated."""
    sizes = sizes_of(PAPER, widths, "netmamba")
    return shapes_of(lambda: NetMamba(sizes))


def build(*, checkpoint: Path | None = None, seed: int = 0, widths: Mapping[str, int] | None = None) -> NetMambaEncoder:
    """The encoder, of a user's file or with random weights."""
    sizes = sizes_of(PAPER, widths, "netmamba")
    shapes = expected(widths)
    net, origin = seeded(lambda: NetMamba(sizes), seed), random_weights(seed)
    if checkpoint is not None:
        read = read_checkpoint(checkpoint, shapes, heads=HEADS)
        take(net, read.tensors)
        origin = read.origin
    name = "netmamba" if sizes == PAPER else f"netmamba ({sizes.depth} blocks, {sizes.d} wide)"
    facts = Facts(name, parameters_of(shapes), sizes.d, PACKETS, "none stated", "arXiv 2405.11449")
    return NetMambaEncoder(facts, net, origin, sizes.digest)
