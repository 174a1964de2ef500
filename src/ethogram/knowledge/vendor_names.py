"""Find the vendor named by a text: a company's name, a brand, or a label of a host name."""

from __future__ import annotations

from collections.abc import Sequence

from ethogram.knowledge.organisations import company_words, label_spellings, squeezed
from ethogram.knowledge.rows import Row

__all__ = ["VendorNames"]

_MIN_PART, _MIN_LABEL = 3, 4  # characters of a vendor's name inside a longer one


class VendorNames:
    """Spellings of vendors, from the rows of the table ``vendors``.

    Names take precedence over aliases, and these over identifiers. A name whose row is ``weak`` is a word of its own,
    such as *Ring*: it counts only if nothing else is in a text.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        # The row of each spelling, and whether the spelling counts as part of a longer name.
        self._spellings: dict[str, tuple[Row, bool]] = {}
        for subject in ("name", "alias"):
            for row in rows:
                if row.subject == subject:
                    self._spellings.setdefault(squeezed(row.value), (row, row.weight == "strong"))
        for row in rows:
            if row.subject == "name":
                self._spellings.setdefault(squeezed(row.key), (row, False))
        self._spellings.pop("", None)

    def of_company(self, text: str) -> Row | None:
        """The row of the vendor that a company's name begins with, legal forms and places left out."""
        for spelling, whole in company_words(text):
            row, in_longer = self._spellings.get(spelling, (None, False))
            if row is not None and (whole or (in_longer and len(spelling) >= _MIN_PART)):
                return row
        return None

    def in_label(self, label: str) -> Row | None:
        """The row of the vendor in a label such as ``maker-firmware`` or ``mymakercloud``."""
        for spelling in label_spellings(label):
            row, in_longer = self._spellings.get(spelling, (None, False))
            if row is not None and in_longer and len(spelling) >= _MIN_LABEL:
                return row
        return None
