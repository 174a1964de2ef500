"""Settings of the flow table, of counts and of fingerprints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ethogram.config._base import Settings
from ethogram.schema import DYNAMIC_FROM

__all__ = [
    "BoundSettings",
    "CountSettings",
    "ExporterSettings",
    "FlowSettings",
    "KeySettings",
    "NameSettings",
    "RepresentationSettings",
]


class NameSettings(Settings):
    """Remote names from passive DNS and from records."""

    enabled: bool = Field(default=True, description="name remote ends")
    hold_s: float = Field(default=86_400.0, ge=0, description="how long an answer is used after its lifetime")
    max_answers: int = Field(default=1 << 21, gt=0, description="answers in memory; beyond, the oldest are removed")


class FlowSettings(Settings):
    """Biflows to the flow table."""

    local: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
                 "fe80::/10", "fc00::/7"),
        description="local prefixes; without a device file every address in them is a device",
    )  # fmt: skip
    join_cut: bool = Field(default=True, description="join a record cut at the active timeout with the next one")
    join_gap_s: float = Field(default=120.0, gt=0, description="largest gap between records that are joined")
    join_span_s: float | None = Field(
        default=3600.0, gt=0, description="records are joined within clock intervals of this length; none: no limit"
    )
    names: NameSettings = NameSettings()
    time_zone: str = Field(default="UTC", description="time zone of records that state none")
    pair: Literal["auto", "always", "never"] = Field(
        default="auto", description="pair one-way records into biflows; auto: if the format is one-way"
    )
    pair_gap_s: float = Field(default=10.0, ge=0, description="largest silence between a record and its answer")
    device_by: Literal["mac", "address"] = Field(
        default="mac", description="name of a device without a device file: its MAC if known, or its address"
    )
    router_addresses: int = Field(
        default=2,
        ge=1,
        le=1024,
        description="a MAC with more IPv4 addresses than this within 15 minutes belongs to a router or repeater, and "
        "does not name devices",
    )
    block_flows: int = Field(
        default=1 << 20, gt=0, description="records processed together when joining, pairing and breaking ties"
    )


class BoundSettings(Settings):
    """Bounds on counts in memory. They are not part of digests, since they change results only when one is reached."""

    device_counts: int = Field(
        default=8192,
        ge=1,
        description="counts with a name, and as many without, of one device in one sub-epoch; beyond, keys are"
        " coarsened: first the name is removed, then the port",
    )
    open_counts: int = Field(
        default=1 << 22,
        ge=1,
        description="counts of open epochs in a collector; beyond, keys of devices with most keys are coarsened, then"
        " devices with fewest flows are dropped",
    )
    held_counts: int = Field(
        default=1 << 23,
        ge=1,
        description="counts of closed epochs in open windows; beyond, the largest windows are discarded",
    )
    file_counts: int = Field(
        default=1 << 25,
        ge=1,
        le=1 << 29,
        description="counts of files read together; beyond, as for open epochs",
    )


class CountSettings(Settings):
    """The flow table to counts."""

    sub_epoch_s: int = Field(default=3600, gt=0, description="resolution of the counts")
    other_protocols: bool = Field(default=False, description="count protocols other than TCP and UDP as IP/<n>")
    drop_probes: bool = Field(default=True, description="ignore inbound flows without an answer")
    max_services: int = Field(
        default=4096, gt=0, description="services per device and day; beyond, they are merged into dyn"
    )


class KeySettings(Settings):
    """Parts of a count's key that make up the service."""

    role: bool = Field(default=False, description="whether the device is client or server")
    scope: bool = Field(default=False, description="whether the remote end is wan, lan or multicast")
    answered: bool = Field(default=False, description="whether both sides sent something")
    name: bool = Field(default=False, description="registrable domain of the remote end")
    dynamic_from: int = Field(
        default=DYNAMIC_FROM, ge=1, le=65536, description="first dynamic port; it and all higher ports are named dyn"
    )
    coarseness: Literal["port", "class", "protocol"] = Field(
        default="port", description="what identifies a service: the port, its class, or the protocol alone"
    )
    rhythm_h: int | None = Field(
        default=None, ge=1, le=24, description="distinguish parts of the day (UTC) of so many hours; none: do not"
    )
    ports: tuple[str, ...] | None = Field(
        default=None, description="services learnt at enrolment, as TCP/443; all others are named dyn"
    )


class RepresentationSettings(Settings):
    """Counts of a window to weights per service."""

    kind: Literal["list", "prevalence", "generalized", "log_volume", "tiers"] = Field(
        default="generalized", description="the representation"
    )
    granularity: int = Field(default=16, ge=0, description="G of Generalized(G); 0 means infinity")
    weight: Literal["flow_share", "presence", "octet_share", "packet_share"] = Field(
        default="flow_share", description="unit of a service's share"
    )
    similarity: Literal["ruzicka", "cosine", "total_variation", "containment_dynamic", "containment_static"] = Field(
        default="ruzicka", description="how two windows are compared"
    )
    min_share: float = Field(default=0.0, ge=0, le=1, description="services with a smaller share are ignored")
    min_flows: int = Field(default=0, ge=0, description="services with fewer flows are ignored")


class ExporterSettings(Settings):
    """The fingerprint exporter (stream of epochs to exported windows)."""

    epoch_s: int = Field(default=86_400, gt=0, description="length of an epoch")
    threshold: float = Field(default=0.9, ge=0, le=1, description="similarity from which a window is stable")
    runs: int = Field(default=1, ge=1, description="consecutive stable comparisons needed to converge")
    compare: Literal["previous", "halves"] = Field(
        default="halves", description="compare the halves of the window, or the window with itself one epoch earlier"
    )
    mode: Literal["tumbling", "change"] = Field(
        default="tumbling", description="export every converged window, or only those unlike the last one exported"
    )
    min_flows: int = Field(default=50, ge=0, description="flows a window needs to converge")
    min_epochs: int = Field(default=2, ge=1, description="active epochs a window needs to converge")
    max_epochs: int = Field(
        default=30, ge=1, description="active epochs after which a window is exported as unconverged"
    )
    gap_s: int = Field(default=7 * 86_400, gt=0, description="a longer silence ends the window")
    lateness_s: int = Field(default=1800 + 120, ge=0, description="how long after its end an epoch stays open")
    key: KeySettings = KeySettings()
    representation: RepresentationSettings = RepresentationSettings()
