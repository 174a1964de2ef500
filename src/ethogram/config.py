"""Settings: one named value for each choice. Unknown settings fail; a digest says which settings made a result."""

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
    """Base of all settings: frozen, strict about names, with a digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **values: object) -> Self:
        """Build settings from what a user gave; a wrong one is a :class:`ConfigurationError` in one line."""
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

    strict: bool = Field(default=False, description="damage raises an error instead of a warning and a count")
    tunnels: bool = Field(default=False, description="describe the packet inside IP in IP, GRE, GTP-U and CAPWAP")
    block_octets: int = Field(default=1 << 22, ge=1 << 12, description="octets of a capture held at once")
    max_octets: int = Field(default=1 << 42, gt=0, description="decompressed octets of one file that are read")
    max_ratio: float = Field(default=1000.0, gt=1, description="decompressed to compressed octets; more is an attack")


class MeterSettings(Settings):
    """Packets to biflows."""

    idle_timeout_s: float = Field(default=120.0, gt=0, description="a flow silent for longer has ended")
    active_timeout_s: float = Field(default=1800.0, gt=0, description="a flow lasting longer is cut")
    max_flows: int = Field(default=1 << 22, gt=0, description="live flows held at once; the oldest leave first")
    octets: Literal["ip", "frame"] = Field(default="ip", description="count octets of the IP packet or of the frame")
    vlan_key: bool = Field(default=False, description="the VLAN tag is part of a flow's key")


class CustomFlowSettings(Settings):
    """Packets to custom flows. The record has room for 3,000 symbols, ten packets, and 1,000 octets of each."""

    direction: Literal["outgoing", "bidirectional"] = Field(
        default="outgoing", description="packets the device sent, or those of both directions"
    )
    interval_s: float = Field(default=60.0, gt=0, le=3600, description="a record ends so long after its first packet")
    packets: int = Field(default=10, ge=1, le=10, description="packets that are described one by one")
    packet_octets: int = Field(default=1000, ge=0, le=1000, description="payload octets kept of one packet")
    protocols: tuple[int, ...] = Field(default=(6, 17), description="IANA numbers of the protocols that are metered")
    private: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        description="prefixes of remote addresses that become 0.0.0.0",
    )
    fragment_s: float = Field(
        default=30.0, ge=0, description="how long later fragments join the flow of the first; 0: never"
    )
    max_fragments: int = Field(default=4096, ge=1, le=1 << 20, description="fragmented packets remembered at once")
    lateness_s: float = Field(
        default=5.0, ge=0, description="packets out of order by less than this still find their record"
    )
    leap_s: float = Field(
        default=60.0, gt=0, description="time that goes back by more than this is another capture's: all records end"
    )
    max_flows: int = Field(default=1 << 18, ge=1, description="live records held at once; the oldest leave first")
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 14,
        le=1 << 34,
        description="payload octets of live records held at once; the oldest leave first",
    )
    block_flows: int = Field(default=1 << 14, ge=1, description="records named, written and read together")


class PacketFlowSettings(Settings):
    """What is kept of the packets of both directions beside outgoing custom flows; headers are kept whole."""

    packets: int = Field(default=MOST_PACKETS, ge=1, le=255, description="first packets of a flow")
    payload_packets: int = Field(
        default=PAYLOAD_PACKETS, ge=0, le=255, description="the first of them, of whose payload more is kept"
    )
    payload_octets: int = Field(
        default=PAYLOAD_OCTETS, ge=0, le=1500, description="transport payload kept of such a packet"
    )
    later_octets: int = Field(default=LATER_OCTETS, ge=0, le=1500, description="transport payload kept of the others")
    max_octets: int = Field(
        default=1 << 28,
        ge=1 << 12,
        le=1 << 34,
        description="octets of live flows held at once; beyond, packets of a flow from one on are not kept but counted",
    )


class WireSettings(Settings):
    """Export messages (NetFlow v5, v9, IPFIX) to biflows; every bound has a counter of what it turned away."""

    max_exporters: int = Field(default=4096, gt=0, description="exporters known at once; further ones are refused")
    max_templates: int = Field(default=1 << 15, gt=0, description="templates held; the one unused for longest leaves")
    max_templates_per_exporter: int = Field(
        default=4096, gt=0, description="so that one exporter cannot crowd out others"
    )
    max_fields: int = Field(default=512, gt=0, description="fields of one template; a longer one is refused")
    template_lifetime_s: float = Field(
        default=86_400.0, gt=0, description="over UDP, a template not sent again for so long is forgotten"
    )
    pending_octets: int = Field(
        default=1 << 26, ge=0, description="octets of sets held until their template comes; the oldest leave first"
    )
    pending_octets_per_exporter: int = Field(default=1 << 22, ge=0, description="the same for one exporter")
    pending_age_s: float = Field(default=1800.0, ge=0, description="how long such a set is held")
    scale_sampling: bool = Field(default=True, description="multiply octets and packets by the sampling rate in force")
    block_octets: int = Field(default=1 << 25, ge=1 << 16, description="octets of messages that are decoded together")
    segment_s: float = Field(
        default=60.0, gt=0, description="blocks, and segments on disk, end at multiples of this time of arrival"
    )


class BoundSettings(Settings):
    """What is held of counts at once. Where no bound is reached, none of these changes a result: no digest has them."""

    device_counts: int = Field(
        default=8192,
        ge=1,
        description="counts with a name, and as many without, of one device in one sub-epoch; the keys of others become"
        " coarser: without their name, then without their port",
    )
    open_counts: int = Field(
        default=1 << 22,
        ge=1,
        description="counts of open epochs that a collector holds; beyond, devices with most keys keep fewer, and then"
        " devices with fewest flows are dropped",
    )
    held_counts: int = Field(
        default=1 << 23,
        ge=1,
        description="counts of closed epochs in windows still open; beyond, the largest windows leave without export",
    )
    file_counts: int = Field(
        default=1 << 25,
        ge=1,
        le=1 << 29,
        description="counts of files read together; beyond, as for those of open epochs",
    )


class CollectSettings(Settings):
    """The live collector."""

    queue_octets: int = Field(
        default=1 << 28, ge=1 << 20, description="octets received and not yet decoded; what comes beyond is counted"
    )
    socket_octets: int = Field(default=1 << 25, gt=0, description="receive buffer asked of the kernel, for each socket")
    allow: tuple[str, ...] = Field(default=(), description="prefixes exporters may send from; none: any")
    rate_limit: float | None = Field(
        default=None, gt=0, description="messages a second of one exporter, beyond which they are refused; none: any"
    )
    burst_s: float = Field(default=5.0, gt=0, description="seconds of the rate limit that may come at once")
    max_connections: int = Field(default=256, gt=0, description="TCP connections open at once")
    idle_s: float = Field(
        default=3600.0, gt=0, description="a TCP connection that completes no message for so long is closed"
    )
    address_share: float = Field(
        default=0.25, gt=0, le=1,
        description="share of exporters and of connections that one address (IPv6: a /64) may have",
    )  # fmt: skip
    prefix_share: float = Field(
        default=0.5, gt=0, le=1, description="the same for one prefix (IPv4: a /24, IPv6: a /48)"
    )
    max_devices: int = Field(
        default=100_000, gt=0, description="devices whose fingerprints are kept; others are counted"
    )
    ahead_s: float = Field(
        default=300.0, ge=0, description="flows that end more than this after they arrived count to no fingerprint"
    )
    bounds: BoundSettings = BoundSettings()


class NameSettings(Settings):
    """Remote names from passive DNS and from records."""

    enabled: bool = Field(default=True, description="name remote ends")
    hold_s: float = Field(default=86_400.0, ge=0, description="how long after its lifetime an answer still names")
    max_answers: int = Field(default=1 << 21, gt=0, description="answers held at once; the oldest leave first")


class FlowSettings(Settings):
    """Biflows to the flow table."""

    local: tuple[str, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
                 "fe80::/10", "fc00::/7"),
        description="prefixes that are inside; without a device file every address inside is a device",
    )  # fmt: skip
    join_cut: bool = Field(default=True, description="join a record cut at the active timeout with the next one")
    join_gap_s: float = Field(default=120.0, gt=0, description="largest gap between records that are joined")
    join_span_s: float | None = Field(
        default=3600.0, gt=0, description="records are joined within an interval of the clock of this length; none: any"
    )
    names: NameSettings = NameSettings()
    time_zone: str = Field(default="UTC", description="zone of times that records write without one")
    pair: Literal["auto", "always", "never"] = Field(
        default="auto", description="pair one-way records into biflows; auto: where the format is one-way"
    )
    pair_gap_s: float = Field(default=10.0, ge=0, description="largest silence between a record and its answer")
    device_by: Literal["mac", "address"] = Field(
        default="mac", description="what names a device without a device file: its MAC where known, or its address"
    )
    router_addresses: int = Field(
        default=2, ge=1, le=1024,
        description="a MAC that uses more IPv4 addresses than this within 15 minutes is a router's or repeater's, and "
        "names nothing",
    )
    block_flows: int = Field(
        default=1 << 20, gt=0, description="records looked at together when joining, pairing and breaking ties"
    )


class CountSettings(Settings):
    """The flow table to counts."""

    sub_epoch_s: int = Field(default=3600, gt=0, description="resolution of the counts")
    other_protocols: bool = Field(default=False, description="count protocols other than TCP and UDP as IP/<n>")
    drop_probes: bool = Field(default=True, description="leave out inbound flows that were never answered")
    max_services: int = Field(default=4096, gt=0, description="services per device and day; more become dyn")


class KeySettings(Settings):
    """What of a count's key is part of the service."""

    role: bool = Field(default=False, description="the device is client or server")
    scope: bool = Field(default=False, description="the remote end is wan, lan or multicast")
    answered: bool = Field(default=False, description="both sides sent something")
    name: bool = Field(default=False, description="registrable domain of the remote end")
    dynamic_from: int = Field(default=DYNAMIC_FROM, ge=1, le=65536, description="ports from here on are one: dyn")
    coarseness: Literal["port", "class", "protocol"] = Field(
        default="port", description="what of the service port counts: the port, its class, or the protocol alone"
    )
    rhythm_h: int | None = Field(
        default=None, ge=1, le=24, description="parts of the day (UTC) of so many hours are told apart; none: not"
    )
    ports: tuple[str, ...] | None = Field(
        default=None, description="services learnt at enrolment, as TCP/443; all others become dyn"
    )


