"""Overlapping pairs of octets as words, and the vocabulary that numbers them.

ET-BERT and TrafficFormer write a packet as the hexadecimal digits of octets 0-1, 1-2, 2-3 and so on, and look up each
word in a vocabulary of 60,005 entries, which belongs to the checkpoint. A word that is not in the vocabulary is cut
into the longest pieces that are (all but the first are written ``##ab``); a word that cannot be cut is [UNK].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.errors import LibraryError

__all__ = ["CLS", "MASK", "PAD", "SEP", "SPECIAL", "UNK", "Vocabulary", "words"]

COMPILER = Compiler.of(__file__)

SPECIAL = ("[PAD]", "[SEP]", "[CLS]", "[UNK]", "[MASK]")
PAD, SEP, CLS, UNK, MASK = range(5)
"""Numbers of the special tokens in both vocabularies."""

PAIRS = 65_536
_MOST_PIECES = 4
_MOST_OCTETS = 1 << 24  # of a vocabulary file


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of each pair of octets.

    Parameters
    ----------
    pieces
        int32 [65536, 4]: tokens of the pair, in its first entries.
    counts
        uint8 [65536]: number of tokens of the pair.
    size
        Number of tokens.
    name
        Source of the vocabulary.
    """

    pieces: NDArray[np.int32]
    counts: NDArray[np.uint8]
    size: int
    name: str

    @classmethod
    def stated(cls, size: int) -> Vocabulary:
        """The vocabulary used without a file: special tokens, then pairs from 0000 on; pairs that do not fit are [UNK].

        >>> Vocabulary.stated(60_005).pieces[[0x0000, 0x4500, 0xEA5F, 0xEA60], 0].tolist()
        [5, 17669, 60004, 3]
        """
        pieces = np.zeros((PAIRS, _MOST_PIECES), np.int32)
        pieces[:, 0] = np.arange(PAIRS) + len(SPECIAL)
        pieces[pieces[:, 0] >= size, 0] = UNK
        return cls(
            pieces, np.ones(PAIRS, np.uint8), size, "without its vocabulary: pairs in the order of their numbers"
        )

    @classmethod
    def of_pairs(cls, pairs: NDArray[np.integer[Any]], name: str) -> Vocabulary:
        """A vocabulary of the special tokens and these pairs; all others are [UNK]."""
        pieces = np.zeros((PAIRS, _MOST_PIECES), np.int32)
        pieces[:, 0] = UNK
        pieces[pairs, 0] = np.arange(len(pairs)) + len(SPECIAL)
        return cls(pieces, np.ones(PAIRS, np.uint8), len(pairs) + len(SPECIAL), name)

    @classmethod
    def read(cls, path: Path, size: int) -> Vocabulary:
        """Read the user's file: one token per line, the special ones first.

        Raises
        ------
        LibraryError
            When it cannot be used.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_OCTETS + 1)
        except OSError as error:
            raise LibraryError(f"{path}: {error.strerror or error}") from None
        if len(content) > _MOST_OCTETS:
            raise LibraryError(f"{path}: larger than {_MOST_OCTETS:,} octets, no vocabulary")
        try:
            lines = content.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            raise LibraryError(f"{path}: no text in UTF-8") from None
        tokens = [line.split()[0] if line.split() else "" for line in lines]
        if len(tokens) != size:
            raise LibraryError(f"{path}: {len(tokens):,} tokens, not {size:,}")
        if tuple(tokens[: len(SPECIAL)]) != SPECIAL:
            raise LibraryError(f"{path}: its first lines are not {' '.join(SPECIAL)}")
        numbers = {token: number for number, token in enumerate(tokens)}
        pieces, counts = np.zeros((PAIRS, _MOST_PIECES), np.int32), np.zeros(PAIRS, np.uint8)
        for pair in range(PAIRS):
            numbers_of_pair = _cut(f"{pair:04x}", numbers)
            pieces[pair, : len(numbers_of_pair)], counts[pair] = numbers_of_pair, len(numbers_of_pair)
        if not (pieces[:, 0] != UNK).any():
            raise LibraryError(f"{path}: has no pair of octets in hexadecimal digits")
        return cls(pieces, counts, size, f"vocabulary sha256:{hashlib.sha256(content).hexdigest()[:16]}")

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over the tokens of all pairs."""
        return hashlib.sha256(self.pieces.tobytes() + self.counts.tobytes()).hexdigest()[:16]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The pair of each token after the special ones, if every token is one whole pair."""
        held = np.flatnonzero((self.counts == 1) & (self.pieces[:, 0] >= len(SPECIAL)))
        return np.asarray(held[np.argsort(self.pieces[held, 0])], np.int64)


def _cut(word: str, numbers: dict[str, int]) -> list[int]:
    """Cut a word into the longest pieces from the left; [UNK] if it cannot be cut."""
    cut: list[int] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else f"##{word[start:end]}"
            if piece in numbers:
                cut.append(numbers[piece])
                start = end
                break
        else:
            return [UNK]
    return cut


@COMPILER.checked
def _fill(
    cells: Any, lengths: Any, packets: Any, pieces: Any, counts: Any, most: int, separated: bool, out: Any, there: Any
) -> None:
    for i in range(cells.shape[0]):
        out[i, 0] = 2
        at = 1
        for k in range(min(packets[i], cells.shape[1])):
            if separated and at < out.shape[1]:
                out[i, at] = 1
                at += 1
            for j in range(min(most, lengths[i, k] - 1)):
                pair = np.int64(cells[i, k, j]) << 8 | np.int64(cells[i, k, j + 1])
                for p in range(counts[pair]):
                    if at < out.shape[1]:
                        out[i, at] = pieces[pair, p]
                        at += 1
        there[i] = at


def words(
    cells: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    packets: NDArray[np.int64],
    vocabulary: Vocabulary,
    *,
    most: int,
    separated: bool,
    length: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tokens of flows: [CLS], then the pairs of each packet, cut to a length.

    Parameters
    ----------
    cells, lengths
        Octets of packets, uint8 [K, P, W], and their number, [K, P].
    packets
        Packets of each flow, length K.
    vocabulary
        Vocabulary of the tokens.
    most
        Maximum number of pairs of a packet.
    separated
        Whether to put [SEP] before each packet.
    length
        Maximum length of a sequence.

    Returns
    -------
    tokens, lengths
        int32 [K, ``length``], padded with [PAD], and the number of tokens of each flow, length K.

    Examples
    --------
    >>> cells = np.array([[[0x45, 0x00, 0x3C], [0x17, 0, 0]]], np.uint8)
    >>> tokens, there = words(cells, np.array([[3, 1]]), np.array([2]), Vocabulary.stated(60_005), most=9,
    ...                       separated=True, length=6)
    >>> tokens.tolist(), there.tolist()
    ([[2, 1, 17669, 65, 1, 0]], [5])
    """
    out = np.zeros((len(cells), length), np.int32)
    there = np.zeros(len(cells), np.int64)
    _fill(cells, lengths, packets, vocabulary.pieces, vocabulary.counts, most, separated, out, there)
    return out, there
