"""Base class of settings."""

from __future__ import annotations

import hashlib
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from ethogram.errors import ConfigurationError

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base class of settings: frozen, strict about names, with a digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **values: object) -> Self:
        """Build settings from user input; an invalid value raises a one-line :class:`ConfigurationError`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise ConfigurationError(f"setting {name}: {first['msg']}") from None

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over the settings' canonical JSON."""
        text = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:12]