class RepresentationSettings(Settings):
    """Counts of a window to weights per service."""

    kind: Literal["list", "prevalence", "generalized", "log_volume", "tiers"] = Field(
        default="generalized", description="the representation"
    )
    granularity: int = Field(default=16, ge=0, description="G of Generalized(G); 0 stands for infinity")
    weight: Literal["flow_share", "presence", "octet_share", "packet_share"] = Field(
        default="flow_share", description="what the share of a service is measured in"
    )
    similarity: Literal["ruzicka", "cosine", "total_variation", "containment_dynamic", "containment_static"] = Field(
        default="ruzicka", description="how two windows are compared"
    )
    min_share: float = Field(default=0.0, ge=0, le=1, description="services with a smaller share are left out")
    min_flows: int = Field(default=0, ge=0, description="services with fewer flows are left out")


class ExporterSettings(Settings):
    """The fingerprint exporter (stream of epochs to exported windows)."""

    epoch_s: int = Field(default=86_400, gt=0, description="length of an epoch")
    threshold: float = Field(default=0.9, ge=0, le=1, description="similarity from which a window is stable")
    runs: int = Field(default=1, ge=1, description="successive stable epochs needed")
    compare: Literal["previous", "halves"] = Field(
        default="halves", description="compare the halves of the window, or the window with itself an epoch ago"
    )
    mode: Literal["tumbling", "change"] = Field(
        default="tumbling", description="export every converged window, or only one unlike the last exported"
    )
    min_flows: int = Field(default=50, ge=0, description="flows a window needs to converge")
    min_epochs: int = Field(default=2, ge=1, description="active epochs a window needs to converge")
    max_epochs: int = Field(default=30, ge=1, description="active epochs after which a window leaves unconverged")
    gap_s: int = Field(default=7 * 86_400, gt=0, description="a longer silence ends the window")
    lateness_s: int = Field(default=1800 + 120, ge=0, description="how long after its end an epoch stays open")
    key: KeySettings = KeySettings()
    representation: RepresentationSettings = RepresentationSettings()


