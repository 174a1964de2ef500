"""Settings, as frozen models. Unknown names are errors; a digest identifies the settings of a result."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ethogram.errors import ConfigurationError
from ethogram.schema import DYNAMIC_FROM
from ethogram.schema.packet_flows import LATER_OCTETS, MOST_PACKETS, PAYLOAD_OCTETS, PAYLOAD_PACKETS

__all__ = [
    "BoundSettings",
    "CaptureSettings",
    "CollectSettings",
    "CountSettings",
    "CustomFlowSettings",
    "EncoderSettings",
    "ExporterSettings",
    "FieldSettings",
    "FlowSettings",
    "IdentifySettings",
    "KeySettings",
    "LinearFieldSettings",
    "MeterSettings",
    "NameSettings",
    "PacketFlowSettings",
    "ProbeSettings",
    "ReconstructionSettings",
    "RepresentationSettings",
    "Settings",
    "TrainingSettings",
    "WireSettings",
]


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


class CaptureSettings(Settings):
    """Captures to packets."""

    strict: bool = Field(default=False, description="raise an error on damage, instead of a warning and a count")
    tunnels: bool = Field(default=False, description="read the inner packet of IP in IP, GRE, GTP-U and CAPWAP")
    block_octets: int = Field(default=1 << 22, ge=1 << 12, description="octets of a capture in memory at once")
    max_octets: int = Field(default=1 << 42, gt=0, description="decompressed octets read of one file at most")
    max_ratio: float = Field(
        default=1000.0, gt=1, description="largest ratio of decompressed to compressed octets; more counts as an attack"
    )


class MeterSettings(Settings):
    """Packets to biflows."""

    idle_timeout_s: float = Field(default=120.0, gt=0, description="a flow ends after this time without packets")
    active_timeout_s: float = Field(default=1800.0, gt=0, description="a flow is cut after this time")
    max_flows: int = Field(default=1 << 22, gt=0, description="live flows at once; beyond, the oldest are ended")
    octets: Literal["ip", "frame"] = Field(default="ip", description="count octets of the IP packet or of the frame")
    vlan_key: bool = Field(default=False, description="make the VLAN tag part of a flow's key")


class CustomFlowSettings(Settings):
    """Packets to custom flows. A record holds 3,000 symbols, ten packets, and 1,000 octets of each."""

    direction: Literal["outgoing", "bidirectional"] = Field(
        default="outgoing", description="meter packets sent by devices, or both directions"
    )
    interval_s: float = Field(default=60.0, gt=0, le=3600, description="time from a record's first packet to its end")
    packets: int = Field(default=10, ge=1, le=10, description="packets described individually")
    packet_octets: int = Field(default=1000, ge=0, le=1000, description="payload octets kept of each of them")
    protocols: tuple[int, ...] = Field(default=(6, 17), description="IANA numbers of the protocols to meter")
    private: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        description="prefixes of remote addresses that are replaced by 0.0.0.0",
    )
    fragment_s: float = Field(
        default=30.0, ge=0, description="how long later fragments are assigned to the flow of the first; 0: never"
    )
    max_fragments: int = Field(default=4096, ge=1, le=1 << 20, description="fragmented packets remembered at once")
    lateness_s: float = Field(default=5.0, ge=0, description="packets may be out of order by this much")
    leap_s: float = Field(
        default=60.0, gt=0, description="all records end when time goes back by more than this, as in another capture"
    )
    max_flows: int = Field(default=1 << 18, ge=1, description="live records at once; beyond, the oldest are ended")
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 14,
        le=1 << 34,
        description="payload octets of live records in memory; beyond, the oldest records are ended",
    )
    block_flows: int = Field(default=1 << 14, ge=1, description="records per block of named and written records")


class PacketFlowSettings(Settings):
    """Packets of both directions, kept beside outgoing custom flows with complete headers."""

    packets: int = Field(default=MOST_PACKETS, ge=1, le=255, description="packets kept of a flow, its first ones")
    payload_packets: int = Field(
        default=PAYLOAD_PACKETS, ge=0, le=255, description="packets of which more payload is kept, the first ones"
    )
    payload_octets: int = Field(
        default=PAYLOAD_OCTETS, ge=0, le=1500, description="octets of transport payload kept of such a packet"
    )
    later_octets: int = Field(
        default=LATER_OCTETS, ge=0, le=1500, description="octets of transport payload kept of the others"
    )
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 12,
        le=1 << 34,
        description="octets of live flows in memory; beyond, further packets of a flow are counted but not kept",
    )


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


class IdentifySettings(Settings):
    """Fingerprints and a library to verdicts."""

    method: str = Field(default="nearest", description="name of the identification method")
    level: Literal["label", "model", "family", "type", "coarse"] = Field(
        default="label", description="what to identify; twin units are one model"
    )
    closed: bool = Field(default=False, description="always give a label, never unknown")
    quantile: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of a label's own held-out windows that may fall below its threshold",
    )
    least_score: float = Field(default=0.5, ge=0, le=1, description="a less likely label is reported as unknown")
    few: int = Field(default=20, ge=1, description="labels with fewer held-out windows use the common threshold")
    folds: int = Field(default=5, ge=2, description="blocks of time held out in turn to fit thresholds and calibration")
    terms: int = Field(default=12, ge=1, description="terms of evidence listed; the others are summed into one")
    best_of: Literal["best", "mean_of_3", "prototype"] = Field(
        default="best", description="score of a label from its fingerprints: the nearest, the nearest three, their mean"
    )
    idf: bool = Field(default=False, description="weight services by how few enrolled labels use them")
    window_s: int | None = Field(
        default=None,
        gt=0,
        description="split fingerprints into windows of this length and average their scores; none: do not split",
    )
    seed: int = Field(default=0, ge=0, description="random seed of methods that use one")


ENCODER_SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "small": ((128,), 16), "base": ((512, 128), 32), "large": ((1024, 256), 64)
}  # fmt: skip
"""Widths between the input and the latent units, and the number of latent units, by size."""
FIELD_LATENT = {"small": 64, "base": 128, "large": 192}
"""Latent units of the encoder over fields, by size."""
LINEAR_LATENT = {"small": 24, "base": 48, "large": 96}
"""Directions of the linear encoder over fields, by size."""


class FieldSettings(Settings):
    """The encoder over semantic fields: its widths, the shares masked while it trains, its losses."""

    octets: int = Field(
        default=12, ge=1, le=64, description="payload octets of a packet that are embedded, the first ones"
    )
    grams: int = Field(default=96, ge=1, le=256, description="n-grams of the payload's text that are read")
    buckets: int = Field(default=2048, ge=16, le=65_536, description="embeddings that n-grams are hashed to")
    token: int = Field(default=64, ge=4, description="width of the representation of a packet")
    hidden: int = Field(default=256, ge=4, description="width of the layers over the flow")
    ports: bool = Field(default=True, description="read the class of the ports")
    hide_packet: float = Field(default=0.15, ge=0, lt=1, description="share of packets masked")
    hide_field: float = Field(default=0.15, ge=0, lt=1, description="share of the flow's fields masked")
    hide_payload: float = Field(default=0.3, ge=0, lt=1, description="share of packets whose payload is masked")
    hide_ports: float = Field(default=0.3, ge=0, lt=1, description="share of flows whose ports are masked")
    hide_text: float = Field(default=0.2, ge=0, lt=1, description="share of flows whose text, or payload, is masked")
    hide_gram: float = Field(default=0.15, ge=0, lt=1, description="share of n-grams masked")
    contrast: float = Field(
        default=1.0, ge=0, description="weight of the contrastive loss between flows of one device and hour and those "
        "of others; 0: the device of a flow is not used"
    )  # fmt: skip
    within_s: float = Field(default=3600.0, gt=0, description="largest time between two flows of a positive pair")
    same_flow: float = Field(
        default=0.2, ge=0, le=1, description="share of positive pairs made of one flow with two masks"
    )
    temperature: float = Field(default=0.15, gt=0, description="temperature of the contrastive loss")
    spread: float = Field(default=0.2, ge=0, description="weight of the variance and covariance terms")
    decorrelation: float = Field(default=0.04, ge=0, description="weight of the covariance term among them")


class LinearFieldSettings(Settings):
    """The linear encoder over semantic fields: what it reads, and the weights of numbers and n-grams."""

    grams: int = Field(default=128, ge=1, le=256, description="n-grams of the payload's text that are read")
    buckets: int = Field(
        default=2048, ge=16, le=8192, description="buckets that n-grams are hashed to; memory grows with its square"
    )
    ports: bool = Field(default=True, description="read the class of the ports")
    least: int = Field(default=3, ge=1, description="flows in which an n-gram must occur to be used")
    limit: float = Field(default=4.0, gt=0, description="standard deviations at which numbers are clipped")
    numbers: float = Field(default=2.0, gt=0, description="standard deviation of all numbers of a flow together")
    text: float = Field(default=8**-0.5, ge=0, description="weight of an n-gram, times its inverse document frequency")
    whiten: float = Field(
        default=0.5, ge=0, le=1, description="0: keep the variance of directions; 1: whiten them; 0.5: half way"
    )


class EncoderSettings(Settings):
    """The network from vectors to embeddings. The paper does not state widths, latent units or initial variance."""

    kind: Literal["ae", "vae", "fields", "linear-fields", "pca", "random-projection", "untrained", "raw"] = Field(
        default="vae", description="kind of encoder"
    )
    size: Literal["small", "base", "large"] = Field(default="base", description="widths and number of latent units")
    view: str = Field(default="full", description="which of the 3,040 numbers it reads; for raw: meta+packets")
    widths: tuple[int, ...] | None = Field(default=None, description="widths of the hidden layers; none: by size")
    d: int | None = Field(default=None, ge=1, le=4096, description="latent units; none: by size")
    output: Literal["linear", "sigmoid"] = Field(default="linear", description="output of the decoder")
    log_variance_limit: float = Field(default=10.0, gt=0, description="the posterior's log variance is clamped to this")
    log_variance_start: float = Field(default=-3.0, description="initial bias of the log variance")
    fields: FieldSettings = FieldSettings()
    linear: LinearFieldSettings = LinearFieldSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_view(cls, values: object) -> object:
        """For raw numbers the default view is the 40 numbers of metadata and packets, as in published tables."""
        if isinstance(values, dict) and values.get("kind") == "raw":
            return {"view": "meta+packets", **values}
        return values

    @property
    def reads(self) -> FieldSettings | None:
        """The fields of a flow that are read instead of its numbers; None if the numbers are read."""
        if self.kind == "linear-fields":
            linear = self.linear
            return FieldSettings(octets=1, grams=linear.grams, buckets=linear.buckets, ports=linear.ports)
        return self.fields if self.kind == "fields" else None

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the encoder's hidden layers, starting at the input."""
        return ENCODER_SIZES[self.size][0] if self.widths is None else self.widths

    @property
    def latent(self) -> int:
        """Number of latent units."""
        if self.d is not None:
            return self.d
        by_kind = {"fields": FIELD_LATENT, "linear-fields": LINEAR_LATENT}
        return by_kind[self.kind][self.size] if self.kind in by_kind else ENCODER_SIZES[self.size][1]


