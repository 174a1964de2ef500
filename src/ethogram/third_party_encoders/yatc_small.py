"""YaTC at a size that two cores can train, with the paper's objective: reconstruct the masked 90 % of an image.

The network of :mod:`yatc` with 2 blocks of 96 and a decoder of 1 block of 64. The encoder reads the visible patches of
the whole image, and the decoder all positions; the loss is the mean squared error of masked patches. Addresses, and the
checksums from which their sum follows, are set to zero.
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
from ethogram.third_party_encoders.images import PACKETS, octets_of, scaled
from ethogram.third_party_encoders.interface import Facts
from ethogram.third_party_encoders.masked import HIDDEN, error_of_hidden, insert_mask_tokens, random_mask
from ethogram.third_party_encoders.pretraining import PacketNetwork, PretrainingSettings
from ethogram.third_party_encoders.yatc import (
    COLUMNS,
    EPSILON,
    PATCH,
    PATCHES,
    Yatc,
    YatcBlock,
    YatcEncoder,
    YatcSizes,
    patches,
    waves,
)

__all__ = ["SMALL", "MaskedYatc", "load", "new"]

SMALL = YatcSizes(
    d=96, depth=2, heads=6, mlp=384, decoder_d=64, decoder_depth=1, decoder_heads=4, addresses=False, checksums=False
)
TOKENS = PACKETS * PATCHES


class MaskedYatc(PacketNetwork, Yatc):
    """Encoder and decoder of pretraining, with the names of the authors' file.

    Parameters
    ----------
    sizes
        Sizes of both.
    hidden
        Share of masked patches.
    """

    name = "yatc-small"

    def __init__(self, sizes: YatcSizes = SMALL, hidden: float = HIDDEN) -> None:
        super().__init__(sizes)
        self.hidden = hidden
        d = sizes.decoder_d
        self.decoder_embed = nn.Linear(sizes.d, d)
        self.mask_token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, TOKENS + 1, d), requires_grad=False)
        with torch.no_grad():
            self.decoder_pos_embed.copy_(torch.from_numpy(waves(d, COLUMNS))[None])
        self.decoder_blocks = nn.ModuleList(
            YatcBlock(d, sizes.decoder_heads, 4 * d) for _ in range(sizes.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(d, eps=EPSILON)
        self.decoder_pred = nn.Linear(d, PATCH * PATCH)

    def described(self) -> dict[str, Any]:
        """Sizes and masking, as JSON."""
        return {"sizes": asdict(self.sizes), "hidden": self.hidden}

    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Patches [N, 400, 4] of flows."""
        sizes = self.sizes
        octets = octets_of(flows, rows, addresses=sizes.addresses, ports=sizes.ports, checksums=sizes.checksums)
        return patches(torch.from_numpy(scaled(octets))).reshape(len(rows), TOKENS, PATCH * PATCH)

    def loss(self, prepared: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of masked patches."""
        shown, absent = random_mask(len(prepared), TOKENS, self.hidden, generator)
        seen = torch.as_tensor(self.patch_embed(prepared.gather(1, shown[..., None].expand(-1, -1, PATCH * PATCH))))
        seen = seen + self.pos_embed[0, 1:][shown]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(seen), -1, -1)
        known = self.decoder_embed(self.norm(self.looked(torch.cat([first, seen], 1))))
        whole = torch.cat([known[:, :1], insert_mask_tokens(known[:, 1:], shown, self.mask_token, TOKENS)], 1)
        whole = whole + self.decoder_pos_embed
        for block in self.decoder_blocks:
            whole = block(whole)
        return error_of_hidden(self.decoder_pred(self.decoder_norm(whole[:, 1:])), prepared, absent)

    def encoder(self, origin: str) -> YatcEncoder:
        """The frozen encoder."""
        net = Yatc(self.sizes)
        size = copy_weights(self, net)
        name = f"yatc-small ({self.sizes.depth} blocks, {self.sizes.d} wide, pretrained here)"
        facts = Facts(name, size, self.sizes.d, PACKETS, "Apache-2.0", "after doi:10.1609/aaai.v37i4.25674")
        return YatcEncoder(facts, net, origin, self.sizes.digest)


def new(flows: PacketFlows, settings: PretrainingSettings, seed: int) -> MaskedYatc:
    """A network with initial weights."""
    del flows, seed  # the loop has set the seed
    sizes = sizes_of(SMALL, settings.widths, MaskedYatc.name)
    return MaskedYatc(sizes, HIDDEN if settings.hidden is None else settings.hidden)


def load(described: dict[str, Any]) -> MaskedYatc:
    """A network for the weights of a file."""
    return MaskedYatc(sizes_of(SMALL, described["sizes"], MaskedYatc.name), float(described["hidden"]))
