"""The field-aware encoder: embeddings of the fields of the flow and of its first packets.

It has two objectives: masked reconstruction of fields, and a contrastive loss between flows of the same device within
an hour and flows of other devices (:mod:`.positives`). The first preserves the content of a flow, the second what is
specific to a device. The input has the kind of the remote address, never the address itself; ports and text are masked
in a share of the flows, so that the encoder works without them.
"""

from __future__ import annotations

import math
import weakref
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
    KINDS,
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
from ethogram.representation.losses import info_nce, vicreg_regularizer
from ethogram.representation.network import Network
from ethogram.representation.payload_length import expand_payload_prefix, header_width, payload_symbols
from ethogram.representation.positives import Positives
from ethogram.schema import CustomFlows

__all__ = ["FieldEncoder", "Fields", "size_bin"]

FIRST = 3  # packets whose tokens are inputs one by one; all packets enter by mean and maximum
OCTET_WIDTH, PORT_WIDTH, KIND_WIDTH, GRAM_WIDTH = 8, 16, 8, 48
TEXT_RANK = 64  # rank of the output matrix of text fragments
PROJECTED = 64  # dimension of the projection for the contrastive loss
PROTOCOLS = 4  # masked, TCP, UDP, other
LENGTHS = 14  # bins of the log payload size of a packet; bin 0 is none or masked
# Inverse variance of scaled totals, so that numeric errors are comparable with cross entropies.
NUMBERS_SCALE = 20.0


@dataclass(frozen=True)
class Fields:
    """A batch of fields [N, F], with masks of packets and payload [N, 10].

    For the contrastive loss, ``positives`` has the fields of the positives; after :meth:`FieldEncoder.with_positives`
    they follow in ``columns`` [2 N, F]. ``device`` [2 N] is the device of each row.
    """

    columns: Tensor
    packets_hidden: Tensor | None = None
    payload_hidden: Tensor | None = None
    positives: Tensor | None = None
    device: Tensor | None = None


def size_bin(size: Tensor) -> Tensor:
    """Bin of a packet's size in octets: every 4 up to 128, every 16 up to 512, then every 64.

    >>> size_bin(torch.tensor([0.0, 40.0, 128.0, 512.0, 1500.0])).tolist()
    [0, 10, 32, 56, 71]
    """
    fine, middle, coarse = size / 4, 32 + (size - 128) / 16, 56 + (size - 512) / 64
    bins = torch.where(size < 128, fine, torch.where(size < 512, middle, coarse))
    return bins.floor().long().clamp(0, SIZES - 1)


def _bin_centres() -> NDArray[np.float32]:
    edges = np.concatenate([np.arange(0, 128, 4), np.arange(128, 512, 16), np.arange(512, 1537, 64)])
    return np.asarray((edges[:-1] + edges[1:]) / 2, np.float32)