class TrainingSettings(Settings):
    """Training of an encoder. The KL weight is the one reported in the paper; it states no other value."""

    loss: Literal["mse", "mse-balanced"] = Field(
        default="mse-balanced",
        description="mean over all numbers, or mean of the means of metadata, packets and payload",
    )
    kl_weight: float = Field(
        default=1e-3,
        ge=0,
        description="weight of the KL term, which is summed over latent units and averaged over the batch",
    )
    kl_warmup_steps: int = Field(default=500, ge=0, description="steps over which that weight rises from 0")
    learning_rate: float = Field(default=1e-3, gt=0, description="learning rate of Adam")
    learning_rate_end: float = Field(
        default=1.0, ge=0, le=1, description="final share of the learning rate, which follows half a cosine"
    )
    batch: int = Field(default=256, ge=1, description="flows per step")
    gradient_norm: float = Field(default=5.0, gt=0, description="norm to which gradients are clipped")
    passes: int = Field(default=30, ge=1, description="passes over the training flows at most")
    patience: int = Field(
        default=3, ge=1, description="passes without a lower loss on the held-out days after which training stops"
    )
    least_gain: float = Field(default=0.001, ge=0, description="relative decrease of the loss that counts as lower")
    held_out: float = Field(default=0.2, ge=0, lt=1, description="share of the days that are held out, the last ones")
    gap_days: int = Field(default=1, ge=0, description="unused days before the held-out ones")
    held_out_flows: int = Field(default=20_000, ge=1, description="flows of the held-out days that are used")
    seeds: int = Field(default=3, ge=1, description="number of repetitions, each with its own seed")
    first_seed: int = Field(default=0, ge=0, description="first seed; the others follow")
    arithmetic: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="precision of matrix products; auto: bfloat16 if the processor supports it"
    )
    threads: int = Field(default=0, ge=0, description="threads; 0: one per core")
    buffer_flows: int = Field(default=1 << 19, ge=1, description="size of the shuffle buffer")
    save_s: float = Field(default=60.0, ge=0, description="time between checkpoints")


