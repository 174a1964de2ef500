"""Where every packet and record went: read = used + ignored by reason + dropped by reason, exactly."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ethogram.errors import EthogramError

__all__ = ["Accounting"]


@dataclass
class Accounting:
    """Counters of one stage over one unit (packets, records, flows).

    *Ignored* is what the stage is not about (an ARP frame for a flow meter); *dropped* is what it should have
    used and could not (a truncated header). *Corrected* counts what was changed on the way and then used;
    it is outside the sum.
    """

    unit: str
    read: int = 0
    used: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    corrected: Counter[str] = field(default_factory=Counter)

    def ignore(self, reason: str, count: int = 1) -> None:
        """Count what the stage is not about; nothing is stored for a count of zero."""
        if count:
            self.ignored[reason] += int(count)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what could not be used; nothing is stored for a count of zero."""
        if count:
            self.dropped[reason] += int(count)

    def correct(self, reason: str, count: int = 1) -> None:
        """Count what was corrected and then used."""
        if count:
            self.corrected[reason] += int(count)

    @property
    def balanced(self) -> bool:
        """Whether the sum holds."""
        return self.read == self.used + self.ignored.total() + self.dropped.total()

    def check(self) -> None:
        """Raise when the sum does not hold: that is always a fault of ours, never of the input."""
        if not self.balanced:
            raise EthogramError(f"accounting does not balance: {self.line()}")

    def merge(self, other: Accounting) -> None:
        """Add another accounting of the same unit to this one."""
        if other.unit != self.unit:
            raise EthogramError(f"cannot add {other.unit} to {self.unit}")
        self.read += other.read
        self.used += other.used
        self.ignored.update(other.ignored)
        self.dropped.update(other.dropped)
        self.corrected.update(other.corrected)

    def line(self) -> str:
        """One line for people."""

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
