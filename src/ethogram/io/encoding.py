"""Encodings of text: UTF-8 with a byte order mark, UTF-16 and UTF-32 with one or without, as UTF-8."""

from __future__ import annotations

import codecs

__all__ = ["MARK", "Utf8", "encoding_of"]

MARK = codecs.BOM_UTF8
_MARKS = (  # those of UTF-32 first: UTF-16's is the beginning of one of them
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_LOOKED_AT = 512
_LEAST = 8
_ZERO_SHARE = 0.9
"""Share of the octets that are zero in UTF-16 and UTF-32 of field names, digits and separators."""

_ZEROS = {"utf-32-le": (1, 2, 3), "utf-32-be": (0, 1, 2), "utf-16-le": (1, 3), "utf-16-be": (0, 2)}
"""Octets of every four that are zero."""


def encoding_of(head: bytes) -> str:
    """The encoding that a text beginning so has; ``utf-8`` unless it is UTF-16 or UTF-32.

    >>> encoding_of("ts,uid,src".encode("utf-16")), encoding_of("ts,uid".encode("utf-16-be")), encoding_of(b"ts,uid")
    ('utf-16-le', 'utf-16-be', 'utf-8')
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    head = head[:_LOOKED_AT]
    head = head[: len(head) // 4 * 4]
    if len(head) < _LEAST:
        return "utf-8"
    zero = [head[place::4].count(0) * 4 / len(head) >= _ZERO_SHARE for place in range(4)]
    filled = [head[place::4].count(0) * 4 / len(head) <= 1 - _ZERO_SHARE for place in range(4)]
    for name, zeros in _ZEROS.items():
        if all(zero[place] if place in zeros else filled[place] for place in range(4)):
            return name
    return "utf-8"


class Utf8:
    """Octets of a text in pieces, given as UTF-8; what the encoding does not know becomes U+FFFD.

    Parameters
    ----------
    head
        The first octets of the text, which tell its encoding.

    Examples
    --------
    >>> text = "sa,da".encode("utf-16")
    >>> turn = Utf8(text)
    >>> turn(text[:3]) + turn(text[3:])
    b'\\xef\\xbb\\xbfsa,da'
    """

    def __init__(self, head: bytes) -> None:
        name = encoding_of(head)
        self._decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)("replace")

    def __call__(self, octets: bytes, *, last: bool = False) -> bytes:
        """The next octets; those of a character that is not whole wait for more, unless they are the last."""
        return octets if self._decoder is None else self._decoder.decode(octets, last).encode()
