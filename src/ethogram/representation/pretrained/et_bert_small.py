"""ET-BERT at a size that two cores can train, by its own objective: guess pairs of octets that are hidden.

The same network and the same words as :mod:`et_bert`, with 2 layers of 128 units, 64 pairs of each of the first five
packets, and a vocabulary of the pairs that are most frequent in the flows it learns from; others are [UNK]. Of the
pairs 15 % are hidden: eight of ten become [MASK], one another pair, one stays. As in the paper they are hidden one by
one, so that the neighbours, which overlap, give much of each away; ``span`` hides runs of pairs instead. The paper's
second objective, whether two halves are of one burst, is left out: flows of a minute seldom have two.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram.errors import ConfigurationError
from ethogram.representation.pretrained.bert import Bert, BertEncoder, BertWidths, LayerNorm, batches
from ethogram.representation.pretrained.bigrams import MASK, SPECIAL, Vocabulary
from ethogram.representation.pretrained.et_bert import PACKETS, PORTS, EtBertTokens
from ethogram.representation.pretrained.interface import Facts
from ethogram.representation.pretrained.pretraining import PacketNetwork, PretrainingSettings
from ethogram.schema.packet_flows import PacketFlows

__all__ = ["SMALL", "EtBertSmall", "again", "frequent_pairs", "fresh"]

PAIRS = 64
SMALL = BertWidths(
    layers=2, hidden=128, heads=4, feedforward=512, vocabulary=4096, positions=1 + PACKETS * PAIRS,
    length=1 + PACKETS * PAIRS,
)  # fmt: skip
HIDDEN = 0.15
_KEPT, _OTHER = 0.1, 0.1  # of the hidden ones
_COUNTED_FLOWS = 4096  # at once


@njit(cache=True, nogil=True)
def _count(cells: Any, lengths: Any, counts: Any) -> None:
    for i in range(cells.shape[0]):
        for k in range(cells.shape[1]):
            for j in range(lengths[i, k] - 1):
                counts[np.int64(cells[i, k, j]) << 8 | np.int64(cells[i, k, j + 1])] += 1


def frequent_pairs(flows: PacketFlows, most: int, pairs: int = PAIRS) -> NDArray[np.int64]:
    """The most frequent pairs of octets that ET-BERT would see, the most frequent first, ties by number.

    Parameters
    ----------
    flows
        To count in.
    most
        Pairs wanted; fewer when there are not so many.
    pairs
        Of a packet that are looked at.
    """
    counts = np.zeros(65_536, np.int64)
    for begin in range(0, len(flows), _COUNTED_FLOWS):
        rows = np.arange(begin, min(begin + _COUNTED_FLOWS, len(flows)))
        cells, lengths = flows.cells(PACKETS, PORTS + pairs + 1, part="segment", rows=rows)
        lengths = np.minimum(np.maximum(lengths - PORTS, 0), pairs + 1)
        _count(np.ascontiguousarray(cells[:, :, PORTS:]), lengths, counts)
    order = np.argsort(-counts, kind="stable")[:most]
    return np.asarray(order[counts[order] > 0], np.int64)


class _Head(nn.Module):
    """States to scores of words, as the toolkit of the paper has it."""

    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.mlm_linear_1 = nn.Linear(widths.hidden, widths.hidden)
        self.layer_norm = LayerNorm(widths.hidden)
        self.mlm_linear_2 = nn.Linear(widths.hidden, widths.vocabulary)

    def forward(self, states: Tensor) -> Tensor:
        return self.mlm_linear_2(self.layer_norm(functional.gelu(self.mlm_linear_1(states))))


class EtBertSmall(PacketNetwork):
    """The network, its head and its vocabulary.

    Parameters
    ----------
    widths
        Sizes; the vocabulary's is that of the pairs and the special tokens.
    pairs
        The pair each word is.
    hidden
        Share of words hidden.
    span
        Words hidden in a row; the paper's is 1.
    seed
        Of the first weights.
    """

    name = "et-bert-small"

    def __init__(
        self, widths: BertWidths, pairs: NDArray[np.int64], hidden: float = HIDDEN, span: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        self.widths, self.hidden, self.span = widths, hidden, span
        self.bert = Bert(widths)
        self.target = _Head(widths)
        self.register_buffer("pairs", torch.from_numpy(pairs.copy()))
        self.pairs: Tensor
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, value in self.named_parameters():
                if not key.endswith(("gamma", "beta")):
                    value.normal_(0.0, 0.02, generator=generator)

    def described(self) -> dict[str, Any]:
        """Sizes, and what is hidden."""
        return {"widths": asdict(self.widths), "hidden": self.hidden, "span": self.span}

    @property
    def tokens(self) -> EtBertTokens:
        """How flows become words."""
        vocabulary = Vocabulary.of_pairs(self.pairs.numpy(), "most frequent pairs")
        return EtBertTokens(vocabulary, self.widths.length, PAIRS)

    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> list[tuple[Tensor, Tensor]]:
        """Words and segments of some flows, in groups of like length."""
        tokens, lengths = self.tokens(flows, rows)
        found = []
        for part in batches(lengths, tokens=max(int(lengths.sum()) // 4, 1024)):
            cut = tokens[part, : int(lengths[part].max())].astype(np.int64)
            there = (np.arange(cut.shape[1]) < lengths[part, None]).astype(np.int64)
            found.append((torch.from_numpy(cut), torch.from_numpy(there)))
        return found

    def loss(self, prepared: list[tuple[Tensor, Tensor]], generator: torch.Generator) -> Tensor:
        """Mean cross entropy of the words that are hidden."""
        states, words = [], []
        for tokens, segments in prepared:
            seen, chosen = self.hide(tokens, generator)
            states.append(self.bert(seen, segments)[chosen])
            words.append(tokens[chosen])
        wanted = torch.cat(words)
        if not len(wanted):
            return sum((value.sum() for value in states), torch.zeros(())) * 0.0
        return functional.cross_entropy(self.target(torch.cat(states)).float(), wanted)

    def hide(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Words as they are seen, and which have to be guessed.

        Special tokens and pairs that are no words are neither hidden nor guessed.
        """
        words = tokens >= len(SPECIAL)
        begun = torch.rand(tokens.shape, generator=generator) < self.hidden / self.span
        chosen = begun.clone()
        for k in range(1, self.span):
            chosen[:, k:] |= begun[:, :-k]
        chosen &= words
        how = torch.rand(tokens.shape, generator=generator)
        others = torch.randint(len(SPECIAL), self.widths.vocabulary, tokens.shape, generator=generator)
        seen = torch.where(chosen & (how >= _KEPT + _OTHER), MASK, tokens)
        return torch.where(chosen & (how < _OTHER), others, seen), chosen

    def encoder(self, origin: str) -> BertEncoder:
        """Its transformer, frozen."""
        size = sum(value.numel() for value in self.bert.parameters())
        name = f"et-bert-small ({self.widths.layers} layers, {self.widths.hidden} wide, pretrained here)"
        facts = Facts(name, size, self.widths.hidden, PACKETS, "Apache-2.0", "after arXiv 2202.06335")
        given = f"{self.tokens.vocabulary.digest} {self.widths}"
        return BertEncoder(facts, self.bert.requires_grad_(False), self.tokens, origin=origin, given=given)


def fresh(flows: PacketFlows, settings: PretrainingSettings, seed: int) -> EtBertSmall:
    """With first weights, and the vocabulary of the flows."""
    sizes = dict(settings.widths)
    span = sizes.pop("span", 1)
    if span < 1:
        raise ConfigurationError(f"span must be at least 1, not {span}")
    widths = SMALL.changed(sizes)
    pairs = frequent_pairs(flows, widths.vocabulary - len(SPECIAL))
    widths = widths.changed({"vocabulary": max(len(pairs), 1) + len(SPECIAL)})
    pairs = pairs if len(pairs) else np.zeros(1, np.int64)
    return EtBertSmall(widths, pairs, HIDDEN if settings.hidden is None else settings.hidden, span, seed)


def again(described: dict[str, Any]) -> EtBertSmall:
    """For weights of a file."""
    widths = SMALL.changed(described["widths"])
    pairs = np.zeros(widths.vocabulary - len(SPECIAL), np.int64)
    return EtBertSmall(widths, pairs, float(described["hidden"]), int(described["span"]))
