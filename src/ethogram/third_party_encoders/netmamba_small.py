"""NetMamba at a size that two cores can train, with the paper's objective: reconstruct the masked 90 % of tokens.

The network of :mod:`netmamba` with 3 blocks of 128 and a decoder of 1 block of 64. The encoder reads the visible tokens
in their order (the authors' code keeps the order of the random draw), and the decoder all positions; the loss is the
mean squared error of masked tokens. Checksums, from which the sum of the addresses follows, are set to zero.

The class token comes after all predicted tokens of a causal network, so it has no gradient: its weights are learnt only
in fine-tuning, in the paper, too. In a frozen encoder they keep their initial values.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.frozen import copy_weights, sizes_of
from ethogram.third_party_encoders.images import PACKETS
from ethogram.third_party_encoders.interface import Facts
from ethogram.third_party_encoders.masked import HIDDEN, error_of_hidden, insert_mask_tokens, random_mask
from ethogram.third_party_encoders.netmamba import (
    STRIDE,
    TOKENS,
    MambaBlock,
    NetMamba,
    NetMambaEncoder,
    NetMambaSizes,
    RootMeanSquare,
    seen,
)
from ethogram.third_party_encoders.pretraining import PacketNetwork, PretrainingSettings

__all__ = ["SMALL", "MaskedNetMamba", "load", "new"]

SMALL = NetMambaSizes(d=128, depth=3, inner=256, rank=8, decoder_d=64, decoder_depth=1, checksums=False)


class MaskedNetMamba(PacketNetwork, NetMamba):
    """Encoder and decoder of pretraining, with the names of the authors' file.

    Parameters
    ----------
    sizes
        Sizes of both; the blocks of the decoder have twice its width as channels, and a sixteenth as rank.
    hidden
        Share of masked tokens.
    """

    name = "netmamba-small"

    def __init__(self, sizes: NetMambaSizes = SMALL, hidden: float = HIDDEN) -> None:
        super().__init__(sizes)
        self.hidden = hidden
        d = sizes.decoder_d
        self.decoder_embed = nn.Linear(sizes.d, d)
        self.mask_token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.decoder_pos_embed = nn.Parameter(torch.randn(1, TOKENS + 1, d) * 0.02)
        self.decoder_blocks = nn.ModuleList(
            MambaBlock(d, 2 * d, sizes.state, sizes.conv, -(-d // 16)) for _ in range(sizes.decoder_depth)
        )
        self.decoder_norm_f = RootMeanSquare(d)
        self.decoder_pred = nn.Linear(d, STRIDE)

    def described(self) -> dict[str, Any]:
        """Sizes and masking, as JSON."""
        return {"sizes": asdict(self.sizes), "hidden": self.hidden}

    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Scaled octets [N, 1600] of flows."""
        return torch.from_numpy(seen(flows, rows, self.sizes))

    def loss(self, prepared: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of masked tokens."""
        shown, absent = random_mask(len(prepared), TOKENS, self.hidden, generator)
        tokens = self.tokens(prepared)
        tokens = tokens.gather(1, shown[..., None].expand(-1, -1, tokens.shape[2]))
        known = self.decoder_embed(self(self.closed(tokens)))
        whole = torch.cat([insert_mask_tokens(known[:, :-1], shown, self.mask_token, TOKENS), known[:, -1:]], 1)
        whole = whole + self.decoder_pos_embed
        for block in self.decoder_blocks:
            whole = block(whole)
        predicted = self.decoder_pred(self.decoder_norm_f(whole[:, :-1]))
        return error_of_hidden(predicted, prepared.reshape(-1, TOKENS, STRIDE), absent)

    def encoder(self, origin: str) -> NetMambaEncoder:
        """The frozen encoder."""
        net = NetMamba(self.sizes)
        size = copy_weights(self, net)
        name = f"netmamba-small ({self.sizes.depth} blocks, {self.sizes.d} wide, pretrained here)"
        facts = Facts(name, size, self.sizes.d, PACKETS, "Apache-2.0", "after arXiv 2405.11449")
        return NetMambaEncoder(facts, net, origin, self.sizes.digest)


def new(flows: PacketFlows, settings: PretrainingSettings, seed: int) -> MaskedNetMamba:
    """A network with initial weights."""
    del flows, seed  # the loop has set the seed
    sizes = sizes_of(SMALL, settings.widths, MaskedNetMamba.name)
    return MaskedNetMamba(sizes, HIDDEN if settings.hidden is None else settings.hidden)


def load(described: dict[str, Any]) -> MaskedNetMamba:
    """A network for the weights of a file."""
    return MaskedNetMamba(sizes_of(SMALL, described["sizes"], MaskedNetMamba.name), float(described["hidden"]))
