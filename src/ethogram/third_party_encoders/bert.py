"""The network that ET-BERT and TrafficFormer share, and its computation on a CPU.

A post-norm transformer with learnt positions and segments. Its layer norm divides by the unbiased standard deviation
plus epsilon, and not by the root of the biased variance plus epsilon, so weights are not interchangeable with the usual
layer norm. Padding is masked, and unneeded padding of a batch is not computed.

Reference: J. Devlin et al., "BERT", arXiv 1810.04805; weights are named as in the toolkit that both papers used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.errors import ConfigurationError
from ethogram.representation.encoder import digest_of
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.bigrams import Vocabulary
from ethogram.third_party_encoders.checkpoint import read_checkpoint, shapes_of
from ethogram.third_party_encoders.interface import Facts, OnProgress, Rows, asked_rows, random_weights
from ethogram.third_party_encoders.linear import linear

__all__ = ["HEADS", "Bert", "BertEncoder", "BertWidths", "LayerNorm", "load_bert", "parameters_of"]

HEADS = ("target.", "output_layer_")
"""Prefixes of heads for pretraining or fine-tuning."""

VOCABULARY = ".vocab.txt"
"""Suffix of the vocabulary file beside a checkpoint."""

EPSILON = 1e-6
SEGMENTS = 3  # padding, first text, second text
_CHUNK_FLOWS = 4096  # tokenised and sorted by length at once
_BATCH_NUMBERS = 3 << 18
"""Number of state values per batch, small enough for the cache of a core."""

Tokens = Callable[[PacketFlows, NDArray[np.int64]], tuple[NDArray[np.int32], NDArray[np.int64]]]
"""Gives tokens [K, L] and their number [K] for some flows."""


@dataclass(frozen=True)
class BertWidths:
    """Sizes of the network.

    Parameters
    ----------
    layers, hidden, heads, feedforward
        Sizes of the transformer.
    vocabulary, positions
        Number of rows of the embeddings.
    length
        Maximum number of tokens of a sequence.
    """

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    feedforward: int = 3072
    vocabulary: int = 60_005
    positions: int = 512
    length: int = 512

    def changed(self, widths: Mapping[str, int] | None) -> BertWidths:
        """Sizes with some values replaced.

        Raises
        ------
        ConfigurationError
            When there is no such size, or they do not fit together.
        """
        known = [f.name for f in fields(self)]
        odd = sorted(set(widths or ()) - set(known))
        if odd:
            raise ConfigurationError(f"no width {odd[0]!r}; there are {', '.join(known)}")
        changed = replace(self, **dict(widths or {}))
        if min(asdict(changed).values()) < 1:
            raise ConfigurationError("a width of the network is less than 1")
        if changed.hidden % changed.heads:
            raise ConfigurationError(f"{changed.hidden} hidden units are no multiple of {changed.heads} heads")
        if changed.length > changed.positions:
            raise ConfigurationError(f"{changed.length} tokens, but {changed.positions} positions")
        return changed


class LayerNorm(nn.Module):
    """(x - mean) / (unbiased standard deviation + 1e-6), scaled and shifted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        x = x.float()
        # By the fused norm y = (x - mean) r, r = 1 / root of the biased variance: the norm is y / (c + 1e-6 r). What
        # that 1e-6 adds to the gradient is left out.
        width = x.shape[-1]
        y, _, r = torch.native_layer_norm(x, (width,), None, None, 1e-20)
        normed = y / (math.sqrt(width / (width - 1)) + EPSILON * r.detach())
        return torch.addcmul(self.beta, normed, self.gamma)


class _Embedding(nn.Module):
    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(widths.vocabulary, widths.hidden)
        self.position_embedding = nn.Embedding(widths.positions, widths.hidden)
        self.segment_embedding = nn.Embedding(SEGMENTS, widths.hidden)
        self.layer_norm = LayerNorm(widths.hidden)

    def forward(self, tokens: Tensor, segments: Tensor) -> Tensor:
        """[N, L] twice -> [N, L, H]."""
        x = self.word_embedding(tokens) + self.segment_embedding(segments)
        return self.layer_norm(x + self.position_embedding.weight[: tokens.shape[1]])


