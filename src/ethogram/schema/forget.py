"""What identifies a device that is to be forgotten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["ForgetRequest", "NameSpan"]


@dataclass(frozen=True)
class NameSpan:
    """A name in the flow table, or an address, and the time in which it was the device's.

    Parameters
    ----------
    alone
        No other device had it: it is the device's at any time.
    """

    value: str
    first: datetime
    last: datetime
    alone: bool


@dataclass(frozen=True)
class ForgetRequest:
    """A device to be forgotten.

    Parameters
    ----------
    ids
        Of the device, then of those merged into it.
    names
        Its names in the flow table.
    addresses, macs, host_names
        By which records of other devices may name it.
    """

    ids: tuple[str, ...]
    names: tuple[NameSpan, ...]
    addresses: tuple[NameSpan, ...] = ()
    macs: tuple[str, ...] = ()
    host_names: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        spans = {
            kind: [[span.value, span.first.isoformat(), span.last.isoformat(), span.alone] for span in rows]
            for kind, rows in (("names", self.names), ("addresses", self.addresses))
        }
        return {"ids": list(self.ids), **spans, "macs": list(self.macs), "host_names": list(self.host_names)}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> ForgetRequest:
        """The request of :meth:`as_dict`.

        >>> request = ForgetRequest(("0123456789abcdef",), (), macs=("aa:bb:cc:00:00:01",))
        >>> ForgetRequest.of(request.as_dict()) == request
        True
        """
        spans = {
            kind: tuple(
                NameSpan(value, datetime.fromisoformat(first), datetime.fromisoformat(last), bool(alone))
                for value, first, last, alone in stored[kind]
            )
            for kind in ("names", "addresses")
        }
        return cls(
            tuple(stored["ids"]), spans["names"], spans["addresses"], tuple(stored["macs"]),
            tuple(stored["host_names"]),
        )  # fmt: skip

    @property
    def words(self) -> tuple[str, ...]:
        """Everything that names this device and no other."""
        spans = (*self.names, *self.addresses)
        return tuple(dict.fromkeys((*self.ids, *(span.value for span in spans if span.alone), *self.macs,
                                    *self.host_names)))  # fmt: skip

    def pattern(self) -> re.Pattern[str] | None:
        """Finds one of the words in a text, whole, in any case; None if there is none."""
        if not self.words:
            return None
        words = "|".join(re.escape(word) for word in sorted(self.words, key=len, reverse=True))
        return re.compile(rf"(?<![\w.:-])(?:{words})(?![\w:-]|\.\w)", re.IGNORECASE)
