"""Events by e-mail and through other services that Apprise knows."""

from __future__ import annotations

import logging
import os
from typing import Any

from ethogram._text import visible
from ethogram.config.sinks import AppriseSettings
from ethogram.errors import ConfigurationError
from ethogram.schema import SinkEvent
from ethogram.serve.sinks.sink import Sink, SinkError, read_secret

__all__ = ["AppriseService"]

_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


class AppriseService(Sink):
    """Sends the title and the text of each event to one service of Apprise.

    The URL of the service has its password in it, so it is read from a file or from the environment, and no message has
    it. Apprise does not say why a service took no message, only that it did not.
    """

    def __init__(self, settings: AppriseSettings) -> None:
        try:
            import apprise
        except ImportError:
            raise ConfigurationError("the sink apprise needs apprise: pip install 'ethogram[apprise]'") from None
        logging.getLogger("apprise").addHandler(logging.NullHandler())  # its messages may have parts of the URL
        logging.getLogger("apprise").propagate = False
        self._name = settings.url_file or settings.url_variable
        asset = apprise.AppriseAsset(app_id="Ethogram", app_desc="Ethogram", async_mode=False, secure_logging=True,
                                     storage_mode="memory")  # fmt: skip
        asset.http_redirects = False
        self._service: Any = apprise.Apprise.instantiate(_url(settings), asset=asset)
        if self._service is None:
            raise ConfigurationError(f"{self._name}: not a URL of a service that Apprise knows")
        self._service.socket_connect_timeout = self._service.socket_read_timeout = settings.timeout_s

    def send(self, event: SinkEvent) -> None:
        """Send one event."""
        try:
            sent = self._service.notify(
                body=visible(event.text), title=visible(f"{event.severity}: {event.title}"),
                notify_type=_TYPES[event.severity], body_format="text",
            )  # fmt: skip
        except Exception as error:  # of any service's library; its text may have the URL in it
            raise SinkError(f"{self._name}: the service took no message: {type(error).__name__}") from None
        if not sent:
            raise SinkError(f"{self._name}: the service took no message")


def _url(settings: AppriseSettings) -> str:
    if bool(settings.url_file) == bool(settings.url_variable):
        raise ConfigurationError("a sink of type apprise has either url_file or url_variable")
    if settings.url_file:
        return read_secret(settings.url_file)
    text = os.environ.get(settings.url_variable, "").strip()
    if not text:
        raise ConfigurationError(f"the environment variable {settings.url_variable} is not set")
    return text