class ReconstructionSettings(Settings):
    """Measurement of reconstruction."""

    flows: int = Field(default=20_000, ge=2, description="flows sampled from each network")
    first_symbols: int = Field(
        default=100, ge=1, le=3000, description="payload symbols that are compared, the first ones"
    )
    active_variance: float = Field(
        default=0.01, ge=0, description="variance of a latent unit's mean from which the unit counts as active"
    )
    least_flows: int = Field(default=20, ge=1, description="labels and services with fewer flows are not reported")
    services: int = Field(default=20, ge=1, description="services reported, those with most flows")
    seed: int = Field(default=0, ge=0, description="seed of the sample of flows")
    seeds: int = Field(default=3, ge=1, description="seeds of random baselines; of a model all its seeds are used")


Budget = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(lambda given: None if given == "all" else given)]
"""Number of labelled flows; None, or "all" in files, for all of them."""


class ProbeSettings(Settings):
    """Classifiers on frozen embeddings. All encoders share one grid, which is searched on training days."""

    level: Literal["label", "model", "family", "type", "coarse"] = Field(
        default="label", description="what to classify"
    )
    probes: tuple[Literal["logistic", "knn", "mlp", "forest"], ...] = Field(
        default=("logistic",), min_length=1, description="classifiers on the embeddings"
    )
    budgets: tuple[Budget, ...] = Field(
        default=(None,), min_length=1, description='labelled flows per type; none or "all": all of them'
    )
    seeds: int = Field(default=3, ge=1, description="repetitions of each, with different seeds")
    whiten: bool = Field(default=False, description="whiten embeddings after standardising them")
    whiten_floor: float = Field(
        default=1e-4, gt=0, description="directions with a smaller share of the largest variance are dropped"
    )
    split: Literal["day", "device-day"] = Field(
        default="day", description="within a network: split days for all devices at once, or for each device separately"
    )
    test_share: float = Field(default=0.3, gt=0, lt=1, description="share of days for testing, the last ones")
    held_out: float = Field(
        default=0.25, ge=0, lt=1, description="share of training days for selection and calibration, the last ones"
    )
    gap_days: int = Field(default=1, ge=0, description="unused days between the parts of a network")
    shared_types: bool = Field(default=False, description="train only on types that occur in the test")
    train_flows: int = Field(
        default=20_000, ge=2, description="most training flows in memory; the largest types are subsampled"
    )
    test_flows: int = Field(default=50_000, ge=1, description="most test flows; beyond, they are sampled")
    logistic_c: tuple[float, ...] = Field(
        default=(0.1, 1.0, 10.0), min_length=1, description="grid of the inverse regularisation of logistic regression"
    )
    logistic_steps: int = Field(default=300, ge=1, description="most steps of its solver")
    neighbours: int = Field(default=5, ge=1, description="neighbours of kNN")
    mlp_width: int = Field(default=64, ge=1, description="width of the MLP's hidden layer")
    mlp_decay: tuple[float, ...] = Field(
        default=(1e-4, 1e-2), min_length=1, description="grid of the weight decay of the MLP"
    )
    mlp_passes: int = Field(default=50, ge=1, description="most passes of the MLP")
    mlp_steps: int = Field(default=1000, ge=0, description="fewest steps; few flows need more passes")
    trees: int = Field(default=200, ge=1, description="trees of the forest")
    leaf: tuple[int, ...] = Field(default=(1, 5), min_length=1, description="grid of the forest: flows per leaf")
    balanced: bool = Field(default=True, description="weight all types equally, whatever their number of flows")
    draws: int = Field(default=1000, ge=1, description="bootstrap samples over device-days")
    aggregate: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 5, 20), description="numbers of flows of a device that are aggregated to a verdict"
    )
    aggregate_s: int = Field(
        default=3600, ge=0, description="also aggregate flows within clock intervals of this length; 0: do not"
    )
    quantile: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of held-out verdicts of known types that may be rejected as unknown",
    )
    tune_passes: int = Field(default=15, ge=1, description="passes of networks trained on labels")
    tune_steps: int = Field(default=300, ge=0, description="fewest steps; few flows need more passes")
    tune_rate: float = Field(default=1e-3, gt=0, description="learning rate of networks trained on labels")
    tune_batch: int = Field(default=256, ge=1, description="flows in one of their steps")
    tune_patience: int = Field(default=3, ge=1, description="passes without a lower held-out loss before they end")
