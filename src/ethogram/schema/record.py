"""Base of the records that commands print: frozen, and strict about their fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ethogram._text import json_text

__all__ = ["Record"]


class Record(BaseModel):
    """A record with a documented form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the form that the commands print as JSON."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """JSON, in the form that the commands print."""
        return json_text(self.to_dict(), indent=True)
