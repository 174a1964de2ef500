"""Settings of encoders: network, training, reconstruction and probes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ethogram.config._base import Settings

__all__ = [
    "ENCODER_SIZES",
    "FIELD_LATENT",
    "LINEAR_LATENT",
    "Budget",
    "EncoderSettings",
    "FieldSettings",
    "LinearFieldSettings",
    "ProbeSettings",
    "ReconstructionSettings",
    "TrainingSettings",
]

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