class FieldEncoder(Network):
    """Combines packet tokens (single and pooled) and a flow token into the latent units.

    Examples
    --------
    >>> from ethogram.config import EncoderSettings
    >>> net = FieldEncoder(EncoderSettings(kind="fields"))
    >>> sum(p.numel() for p in net.parameters()) < 1_000_000
    True
    """

    def build(self) -> None:
        """Create embeddings, encoder layers, a head for each field, and the projection of the contrastive loss."""
        fields, d = self.settings.fields, self.settings.latent
        self.plan = FieldPlan(fields)
        self._positives: tuple[weakref.ref[CustomFlows], Positives] | None = None
        self.size, self.gap = nn.Embedding(SIZES + 1, fields.token), nn.Embedding(GAPS, fields.token)
        self.length, self.way = nn.Embedding(LENGTHS, fields.token), nn.Embedding(3, fields.token)
        for table in (self.size, self.gap, self.length):
            nn.init.normal_(table.weight, std=0.5)
        self.octet = nn.Embedding(OCTETS, OCTET_WIDTH)
        self.octets = nn.Linear(fields.octets * OCTET_WIDTH, fields.token)
        self.classes = nn.Linear(CLASSES, fields.token)
        self.unseen = nn.Parameter(torch.randn(fields.token) * 0.1)
        self.token = nn.Sequential(nn.LayerNorm(fields.token), nn.Linear(fields.token, fields.token), nn.ReLU())
        self.port = nn.Embedding(PORTS, PORT_WIDTH)
        self.gram = nn.Embedding(fields.buckets + 1, GRAM_WIDTH, padding_idx=0)
        self.protocol, self.remote = nn.Embedding(PROTOCOLS, KIND_WIDTH), nn.Embedding(KINDS, KIND_WIDTH)
        width = (FIRST + 2) * fields.token + 2 * PORT_WIDTH + 2 * KIND_WIDTH + 2 + GRAM_WIDTH
        self.inward = nn.Sequential(
            nn.Linear(width, fields.hidden), nn.LayerNorm(fields.hidden), nn.ReLU(),
            nn.Linear(fields.hidden, fields.hidden), nn.LayerNorm(fields.hidden), nn.ReLU(),
        )  # fmt: skip
        self.mean, self.past = nn.Linear(fields.hidden, d), nn.Linear(width, d, bias=False)
        self.project = nn.Sequential(nn.Linear(d, 2 * PROJECTED), nn.ReLU(), nn.Linear(2 * PROJECTED, PROJECTED))
        self.outward = nn.Sequential(nn.Linear(d, fields.hidden), nn.ReLU())
        self.flow_head = nn.Linear(fields.hidden, PROTOCOLS + 2 * PORTS + KINDS + 2)
        self.text = nn.Sequential(nn.Linear(fields.hidden, TEXT_RANK), nn.Linear(TEXT_RANK, fields.buckets + 1))
        self.packet_out = nn.Sequential(nn.Linear(fields.hidden, PACKETS * fields.token), nn.ReLU())
        self.packet_head = nn.Linear(fields.token, 2 + SIZES + GAPS + LENGTHS + CLASSES)
        self.octet_head = nn.Linear(fields.token, fields.octets * OCTET_WIDTH)
        self.octet_bias = nn.Parameter(torch.zeros(OCTETS))
        self.register_buffer("centres", torch.from_numpy(_bin_centres()), persistent=False)

    # -- from flows and vectors to fields

    def prepare(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Fields:
        """Fields of flows and of their positives; the payload is expanded only as far as it goes."""
        fields = self.settings.fields
        if fields.contrast == 0:
            return Fields(self._columns(flows, rows))
        held = None if self._positives is None else self._positives[0]()
        if self._positives is None or held is not flows:
            self._positives = weakref.ref(flows), Positives(flows, fields.within_s)
        positives = self._positives[1]
        drawn = positives.draw(rows, fields.same_flow)
        device = torch.from_numpy(positives.device[np.concatenate([rows, drawn])])
        return Fields(self._columns(flows, rows), positives=self._columns(flows, drawn), device=device)

    def _columns(self, flows: CustomFlows, rows: NDArray[np.int64]) -> Tensor:
        symbols = int(payload_symbols(flows)[rows].max(initial=1))
        x = expand_payload_prefix(flows, self.view, rows, symbols)
        return torch.from_numpy(describe(x, self.view, self.settings.fields))

    def with_positives(self, prepared: Fields) -> Fields:
        """Append the positives after the flows."""
        if prepared.positives is None:
            return prepared
        return Fields(torch.cat([prepared.columns, prepared.positives]), device=prepared.device)

    def mask(self, prepared: Fields, generator: torch.Generator) -> Fields:
        """Mask whole packets, payload of packets, fields of the flow, ports, and text fragments."""
        fields, n = self.settings.fields, prepared.columns.shape[0]

        def share(of: float, *shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=generator) < of

        columns = prepared.columns.clone()
        columns[:, :FLOW].masked_fill_(share(fields.hide_field, FLOW), 0.0)
        columns[:, 1:3].masked_fill_(share(fields.hide_ports, 1), 0.0)
        grams = share(fields.hide_text, 1) | share(fields.hide_gram, fields.grams)
        columns[:, self.plan.grams].masked_fill_(grams, 0.0)
        payload = share(fields.hide_payload, PACKETS) | share(fields.hide_text, 1)
        return Fields(columns, share(fields.hide_packet, PACKETS), payload, device=prepared.device)

    # -- the encoder

    def _packets(self, columns: Tensor) -> Tensor:
        return columns[:, FLOW : self.plan.grams.start].reshape(-1, PACKETS, self.plan.packet)

    def tokens(self, prepared: Fields) -> Tensor:
        """Tokens of the packets, [N, 10, T]."""
        packets = self._packets(prepared.columns)
        present, kept = packets[..., PRESENT], packets[..., KEPT]
        classes, octets = packets[..., PACKET : PACKET + CLASSES], packets[..., PACKET + CLASSES :].long()
        if (hides := prepared.payload_hidden) is not None:
            kept = kept.masked_fill(hides, 0.0)
            classes = classes.masked_fill(hides[..., None], 0.0)
            octets = octets.masked_fill(hides[..., None], OCTETS - 1)
        size = (size_bin(packets[..., SIZE]) + 1) * (present > 0)
        sums = self.size(size) + self.way((present * (1 + packets[..., OUT])).long()) + self.length(_length_bin(kept))
        sums = sums + self.gap(_gap_bin(packets[..., GAP])) + self.classes(4 * classes)
        sums = sums + self.octets(self.octet(octets).flatten(2))
        if (hides := prepared.packets_hidden) is not None:
            sums = torch.where(hides[..., None], self.unseen.to(sums.dtype), sums)
        return torch.as_tensor(self.token(sums))

    def flow_token(self, columns: Tensor) -> Tensor:
        """Token of the flow: protocol, ports, kind of the remote address, totals, and text embeddings."""
        grams = columns[:, self.plan.grams].long()
        count = (grams > 0).sum(1, keepdim=True).clamp(min=1).to(columns.dtype)
        text = self.gram(grams).sum(1) / count.sqrt()
        ports = self.port(columns[:, 1:3].long()).reshape(-1, 2 * PORT_WIDTH)
        kinds = [self.protocol(columns[:, 0].long()), self.remote(columns[:, 5].long())]
        return torch.cat([*kinds, ports, columns[:, 3:5], text], 1)

    def posterior(self, prepared: Fields) -> tuple[Tensor, Tensor | None]:
        """Mean [N, D] of the latent units; their variance is regularised by :meth:`batch_losses`."""
        tokens = self.tokens(prepared)
        seen = self._packets(prepared.columns)[..., PRESENT]
        if prepared.packets_hidden is not None:
            seen = seen * ~prepared.packets_hidden
        there = tokens * seen[..., None]
        mean = there.sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
        first = tokens[:, :FIRST].flatten(1)
        flow = torch.cat([first, mean, there.amax(1), self.flow_token(prepared.columns)], 1)
        return self.mean(self.inward(flow)) + self.past(flow), None

    def batch_losses(self, prepared: Fields, mean: Tensor) -> dict[str, Tensor]:
        """The contrastive loss and the VICReg regulariser."""
        fields = self.settings.fields
        if prepared.device is None:
            return {}
        parts = {"contrast": info_nce(self.project(mean).float(), prepared.device, fields.temperature)}
        parts["spread"] = vicreg_regularizer(mean, fields.decorrelation)
        return {"likeness": fields.contrast * parts["contrast"] + fields.spread * parts["spread"], **parts}

    def forward(self, columns: Tensor) -> Tensor:
        """Embeddings [N, D] of fields [N, F]; the exported function."""
        return self.posterior(Fields(columns))[0]

    def embed_vectors(self, x: NDArray[np.float32]) -> Tensor:
        """Embeddings [N, D] of vectors [N, W]."""
        return self.forward(torch.from_numpy(describe(x, self.view, self.settings.fields)))

    # -- the decoder

    def _heads(self, z: Tensor) -> dict[str, Tensor]:
        fields = self.settings.fields
        h = self.outward(z)
        flow = self.flow_head(h).float().split((PROTOCOLS, PORTS, PORTS, KINDS, 2), 1)
        tokens = self.packet_out(h).reshape(-1, PACKETS, fields.token)
        packet = self.packet_head(tokens).float().split((2, SIZES, GAPS, LENGTHS, CLASSES), -1)
        return {
            "protocol": flow[0], "remote_port": flow[1], "device_port": flow[2], "remote": flow[3], "totals": flow[4],
            "text": self.text(h).float(), "ways": packet[0], "size": packet[1], "gap": packet[2], "length": packet[3],
            "classes": packet[4], "tokens": tokens,
        }  # fmt: skip

    def _octets(self, tokens: Tensor) -> Tensor:
        """Logits [M, octets, 258] of the first octets of M packets."""
        guessed = self.octet_head(tokens).reshape(len(tokens), self.settings.fields.octets, OCTET_WIDTH)
        return (guessed @ self.octet.weight.to(guessed.dtype).T + self.octet_bias).float()

    def errors(self, loss: str, prepared: Fields, z: Tensor) -> dict[str, Tensor]:
        """Mean error over groups of fields, each scaled so that an uninformed guess costs about 1."""
        del loss
        heads, columns = self._heads(z), prepared.columns
        packets = self._packets(columns)
        present = packets[..., PRESENT]
        kept = present * (packets[..., KEPT] > 0)
        octets = packets[..., PACKET + CLASSES :].long()
        errors = {
            "protocol": _classes(heads["protocol"], columns[:, 0].long()),
            "remote": _classes(heads["remote"], columns[:, 5].long()),
            "totals": NUMBERS_SCALE * (heads["totals"] - columns[:, 3:5]).square().mean(),
            "present": functional.binary_cross_entropy_with_logits(heads["ways"][..., 0], present) / math.log(2),
            "out": _mean(functional.binary_cross_entropy_with_logits(
                heads["ways"][..., 1], packets[..., OUT], reduction="none"), present) / math.log(2),
            "size": _classes(heads["size"], size_bin(packets[..., SIZE]), present),
            "gap": _classes(heads["gap"], _gap_bin(packets[..., GAP]), present),
            "length": _classes(heads["length"], _length_bin(packets[..., KEPT]), present),
            "classes": NUMBERS_SCALE * _mean(
                (heads["classes"].softmax(-1) - packets[..., PACKET : PACKET + CLASSES]).square().mean(-1), kept),
        }  # fmt: skip
        if self.settings.fields.ports:
            errors["remote_port"] = _classes(heads["remote_port"], columns[:, 1].long())
            errors["device_port"] = _classes(heads["device_port"], columns[:, 2].long())
        # Most packets carry no payload; only those that do are reconstructed.
        carrying = kept > 0
        errors["octets"] = _classes(self._octets(heads["tokens"][carrying]), octets[carrying])
        grams = columns[:, self.plan.grams].long()
        chances = heads["text"].log_softmax(1).gather(1, grams)
        errors["text"] = -_mean(chances, (grams > 0).to(chances.dtype)) / math.log(self.settings.fields.buckets)
        return {"reconstruction": torch.stack(list(errors.values())).mean(), **errors}

    def vectors(self, z: Tensor) -> Tensor:
        """Vectors [N, W] with the expected features of the flow and its packets; addresses and payload stay 0."""
        heads = self._heads(z)
        out = torch.zeros(z.shape[0], 40)
        ports = torch.tensor([0, *KNOWN_PORTS, 512, 25_000, 57_344], dtype=torch.float32) / 65_535
        out[:, 5] = heads["remote_port"].softmax(1) @ ports
        out[:, 6] = heads["device_port"].softmax(1) @ ports
        out[:, 7] = heads["protocol"].softmax(1) @ torch.tensor([0.0, 6.0, 17.0, 0.0]) / 255
        out[:, 8:10] = heads["totals"].clamp(0, 1)
        here = heads["ways"][..., 0].sigmoid() > 0.5
        middles = torch.expm1((torch.arange(GAPS) + 0.5) / GAPS * FULL_GAP)
        offsets = (heads["gap"].softmax(-1) @ middles).cumsum(1) / 60_000
        packets = torch.stack(
            [offsets, heads["size"].softmax(-1) @ self.centres / 1500, heads["ways"][..., 1].sigmoid()], 2
        )
        out[:, 10:] = (packets.clamp(0, 1) * here[..., None]).flatten(1)
        x_hat = torch.zeros(z.shape[0], self.view.width)
        before = header_width(self.view)
        x_hat[:, :before] = out[:, self.view.places[:before].tolist()]
        return x_hat


def _gap_bin(gap: Tensor) -> Tensor:
    return (gap * GAPS).long().clamp(0, GAPS - 1)


def _length_bin(kept: Tensor) -> Tensor:
    return torch.where(kept > 0, 1 + (kept * (LENGTHS - 2)).long().clamp(0, LENGTHS - 2), 0)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over where the weight is 1; 0 when it is nowhere."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _classes(logits: Tensor, true: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross entropy in units of knowing nothing."""
    each = functional.cross_entropy(logits.flatten(0, -2), true.flatten(), reduction="none")
    scaled = each / math.log(logits.shape[-1])
    return _mean(scaled, torch.ones_like(scaled) if weight is None else weight.flatten())
