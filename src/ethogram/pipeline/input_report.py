"""The outcome of reading one input."""

from __future__ import annotations

from dataclasses import dataclass, field

from ethogram.schema import Accounting

__all__ = ["InputReport"]


@dataclass
class InputReport:
    """What became of one input: its accounting, notes, first dropped record, and what ended it early."""

    name: str
    format: str
    accounting: Accounting
    notes: list[str] = field(default_factory=list)
    first_problem: str | None = None
    nothing: str = ""  # why it gave no records
    errors: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return {
            "input": self.name,
            "format": self.format,
            "accounting": self.accounting.as_dict(),
            "notes": self.notes,
            "first_problem": self.first_problem,
            "errors": self.errors,
        }
