"""What a sink is, and how it says that it could not send."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from ethogram._text import json_text
from ethogram.errors import ConfigurationError, EthogramError
from ethogram.export.ecs import event_document
from ethogram.schema import ExportedDevice, SinkEvent

__all__ = ["RefusedEventError", "Sink", "SinkError", "event_json", "read_secret", "receiver_of"]

_MOST_SECRET = 1 << 16


class SinkError(EthogramError):
    """The receiver cannot be reached or does not accept events now; the event is sent again later."""


class RefusedEventError(EthogramError):
    """The receiver refuses this event for good; it is not sent again."""


class Sink(ABC):
    """Sends events to one receiver. Construction opens no connection; one thread uses a sink."""

    @abstractmethod
    def send(self, event: SinkEvent) -> None:
        """Send one event, and return when the receiver has it, as far as the protocol tells.

        Raises
        ------
        SinkError
            If it could not be sent now.
        RefusedEventError
            If it never can be.
        """

    def sync(self, devices: Callable[[], list[ExportedDevice]], state: dict[str, Any]) -> dict[str, Any]:
        """Bring the receiver's copy of the inventory up to date, where it has one.

        Parameters
        ----------
        devices
            Reads the inventory.
        state
            What the last call returned, also before a restart.
        """
        del devices
        return state

    def close(self) -> None:  # noqa: B027 (a sink without a connection has nothing to end)
        """End connections."""


def event_json(event: SinkEvent, form: str) -> str:
    """An event as one line of JSON, in the form ``ethogram`` or ``ecs``."""
    return json_text(event_document(event) if form == "ecs" else event.to_dict())


def read_secret(file: str) -> str:
    """The text of a file with a secret, without the line end.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is empty.
    """
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(_MOST_SECRET).decode("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: not text") from None
    if not text:
        raise ConfigurationError(f"{file}: is empty")
    return text


def receiver_of(url: SplitResult, ports: Mapping[str, int]) -> tuple[str, int]:
    """Host and port of a URL; without a port in it, that of its scheme.

    >>> from urllib.parse import urlsplit
    >>> receiver_of(urlsplit("mqtt://broker.example"), {"mqtt": 1883})
    ('broker.example', 1883)

    Raises
    ------
    ConfigurationError
        If it has no host, or its port is none.
    """
    try:
        port = url.port
    except ValueError:
        raise ConfigurationError(f"{url.geturl()}: invalid port") from None
    if not url.hostname:
        raise ConfigurationError(f"{url.geturl()}: no host in it")
    return url.hostname, port or ports[url.scheme]
