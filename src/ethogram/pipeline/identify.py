"""From counts to verdicts: where fingerprints and identification meet. Enrol builds libraries, identify reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import ExporterSettings, IdentifySettings, KeySettings, RepresentationSettings, Settings
from ethogram.errors import InputError, LibraryError
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.similarity import blocks
from ethogram.identify import library_file
from ethogram.identify.identifier import Identifier
from ethogram.identify.labels import Label, match_labels
from ethogram.identify.leave_group_out import device_units
from ethogram.identify.library import Library, Source
from ethogram.identify.methods import Featurizer, identifier
from ethogram.identify.verdict import VerdictModel
from ethogram.pipeline.fingerprints import service_matrix, windows_from_counts, windows_from_fingerprints
from ethogram.pipeline.text import join_names, plural
from ethogram.schema import COUNT_KEYS, COUNT_VOLUMES, COUNTS, ITEM, ITEM_COUNTS, Inventory, ServiceMatrix, Windows

__all__ = [
    "PACKAGED",
    "EnrolReport",
    "ObservedWindows",
    "Per",
    "build",
    "by_source",
    "default_method",
    "devices_of",
    "enrol",
    "export_counts",
    "identify",
    "judge_of",
    "open_library",
    "regroup",
    "settings_for",
    "time_to_converge",
    "usual_services",
]

Per = Literal["device", "fingerprint", "epoch"]

PACKAGED = "library.jsonl.gz"
"""The library that comes with the package, in ``ethogram/data``."""

STABLE = ("converged", "change")
"""Why a window ended, when it ended because its fingerprint was stable."""

QUANTITIES = {
    "flow_share": "flow share", "presence": "share of active hours", "octet_share": "octet share",
    "packet_share": "packet share",
}  # fmt: skip


@dataclass(frozen=True)
class ObservedWindows:
    """What came in: windows, and for each why it ended (:data:`ethogram.schema.STATUS`)."""

    windows: Windows
    status: list[str]

    @classmethod
    def of_fingerprints(cls, fingerprints: pl.DataFrame) -> ObservedWindows:
        """Exported fingerprints, each an item."""
        return cls(windows_from_fingerprints(fingerprints), fingerprints["status"].cast(pl.String).to_list())

    @classmethod
    def of_counts(cls, counts: pl.DataFrame, window_s: int) -> ObservedWindows:
        """Counts, cut into windows of equal length that have not been compared with anything: all *open*."""
        windows = windows_from_counts(counts, window_s)
        return cls(windows, ["open"] * len(windows))

    def take(self, items: Sequence[int]) -> ObservedWindows:
        """Only these items."""
        return ObservedWindows(self.windows.take(list(items)), [self.status[i] for i in items])

    @property
    def converged(self) -> list[bool]:
        """Whether each item is final."""
        return [status in STABLE for status in self.status]


def default_method(packaged: bool, level: str = "label") -> str:
    """The method when none is named: across networks for the library that comes along, else all the evidence.

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


def regroup(seen: ObservedWindows, per: Per, window_s: int = 86_400) -> ObservedWindows:
    """Bring windows to the items that verdicts are wanted for.

    Parameters
    ----------
    seen
        Windows as they came in.
    per
        ``fingerprint``: as they are; ``device``: all windows of a device as one, final as soon as one of them is;
        ``epoch``: cut anew into windows of ``window_s``.
    window_s
        Length of an epoch in seconds.
    """
    if per == "fingerprint":
        return seen
    windows = seen.windows
    if per == "epoch":
        named = windows.counts.join(windows.items.select("item", "device"), on="item")
        return ObservedWindows.of_counts(named.select(COUNTS.names), window_s)
    merged = (
        windows.items.with_columns(done=pl.Series(seen.converged, dtype=pl.Boolean))
        .group_by("device")
        .agg(pl.col("start").min(), pl.col("end").max(), pl.col("done").any(), pl.col("item").alias("items"))
        .sort("device")
        .with_row_index("new")
    )
    owner = merged.select(pl.col("new").cast(pl.UInt32), "items").explode("items")
    counts = windows.counts.join(owner, left_on="item", right_on="items").with_columns(item=pl.col("new"))
    items = merged.select(pl.col("new").alias("item"), "device", "start", "end")
    status = ["converged" if done else "open" for done in merged["done"]]
    return ObservedWindows(Windows(ITEM.conform(items), ITEM_COUNTS.conform(counts)), status)


