"""Events by HTTP POST, signed as the Standard Webhooks specification says."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ssl
import time
import urllib.parse
from datetime import UTC

from ethogram._version import __version__
from ethogram.config.sinks import WebhookSettings
from ethogram.errors import ConfigurationError
from ethogram.schema import SinkEvent
from ethogram.serve.sinks.sink import RefusedEventError, Sink, SinkError, event_json, read_secret, receiver_of

__all__ = ["Webhook", "signature", "tls_context"]

_FOR_GOOD = frozenset({400, 405, 410, 413, 415, 422})
_PORTS = {"http": http.client.HTTP_PORT, "https": http.client.HTTPS_PORT}
_MOST_ANSWER = 1 << 16


class Webhook(Sink):
    """Sends each event as one POST; any status 2xx means that it arrived.

    Status 400, 405, 410, 413, 415 and 422 refuse the event for good; with all others, and without an answer, it is
    sent again. Redirections are not followed.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        parts = urllib.parse.urlsplit(settings.url)
        if parts.username is not None:
            raise ConfigurationError("a URL of a webhook has no user name: use token_file")
        self._host, self._port = receiver_of(parts, _PORTS)
        self._path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._tls = tls_context(settings.ca) if parts.scheme == "https" else None
        self._secret = read_secret(settings.secret_file) if settings.secret_file else ""
        self._token = read_secret(settings.token_file) if settings.token_file else ""

    def send(self, event: SinkEvent) -> None:
        """POST one event."""
        body = event_json(event, self._settings.format).rstrip("\n").encode()
        identifier = f"ethogram-{event.id}-{int(event.time.astimezone(UTC).timestamp() * 1e6)}"
        now = int(time.time())
        headers = {
            "Content-Type": "application/json", "User-Agent": f"ethogram/{__version__}", "webhook-id": identifier,
            "webhook-timestamp": str(now), "Connection": "close",
        }  # fmt: skip
        if self._secret:
            headers["webhook-signature"] = signature(self._secret, identifier, now, body)
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        status, reason = self._post(body, headers)
        if 200 <= status < 300:
            return
        if status in _FOR_GOOD:
            raise RefusedEventError(f"status {status} {reason}")
        raise SinkError(f"status {status} {reason}")

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        timeout = self._settings.timeout_s
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=timeout) if self._tls is None
            else http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        )  # fmt: skip
        try:
            connection.request("POST", self._path, body, headers)
            answer = connection.getresponse()
            answer.read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SinkError(f"no answer: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return answer.status, answer.reason[:80]


def signature(secret: str, identifier: str, time_s: int, body: bytes) -> str:
    """The header ``webhook-signature``: HMAC-SHA-256 over id, time and body.

    A secret that begins with ``whsec_`` is base64, as the specification has it; any other is used as it is.

    >>> signature("whsec_c2VjcmV0", "id", 1, b"{}") == signature("secret", "id", 1, b"{}")
    True
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ConfigurationError("a secret that begins with whsec_ is base64 after that") from None
    signed = f"{identifier}.{time_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def tls_context(ca: str) -> ssl.SSLContext:
    """Trust in a receiver: certificates of a file, else those of the system."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{ca}: no certificates (PEM): {error.strerror or error}") from None
