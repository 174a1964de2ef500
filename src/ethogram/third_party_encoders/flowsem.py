"""A masked autoencoder over a table of packet fields, after FlowSem-MAE.

From the paper: fields instead of octets, each with its own embedding; no fields that cannot be predicted or that
identify the network (see :mod:`packet_fields`); attention along two axes, between the fields of a packet and between
packets; reconstruction of masked fields. Different here: numbers are interpolated between two classes; a field that a
packet does not have is not a token; whole packets and whole fields are masked, too; half of the loss is that of
predictions from the mean tokens alone. The embedding consists of these means (one over the tokens of the flow and one
over those of its packets), so they have to hold the information.

Reference: S. Huang and S. Yang, "Where Do Flow Semantics Reside? A Protocol-Native Tabular Pretraining Paradigm for
Encrypted Traffic Classification", arXiv 2603.10051. Built from the paper's description; sizes are ours.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ethogram.errors import ConfigurationError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.attention import looked
from ethogram.third_party_encoders.frozen import FrozenEncoder, sizes_of
from ethogram.third_party_encoders.interface import Facts
from ethogram.third_party_encoders.linear import linear
from ethogram.third_party_encoders.packet_fields import FieldTable
from ethogram.third_party_encoders.pretraining import PacketNetwork, PretrainingSettings

__all__ = ["SMALL", "FlowSem", "FlowSemEncoder", "FlowSemSizes", "load", "new"]

HIDDEN = 0.3
"""Share of single fields that are masked."""
HIDDEN_ROWS, HIDDEN_COLUMNS, HIDDEN_PORTS = 0.2, 0.15, 0.5
CHUNK, BATCH = 16_384, 64  # flows sorted together; flows per batch


@dataclass(frozen=True)
class FlowSemSizes:
    """Sizes of the network.

    Parameters
    ----------
    d, depth, heads
        Width of a token, layers of the encoder, heads of attention along each axis.
    packets
        Number of first packets of a flow that are read.
    octets
        Number of first payload octets of each packet that are fields, too; at most twelve.
    ports
        Whether ports are fields.
    """

    d: int = 96
    depth: int = 2
    heads: int = 3
    packets: int = 8
    octets: int = 0
    ports: bool = False

    def __post_init__(self) -> None:
        if self.d % self.heads:
            raise ConfigurationError(f"flowsem: a width of {self.d} does not divide by {self.heads} heads")

    @property
    def table(self) -> FieldTable:
        """Table of the fields."""
        return FieldTable(self.packets, self.ports, self.octets)


SMALL = FlowSemSizes()


class Axis(nn.Module):
    """Self-attention along one axis of the table."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Attention over [N, A, B, d] along B, to visible tokens [N, A, B] and to the token itself."""
        n, rows, length, d = x.shape
        given = linear(self.qkv, self.norm(x)).reshape(n * rows, length, 3, self.heads, d // self.heads)
        query, key, value = given.permute(2, 0, 3, 1, 4)
        diagonal = torch.eye(length, dtype=torch.bool)
        mask = seen.reshape(n * rows, 1, 1, length) | diagonal
        attended = looked(query, key, value, mask)
        return x + linear(self.proj, attended.transpose(1, 2).reshape(n, rows, length, d))


class FlowSemLayer(nn.Module):
    """Attention between the fields of a packet and between packets, and a feed-forward layer."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.fields, self.packets = Axis(d, heads), Axis(d, heads)
        self.norm = nn.LayerNorm(d)
        self.wide, self.narrow = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """[N, R, F, d] of [N, R, F, d]."""
        x = torch.as_tensor(self.fields(x, seen))
        x = torch.as_tensor(self.packets(x.transpose(1, 2), seen.transpose(1, 2))).transpose(1, 2)
        return x + linear(self.narrow, linear(self.wide, self.norm(x).contiguous(), gelu=True))


class FlowSem(PacketNetwork):
    """Encoder, decoder and embeddings of fields.

    Parameters
    ----------
    sizes
        Sizes of the network.
    hidden
        Share of single fields that are masked.

    Examples
    --------
    >>> sum(p.numel() for p in FlowSem().parameters()) < 1_000_000
    True
    """

    name = "flowsem"

    def __init__(self, sizes: FlowSemSizes = SMALL, hidden: float = HIDDEN) -> None:
        super().__init__()
        self.sizes, self.hidden, self.table = sizes, hidden, sizes.table
        d, classes, fields = sizes.d, int(self.table.begins[-1]), len(self.table.fields)
        self.value = nn.Embedding(classes, d)
        self.field = nn.Embedding(fields, d)
        self.row = nn.Embedding(1 + sizes.packets, d)
        self.layers = nn.ModuleList(FlowSemLayer(d, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(d)
        self.decoder_embed = nn.Linear(d, d)
        self.decoder_mean = nn.Sequential(nn.Linear(2 * d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.decoder_field = nn.Embedding(fields, d)
        self.decoder_row = nn.Embedding(1 + sizes.packets, d)
        self.decoder_layer = FlowSemLayer(d, sizes.heads)
        self.decoder_pred = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, d), nn.GELU(), nn.Linear(d, d))
        self.decoder_bias = nn.Parameter(torch.zeros(classes))
        for table in (self.value, self.field, self.row, self.decoder_field, self.decoder_row):
            nn.init.normal_(table.weight, std=0.1)
        columns, of_flow = self.table.columns, len(self.table.flow_fields)
        number = torch.arange(columns) + of_flow  # of the field at each column
        first = torch.where(torch.arange(columns) < of_flow, torch.arange(columns), 0)
        places = torch.cat([first[None], number.expand(sizes.packets, -1)])
        begins = torch.from_numpy(self.table.begins)
        self.register_buffer("places", places, persistent=False)  # [R, F]
        self.register_buffer("first", begins[:-1][places], persistent=False)
        self.register_buffer("last", begins[1:][places] - 1, persistent=False)
        self.places: Tensor
        self.first: Tensor
        self.last: Tensor

    def described(self) -> dict[str, Any]:
        """Sizes and masking, as JSON."""
        return {"sizes": asdict(self.sizes), "hidden": self.hidden}

    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Tables [N, R, F] of flows, without rows that none of them needs."""
        return trimmed(torch.from_numpy(self.table.describe(flows, rows)))

    # -- the encoder

    def between(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The two classes that each value is between, and the weight of the second."""
        rows, columns = table.shape[1:]
        place = (table - 1).clamp(min=0)
        low = place.floor()
        first, last = self.first[:rows, :columns], self.last[:rows, :columns]
        below = torch.minimum(first + low.long(), last)
        return below, torch.minimum(below + 1, last), place - low

    def tokens(self, table: Tensor) -> Tensor:
        """Sum of the embeddings of value, field and row of each cell, [N, R, F, d]."""
        below, above, share = self.between(table)
        rows, columns = table.shape[1:]
        value = torch.lerp(self.value(below), self.value(above), share[..., None])
        return value + self.field(self.places[:rows, :columns]) + self.row.weight[:rows, None]

    def seen(self, table: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """States of the tokens [N, R, F, d], and means [N, 2 d] over the tokens of the flow and of its packets, given
        which cells are present [N, R, F]."""
        x = self.tokens(table)
        for layer in self.layers:
            x = layer(x, there)
        x = torch.as_tensor(self.norm(x))
        weight = there[..., None].to(x.dtype)
        # In a single mean, the weight of the flow's tokens would fall with the number of packets.
        means = [
            (x[:, part] * weight[:, part]).sum((1, 2)) / weight[:, part].sum((1, 2)).clamp(min=1)
            for part in (slice(0, 1), slice(1, None))
        ]
        return x, torch.cat(means, 1)

    def embed(self, table: Tensor) -> Tensor:
        """Embeddings [N, 2 d] of tables [N, R, F] without masking."""
        return self.seen(table, table > 0)[1].float()

    # -- what it learns from

    def hide(self, table: Tensor, generator: torch.Generator) -> Tensor:
        """Choose masked cells among those present, [N, R, F]; some always stay visible."""
        n, rows, columns = table.shape

        def share(of: float, *shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=generator) < of

        hidden = share(self.hidden, rows, columns)
        hidden[:, 1:] |= share(HIDDEN_ROWS, rows - 1, 1) | share(HIDDEN_COLUMNS, 1, columns)
        flow = len(self.table.flow_fields)
        if self.sizes.ports:
            hidden[:, 0, flow - 2 : flow] |= share(HIDDEN_PORTS, 1)
        there = table > 0
        return hidden & there & (there & ~hidden).any(2, keepdim=True).any(1, keepdim=True)

    def loss(self, prepared: Tensor, generator: torch.Generator) -> Tensor:
        """Mean over fields of the cross entropy at masked cells, divided by that of a uniform guess: predicted from the
        states of the visible cells, and from their means alone."""
        hidden = self.hide(prepared, generator)
        there = prepared > 0
        known, mean = self.seen(prepared, there & ~hidden)
        rows, columns = prepared.shape[1:]
        asked = self.decoder_field(self.places[:rows, :columns]) + self.decoder_row.weight[:rows, None]
        x = torch.where(hidden[..., None], 0.0, self.decoder_embed(known).float()) + asked
        local = torch.as_tensor(self.decoder_layer(x, there))[hidden]
        of_mean = (self.decoder_mean(mean)[:, None, None].float() + asked)[hidden]
        true = [value[hidden] for value in self.between(prepared)]
        places = self.places[:rows, :columns].expand(len(prepared), -1, -1)[hidden]
        return (self._errors(local, true, places) + self._errors(of_mean, true, places)) / 2

    def _errors(self, x: Tensor, true: list[Tensor], places: Tensor) -> Tensor:
        predicted = torch.as_tensor(self.decoder_pred(x))
        below, above, share = true
        losses = []
        for number, field in enumerate(self.table.fields):
            at = (places == number).nonzero()[:, 0]
            if not len(at):
                continue
            classes = slice(int(self.table.begins[number]), int(self.table.begins[number + 1]))
            scores = predicted[at] @ self.value.weight[classes].to(predicted.dtype).T / math.sqrt(self.sizes.d)
            chances = (scores.float() + self.decoder_bias[classes]).log_softmax(1)
            near = chances.gather(1, (below[at] - classes.start)[:, None])[:, 0]
            far = chances.gather(1, (above[at] - classes.start)[:, None])[:, 0]
            weight = share[at]
            losses.append(-((1 - weight) * near + weight * far).mean() / math.log(field.classes))
        return torch.stack(losses).mean() if losses else x.sum() * 0.0

    def encoder(self, origin: str) -> FlowSemEncoder:
        """The frozen encoder."""
        weights = {name: value for name, value in self.named_parameters() if not name.startswith("decoder_")}
        sizes = self.sizes
        layout = f"{sizes.depth} layers, {sizes.d} wide{', ports' if sizes.ports else ''}"
        layout += f", {sizes.octets} octets" if sizes.octets else ""
        facts = Facts(
            f"flowsem ({layout}, pretrained here)", sum(value.numel() for value in weights.values()), 2 * sizes.d,
            sizes.packets,
            "Apache-2.0", "after arXiv 2603.10051",
        )  # fmt: skip
        return FlowSemEncoder(facts, self, origin, str(sizes))


def trimmed(table: Tensor) -> Tensor:
    """Remove rows that no flow has; at least the row of the flow and one more stay."""
    used = (table > 0).any(2).any(0)
    rows = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
    return table[:, : max(rows, 2)]


class FlowSemEncoder(FrozenEncoder):
    """The frozen encoder; batches hold flows with similar numbers of packets, so few cells are empty."""

    batch = CHUNK
    net: FlowSem

    def run(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Embeddings [K, 2 d] of some flows; flows with the same table are computed once."""
        described = self.net.table.describe(flows, rows)
        whole = np.dtype((np.void, described[0].nbytes))
        _, first, same = np.unique(described.reshape(len(rows), -1).view(whole), return_index=True, return_inverse=True)
        table = torch.from_numpy(described[first])
        z = torch.empty(len(table), 2 * self.net.sizes.d)
        for part in (table > 0).any(2).sum(1).argsort(stable=True).split(BATCH):
            z[part] = self.net.embed(trimmed(table[part]))
        return z[torch.from_numpy(same.ravel())]


def new(flows: PacketFlows, settings: PretrainingSettings, seed: int) -> FlowSem:
    """A network with initial weights."""
    del flows, seed  # the loop has set the seed
    return FlowSem(sizes_of(SMALL, settings.widths, "flowsem"), HIDDEN if settings.hidden is None else settings.hidden)


def load(described: dict[str, Any]) -> FlowSem:
    """A network for the weights of a file."""
    return FlowSem(sizes_of(SMALL, described["sizes"], "flowsem"), float(described["hidden"]))
