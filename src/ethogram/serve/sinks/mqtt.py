"""Events and the inventory at a broker of MQTT, with discovery by Home Assistant."""

from __future__ import annotations

import contextlib
import hashlib
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from ethogram._text import json_text
from ethogram.config.sinks import MqttSettings
from ethogram.errors import ConfigurationError
from ethogram.export.homeassistant import STATUS, discovery_document, discovery_topic, state_document, state_topic
from ethogram.schema import ExportedDevice, SinkEvent
from ethogram.serve.sinks.sink import Sink, SinkError, event_json, read_secret, receiver_of
from ethogram.serve.sinks.webhook import tls_context

__all__ = ["Mqtt"]

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class Mqtt(Sink):
    """Publishes events to ``TOPIC/events``, and each device as a retained state and announcement.

    ``TOPIC/status`` is ``online``, and by the will of the connection ``offline`` when the service is gone. Messages
    have quality of service 1. A device that is gone is removed by empty retained messages.
    """

    def __init__(self, settings: MqttSettings) -> None:
        try:
            import paho.mqtt.client  # noqa: F401 (whether it is installed)
        except ImportError:
            raise ConfigurationError("the sink mqtt needs paho-mqtt: pip install 'ethogram[mqtt]'") from None
        self._settings = settings
        parts = urllib.parse.urlsplit(settings.url)
        self._host, self._port = receiver_of(parts, _PORTS)
        self._tls = tls_context(settings.ca) if parts.scheme == "mqtts" else None
        self._password = read_secret(settings.password_file) if settings.password_file else None
        self._client: Any = None
        self._published: dict[str, str] = {}
        self._synced = float("-inf")
        self.left_out = 0

    def send(self, event: SinkEvent) -> None:
        """Publish one event."""
        self._publish([(f"{self._settings.topic}/events", event_json(event, "ethogram").rstrip("\n"), False)])

    def sync(self, devices: Callable[[], list[ExportedDevice]], state: dict[str, Any]) -> dict[str, Any]:
        """Publish what has changed since the last call, and remove what is gone."""
        settings = self._settings
        if not settings.discovery or time.monotonic() - self._synced < settings.sync_s:
            return state
        rows = devices()
        self.left_out = max(len(rows) - settings.max_devices, 0)
        rows = rows[: settings.max_devices]
        messages: list[tuple[str, str, bool]] = []
        digests: dict[str, str] = {}
        for device in rows:
            for topic, document in (
                (discovery_topic(device.id, settings.discovery_prefix), discovery_document(device, settings.topic)),
                (state_topic(device.id, settings.topic), state_document(device)),
            ):
                payload = json_text(document).rstrip("\n")
                digests[topic] = hashlib.sha256(payload.encode()).hexdigest()[:16]
                if self._published.get(topic) != digests[topic]:
                    messages.append((topic, payload, True))
        present = {device.id for device in rows}
        for gone in state.get("devices", ()):
            if gone not in present:
                messages += [(discovery_topic(gone, settings.discovery_prefix), "", True),
                             (state_topic(gone, settings.topic), "", True)]  # fmt: skip
        self._publish(messages)
        self._published, self._synced = digests, time.monotonic()
        return {"devices": sorted(present)}

    def _publish(self, messages: list[tuple[str, str, bool]]) -> None:
        """Publish messages, and wait until the broker has them."""
        if not messages:
            return
        client = self._connected()
        try:
            sent = [client.publish(topic, payload, qos=1, retain=retain) for topic, payload, retain in messages]
            end = time.monotonic() + self._settings.timeout_s + len(messages) / 100
            for each in sent:
                each.wait_for_publish(max(end - time.monotonic(), 0.001))
                if not each.is_published():
                    raise SinkError("the broker did not acknowledge in time")
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise SinkError(f"cannot be published: {error}") from None
        except SinkError:
            self.close()
            raise

    def _connected(self) -> Any:
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        settings = self._settings
        client = paho.Client(CallbackAPIVersion.VERSION2)
        refused: list[str] = []
        client.on_connect = lambda *given: refused.append(str(given[3])) if given[3].is_failure else None
        if settings.user:
            client.username_pw_set(settings.user, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        status = f"{settings.topic}/{STATUS}"
        client.will_set(status, "offline", qos=1, retain=True)
        client.connect_timeout = settings.timeout_s
        try:
            client.connect(self._host, self._port, keepalive=60)
        except (OSError, ValueError) as error:
            raise SinkError(f"no connection: {getattr(error, 'strerror', None) or error}") from None
        client.loop_start()
        self._client = client
        end = time.monotonic() + settings.timeout_s
        while not client.is_connected():
            if refused or time.monotonic() > end:
                self.close()
                raise SinkError(f"no connection: {refused[0] if refused else 'no answer in time'}")
            time.sleep(0.02)
        self._published = {}
        client.publish(status, "online", qos=1, retain=True)
        return client

    def close(self) -> None:
        """Say that the service is gone, and end the connection."""
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if client.is_connected():
                client.publish(f"{self._settings.topic}/{STATUS}", "offline", qos=1, retain=True).wait_for_publish(2.0)
        client.disconnect()
        client.loop_stop()
