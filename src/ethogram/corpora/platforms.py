"""Which products run on which platforms: the truth by which platforms are calibrated.

The rows are public knowledge about the products of the corpora, each with source, licence and date
(``corpora/cards/platforms.tsv``). They state claims of the knowledge pack that hold and that do not; a claim about
which nothing is publicly known has no row and is not scored.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

__all__ = ["PlatformRow", "platform_rows", "platforms_of_product"]


class PlatformRow(NamedTuple):
    """Whether a product runs on a platform, and from where that is known."""

    product: str
    platform: str
    holds: bool
    reason: str
    source: str
    licence: str
    date: str


@cache
def platform_rows() -> tuple[PlatformRow, ...]:
    """All rows, in the order of the file.

    >>> [row.holds for row in platform_rows() if (row.product, row.platform) == ("teckin-plug", "tuya")]
    [True]
    """
    file = resources.files("ethogram.corpora") / "cards" / "platforms.tsv"
    cells = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()[1:]]
    return tuple(PlatformRow(p, q, holds == "yes", *about) for p, q, holds, *about in cells)


def platforms_of_product(product: str) -> dict[str, bool]:
    """Whether each platform about which something is known holds for a product."""
    return {row.platform: row.holds for row in platform_rows() if row.product == product}
