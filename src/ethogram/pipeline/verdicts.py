"""Identify windows by fingerprints, with a library."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from functools import partial
from statistics import median

import polars as pl

from ethogram.config import ExporterSettings, IdentifySettings, KeySettings, RepresentationSettings, Settings
from ethogram.errors import InputError, LibraryError
from ethogram.fingerprint.count import sort_counts
from ethogram.fingerprint.similarity import blocks
from ethogram.identify.identifier import Identifier
from ethogram.identify.library import Library
from ethogram.identify.methods import Featurizer, identifier
from ethogram.identify.verdict import VerdictModel
from ethogram.pipeline.fingerprints import service_matrix
from ethogram.pipeline.library import by_source, devices_of
from ethogram.pipeline.windows import ObservedWindows, stable_windows
from ethogram.schema import COUNT_KEYS, COUNT_VOLUMES, COUNTS, Inventory, ServiceMatrix, Windows

__all__ = [
    "FLOW_SHARES",
    "build",
    "default_method",
    "digest_of",
    "featurizer",
    "fit_verdict_model",
    "identify_windows",
    "refit_verdict_model",
    "settings_for",
    "time_to_converge",
    "usual_services",
]

FLOW_SHARES = RepresentationSettings(kind="prevalence", weight="flow_share")
QUANTITIES = {
    "flow_share": "flow share", "presence": "share of active hours", "octet_share": "octet share",
    "packet_share": "packet share",
}  # fmt: skip


def default_method(packaged: bool, level: str = "label") -> str:
    """The default method: a cross-network method for the bundled library, else ``evidence``.

    What the packaged library knows was seen on other networks, where absolute volume does not hold. Families are told
    better there without the packet sizes of names, and kinds of things by how they behave, too.
    """
    if not packaged:
        return "evidence"
    return {"family": "cross-network-families", "type": "cross-network-kinds", "coarse": "cross-network-kinds"}.get(
        level, "cross-network"
    )


def settings_for(method: str = "evidence", **values: object) -> IdentifySettings:
    """Settings of a method as they did best on enrolment data: likelihood ratios want windows of six hours."""
    window = {"window_s": 6 * 3600} if method == "likelihood" else {}
    return IdentifySettings.of(**{"method": method, **window, **values})


def featurizer(key: KeySettings | None = None, representation: RepresentationSettings | None = None) -> Featurizer:
    """What fingerprinting lends to identification, under these settings."""
    settings = representation or RepresentationSettings()
    share = QUANTITIES[settings.weight]
    quantity = {
        "list": "presence", "prevalence": share, "generalized": f"level of {share}", "tiers": f"tier of {share}",
        "log_volume": f"log {share.replace(' share', 's').replace('share of ', '')} a day",
    }[settings.kind]  # fmt: skip
    return Featurizer(
        represent=partial(service_matrix, key=key, representation=settings),
        compare=partial(blocks, kind=settings.similarity),
        similarity=settings.similarity,
        quantity=quantity,
    )


def build(
    settings: IdentifySettings | None = None,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> Identifier:
    """Build the identifier that settings name, over the key and representation."""
    return identifier(featurizer(key, representation), settings)


def fit_verdict_model(
    library: Library,
    settings: IdentifySettings | None = None,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> VerdictModel:
    """Learn a library: thresholds, calibration and fingerprints, at the level that the settings name."""
    chosen_settings = settings or settings_for()
    if not library.entries:
        raise LibraryError(f"{library.name}: the library is empty")
    windows, labels = library.windows(), library.labels(chosen_settings.level)
    judge = VerdictModel(build(chosen_settings, key, representation), chosen_settings)
    groups = by_source(library) if chosen_settings.method.startswith("cross-network") else None
    return judge.fit(
        windows, labels, groups, needed_s=time_to_converge(windows, labels),
        units=None if groups is None else devices_of(library),
    )  # fmt: skip


def refit_verdict_model(model: VerdictModel, library: Library, changed: Set[str]) -> VerdictModel:
    """Fit a model of most of a library on all of it; ``changed`` are the labels that have new windows."""
    windows, labels = library.windows(), library.labels(model.settings.level)
    return model.refit(windows, labels, changed, time_to_converge(windows, labels))


def time_to_converge(windows: Windows, labels: Sequence[str]) -> dict[str, float]:
    """Median seconds until the exporter's fingerprint of each label converges; labels that never do are left out."""
    named = windows.items.select("item", "device").with_columns(label=pl.Series(labels, dtype=pl.String))
    units = named.select("device", "label").unique().sort("device", "label").with_row_index("unit")
    owner = named.join(units, on=["device", "label"]).select("item", pl.col("unit").cast(pl.String).alias("device"))
    counts = (
        windows.counts.join(owner, on="item").group_by(COUNT_KEYS).agg(pl.col(name).sum() for name in COUNT_VOLUMES)
    )
    label_of = dict(zip(units["unit"].cast(pl.String), units["label"], strict=True))
    lengths: dict[str, list[int]] = {}
    for window in stable_windows(COUNTS.conform(sort_counts(counts))):
        epochs = window.epochs[-1] + 1 - window.epochs[0]
        lengths.setdefault(label_of[window.device], []).append(epochs * ExporterSettings().epoch_s)
    return {label: float(median(seconds)) for label, seconds in lengths.items()}


def identify_windows(
    seen: ObservedWindows,
    library: Library,
    settings: IdentifySettings | None = None,
    *,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
    judge: VerdictModel | None = None,
    usual: Mapping[str, Collection[str]] | None = None,
    simulated: bool = False,
) -> Inventory:
    """Say what every item is.

    Parameters
    ----------
    seen
        The items; see :func:`regroup`.
    library
        Known devices.
    settings, key, representation
        The method, and what it looks at.
    judge
        One learnt already from this library under these settings.
    usual
        Services of the enrolled windows by label; default: taken from the library.
    simulated
        Whether the traffic was made up; every verdict says so.

    Raises
    ------
    InputError
        When there is nothing to identify.
    """
    if len(seen.windows) == 0:
        raise InputError("nothing to identify: no flow of a device")
    model = judge or fit_verdict_model(library, settings, key, representation)
    shares = RepresentationSettings(kind="prevalence", weight="presence")
    if usual is None:
        usual = usual_services(library, model.settings.level, service_matrix(library.windows(), key, shares))
    verdicts = model.verdicts(
        seen.windows,
        converged=seen.converged,
        presence=service_matrix(seen.windows, key, shares),
        usual=usual,
        flow_shares=service_matrix(seen.windows, key, FLOW_SHARES),
        simulated=simulated,
    )
    return Inventory(library=f"{library.name} {library.digest}", devices=verdicts)


def usual_services(library: Library, level: str, presence: ServiceMatrix) -> dict[str, set[str]]:
    """The services of each label's windows."""
    services: dict[str, set[str]] = {}
    for i, label in enumerate(library.labels(level)):
        services.setdefault(label, set()).update(presence.row(i))
    return services


def digest_of(*settings: Settings) -> str:
    """One digest for several settings."""
    return "-".join(each.digest for each in settings)
