"""Events in a file of JSON lines."""

from __future__ import annotations

import os
from pathlib import Path

from ethogram.config.sinks import FileSinkSettings
from ethogram.schema import SinkEvent
from ethogram.serve.sinks.sink import Sink, SinkError, event_json

__all__ = ["JsonFile"]


class JsonFile(Sink):
    """Appends one line for each event; the file is readable by its owner only, unless it exists with another mode."""

    def __init__(self, settings: FileSinkSettings) -> None:
        self._settings = settings
        self._path = Path(settings.path)

    def send(self, event: SinkEvent) -> None:
        """Append one event, and write it to the disk."""
        line = event_json(event, self._settings.format).encode()
        try:
            self._rotate(len(line))
            place = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                size = os.fstat(place).st_size
                if os.write(place, line) != len(line):
                    os.ftruncate(place, size)
                    raise SinkError(f"{self._path}: the disk is full")
                os.fsync(place)
            finally:
                os.close(place)
        except OSError as error:
            raise SinkError(f"{self._path}: cannot be written: {error.strerror or error}") from None

    def _rotate(self, more: int) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size and size + more > self._settings.rotate_octets:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
