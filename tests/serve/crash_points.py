"""A process that dies at any file or database operation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet
import pytest
from sqlalchemy import Engine, event

__all__ = ["Crash", "CrashPoints"]


class Crash(BaseException):
    """The process dies."""


class CrashPoints:
    """Counts file and database operations, and raises at one of them; if it stays dead, at all later ones, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, stays_dead: bool = False) -> None:
        self.at, self.count, self.dead, self._stays_dead = -1, 0, False, stays_dead
        for name in ("fsync", "replace", "unlink", "mkdir"):
            self._patch(monkeypatch, os, name)
        for name in ("replace", "unlink", "mkdir"):
            self._patch(monkeypatch, Path, name)
        for name in ("write_table", "close"):
            self._patch(monkeypatch, pyarrow.parquet.ParquetWriter, name)
        self._patch(monkeypatch, pl.DataFrame, "write_parquet")
        self._patch(monkeypatch, Engine, "connect")
        event.listen(Engine, "before_cursor_execute", self._step)
        event.listen(Engine, "commit", self._step)

    def close(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._step)
        event.remove(Engine, "commit", self._step)

    def _step(self, *_: object) -> None:
        self.count += 1
        if self.count == self.at or self.dead:
            self.dead = self._stays_dead
            raise Crash

    def _patch(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        original = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            self._step()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)
