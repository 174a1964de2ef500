"""Accounting of packets and records: read = used + ignored + dropped, exactly, each with reasons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ethogram.errors import EthogramError

__all__ = ["Accounting"]


@dataclass
class Accounting:
    """Counters of one stage over one unit (packets, records, flows).

    *Ignored* items are not the stage's concern (an ARP frame for a flow meter); *dropped* items should have been used
    but could not be (a truncated header). *Corrected* items were changed and then used; they are not part of the sum.
    """

    unit: str
    read: int = 0
    used: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    corrected: Counter[str] = field(default_factory=Counter)

    def ignore(self, reason: str, count: int = 1) -> None:
        """Count ignored items; a count of zero is not stored."""
        if count:
            self.ignored[reason] += int(count)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count dropped items; a count of zero is not stored."""
        if count:
            self.dropped[reason] += int(count)

    def correct(self, reason: str, count: int = 1) -> None:
        """Count items that were corrected and then used."""
        if count:
            self.corrected[reason] += int(count)

    @property
    def balanced(self) -> bool:
        """Whether the sum holds."""
        return self.read == self.used + self.ignored.total() + self.dropped.total()

    def check(self) -> None:
        """Raise an error if the sum does not hold, which is always a bug and never caused by input."""
        if not self.balanced:
            raise EthogramError(f"accounting does not balance: {self.line()}")

    def merge(self, other: Accounting) -> None:
        """Add the counters of another accounting with the same unit."""
        if other.unit != self.unit:
            raise EthogramError(f"cannot add {other.unit} to {self.unit}")
        self.read += other.read
        self.used += other.used
        self.ignored.update(other.ignored)
        self.dropped.update(other.dropped)
        self.corrected.update(other.corrected)

    def line(self) -> str:
        """One line of text."""

        def reasons(counter: Counter[str]) -> str:
            if not counter:
                return ""
            inner = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counter.items()))
            return f" ({inner})"

        text = (
            f"{self.read:,} {self.unit} read = {self.used:,} used"
            f" + {self.ignored.total():,} ignored{reasons(self.ignored)}"
            f" + {self.dropped.total():,} dropped{reasons(self.dropped)}"
        )
        return text + (f"; corrected{reasons(self.corrected)}" if self.corrected else "")

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "unit": self.unit,
            "read": self.read,
            "used": self.used,
            "ignored": dict(sorted(self.ignored.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "corrected": dict(sorted(self.corrected.items())),
        }
