"""The field-aware encoder: fields of the first packets and of the flow with embeddings of their own.

It learns by guessing fields that were hidden from it (masked reconstruction), through a variational bottleneck. It
never sees an address; ports are hidden from it in a share of the flows, so that it works without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.representation.field_columns import (
    CLASSES,
    FLOW,
    FULL_GAP,
    GAP,
    GAPS,
    KEPT,
    KNOWN_PORTS,
    OCTETS,
    OUT,
    PACKET,
    PACKETS,
    PORTS,
    PRESENT,
    SIZE,
    SIZES,
    FieldPlan,
    describe,
)
from ethogram.representation.network import Network
from ethogram.representation.used import expand_used, numbers_of, used_symbols
from ethogram.schema import CustomFlows

__all__ = ["FieldEncoder", "size_bin"]

WAVES = 12  # wavelengths a packet's size is looked at with, 4 to 3,000 octets
OCTET_WIDTH, PORT_WIDTH, PROTOCOL_WIDTH, GRAM_WIDTH = 8, 12, 4, 48
TEXT_RANK = 64  # of the matrix that guesses pieces of text
PROTOCOLS = 4  # hidden, TCP, UDP, another
# One over the variance of scaled totals, and of octets carried: errors of numbers weigh like those of classes.
NUMBERS_SCALE, KEPT_SCALE = 20.0, 8.0


@dataclass(frozen=True)
class Fields:
    """A batch of fields [N, F], and what of the packets is hidden [N, 10]."""

    columns: Tensor
    packets_hidden: Tensor | None = None
    payload_hidden: Tensor | None = None


def size_bin(size: Tensor) -> Tensor:
    """Bin of a packet's size in octets: every 4 up to 128, every 16 up to 512, then every 64.

    >>> size_bin(torch.tensor([0.0, 40.0, 128.0, 512.0, 1500.0])).tolist()
    [0, 10, 32, 56, 71]
    """
    fine, middle, coarse = size / 4, 32 + (size - 128) / 16, 56 + (size - 512) / 64
    found = torch.where(size < 128, fine, torch.where(size < 512, middle, coarse))
    return found.floor().long().clamp(0, SIZES - 1)


def _bin_centres() -> NDArray[np.float32]:
    edges = np.concatenate([np.arange(0, 128, 4), np.arange(128, 512, 16), np.arange(512, 1537, 64)])
    return np.asarray((edges[:-1] + edges[1:]) / 2, np.float32)


class FieldEncoder(Network):
    """Tokens of ten packets and of the flow, joined by two layers into the posterior of the latent units.

    Examples
    --------
    >>> from ethogram.config import EncoderSettings
    >>> net = FieldEncoder(EncoderSettings(kind="fields"))
    >>> sum(p.numel() for p in net.parameters()) < 1_000_000
    True
    """

    def build(self) -> None:
        """Embeddings, the encoder's layers, and a head for each field."""
        own, d = self.settings.fields, self.settings.latent
        self.plan = FieldPlan(own)
        seen = 2 + (2 * WAVES + 1) + 2 + CLASSES + own.octets * OCTET_WIDTH
        flow = PROTOCOL_WIDTH + 2 * PORT_WIDTH + 2 + GRAM_WIDTH
        self.octet = nn.Embedding(OCTETS, OCTET_WIDTH)
        self.port = nn.Embedding(PORTS, PORT_WIDTH)
        self.protocol = nn.Embedding(PROTOCOLS, PROTOCOL_WIDTH)
        self.gram = nn.Embedding(own.buckets + 1, GRAM_WIDTH, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(PACKETS, own.token))
        self.unseen = nn.Parameter(torch.randn(own.token) * 0.1)
        self.token = nn.Sequential(nn.Linear(seen, own.token), nn.ReLU(), nn.Linear(own.token, own.token))
        self.inward = nn.Sequential(
            nn.Linear(PACKETS * own.token + flow, own.hidden), nn.LayerNorm(own.hidden), nn.ReLU(),
            nn.Linear(own.hidden, own.hidden), nn.LayerNorm(own.hidden), nn.ReLU(),
        )  # fmt: skip
        self.mean = nn.Linear(own.hidden, d)
        self.log_variance = nn.Linear(own.hidden, d)
        nn.init.constant_(self.log_variance.bias, self.settings.log_variance_start)
        self.outward = nn.Sequential(nn.Linear(d, own.hidden), nn.ReLU())
        self.flow_head = nn.Linear(own.hidden, PROTOCOLS + 2 * PORTS + 2)
        self.text = nn.Sequential(nn.Linear(own.hidden, TEXT_RANK), nn.Linear(TEXT_RANK, own.buckets + 1))
        self.packet_out = nn.Sequential(nn.Linear(own.hidden, PACKETS * own.token), nn.ReLU())
        self.packet_head = nn.Linear(own.token, 2 + SIZES + GAPS + 1 + CLASSES)
        self.octet_head = nn.Linear(own.token, own.octets * OCTET_WIDTH)
        self.octet_bias = nn.Parameter(torch.zeros(OCTETS))
        waves = 2 * math.pi / torch.logspace(math.log10(4), math.log10(3000), WAVES)
        self.register_buffer("waves", waves, persistent=False)
        self.register_buffer("centres", torch.from_numpy(_bin_centres()), persistent=False)

    # -- from flows and vectors to fields

    def prepare(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Fields:
        """Fields of flows; the payload is expanded only as far as it goes."""
        symbols = int(used_symbols(flows)[rows].max(initial=1))
        return self._fields(expand_used(flows, self.view, rows, symbols))

    def _fields(self, x: NDArray[np.float32]) -> Fields:
        return Fields(torch.from_numpy(describe(x, self.view, self.settings.fields)))

    def hidden(self, prepared: Fields, generator: torch.Generator) -> Fields:
        """Hide whole packets, the payload of packets, fields of the flow, and ports."""
        own, n = self.settings.fields, prepared.columns.shape[0]

        def share(of: float, *shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=generator) < of

        columns = prepared.columns.clone()
        columns[:, :FLOW].masked_fill_(share(own.hide_field, FLOW), 0.0)
        columns[:, 1:3].masked_fill_(share(own.hide_ports, 1), 0.0)
        columns[:, self.plan.grams].masked_fill_(share(own.hide_payload, 1), 0.0)
        return Fields(columns, share(own.hide_packet, PACKETS), share(own.hide_payload, PACKETS))

    # -- the encoder

    def tokens(self, columns: Tensor, payload_hidden: Tensor | None = None) -> Tensor:
        """[N, 10, T]: what each packet is like."""
        own = self.settings.fields
        packets = columns[:, FLOW : self.plan.grams.start].reshape(-1, PACKETS, self.plan.packet)
        size = packets[..., SIZE : SIZE + 1]
        angles = size * self.waves
        rest = packets[..., KEPT : PACKET + CLASSES]
        octets = packets[..., PACKET + CLASSES :].long()
        if payload_hidden is not None:
            rest = rest.masked_fill(payload_hidden[..., None], 0.0)
            octets = octets.masked_fill(payload_hidden[..., None], OCTETS - 1)
        parts = [packets[..., PRESENT : OUT + 1], angles.sin(), angles.cos(), size / 1500, packets[..., GAP : GAP + 1],
                 rest, self.octet(octets).reshape(-1, PACKETS, own.octets * OCTET_WIDTH)]  # fmt: skip
        return torch.as_tensor(self.token(torch.cat(parts, -1)))

    def flow_token(self, columns: Tensor) -> Tensor:
        """[N, ...]: protocol, ports, totals, and the mean embedding of the pieces of text."""
        grams = columns[:, self.plan.grams].long()
        count = (grams > 0).sum(1, keepdim=True).clamp(min=1).to(columns.dtype)
        text = self.gram(grams).sum(1) / count.sqrt()
        ports = self.port(columns[:, 1:3].long()).reshape(-1, 2 * PORT_WIDTH)
        return torch.cat([self.protocol(columns[:, 0].long()), ports, columns[:, 3:FLOW], text], 1)

    def posterior(self, prepared: Fields) -> tuple[Tensor, Tensor]:
        """Mean and log variance [N, D] of the latent units."""
        columns = prepared.columns
        tokens = self.tokens(columns, prepared.payload_hidden)
        if prepared.packets_hidden is not None:
            tokens = torch.where(prepared.packets_hidden[..., None], self.unseen.to(tokens.dtype), tokens)
        tokens = functional.relu(tokens + self.position).flatten(1)
        h = self.inward(torch.cat([tokens, self.flow_token(columns)], 1))
        return self.mean(h), self.log_variance(h)

    def forward(self, columns: Tensor) -> Tensor:
        """Embeddings [N, D] of fields [N, F]: what is exported."""
        return self.posterior(Fields(columns))[0]

    def embed_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Mean of the posterior [N, D] of vectors [N, W]."""
        return self.posterior(self._fields(x))[0]

    # -- the decoder

    def _heads(self, z: Tensor) -> dict[str, Tensor]:
        own = self.settings.fields
        h = self.outward(z)
        flow = self.flow_head(h).float().split((PROTOCOLS, PORTS, PORTS, 2), 1)
        tokens = self.packet_out(h).reshape(-1, PACKETS, own.token)
        packet = self.packet_head(tokens).float().split((2, SIZES, GAPS, 1, CLASSES), -1)
        return {
            "protocol": flow[0], "remote_port": flow[1], "device_port": flow[2], "totals": flow[3],
            "text": self.text(h).float(), "ways": packet[0], "size": packet[1], "gap": packet[2], "kept": packet[3],
            "classes": packet[4], "tokens": tokens,
        }  # fmt: skip

    def _octets(self, tokens: Tensor) -> Tensor:
        """Scores [M, octets, 258] of the first octets of M packets."""
        guessed = self.octet_head(tokens).reshape(len(tokens), self.settings.fields.octets, OCTET_WIDTH)
        return (guessed @ self.octet.weight.to(guessed.dtype).T + self.octet_bias).float()

    def errors(self, loss: str, prepared: Fields, z: Tensor) -> dict[str, Tensor]:
        """Mean error of the groups of fields, each so scaled that knowing nothing costs about one."""
        del loss
        said, columns = self._heads(z), prepared.columns
        packets = columns[:, FLOW : self.plan.grams.start].reshape(-1, PACKETS, self.plan.packet)
        present = packets[..., PRESENT]
        kept = present * (packets[..., KEPT] > 0)
        gap = (packets[..., GAP] * GAPS).long().clamp(0, GAPS - 1)
        octets = packets[..., PACKET + CLASSES :].long()
        found = {
            "protocol": _classes(said["protocol"], columns[:, 0].long()),
            "totals": NUMBERS_SCALE * (said["totals"] - columns[:, 3:FLOW]).square().mean(),
            "present": functional.binary_cross_entropy_with_logits(said["ways"][..., 0], present) / math.log(2),
            "out": _mean(functional.binary_cross_entropy_with_logits(
                said["ways"][..., 1], packets[..., OUT], reduction="none"), present) / math.log(2),
            "size": _classes(said["size"], size_bin(packets[..., SIZE]), present),
            "gap": _classes(said["gap"], gap, present),
            "kept": KEPT_SCALE * _mean((said["kept"][..., 0] - packets[..., KEPT]).square(), present),
            "classes": NUMBERS_SCALE * _mean(
                (said["classes"].softmax(-1) - packets[..., PACKET : PACKET + CLASSES]).square().mean(-1), kept),
        }  # fmt: skip
        if self.settings.fields.ports:
            found["remote_port"] = _classes(said["remote_port"], columns[:, 1].long())
            found["device_port"] = _classes(said["device_port"], columns[:, 2].long())
        # Most packets carry nothing: only those that do are guessed.
        carrying = kept > 0
        found["octets"] = _classes(self._octets(said["tokens"][carrying]), octets[carrying])
        grams = columns[:, self.plan.grams].long()
        chances = said["text"].log_softmax(1).gather(1, grams)
        found["text"] = -_mean(chances, (grams > 0).to(chances.dtype)) / math.log(self.settings.fields.buckets)
        return {"reconstruction": torch.stack(list(found.values())).mean(), **found}

    def vectors(self, z: Tensor) -> Tensor:
        """Vectors [N, W]: expected numbers of the flow and its packets. Addresses and the payload stay 0."""
        said = self._heads(z)
        out = torch.zeros(z.shape[0], 40)
        ports = torch.tensor([0, *KNOWN_PORTS, 512, 25_000, 57_344], dtype=torch.float32) / 65_535
        out[:, 5] = said["remote_port"].softmax(1) @ ports
        out[:, 6] = said["device_port"].softmax(1) @ ports
        out[:, 7] = said["protocol"].softmax(1) @ torch.tensor([0.0, 6.0, 17.0, 0.0]) / 255
        out[:, 8:10] = said["totals"].clamp(0, 1)
        here = said["ways"][..., 0].sigmoid() > 0.5
        middles = torch.expm1((torch.arange(GAPS) + 0.5) / GAPS * FULL_GAP)
        offsets = (said["gap"].softmax(-1) @ middles).cumsum(1) / 60_000
        packets = torch.stack(
            [offsets, said["size"].softmax(-1) @ self.centres / 1500, said["ways"][..., 1].sigmoid()], 2
        )
        out[:, 10:] = (packets.clamp(0, 1) * here[..., None]).flatten(1)
        x_hat = torch.zeros(z.shape[0], self.view.width)
        before = numbers_of(self.view)
        x_hat[:, :before] = out[:, self.view.places[:before].tolist()]
        return x_hat


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over where the weight is 1; 0 when it is nowhere."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _classes(said: Tensor, true: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross entropy in units of knowing nothing."""
    each = functional.cross_entropy(said.flatten(0, -2), true.flatten(), reduction="none")
    scaled = each / math.log(said.shape[-1])
    return _mean(scaled, torch.ones_like(scaled) if weight is None else weight.flatten())
