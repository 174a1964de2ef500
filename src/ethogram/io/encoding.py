"""Convert UTF-16 and UTF-32 text, with or without a byte order mark, to UTF-8."""

from __future__ import annotations

import codecs

__all__ = ["MARK", "Utf8", "encoding_of"]

MARK = codecs.BOM_UTF8
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_LOOKED_AT = 512
_LEAST = 8
_ZERO_SHARE = 0.9
"""Minimum share of zero octets at the zero positions, for text of field names, digits and separators."""

_ZEROS = {"utf-32-le": (1, 2, 3), "utf-32-be": (0, 1, 2), "utf-16-le": (1, 3), "utf-16-be": (0, 2)}
"""Positions of zero octets in every group of four."""


def encoding_of(head: bytes) -> str:
    """The encoding of a text with these first octets; ``utf-8`` unless it is UTF-16 or UTF-32.

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
    """Incremental conversion of text to UTF-8; undecodable octets become U+FFFD.

    Parameters
    ----------
    head
        First octets of the text, for detecting the encoding.

    Examples
    --------
    >>> text = "sa,da".encode("utf-16")
    >>> convert = Utf8(text)
    >>> convert(text[:3]) + convert(text[3:])
    b'\\xef\\xbb\\xbfsa,da'
    """

    def __init__(self, head: bytes) -> None:
        name = encoding_of(head)
        self._decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)("replace")

    def __call__(self, octets: bytes, *, last: bool = False) -> bytes:
        """Convert the next octets. Incomplete characters wait for more octets, unless ``last`` is set."""
        return octets if self._decoder is None else self._decoder.decode(octets, last).encode()
