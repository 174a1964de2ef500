"""ET-BERT at a size that two cores can train, with the paper's two objectives.

It has the network and the words of :mod:`et_bert`, with 2 layers of 128 units, 64 pairs of each of the first five
packets, and a vocabulary of the most frequent pairs of the training flows; all others are [UNK].

The first objective predicts masked pairs of octets: of 15 % of the pairs, eight in ten become [MASK], one in ten
another pair, and one in ten stays. As in the paper, pairs are masked one by one, so overlapping neighbours reveal
much of each; ``span`` masks runs of pairs instead. The second objective predicts from [CLS] whether two halves belong
together: [CLS] first half [SEP] second half [SEP], with segments 1 and 2, where every second case has the second half
of another flow. The paper divides bursts in this way; here whole flows are divided, since few bursts of a minute are
long.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ethogram._numba import Compiler
from ethogram.errors import ConfigurationError
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.bert import Bert, BertEncoder, BertWidths, LayerNorm, batches
from ethogram.third_party_encoders.bigrams import CLS, MASK, PAD, SEP, SPECIAL, Vocabulary
from ethogram.third_party_encoders.et_bert import PACKETS, PORTS, EtBertTokens
from ethogram.third_party_encoders.interface import Facts
from ethogram.third_party_encoders.pretraining import PacketNetwork, PretrainingSettings

__all__ = ["SMALL", "EtBertSmall", "frequent_pairs", "load", "new"]

COMPILER = Compiler.of(__file__)

PAIRS = 64
SMALL = BertWidths(
    layers=2, hidden=128, heads=4, feedforward=512, vocabulary=4096, positions=3 + PACKETS * PAIRS,
    length=1 + PACKETS * PAIRS,
)  # fmt: skip
HIDDEN = 0.15
_KEPT, _OTHER = 0.1, 0.1  # shares of the masked words
_COUNTED_FLOWS = 4096  # per batch


@COMPILER.checked
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
        Flows to count in.
    most
        Maximum number of pairs to return.
    pairs
        Number of pairs of a packet that are read.
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
    """Output layers from states to scores, as in the toolkit of the paper."""

    def __init__(self, widths: BertWidths) -> None:
        super().__init__()
        self.mlm_linear_1 = nn.Linear(widths.hidden, widths.hidden)
        self.layer_norm = LayerNorm(widths.hidden)
        self.mlm_linear_2 = nn.Linear(widths.hidden, widths.vocabulary)
        self.nsp_linear_1 = nn.Linear(widths.hidden, widths.hidden)
        self.nsp_linear_2 = nn.Linear(widths.hidden, 2)

    def words(self, states: Tensor) -> Tensor:
        """Scores of all words [N, V] for states [N, H]."""
        return self.mlm_linear_2(self.layer_norm(functional.gelu(self.mlm_linear_1(states))))

    def together(self, states: Tensor) -> Tensor:
        """Scores of two halves of two flows, and of one, [N, 2] for states of [CLS] [N, H]."""
        return self.nsp_linear_2(torch.tanh(self.nsp_linear_1(states)))


class EtBertSmall(PacketNetwork):
    """Network with heads and vocabulary.

    Parameters
    ----------
    widths
        Sizes; the vocabulary's is that of the pairs and the special tokens.
    pairs
        Pair of each word.
    hidden
        Share of masked words.
    span
        Number of consecutive words that are masked; 1 in the paper.
    seed
        Seed of the initial weights.
    """

    name = "et-bert-small"
    learning_rate = 3e-3
    """Chosen by the training loss, which is lower after 100 steps than with 1e-3."""

    def __init__(
        self, widths: BertWidths, pairs: NDArray[np.int64], hidden: float = HIDDEN, span: int = 1, seed: int = 0
    ) -> None:
        super().__init__()
        self.widths, self.hidden, self.span = widths, hidden, span
        self.bert = Bert(widths)
        self.target = _Head(widths)
        self.register_buffer("pairs", torch.from_numpy(pairs.copy()))
        self.pairs: Tensor
        # The paper's 0.02 is for 768 units; fewer need wider weights, so that products are as wide.
        spread = 0.02 * math.sqrt(768 / widths.hidden)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, value in self.named_parameters():
                if value.ndim >= 2:
                    value.normal_(0.0, spread, generator=generator)
                elif not key.endswith("gamma"):
                    value.zero_()

    def described(self) -> dict[str, Any]:
        """Sizes and masking, as JSON."""
        return {"widths": asdict(self.widths), "hidden": self.hidden, "span": self.span}

    @property
    def tokens(self) -> EtBertTokens:
        """The tokenizer of flows."""
        vocabulary = Vocabulary.of_pairs(self.pairs.numpy(), "most frequent pairs")
        return EtBertTokens(vocabulary, self.widths.length, PAIRS)

    def prepare(self, flows: PacketFlows, rows: NDArray[np.int64]) -> list[tuple[Tensor, Tensor]]:
        """Words and segments of some flows, in groups of similar length."""
        tokens, lengths = self.tokens(flows, rows)
        prepared = []
        for part in batches(lengths, tokens=max(int(lengths.sum()) // 4, 1024)):
            cut = tokens[part, : int(lengths[part].max())].astype(np.int64)
            there = (np.arange(cut.shape[1]) < lengths[part, None]).astype(np.int64)
            prepared.append((torch.from_numpy(cut), torch.from_numpy(there)))
        return prepared

    def loss(self, prepared: list[tuple[Tensor, Tensor]], generator: torch.Generator) -> Tensor:
        """Mean cross entropy of the masked words and of the matching of halves."""
        states, first, words, same = [], [], [], []
        for tokens, segments in prepared:
            joined, parts, from_one_flow = self.join(tokens, segments, generator)
            seen, masked = self.hide(joined, generator)
            output = self.bert(seen, parts)
            states.append(output[masked])
            first.append(output[:, 0])
            words.append(joined[masked])
            same.append(from_one_flow)
        loss = functional.cross_entropy(self.target.together(torch.cat(first)).float(), torch.cat(same).long())
        wanted = torch.cat(words)
        if len(wanted):
            loss = loss + functional.cross_entropy(self.target.words(torch.cat(states)).float(), wanted)
        return loss

    def join(self, tokens: Tensor, segments: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Join first halves of flows with second halves of the same or of other flows.

        Parameters
        ----------
        tokens, segments
            int [N, L]: [CLS] and the words of each flow.
        generator
            Source of random numbers.

        Returns
        -------
        tokens, segments, same
            int [N, M] twice, and bool [N]: whether both halves are of one flow; always True for a single flow.
        """
        rows, width = tokens.shape
        words = segments.sum(1) - 1
        half = (words + 1) // 2
        begin, rest = half + 1, words - half
        step = torch.randint(1, max(rows, 2), (rows,), generator=generator)
        same = (torch.rand(rows, generator=generator) < 0.5) | (rows == 1)
        each = torch.arange(rows)
        whose = torch.where(same, each, (each + step) % rows)
        at = torch.arange(width + 2)[None]
        a, b = half[:, None], rest[whose][:, None]
        second = at - a - 2 + begin[whose][:, None]
        inside = torch.where(
            at <= a, tokens[each[:, None], at.clamp(max=width - 1)],
            tokens[whose[:, None], second.clamp(0, width - 1)],
        )  # fmt: skip
        joined = torch.where(at > a + 2 + b, PAD, torch.where((at == a + 1) | (at == a + 2 + b), SEP, inside))
        joined[:, 0] = CLS
        parts = (at <= a + 2 + b).long() + ((at > a + 1) & (at <= a + 2 + b)).long()
        return joined, parts, same

    def hide(self, tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Masked words, and which words are to be predicted.

        Special tokens and unknown pairs are neither masked nor predicted.
        """
        words = tokens >= len(SPECIAL)
        begun = torch.rand(tokens.shape, generator=generator) < self.hidden / self.span
        masked = begun.clone()
        for k in range(1, self.span):
            masked[:, k:] |= begun[:, :-k]
        masked &= words
        how = torch.rand(tokens.shape, generator=generator)
        others = torch.randint(len(SPECIAL), self.widths.vocabulary, tokens.shape, generator=generator)
        seen = torch.where(masked & (how >= _KEPT + _OTHER), MASK, tokens)
        return torch.where(masked & (how < _OTHER), others, seen), masked

    def encoder(self, origin: str) -> BertEncoder:
        """The frozen transformer."""
        size = sum(value.numel() for value in self.bert.parameters())
        name = f"et-bert-small ({self.widths.layers} layers, {self.widths.hidden} wide, pretrained here)"
        facts = Facts(name, size, self.widths.hidden, PACKETS, "Apache-2.0", "after arXiv 2202.06335")
        given = f"{self.tokens.vocabulary.digest} {self.widths}"
        return BertEncoder(facts, self.bert.requires_grad_(False), self.tokens, origin=origin, given=given)


def new(flows: PacketFlows, settings: PretrainingSettings, seed: int) -> EtBertSmall:
    """A network with initial weights and the vocabulary of the flows."""
    sizes = dict(settings.widths)
    span = sizes.pop("span", 1)
    if span < 1:
        raise ConfigurationError(f"span must be at least 1, not {span}")
    widths = SMALL.changed(sizes)
    if widths.positions < widths.length + 2:
        raise ConfigurationError(f"{widths.length} tokens and two [SEP], but {widths.positions} positions")
    pairs = frequent_pairs(flows, widths.vocabulary - len(SPECIAL))
    widths = widths.changed({"vocabulary": max(len(pairs), 1) + len(SPECIAL)})
    pairs = pairs if len(pairs) else np.zeros(1, np.int64)
    return EtBertSmall(widths, pairs, HIDDEN if settings.hidden is None else settings.hidden, span, seed)


def load(described: dict[str, Any]) -> EtBertSmall:
    """A network for the weights of a file."""
    widths = SMALL.changed(described["widths"])
    pairs = np.zeros(widths.vocabulary - len(SPECIAL), np.int64)
    return EtBertSmall(widths, pairs, float(described["hidden"]), int(described["span"]))
