"""ET-BERT: pairs of octets after the ports, of the first five packets.

X. Lin et al., "ET-BERT: A Contextualized Datagram Representation with Pre-training Transformers for Encrypted Traffic
Classification", WWW 2022, arXiv 2202.06335. The input of a flow is [CLS], followed by up to 128 overlapping pairs of
octets of each packet without separators; Ethernet, IP and the ports (the first 38 octets of a frame) are dropped. The
input is one text, so all tokens have segment 1 and there is no final [SEP]. The embedding is the state of [CLS].
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.bert import Bert, BertEncoder, BertWidths, load_bert, parameters_of
from ethogram.third_party_encoders.bigrams import Vocabulary, words
from ethogram.third_party_encoders.checkpoint import shapes_of
from ethogram.third_party_encoders.interface import Facts

__all__ = ["PACKETS", "WIDTHS", "EtBertTokens", "build", "expected"]

WIDTHS = BertWidths()
PACKETS = 5
PAIRS = 128  # per packet
PORTS = 4  # octets of both ports


class EtBertTokens:
    """Tokenizer of flows.

    Parameters
    ----------
    vocabulary
        Vocabulary of pairs of octets.
    length
        Maximum number of tokens of a sequence.
    pairs
        Maximum number of pairs of octets of a packet.
    """

    def __init__(self, vocabulary: Vocabulary, length: int = WIDTHS.length, pairs: int = PAIRS) -> None:
        self.vocabulary, self.length, self.pairs = vocabulary, length, pairs

    def __call__(self, flows: PacketFlows, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Tokens [K, L] and their number [K]."""
        cells, lengths = flows.cells(PACKETS, PORTS + self.pairs + 1, part="segment", rows=rows)
        return words(
            np.ascontiguousarray(cells[:, :, PORTS:]), np.maximum(lengths - PORTS, 0), flows.packets[rows],
            self.vocabulary, most=self.pairs, separated=False, length=self.length,
        )  # fmt: skip


def expected(widths: Mapping[str, int] | None = None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, without allocating them."""
    sizes = WIDTHS.changed(widths)
    return shapes_of(lambda: Bert(sizes))


def build(
    *,
    checkpoint: Path | None = None,
    seed: int = 0,
    widths: Mapping[str, int] | None = None,
    vocabulary: Path | None = None,
) -> BertEncoder:
    """ET-BERT with the user's weights and vocabulary, or with random weights and the default vocabulary."""
    sizes = WIDTHS.changed(widths)
    net, known, origin = load_bert(sizes, checkpoint=checkpoint, seed=seed, vocabulary=vocabulary)
    name = "et-bert" if sizes == WIDTHS else f"et-bert ({sizes.layers} layers, {sizes.hidden} wide)"
    facts = Facts(name, parameters_of(expected(widths)), sizes.hidden, PACKETS, "MIT", "arXiv 2202.06335")
    return BertEncoder(facts, net, EtBertTokens(known, sizes.length), origin=origin, given=f"{known.digest} {sizes}")