class _Attention(nn.Module):
    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.heads = widths.heads
        # query, key, value
        self.linear_layers = nn.ModuleList([nn.Linear(widths.hidden, widths.hidden) for _ in range(3)])
        self.final_linear = nn.Linear(widths.hidden, widths.hidden)

    def forward(self, x: Tensor, of: Tensor, mask: Tensor | None) -> Tensor:
        """Attention from ``of`` [N, M, H] to x [N, L, H] where the mask [N, 1, 1, L] is true."""
        query, key, value = [
            linear(layer, states).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [N, heads, L or M, H / heads]
            for layer, states in zip(self.linear_layers, (of, x, x), strict=True)
        ]
        if torch.is_grad_enabled():
            # The backward pass of the fused operator is slow in bfloat16.
            scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
            scores = scores if mask is None else scores + (mask.to(scores.dtype) - 1) * 1e4
            taken = scores.softmax(-1).to(value.dtype) @ value
        else:
            taken = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return linear(self.final_linear, taken.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(widths.hidden, widths.feedforward)
        self.linear_2 = nn.Linear(widths.feedforward, widths.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return linear(self.linear_2, linear(self.linear_1, x, gelu=True))


class _Layer(nn.Module):
    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.self_attn = _Attention(widths)
        self.layer_norm_1 = LayerNorm(widths.hidden)
        self.feed_forward = _FeedForward(widths)
        self.layer_norm_2 = LayerNorm(widths.hidden)

    def forward(self, x: Tensor, of: Tensor, mask: Tensor | None) -> Tensor:
        """States of ``of``, a subset of the positions of x."""
        inner = self.layer_norm_1(self.self_attn(x, of, mask) + of)
        return self.layer_norm_2(self.feed_forward(inner) + inner)


class _Encoder(nn.Module):
    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.transformer = nn.ModuleList([_Layer(widths) for _ in range(widths.layers)])


class Bert(nn.Module):
    """Network from tokens to states.

    Parameters
    ----------
    widths
        Sizes.
    """

    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.embedding = _Embedding(widths)
        self.encoder = _Encoder(widths)

    def forward(self, tokens: Tensor, segments: Tensor, *, first: bool = False) -> Tensor:
        """States of all positions [N, L, H], or only of the first [N, H].

        Parameters
        ----------
        tokens
            int [N, L].
        segments
            int [N, L]: 0 is padding, which is masked.
        first
            Whether the last layer computes the first position only; its state is the same.
        """
        mask = None if bool((segments > 0).all()) else (segments > 0)[:, None, None, :]
        x = self.embedding(tokens, segments)
        *layers, last = self.encoder.transformer
        for layer in layers:
            x = layer(x, x, mask)
        return last(x, x[:, :1], mask)[:, 0] if first else last(x, x, mask)

    def draw(self, seed: int) -> None:
        """Draw random weights: normal with standard deviation 0.02, except the layer norms."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if name.endswith(("gamma", "beta")):
                    value.fill_(float(name.endswith("gamma")))
                else:
                    value.normal_(0.0, 0.02, generator=generator)


def parameters_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Number of weights of these shapes."""
    return sum(int(np.prod(shape)) for shape in shapes.values())


def load_bert(
    widths: BertWidths, *, checkpoint: Path | None, seed: int, vocabulary: Path | None
) -> tuple[Bert, Vocabulary, str]:
    """The network with the user's weights or random ones, its vocabulary, and the source of both.

    A vocabulary file beside the checkpoint (the same name with the suffix ``.vocab.txt``) is found without being given.
    """
    shapes = shapes_of(lambda: Bert(widths))
    read = None if checkpoint is None else read_checkpoint(checkpoint, shapes, heads=HEADS)
    if vocabulary is None and checkpoint is not None:
        beside = checkpoint.with_suffix(VOCABULARY)
        vocabulary = beside if beside.exists() else None
    size = widths.vocabulary
    known = Vocabulary.stated(size) if vocabulary is None else Vocabulary.read(vocabulary, size)
    with torch.device("meta"):
        net = Bert(widths)
    if read is None:
        net.to_empty(device="cpu").draw(seed)
        return net, known, random_weights(seed)
    net.load_state_dict(read.tensors, assign=True)  # avoids a second copy of half a gigabyte
    return net, known, f"{read.origin}, {known.name}"


class BertEncoder:
    """Encoder whose embedding is the state of [CLS].

    Parameters
    ----------
    facts
        Facts about the encoder.
    net
        Network with its weights.
    tokens
        Tokenizer of flows.
    origin
        Source of the weights.
    given
        Everything else that an embedding depends on: digest of the vocabulary, seeds.
    """

    def __init__(self, facts: Facts, net: Bert, tokens: Tokens, *, origin: str, given: str) -> None:
        self.facts, self.net, self.tokens, self.origin = facts, net.eval(), tokens, origin
        weights = digest_of({name: value.detach().numpy() for name, value in net.named_parameters()})
        self.digest = hashlib.sha256(f"{weights} {given}".encode()).hexdigest()[:16]

    def embed(
        self, flows: PacketFlows, rows: Rows | None = None, on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """Embeddings, float32 [K, d]; batches hold flows of similar length."""
        asked = asked_rows(flows, rows)
        out = np.empty((len(asked), self.facts.d), np.float32)
        done = 0
        for begin in range(0, len(asked), _CHUNK_FLOWS):
            tokens, lengths = self.tokens(flows, asked[begin : begin + _CHUNK_FLOWS])
            for part in batches(lengths, max(_BATCH_NUMBERS // self.facts.d, 1)):
                longest = int(lengths[part].max())
                out[begin + part] = self._states(tokens[part, :longest], lengths[part])
                done += len(part)
                if on_progress is not None:
                    on_progress(done, len(asked))
        return out

    def _states(self, tokens: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        segments = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64)
        with torch.inference_mode():
            states = self.net(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(segments), first=True)
        return np.asarray(states.float().numpy(), np.float32)


def batches(lengths: NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
    """Batches of rows of similar length with at most ``tokens`` tokens, padding included; the longest first.

    >>> [part.tolist() for part in batches(np.array([2, 9, 2, 8]), 18)]
    [[1, 3], [0, 2]]
    """
    order = np.argsort(-lengths, kind="stable")
    parts, begin = [], 0
    while begin < len(order):
        count = max(1, tokens // max(int(lengths[order[begin]]), 1))
        parts.append(order[begin : begin + count])
        begin += count
    return parts