class IdentifySettings(Settings):
    """Fingerprints and a library to verdicts."""

    method: str = Field(default="nearest", description="the identifier, by its name in the table of methods")
    level: Literal["label", "model", "family", "type", "coarse"] = Field(
        default="label", description="what is told apart; twin units are one model"
    )
    closed: bool = Field(default=False, description="never say unknown")
    quantile: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of a label's own held-out windows that may fall below its threshold",
    )
    least_score: float = Field(
        default=0.5, ge=0, le=1, description="a label that is less likely than this is not said: unknown"
    )
    few: int = Field(default=20, ge=1, description="labels with fewer held-out windows use the threshold of all labels")
    folds: int = Field(default=5, ge=2, description="blocks of time held out in turn to fit thresholds and calibration")
    terms: int = Field(default=12, ge=1, description="terms of evidence shown; the others are added up in one")
    best_of: Literal["best", "mean_of_3", "prototype"] = Field(
        default="best", description="score of a label from its fingerprints: the nearest, the nearest three, their mean"
    )
    idf: bool = Field(default=False, description="weigh services by how few of the enrolled labels use them")
    window_s: int | None = Field(
        default=None,
        gt=0,
        description="windows a fingerprint is split into, whose scores are averaged; none: it is whole",
    )
    seed: int = Field(default=0, ge=0, description="of every method that draws at random")


