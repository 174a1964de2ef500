"""Settings of the sinks of the live service: where alerts and changes of the inventory are sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from ethogram.config._base import Settings

__all__ = [
    "AppriseSettings", "FileSinkSettings", "MqttSettings", "SinkName", "SinkSettings", "SyslogSettings",
    "WebhookSettings",
]  # fmt: skip

SinkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
_Events = Literal["alert", "device new", "verdict changed", "label", "merge", "split", "state", "group", "health"]
_Form = Literal["ethogram", "ecs"]


class _SinkBase(Settings):
    """What all sinks have."""

    events: tuple[_Events, ...] = Field(default=("alert",), description="kinds of events that are sent")
    severity: Literal["info", "warning", "critical"] = Field(
        default="info", description="alerts of lower severity are not sent"
    )
    max_waiting: int = Field(
        default=10_000, gt=0, le=50_000, description="events that wait while the receiver does not answer; beyond, the "
                                                     "oldest are dropped",
    )  # fmt: skip
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="time that the receiver has for an answer")


class WebhookSettings(_SinkBase):
    """A sink that sends each event by HTTP POST, signed as the Standard Webhooks specification says."""

    type: Literal["webhook"] = Field(description="`webhook`")
    url: str = Field(pattern=r"^https?://", description="`https://...` or `http://...`")
    secret_file: str = Field(default="", description="file with the secret of the signature; empty: not signed")
    token_file: str = Field(default="", description="file with a bearer token; empty: none")
    ca: str = Field(default="", description="certificates (PEM) that vouch for the receiver; empty: the system's")
    format: _Form = Field(default="ethogram", description="JSON form of an event")


class SyslogSettings(_SinkBase):
    """A sink that sends each event as a message of syslog (RFC 5424); TCP and TLS count octets (RFC 6587)."""

    type: Literal["syslog"] = Field(description="`syslog`")
    url: str = Field(pattern=r"^(udp|tcp|tls)://", description="`udp://HOST:514`, `tcp://HOST:514`, `tls://HOST:6514`")
    facility: int = Field(default=16, ge=0, le=23, description="number of the facility; 16 is local0")
    host_name: str = Field(default="", description="name of this host in messages; empty: the system's")
    ca: str = Field(default="", description="certificates (PEM) that vouch for the receiver; empty: the system's")
    format: Literal["text", "ethogram", "ecs"] = Field(default="text", description="one line of text, or JSON")
    max_octets: int = Field(default=2048, ge=480, le=65_000, description="a longer message is cut over UDP")


class FileSinkSettings(_SinkBase):
    """A sink that appends each event to a file of JSON lines."""

    type: Literal["file"] = Field(description="`file`")
    path: str = Field(min_length=1, description="the file; it is opened anew for each write, so it may be rotated")
    format: _Form = Field(default="ethogram", description="JSON form of an event")
    rotate_octets: int = Field(
        default=1 << 26, ge=1 << 12, description="a larger file is renamed to `NAME.1`, which is replaced"
    )


class MqttSettings(_SinkBase):
    """A sink for a broker of MQTT, with discovery by Home Assistant: each device is a device there."""

    type: Literal["mqtt"] = Field(description="`mqtt`")
    url: str = Field(pattern=r"^mqtts?://", description="`mqtt://HOST:1883` or `mqtts://HOST:8883`")
    user: str = Field(default="", description="user name; empty: none")
    password_file: str = Field(default="", description="file with the password; empty: none")
    ca: str = Field(default="", description="certificates (PEM) that vouch for the broker; empty: the system's")
    topic: str = Field(default="ethogram", pattern=r"^[^#+\x00]+$", description="start of the topics of state, events")
    discovery: bool = Field(default=True, description="publish devices for Home Assistant")
    discovery_prefix: str = Field(
        default="homeassistant", pattern=r"^[^#+\x00]+$", description="prefix that Home Assistant listens to"
    )
    sync_s: float = Field(default=60.0, gt=0, description="time between two comparisons of the inventory")
    max_devices: int = Field(default=5000, gt=0, description="devices that are published; further ones are counted")


class AppriseSettings(_SinkBase):
    """A sink for a service that Apprise knows, such as e-mail; its URL has secrets and is not in this file."""

    type: Literal["apprise"] = Field(description="`apprise`")
    url_file: str = Field(default="", description="file with the URL of the service, such as `mailtos://USER:PASS@HOST`")
    url_variable: str = Field(default="", description="environment variable with the URL instead")


SinkSettings = Annotated[
    WebhookSettings | SyslogSettings | FileSinkSettings | MqttSettings | AppriseSettings, Field(discriminator="type")
]
