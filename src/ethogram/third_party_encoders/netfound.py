"""netFound: a transformer over bursts of protocol fields, with attention within bursts and between bursts.

Each layer has two parts: attention among all tokens of a burst, then attention among the first tokens of the bursts of
a flow. The properties of a burst (direction, octets, packets, gap) and the protocol are mixed into every token before
the first layer. The embedding is the mean of all tokens of a flow. Padding is not computed.

Notes on the published file: it holds positions of bursts, which have no effect, because the tokens that they are added
to are replaced before they are read; all layers share them, so only the first may be present. There is no activation
between the two layers over the properties of a burst. Positions start again in each burst. The first published file has
the large sizes, with 3,072 units between the layers of a block as in the base one.

Reference: S. Guthula et al., "netFound: Foundation Model for Network Security", arXiv 2310.17025. Names and shapes of
the weights are those of the authors' files; no code is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.errors import ConfigurationError, LibraryError
from ethogram.schema.packet_flows import MOST_PACKETS, PacketFlows
from ethogram.third_party_encoders.bursts import META, MOST_BURSTS, TOKENS, Bursts, bursts_of
from ethogram.third_party_encoders.checkpoint import read_checkpoint, shapes_of
from ethogram.third_party_encoders.frozen import FrozenEncoder, parameters_of, sizes_of
from ethogram.third_party_encoders.interface import Facts, OnProgress, Rows, asked_rows, random_weights
from ethogram.third_party_encoders.linear import linear, multiplied

__all__ = ["BASE", "HEADS", "LARGE", "UNREAD", "NetFound", "NetFoundEncoder", "NetFoundSizes", "build", "expected"]

VOCABULARY = 65_539  # padding, numbers of 16 bits, the token before a burst, the mask
PROTOCOLS = 65_536
EPSILON = 1e-12
HEADS = (
    "lm_head.", "attentivePooling.", "portClassifierHiddenLayer.", "swappedClassifierHiddenLayer.",
    "linearMetadataPred.", "dirPred.", "hiddenLayer.", "hiddenLayer2.", "classifier.",
    "base_transformer.embeddings.position_ids",
)  # fmt: skip
"""Prefixes of weights that are not needed for an embedding."""

UNREAD = re.compile(
    r"base_transformer\.(seg_embeddings|embeddings\.token_type_embeddings|encoder\.(burst|flow)_positions"
    r"|encoder\.layer\.\d+\.position_embeddings)\.weight"
)
"""Weights that have no effect; they may be absent."""


@dataclass(frozen=True)
class NetFoundSizes:
    """Sizes of the network; default: the base ones.

    Parameters
    ----------
    hidden, layers, heads, mlp
        Width of a token, layers, heads of attention, and units between the two layers of a block.
    meta
        Units between the two layers over the properties of a burst.
    large
        Use the sizes of the first published file instead: 1,024 wide, 24 layers, 16 heads.
    """

    hidden: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    meta: int = 1024
    large: bool = False

    @classmethod
    def of(cls, widths: Mapping[str, int] | None) -> NetFoundSizes:
        """Sizes with some values replaced.

        Raises
        ------
        ConfigurationError
            When there is no such size, or they do not fit together.
        """
        sizes = sizes_of(LARGE if (widths or {}).get("large") else BASE, widths, "netfound")
        if sizes.hidden % sizes.heads:
            raise ConfigurationError(f"netfound: a width of {sizes.hidden} does not divide by {sizes.heads} heads")
        return sizes

    @property
    def name(self) -> str:
        """Name in tables."""
        for known, name in ((BASE, "base"), (LARGE, "large")):
            if self == known:
                return f"netfound ({name})"
        return f"netfound ({self.layers} layers, {self.hidden} wide)"


BASE = NetFoundSizes()
LARGE = replace(BASE, hidden=1024, layers=24, heads=16, large=True)


class Places(NamedTuple):
    """Positions of concatenated tokens in a table with one row per sequence, and the empty cells of the table."""

    rows: int
    columns: int
    cell: Tensor  # int [T], of the flattened table
    full: Tensor | None  # bool [rows, 1, 1, columns]; None when every cell is


def places(lengths: NDArray[np.int64]) -> Places:
    """Positions of the tokens of some sequences."""
    columns = int(lengths.max())
    full = np.arange(columns) < lengths[:, None]
    mask = None if full.all() else torch.from_numpy(full)[:, None, None, :]
    return Places(len(lengths), columns, torch.from_numpy(np.flatnonzero(full)), mask)


class SelfAttention(nn.Module):
    """Self-attention among the tokens of each sequence."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.query, self.key, self.value = (nn.Linear(sizes.hidden, sizes.hidden) for _ in range(3))

    def forward(self, x: Tensor, where: Places) -> Tensor:
        """[T, H] of [T, H]."""

        def table(layer: nn.Linear) -> Tensor:
            """Output of a layer, [rows, heads, columns, H / heads]."""
            cells = x.new_zeros(where.rows * where.columns, x.shape[1]).index_copy_(0, where.cell, linear(layer, x))
            return cells.view(where.rows, where.columns, self.heads, -1).transpose(1, 2)

        query, key, value = table(self.query), table(self.key), table(self.value)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=where.full)
        return attended.transpose(1, 2).reshape(-1, x.shape[1])[where.cell]