def kit_of(key: KeySettings | None = None, representation: RepresentationSettings | None = None) -> Featurizer:
    """What fingerprinting lends to identification, under these settings."""
    chosen = representation or RepresentationSettings()
    share = QUANTITIES[chosen.weight]
    quantity = {
        "list": "presence", "prevalence": share, "generalized": f"level of {share}", "tiers": f"tier of {share}",
        "log_volume": f"log {share.replace(' share', 's').replace('share of ', '')} a day",
    }[chosen.kind]  # fmt: skip
    return Featurizer(
        represent=partial(service_matrix, key=key, representation=chosen),
        compare=partial(blocks, kind=chosen.similarity),
        similarity=chosen.similarity,
        quantity=quantity,
    )


def build(
    settings: IdentifySettings | None = None,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> Identifier:
    """Build the identifier that settings name, over the key and representation."""
    return identifier(kit_of(key, representation), settings)


@dataclass
class EnrolReport:
    """What was enrolled, and what did not fit together."""

    entries: int = 0
    labels: int = 0
    unfinished: int = 0
    devices_without_label: list[str] = field(default_factory=list)
    labels_without_device: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for people about each kind."""
        found = [f"{plural(self.entries, 'window')} of {plural(self.labels, 'label')} enrolled"]
        if self.devices_without_label:
            names = self.devices_without_label
            found.append(f"left out, without a label: {plural(len(names), 'device')}: {join_names(names)}")
        if self.labels_without_device:
            names = self.labels_without_device
            found.append(f"labelled, but not seen: {plural(len(names), 'device')}: {join_names(names)}")
        if self.unfinished:
            found.append(f"left out, unfinished: {plural(self.unfinished, 'fingerprint')} of finished devices")
        return found


def enrol(
    seen: ObservedWindows,
    labels: Sequence[Label],
    *,
    source: Source,
    extend: Library | None = None,
    name: str = "library",
) -> tuple[Library, EnrolReport]:
    """Add labelled windows to a library.

    A device of which some fingerprint converged is enrolled by its converged ones alone; one without by what there is.

    Parameters
    ----------
    seen
        Windows.
    labels
        Who is who.
    source
        Provenance.
    extend
        A library to add to; without it a new one.
    name
        Its name.

    Raises
    ------
    LibraryError
        When no window has a label.
    """
    matched = match_labels(seen.windows, labels)
    identities = list(matched.identities)
    device = seen.windows.items["device"].to_list()
    final = {d for d, status in zip(device, seen.status, strict=True) if status in STABLE}
    report = EnrolReport(
        devices_without_label=matched.devices_without_label, labels_without_device=matched.labels_without_device
    )
    for i, status in enumerate(seen.status):
        if identities[i] is not None and status not in STABLE and device[i] in final:
            identities[i] = None
            report.unfinished += 1
    added = Library.of(seen.windows, identities, source=source, status=seen.status, name=name)
    if not added.entries:
        seen_are = f"; seen: {join_names(sorted(set(device)))}" if device else ""
        raise LibraryError(f"nothing to enrol: no window with traffic belongs to a labelled device{seen_are}")
    report.entries = len(added)
    report.labels = len(set(added.labels()))
    return (added if extend is None else extend.merge(added)), report


def open_library(path: str | Path | None = None) -> Library:
    """Read a library; without a path the one that comes with the package."""
    if path is not None:
        return library_file.read(path)
    packaged = resources.files("ethogram") / "data" / PACKAGED
    if not packaged.is_file():
        raise LibraryError("this installation brings no library: name one with --library, made by 'ethogram enrol'")
    with resources.as_file(packaged) as file:
        return library_file.read(file)


def judge_of(
    library: Library,
    settings: IdentifySettings | None = None,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
) -> VerdictModel:
    """Learn a library: thresholds, calibration and fingerprints, at the level that the settings name."""
    chosen = settings or settings_for()
    if not library.entries:
        raise LibraryError(f"{library.name}: the library is empty")
    windows, labels = library.windows(), library.labels(chosen.level)
    judge = VerdictModel(build(chosen, key, representation), chosen)
    groups = by_source(library) if chosen.method.startswith("cross-network") else None
    return judge.fit(
        windows, labels, groups, needed_s=time_to_converge(windows, labels),
        units=None if groups is None else devices_of(library),
    )  # fmt: skip


def by_source(library: Library) -> NDArray[np.int64] | None:
    """Entries of one source leave together: how a label scores elsewhere is learnt elsewhere. None with one source."""
    sources = [entry.observed[0].source for entry in library.entries]
    if len(set(sources)) < 2:
        return None
    return np.unique(np.array(sources), return_inverse=True)[1].astype(np.int64)


def devices_of(library: Library) -> list[str]:
    """The device of each entry: where it moved from one source to another it is one still."""
    first = [entry.observed[0] for entry in library.entries]
    return device_units([one.device for one in first], [one.source for one in first])


def time_to_converge(windows: Windows, labels: Sequence[str]) -> dict[str, float]:
    """Median seconds until the exporter's fingerprint of each label converges; labels that never do are left out."""
    named = windows.items.select("item", "device").with_columns(label=pl.Series(labels, dtype=pl.String))
    units = named.select("device", "label").unique().sort("device", "label").with_row_index("unit")
    owner = named.join(units, on=["device", "label"]).select("item", pl.col("unit").cast(pl.String).alias("device"))
    counts = (
        windows.counts.join(owner, on="item").group_by(COUNT_KEYS).agg(pl.col(name).sum() for name in COUNT_VOLUMES)
    )
    exported = export_counts(counts)
    found = (
        exported.filter(pl.col("status").cast(pl.String).is_in(STABLE))
        .join(units.with_columns(pl.col("unit").cast(pl.String)), left_on="device", right_on="unit")
        .group_by("label")
        .agg((pl.col("end") - pl.col("start")).dt.total_seconds().median().alias("seconds"))
    )
    return {label: float(seconds) for label, seconds in found.select("label", "seconds").iter_rows()}


def export_counts(counts: pl.DataFrame, settings: ExporterSettings | None = None) -> pl.DataFrame:
    """Let the fingerprint exporter run over counts; form :data:`ethogram.schema.FINGERPRINT`."""
    exporter = FingerprintExporter(settings, max_devices=None)
    exporter.add(counts.select(COUNTS.names))
    return exporter.finish()


def identify(
    seen: ObservedWindows,
    library: Library,
    settings: IdentifySettings | None = None,
    *,
    key: KeySettings | None = None,
    representation: RepresentationSettings | None = None,
    judge: VerdictModel | None = None,
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
    simulated
        Whether the traffic was made up; every verdict says so.

    Raises
    ------
    InputError
        When there is nothing to identify.
    """
    if len(seen.windows) == 0:
        raise InputError("nothing to identify: no flow of a device")
    chosen = judge or judge_of(library, settings, key, representation)
    shares = RepresentationSettings(kind="prevalence", weight="presence")
    verdicts = chosen.verdicts(
        seen.windows,
        converged=seen.converged,
        presence=service_matrix(seen.windows, key, shares),
        usual=usual_services(library, chosen.settings.level, service_matrix(library.windows(), key, shares)),
        simulated=simulated,
    )
    return Inventory(library=f"{library.name} {library.digest}", devices=verdicts)


def usual_services(library: Library, level: str, presence: ServiceMatrix) -> dict[str, set[str]]:
    """The services of each label's windows."""
    found: dict[str, set[str]] = {}
    for i, label in enumerate(library.labels(level)):
        found.setdefault(label, set()).update(presence.row(i))
    return found


def digest_of(*settings: Settings) -> str:
    """One digest for several settings."""
    return "-".join(one.digest for one in settings)