ENCODER_SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "small": ((128,), 16), "base": ((512, 128), 32), "large": ((1024, 256), 64)
}  # fmt: skip
"""Widths between the input and the latent units, and the number of latent units, by size."""
FIELD_LATENT = {"small": 64, "base": 128, "large": 192}
"""Latent units of the encoder over fields, by size."""
LINEAR_LATENT = {"small": 24, "base": 48, "large": 96}
"""Directions of the linear encoder over fields, by size."""


class FieldSettings(Settings):
    """The encoder over semantic fields; every width, every share that is hidden from it while it learns, its losses."""

    octets: int = Field(default=12, ge=1, le=64, description="first payload octets of a packet with embeddings")
    grams: int = Field(default=96, ge=1, le=256, description="pieces of text in the payload that are looked at")
    buckets: int = Field(default=2048, ge=16, le=65_536, description="embeddings that pieces of text are hashed to")
    token: int = Field(default=64, ge=4, description="numbers that describe one packet inside")
    hidden: int = Field(default=256, ge=4, description="width of the layers over the whole flow")
    ports: bool = Field(default=True, description="look at the class of the ports")
    hide_packet: float = Field(default=0.15, ge=0, lt=1, description="share of packets hidden")
    hide_field: float = Field(default=0.15, ge=0, lt=1, description="share of the fields of the flow hidden")
    hide_payload: float = Field(default=0.3, ge=0, lt=1, description="share of packets whose payload is hidden")
    hide_ports: float = Field(default=0.3, ge=0, lt=1, description="share of flows whose ports are hidden")
    hide_text: float = Field(default=0.2, ge=0, lt=1, description="share of flows whose text, or payload, is hidden")
    hide_gram: float = Field(default=0.15, ge=0, lt=1, description="share of pieces of text hidden")
    contrast: float = Field(
        default=1.0, ge=0, description="weight of telling a flow of the same device and hour from flows of others; "
        "0: nothing is learnt from which flows are of one device"
    )  # fmt: skip
    within_s: float = Field(default=3600.0, gt=0, description="how near flows of a device are to be told together")
    same_flow: float = Field(default=0.2, ge=0, le=1, description="share of flows told by themselves, hidden otherwise")
    temperature: float = Field(default=0.15, gt=0, description="similarities are divided by it when told")
    spread: float = Field(default=0.2, ge=0, description="weight of what latent units lack in deviation, and share")
    decorrelation: float = Field(default=0.04, ge=0, description="what shared variance weighs in that")


class LinearFieldSettings(Settings):
    """The linear encoder over semantic fields: what it reads, and how numbers and pieces of text weigh."""

    grams: int = Field(default=128, ge=1, le=256, description="pieces of text in the payload that are looked at")
    buckets: int = Field(
        default=2048, ge=16, le=8192, description="what pieces of text are hashed to; its square decides the memory"
    )
    ports: bool = Field(default=True, description="look at the class of the ports")
    least: int = Field(default=3, ge=1, description="flows that have a piece of text, for it to count")
    limit: float = Field(default=4.0, gt=0, description="deviations from its mean at which a number is cut")
    numbers: float = Field(default=2.0, gt=0, description="deviation of all numbers of a flow together")
    text: float = Field(default=8**-0.5, ge=0, description="weight of a piece of text, times the log of its rarity")
    whiten: float = Field(
        default=0.5, ge=0, le=1, description="0: directions as they come; 1: all of the same deviation; 0.5: half way"
    )