class Added(nn.Module):
    """A linear layer with a residual connection and layer norm."""

    def __init__(self, given: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(given, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=EPSILON)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """[T, H] of [T, given] and [T, H]."""
        normed: Tensor = self.LayerNorm(linear(self.dense, x) + before)
        return normed


class NetFoundAttention(nn.Module):
    """Self-attention and its output layer."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.self = SelfAttention(sizes)
        self.output = Added(sizes.hidden, sizes.hidden)


class Intermediate(nn.Module):
    """The first feed-forward layer."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes.hidden, sizes.mlp)


class NetFoundBlock(nn.Module):
    """A post-norm transformer block."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.attention = NetFoundAttention(sizes)
        self.intermediate = Intermediate(sizes)
        self.output = Added(sizes.mlp, sizes.hidden)

    def forward(self, x: Tensor, where: Places) -> Tensor:
        """[T, H] of [T, H]."""
        seen = self.attention.output(self.attention.self(x, where), x)
        output: Tensor = self.output(linear(self.intermediate.dense, seen, gelu=True), seen)
        return output


class NetFoundLayer(nn.Module):
    """Attention within bursts, then between bursts."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.burst_encoder = NetFoundBlock(sizes)
        self.flow_encoder = NetFoundBlock(sizes)
        self.position_embeddings = nn.Embedding(MOST_BURSTS + 1, sizes.hidden)

    def forward(self, x: Tensor, bursts: Places, flows: Places, firsts: Tensor) -> Tensor:
        """[T, H] of [T, H]; ``firsts`` are the tokens before bursts, int [B]."""
        x = self.burst_encoder(x, bursts)
        return x.index_copy(0, firsts, self.flow_encoder(x[firsts], flows))


class NetFoundEmbeddings(nn.Module):
    """Sum of the embeddings of tokens, positions, burst properties and protocol."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, sizes.hidden)
        self.position_embeddings = nn.Embedding(TOKENS, sizes.hidden)
        self.token_type_embeddings = nn.Embedding(2, sizes.hidden)
        self.LayerNorm = nn.LayerNorm(sizes.hidden, eps=EPSILON)
        self.metaEmbeddingLayer1 = nn.Linear(len(META), sizes.meta)
        self.metaEmbeddingLayer2 = nn.Linear(sizes.meta, sizes.hidden)
        self.protoEmbedding = nn.Embedding(PROTOCOLS, sizes.hidden)
        self.compressEmbeddings = nn.Linear(3 * sizes.hidden, sizes.hidden)

    def forward(self, tokens: Tensor, place: Tensor, meta: Tensor, protocol: Tensor, burst: Tensor) -> Tensor:
        """States [T, H] of tokens with positions and bursts [T]; properties [B, 4] and protocols [B] are of bursts."""
        words = self.word_embeddings(tokens) + self.position_embeddings(place)
        described = linear(self.metaEmbeddingLayer2, linear(self.metaEmbeddingLayer1, meta))
        # The part that all tokens of a burst share is multiplied once.
        of_words, of_bursts = self.compressEmbeddings.weight.split([words.shape[1], 2 * words.shape[1]], dim=1)
        common = multiplied(
            torch.cat([described, self.protoEmbedding(protocol)], 1), of_bursts.contiguous(),
            self.compressEmbeddings.bias,
        )
        normed: Tensor = self.LayerNorm(multiplied(words, of_words.contiguous()) + common[burst])
        return normed


class NetFoundLayers(nn.Module):
    """All layers. The two tables of sines in the file belong to a variant of the network."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.layer = nn.ModuleList([NetFoundLayer(sizes) for _ in range(sizes.layers)])
        self.burst_positions = nn.Embedding(TOKENS, sizes.hidden // sizes.heads)
        self.flow_positions = nn.Embedding(MOST_BURSTS + 1, sizes.hidden // sizes.heads)


class Transformer(nn.Module):
    """Embedding layer and encoder layers."""

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.embeddings = NetFoundEmbeddings(sizes)
        self.seg_embeddings = nn.Embedding(3, sizes.hidden)
        self.encoder = NetFoundLayers(sizes)


class NetFound(nn.Module):
    """Network from bursts to token states.

    Parameters
    ----------
    sizes
        Of the network.
    """

    def __init__(self, sizes: NetFoundSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.base_transformer = Transformer(sizes)

    def forward(self, bursts: Bursts) -> Tensor:
        """Mean state of the tokens of each flow, [K, H]; every flow has a burst."""
        inner, burst = places(bursts.lengths), np.repeat(np.arange(len(bursts.lengths)), bursts.lengths)
        outer = places(np.bincount(bursts.flow, minlength=len(bursts.protocol)))
        firsts = np.concatenate([[0], np.cumsum(bursts.lengths)[:-1]])
        tokens = torch.from_numpy(bursts.tokens.astype(np.int64)).flatten()[inner.cell]
        x = self.base_transformer.embeddings(
            tokens, inner.cell % inner.columns, torch.from_numpy(bursts.meta),
            torch.from_numpy(bursts.protocol[bursts.flow]), torch.from_numpy(burst),
        )  # fmt: skip
        for layer in self.base_transformer.encoder.layer:
            x = layer(x, inner, outer, torch.from_numpy(firsts))
        flow = torch.from_numpy(bursts.flow[burst])
        total = x.new_zeros(len(bursts.protocol), x.shape[1]).index_add_(0, flow, x)
        return total / torch.bincount(flow, minlength=len(bursts.protocol))[:, None]

    def draw(self, seed: int) -> None:
        """Draw random weights: normal with standard deviation 0.02; biases 0, norms 1, padding 0."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if "LayerNorm" in name or name.endswith("bias"):
                    value.fill_(float(name.endswith("weight")))
                else:
                    value.normal_(0.0, 0.02, generator=generator)
            for words in (self.base_transformer.embeddings.word_embeddings,
                          self.base_transformer.embeddings.position_embeddings):  # fmt: skip
                words.weight[0] = 0


class NetFoundEncoder(FrozenEncoder):
    """netFound with frozen weights. Flows with the same input are computed once."""

    batch = 4096
    """Number of flows whose bursts are built at once."""
    tokens = 8192
    """Approximate number of tokens per batch; bounds the memory."""

    def embed(
        self, flows: PacketFlows, rows: Rows | None = None, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Mean states, float32 [K, H]; zeros without packets; parameters as of :class:`.interface.PacketEncoder`."""
        asked = asked_rows(flows, rows)
        z = np.zeros((len(asked), self.facts.d), np.float32)
        done = 0
        for begin in range(0, len(asked), self.batch):
            bursts = bursts_of(flows, asked[begin : begin + self.batch])
            alike = bursts.alike()
            for part in self._parts(bursts, np.unique(alike)):
                z[begin + part] = self.run_bursts(bursts.of_flows(part))
                done += int(np.isin(alike, part).sum())
                if on_progress is not None and done < len(asked):
                    on_progress(done, len(asked))
            z[begin : begin + len(alike)] = z[begin + alike]
        if on_progress is not None:
            on_progress(len(asked), len(asked))
        return z

    def run(self, flows: PacketFlows, rows: NDArray[np.int64]) -> Tensor:
        """Mean states [K, H] of some flows."""
        return torch.from_numpy(self.embed(flows, rows))

    def run_bursts(self, bursts: Bursts) -> NDArray[np.float32]:
        """Mean states [K, H] of flows that all have bursts."""
        with torch.inference_mode():
            return np.asarray(self.net(bursts).numpy(), np.float32)

    def _parts(self, bursts: Bursts, some: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Divide flows with bursts into batches of about equal numbers of tokens; bursts of similar length together."""
        k = len(bursts.protocol)
        total = np.bincount(bursts.flow, bursts.lengths, k).astype(np.int64)
        longest = np.zeros(k, np.int64)
        np.maximum.at(longest, bursts.flow, bursts.lengths)
        order = some[np.argsort(longest[some], kind="stable")]
        order = order[total[order] > 0]
        part = (np.cumsum(total[order]) - 1) // self.tokens
        for number in np.unique(part):
            yield np.sort(order[part == number])


def expected(widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, without allocating them."""
    sizes = NetFoundSizes.of(widths)
    return shapes_of(lambda: NetFound(sizes))


def build(*, checkpoint: Path | None = None, seed: int = 0, widths: Mapping[str, int] | None = None) -> NetFoundEncoder:
    """netFound with the user's weights, or with random ones.

    Without ``widths`` a checkpoint may be of either published size, and random weights are of the base one.

    Raises
    ------
    LibraryError
        When the checkpoint cannot be used.
    ConfigurationError
        When there is no such size.
    """
    sizes = NetFoundSizes.of(widths)
    if checkpoint is not None and not widths:
        try:
            return _of_file(checkpoint, LARGE)
        except LibraryError:
            return _of_file(checkpoint, BASE)
    if checkpoint is not None:
        return _of_file(checkpoint, sizes)
    with torch.device("meta"):
        net = NetFound(sizes)
    net.to_empty(device="cpu")
    net.draw(seed)
    return NetFoundEncoder(_facts(sizes), net, random_weights(seed), str(sizes))


def _of_file(checkpoint: Path, sizes: NetFoundSizes) -> NetFoundEncoder:
    shapes = shapes_of(lambda: NetFound(sizes))
    unread = [name for name in shapes if UNREAD.fullmatch(name)]
    read = read_checkpoint(checkpoint, shapes, heads=HEADS, optional=unread)
    absent = {name: torch.zeros(shape) for name, shape in shapes.items() if name not in read.tensors}
    with torch.device("meta"):
        net = NetFound(sizes)
    net.load_state_dict({**absent, **read.tensors}, assign=True)  # avoids a second copy of 2.6 GB
    return NetFoundEncoder(_facts(sizes), net, read.origin, str(sizes))


def _facts(sizes: NetFoundSizes) -> Facts:
    shapes = shapes_of(lambda: NetFound(sizes))
    return Facts(sizes.name, parameters_of(shapes), sizes.hidden, MOST_PACKETS, "MIT", "arXiv 2310.17025")
