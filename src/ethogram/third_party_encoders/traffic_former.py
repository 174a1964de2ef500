"""TrafficFormer: pairs of octets of the first 64 octets of five packets, with randomised host identifiers.

G. Zhou et al., "TrafficFormer: An Efficient Pre-trained Model for Traffic Data", IEEE S&P 2025. Its flow input is [CLS]
and then for each packet [SEP] and the 63 overlapping pairs of its first 64 octets from the IP header on: 320 tokens,
which drops the last pair of a fifth whole packet. Addresses, ports, both clocks of the TCP timestamp option and the
clock at the head of TLS hello randoms are redrawn for each flow; differences of timestamps stay. Checksums stay, too,
as in the authors' program. The random values are a function of the seed and the octets of the flow, so the embedding of
a flow does not depend on other flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._hashing import finalize64
from ethogram._numba import Compiler
from ethogram.schema import TCP, UDP
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.bert import Bert, BertEncoder, BertWidths, load_bert, parameters_of
from ethogram.third_party_encoders.bigrams import Vocabulary, words
from ethogram.third_party_encoders.checkpoint import shapes_of
from ethogram.third_party_encoders.interface import Facts

__all__ = ["OCTETS", "PACKETS", "WIDTHS", "TrafficFormerTokens", "build", "expected", "randomised"]

COMPILER = Compiler.of(__file__, "../_hashing")

WIDTHS = BertWidths(length=320)
PACKETS = 5
OCTETS = 64  # per packet
READ = 160  # octets read: both headers and the clock of a hello fit, 60 + 60 + 15

_SOURCE, _PORTS, _OPTIONS = 12, 4, 20
_TIMESTAMP = 8  # kind of the TCP option, RFC 7323 section 3.2
_HANDSHAKE, _HELLO_CLOCK = 22, 11  # RFC 5246 sections 6.2.1 and 7.4.1.2


@COMPILER.checked
def _put(cell: Any, at: Any, count: int, value: Any) -> None:
    for j in range(count):
        if at + j < cell.shape[0]:
            cell[at + j] = (value >> np.uint64(8 * (count - 1 - j))) & np.uint64(255)


@COMPILER.checked
def _four(cell: Any, at: Any) -> Any:
    value = np.uint64(0)
    for j in range(4):
        value = value << np.uint64(8) | np.uint64(cell[at + j])
    return value


@COMPILER.checked
def _clocks(cell: Any, begin: Any, end: Any) -> Any:
    """Position of the two clocks of the timestamp option, or -1."""
    at = begin
    while at < end:
        kind = cell[at]
        if kind == 0:
            return -1
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end or cell[at + 1] < 2:
            return -1
        if kind == _TIMESTAMP and cell[at + 1] == 10 and at + 10 <= end:
            return at + 2
        at += cell[at + 1]
    return -1


@COMPILER.checked
def _randomise(
    cells: Any, lengths: Any, packets: Any, first: Any, out: Any, ip: Any, transport: Any, seed: Any
) -> None:
    golden = np.uint64(0x9E3779B97F4A7C15)
    low = np.uint64(0xFFFFFFFF)
    for i in range(cells.shape[0]):
        count = min(packets[i], cells.shape[1])
        state = finalize64(seed * golden + np.uint64(1))
        for k in range(count):
            for j in range(lengths[i, k]):
                state = finalize64(state + golden + np.uint64(cells[i, k, j]))
        drawn = np.zeros(6, np.uint64)
        for j in range(6):
            state += golden
            drawn[j] = finalize64(state) & low
        # by side: 0 sent the first packet, 1 the other
        clock = np.zeros(2, np.uint64)
        known = np.zeros(2, np.bool_)
        for k in range(count):
            packet = first[i] + k
            cell = cells[i, k]
            side = 0 if out[packet] == out[first[i]] else 1
            _put(cell, _SOURCE, 4, drawn[side])
            _put(cell, _SOURCE + 4, 4, drawn[1 - side])
            protocol = cell[9]
            at = np.int64(ip[packet])
            body = at + np.int64(transport[packet])
            if transport[packet] == 0 or protocol not in (TCP, UDP):
                continue
            _put(cell, at, 2, drawn[2 + side])
            _put(cell, at + 2, 2, drawn[3 - side])
            if protocol != TCP:
                continue
            clocks = _clocks(cell, at + _OPTIONS, body)
            if clocks >= 0:
                value, echoed = _four(cell, clocks), _four(cell, clocks + 4)
                if not known[side]:
                    clock[side], known[side] = value, True
                _put(cell, clocks, 4, (drawn[4 + side] + value - clock[side]) & low)
                if echoed != 0:
                    if not known[1 - side]:
                        clock[1 - side], known[1 - side] = echoed, True
                    _put(cell, clocks + 4, 4, (drawn[5 - side] + echoed - clock[1 - side]) & low)
            hello = body + _HELLO_CLOCK
            if (
                lengths[i, k] >= hello + 4
                and cell[body] == _HANDSHAKE
                and cell[body + 1] == 3
                and (cell[body + 5] == 1 or cell[body + 5] == 2)
            ):
                state += golden
                _put(cell, hello, 4, finalize64(state) & low)


def randomised(
    flows: PacketFlows, rows: NDArray[np.int64], seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """First octets of the first packets of some flows, with addresses, ports and clocks redrawn.

    Parameters
    ----------
    flows
        Packets.
    rows
        K flows to read.
    seed
        Seed of the random values.

    Returns
    -------
    cells, lengths
        uint8 [K, 5, 64], and the number of octets, [K, 5].
    """
    cells, lengths = flows.cells(PACKETS, READ, part="all", rows=rows)
    _randomise(
        cells, lengths, flows.packets[rows], flows.first_packet[rows], flows.packet_out, flows.ip_octets,
        flows.transport_octets, np.uint64(seed),
    )  # fmt: skip
    return np.ascontiguousarray(cells[:, :, :OCTETS]), np.minimum(lengths, OCTETS)


class TrafficFormerTokens:
    """Tokenizer of flows.

    Parameters
    ----------
    vocabulary
        Vocabulary of pairs of octets.
    length
        Maximum number of tokens of a sequence.
    seed
        Seed of the random values.
    """

    def __init__(self, vocabulary: Vocabulary, length: int = WIDTHS.length, seed: int = 0) -> None:
        self.vocabulary, self.length, self.seed = vocabulary, length, seed

    def __call__(self, flows: PacketFlows, rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Tokens [K, L] and their number [K]."""
        cells, lengths = randomised(flows, rows, self.seed)
        return words(
            cells, lengths, flows.packets[rows], self.vocabulary, most=OCTETS - 1, separated=True, length=self.length
        )


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
    """TrafficFormer with the user's weights and vocabulary, or with random weights and the default vocabulary."""
    sizes = WIDTHS.changed(widths)
    net, known, origin = load_bert(sizes, checkpoint=checkpoint, seed=seed, vocabulary=vocabulary)
    name = "traffic-former" if sizes == WIDTHS else f"traffic-former ({sizes.layers} layers, {sizes.hidden} wide)"
    facts = Facts(name, parameters_of(expected(widths)), sizes.hidden, PACKETS, "MIT", "IEEE S&P 2025")
    tokens = TrafficFormerTokens(known, sizes.length, seed)
    return BertEncoder(facts, net, tokens, origin=origin, given=f"{known.digest} {sizes} {seed}")