class EncoderSettings(Settings):
    """The network between vectors and embeddings. Widths, latent units and the start of the variance are ours."""

    kind: Literal["ae", "vae", "fields", "linear-fields", "pca", "random-projection", "untrained", "raw"] = Field(
        default="vae", description="what turns a vector into an embedding"
    )
    size: Literal["small", "base", "large"] = Field(default="base", description="widths and number of latent units")
    view: str = Field(default="full", description="which of the 3,040 numbers it sees; raw numbers: meta+packets")
    widths: tuple[int, ...] | None = Field(default=None, description="widths of the hidden layers; none: by size")
    d: int | None = Field(default=None, ge=1, le=4096, description="latent units; none: by size")
    output: Literal["linear", "sigmoid"] = Field(default="linear", description="what the decoder ends with")
    log_variance_limit: float = Field(default=10.0, gt=0, description="the posterior's log variance is clamped to this")
    log_variance_start: float = Field(default=-3.0, description="where its bias starts")
    fields: FieldSettings = FieldSettings()
    linear: LinearFieldSettings = LinearFieldSettings()

    @model_validator(mode="before")
    @classmethod
    def _default_view(cls, values: object) -> object:
        """Raw numbers are the 40 of metadata and packets wherever no view is named, as in all published tables."""
        if isinstance(values, dict) and values.get("kind") == "raw":
            return {"view": "meta+packets", **values}
        return values

    @property
    def reads(self) -> FieldSettings | None:
        """Which fields of a flow are read instead of its numbers; None where the numbers are."""
        if self.kind == "linear-fields":
            own = self.linear
            return FieldSettings(octets=1, grams=own.grams, buckets=own.buckets, ports=own.ports)
        return self.fields if self.kind == "fields" else None

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers of the encoder, from the input on."""
        return ENCODER_SIZES[self.size][0] if self.widths is None else self.widths

    @property
    def latent(self) -> int:
        """Latent units."""
        if self.d is not None:
            return self.d
        by_kind = {"fields": FIELD_LATENT, "linear-fields": LINEAR_LATENT}
        return by_kind[self.kind][self.size] if self.kind in by_kind else ENCODER_SIZES[self.size][1]


class TrainingSettings(Settings):
    """How an encoder learns. The KL weight is the one reported for the paper; all else is ours."""

    loss: Literal["mse", "mse-balanced"] = Field(
        default="mse-balanced", description="mean over all numbers, or mean of the means of meta, packets and payload"
    )
    kl_weight: float = Field(
        default=1e-3, ge=0, description="of the KL term, summed over the latent units and averaged over the batch"
    )
    kl_warmup_steps: int = Field(default=500, ge=0, description="steps over which that weight rises from nothing")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam")
    learning_rate_end: float = Field(
        default=1.0, ge=0, le=1, description="share of it that is left after all passes; it falls as half a cosine"
    )
    batch: int = Field(default=256, ge=1, description="flows in one step")
    gradient_norm: float = Field(default=5.0, gt=0, description="a longer gradient is cut to this")
    passes: int = Field(default=30, ge=1, description="passes over the training flows at most")
    patience: int = Field(
        default=3, ge=1, description="passes without a lower loss on the held-out days before it ends"
    )
    least_gain: float = Field(default=0.001, ge=0, description="share by which the loss must fall to count as lower")
    held_out: float = Field(default=0.2, ge=0, lt=1, description="share of the days, the last ones, that are held out")
    gap_days: int = Field(default=1, ge=0, description="days before the held-out ones that are not used")
    held_out_flows: int = Field(default=20_000, ge=1, description="flows of the held-out days that are looked at")
    seeds: int = Field(default=3, ge=1, description="how often it is repeated")
    first_seed: int = Field(default=0, ge=0, description="the seed of the first; the others follow")
    arithmetic: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="of products inside; auto: bfloat16 where the processor has it"
    )
    threads: int = Field(default=0, ge=0, description="threads of the arithmetic; 0: one for each core")
    buffer_flows: int = Field(
        default=1 << 19, ge=1, description="flows in memory at once, among which they are shuffled"
    )
    save_s: float = Field(default=60.0, ge=0, description="seconds between saved states, to go on from")


class ReconstructionSettings(Settings):
    """What is measured of encoders that decode."""

    flows: int = Field(default=20_000, ge=2, description="flows of a network that are looked at, drawn evenly")
    first_symbols: int = Field(default=100, ge=1, le=3000, description="payload symbols whose octets are compared")
    active_variance: float = Field(
        default=0.01, ge=0, description="a latent unit whose mean varies by more than this over flows is active"
    )
    least_flows: int = Field(default=20, ge=1, description="labels and services with fewer flows have no row")
    services: int = Field(default=20, ge=1, description="services with a row, those with most flows")
    seed: int = Field(default=0, ge=0, description="of the draw of flows")
    seeds: int = Field(default=3, ge=1, description="of baselines that are drawn; of a model all that it has")


Budget = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(lambda given: None if given == "all" else given)]
"""Labelled flows; none is all of them, which files that have no none write as "all"."""


class ProbeSettings(Settings):
    """Classifiers on frozen embeddings. The grid is the same for every encoder; it is searched on training days."""

    level: Literal["label", "model", "family", "type", "coarse"] = Field(
        default="label", description="what is told apart"
    )
    probes: tuple[Literal["logistic", "knn", "mlp", "forest"], ...] = Field(
        default=("logistic",), min_length=1, description="classifiers on the embeddings"
    )
    budgets: tuple[Budget, ...] = Field(
        default=(None,), min_length=1, description='labelled flows for each type; none or "all": as many as there are'
    )
    seeds: int = Field(default=3, ge=1, description="how often each is repeated")
    whiten: bool = Field(default=False, description="after standardising, turn and scale to unit covariance")
    whiten_floor: float = Field(
        default=1e-4, gt=0, description="directions of a smaller share of the largest variance are left out"
    )
    split: Literal["day", "device-day"] = Field(
        default="day", description="inside a network: days cut for all devices at once, or each device's own days"
    )
    test_share: float = Field(default=0.3, gt=0, lt=1, description="share of the days, the last ones, that test")
    held_out: float = Field(
        default=0.25, ge=0, lt=1, description="share of the training days, the last ones, that choose and calibrate"
    )
    gap_days: int = Field(default=1, ge=0, description="days that are not used between two sides of one network")
    shared_types: bool = Field(default=False, description="train only types that are tested too")
    train_flows: int = Field(
        default=20_000, ge=2, description="training flows in memory at most; the types with most give way"
    )
    test_flows: int = Field(default=50_000, ge=1, description="test flows at most, drawn evenly")
    logistic_c: tuple[float, ...] = Field(default=(0.1, 1.0, 10.0), min_length=1, description="grid of the logistic")
    logistic_steps: int = Field(default=300, ge=1, description="of its solver at most")
    neighbours: int = Field(default=5, ge=1, description="of kNN")
    mlp_width: int = Field(default=64, ge=1, description="of its one hidden layer")
    mlp_decay: tuple[float, ...] = Field(default=(1e-4, 1e-2), min_length=1, description="grid of the MLP")
    mlp_passes: int = Field(default=50, ge=1, description="of the MLP at most")
    mlp_steps: int = Field(default=1000, ge=0, description="fewer steps than this: so few flows need more passes")
    trees: int = Field(default=200, ge=1, description="of the forest")
    leaf: tuple[int, ...] = Field(default=(1, 5), min_length=1, description="grid of the forest: flows in a leaf")
    balanced: bool = Field(default=True, description="every type weighs the same, however many flows it has")
    draws: int = Field(default=1000, ge=1, description="of the bootstrap over device-days")
    aggregate: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 5, 20), description="flows of a device that give one verdict"
    )
    aggregate_s: int = Field(default=3600, ge=0, description="and those of so many seconds of the clock; 0: not")
    quantile: float = Field(
        default=0.05, ge=0, le=1, description="share of held-out verdicts of known types that may become unknown"
    )
    tune_passes: int = Field(default=15, ge=1, description="passes of networks that learn from labels")
    tune_steps: int = Field(default=300, ge=0, description="fewer steps than this: so few flows need more passes")
    tune_rate: float = Field(default=1e-3, gt=0, description="their learning rate")
    tune_batch: int = Field(default=256, ge=1, description="flows in one of their steps")
    tune_patience: int = Field(default=3, ge=1, description="passes without a lower held-out loss before they end")
