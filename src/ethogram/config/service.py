"""Settings of decoding export messages, of the collector and of the live service."""

from __future__ import annotations

from pydantic import Field

from ethogram.config._base import Settings
from ethogram.config.flow import BoundSettings

__all__ = ["CollectSettings", "JudgeSettings", "WireSettings"]


class WireSettings(Settings):
    """Export messages (NetFlow v5, v9, IPFIX) to biflows; each bound has a counter of what it refused."""

    max_exporters: int = Field(default=4096, gt=0, description="exporters at once; further ones are refused")
    max_templates: int = Field(
        default=1 << 15, gt=0, description="templates in memory; beyond, the least recently used is removed"
    )
    max_templates_per_exporter: int = Field(
        default=4096, gt=0, description="templates of one exporter, so that it cannot displace those of others"
    )
    max_fields: int = Field(default=512, gt=0, description="fields of a template; longer templates are refused")
    template_lifetime_s: float = Field(
        default=86_400.0, gt=0, description="over UDP, a template expires if it is not sent again for this long"
    )
    pending_octets: int = Field(
        default=1 << 26, ge=0, description="octets of sets that wait for their template; beyond, the oldest are dropped"
    )
    pending_octets_per_exporter: int = Field(default=1 << 22, ge=0, description="the same for one exporter")
    pending_age_s: float = Field(default=1800.0, ge=0, description="how long such a set waits")
    scale_sampling: bool = Field(default=True, description="multiply octets and packets by the current sampling rate")
    block_octets: int = Field(default=1 << 25, ge=1 << 16, description="octets of messages decoded in one block")
    segment_s: float = Field(
        default=60.0,
        gt=0,
        description="blocks, and segments on disk, end when the arrival time reaches a multiple of this",
    )


class CollectSettings(Settings):
    """The live collector."""

    queue_octets: int = Field(
        default=1 << 28,
        ge=1 << 20,
        description="octets received and not yet decoded; beyond, messages are dropped and counted",
    )
    socket_octets: int = Field(
        default=1 << 25, gt=0, description="receive buffer requested from the kernel, per socket"
    )
    allow: tuple[str, ...] = Field(default=(), description="prefixes that exporters may send from; none: any address")
    rate_limit: float | None = Field(
        default=None, gt=0, description="messages per second of one exporter; beyond, they are refused; none: no limit"
    )
    burst_s: float = Field(default=5.0, gt=0, description="length of a burst at the rate limit")
    max_connections: int = Field(default=256, gt=0, description="open TCP connections")
    idle_s: float = Field(
        default=3600.0, gt=0, description="a TCP connection is closed after this time without a complete message"
    )
    address_share: float = Field(
        default=0.25, gt=0, le=1,
        description="largest share of exporters and connections for one address (IPv6: a /64)",
    )  # fmt: skip
    prefix_share: float = Field(
        default=0.5, gt=0, le=1, description="largest share for one prefix (IPv4: a /24, IPv6: a /48)"
    )
    max_devices: int = Field(default=100_000, gt=0, description="devices with fingerprints; others are counted")
    ahead_s: float = Field(
        default=300.0,
        ge=0,
        description="flows that end more than this after their arrival are not used for fingerprints",
    )
    bounds: BoundSettings = BoundSettings()


class JudgeSettings(Settings):
    """When devices are judged, how much at once, and when a statement changes."""

    epoch_s: int = Field(default=86_400, ge=3600, description="a device with traffic is judged when this epoch ends")
    lateness_s: int = Field(default=1920, ge=0, description="time after the end of an epoch for late records")
    provisional_s: int = Field(
        default=300, gt=0,
        description="a new device is judged this long after its first flow, then whenever that time has doubled",
    )  # fmt: skip
    window_days: int = Field(default=7, gt=0, description="days of traffic that a verdict rests on")
    round_devices: int = Field(default=1000, gt=0, description="devices judged in one round")
    round_segments: int = Field(default=64, gt=0, description="segments read in one round")
    interval_s: float = Field(default=5.0, gt=0, description="time between two looks for new segments or files")
    change_margin: float = Field(
        default=0.2, ge=0, le=1,
        description="a statement is replaced by another at once if that is more probable by this",
    )  # fmt: skip
    change_times: int = Field(
        default=3, gt=0, description="otherwise it is replaced after this many judgements in a row that say the other"
    )
    address_gap_s: int = Field(
        default=7 * 86_400, gt=0,
        description="an address without MAC and host name is another device after this long without traffic",
    )  # fmt: skip
    oldest_days: int = Field(
        default=30, gt=0, description="flows that began longer before their arrival than this are not counted"
    )
    new_s: int = Field(default=86_400, ge=0, description="a device is shown as new for this long")
    changed_s: int = Field(default=7 * 86_400, ge=0, description="a device is shown as changed for this long")
    silent_s: int = Field(default=2 * 86_400, gt=0, description="a device is shown as silent after this long")
    max_devices: int = Field(
        default=200_000, gt=0, description="devices in the store; traffic of further ones is counted, not judged"
    )
