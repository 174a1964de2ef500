"""Random mutations, for tests that run without a fuzzer."""

from __future__ import annotations

import random

INTERESTING = (0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFE, 0xFF)


def mutated(data: bytes, chance: random.Random, words: tuple[bytes, ...] = ()) -> bytes:
    """Change octets in one to four ways that typically break parsers."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(7 if words else 6)
        if kind == 0 and at < len(out):
            out[at] = chance.choice(INTERESTING)
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + chance.choice((1, 2, 4, 16, 64))]
        elif kind == 4:
            other = chance.randrange(len(out) + 1)
            out[at:at] = out[other : other + chance.choice((1, 2, 4, 16, 64, 256))]
        elif kind == 5 and at + 4 <= len(out):
            out[at : at + chance.choice((2, 4))] = chance.choice(
                (b"\xff\xff", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1")
            )
        elif words:
            out[at:at] = chance.choice(words)
    return bytes(out)
