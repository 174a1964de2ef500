"""The verb *reconstruct*: reconstruction error on days outside pretraining, and on another network.

Labels are optional; with a label file, errors are also reported by label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import ReconstructionSettings
from ethogram.errors import LeakError, UsageError
from ethogram.identify.flow_labels import FlowLabels
from ethogram.identify.labels import read_labels
from ethogram.pipeline.candidates import Candidate, candidates
from ethogram.pipeline.flow_days import FlowFiles
from ethogram.pipeline.labelled_flows import days_learnt, drawn, learnt_from, network_name, taken
from ethogram.pipeline.text import visible_frame
from ethogram.representation.kinds import kind_of
from ethogram.representation.reconstruction import PARTS, Reconstruction, error_summary, linear_cka, reconstruct
from ethogram.schema import CustomFlows, service_name

__all__ = ["Reconstructions", "draw", "reconstructions"]

HERE, THERE = "here", "there"
CDF = np.linspace(0, 1, 101)


@dataclass
class Reconstructions:
    """Result of :func:`reconstructions`.

    Parameters
    ----------
    errors
        By encoder, seed and part: error here and there (mean, median, p95) and their ratio.
    cdf
        Quantiles of the error per flow, by encoder, seed, part and network.
    by
        Mean error by label and by service.
    units
        Latent units: variance, divergence, active or not.
    octets
        Share of the first payload octets that are reconstructed, and that of a constant guess.
    agreement
        Linear CKA of each pair of seeds of one encoder.
    notes
        Messages for the user.
    """

    errors: pl.DataFrame
    cdf: pl.DataFrame
    by: pl.DataFrame
    units: pl.DataFrame
    octets: pl.DataFrame
    agreement: pl.DataFrame
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NetworkFlows:
    """Flows of one network with their services, labels, and flows of pretraining days."""

    where: str
    name: str
    flows: CustomFlows
    services: NDArray[np.str_]
    labels: NDArray[np.str_] | None
    learnt: CustomFlows | None


def reconstructions(
    here: Sequence[str | Path],
    encoders: Sequence[str],
    *,
    there: Sequence[str | Path] = (),
    labels: Path | None = None,
    there_labels: Path | None = None,
    level: str = "label",
    pretrained_on: Sequence[str | Path] = (),
    settings: ReconstructionSettings | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Reconstructions:
    """Encode and decode flows of one or two networks, and compare the errors.

    Parameters
    ----------
    here
        Custom flows of the network that the encoders were pretrained on; pretraining days are excluded.
    encoders
        As for :func:`ethogram.pipeline.candidates.candidates`; every seed of a model is measured.
    there
        Custom flows of another network.
    labels, there_labels, level
        Label files, for errors by label at a level.
    pretrained_on
        Pretraining files of the encoders that are not among ``here``.
    settings
        All other settings.
    on_progress
        Called with the current step and the share of the work that is done.

    Raises
    ------
    LeakError
        When an encoder was pretrained on every day of a network.
    InputError, ConfigurationError, LibraryError, UsageError
        When flows, labels or encoders cannot be used.
    """
    settings = settings or ReconstructionSettings()
    compared = candidates(list(encoders))
    for candidate in compared:
        if candidate.exported:
            raise UsageError(f"{candidate.name}: an exported encoder has no decoder: name its directory")
        if not kind_of(candidate.header(0).encoder).decodes:
            kind = candidate.header(0).encoder.kind
            raise UsageError(f"{candidate.name}: an encoder of kind {kind} has no decoder")
    notes: list[str] = []
    others = learnt_from(here, pretrained_on)
    networks = [_network(HERE, here, labels, level, compared, others, settings, notes)]
    if there:
        networks.append(_network(THERE, there, there_labels or labels, level, compared, others, settings, notes))
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("errors", "cdf", "by", "units", "octets")}
    agreement: list[dict[str, Any]] = []
    for number, candidate in enumerate(compared):
        embedded: dict[int, NDArray[np.float32]] = {}
        for seed in range(candidate.seeds or settings.seeds):
            if on_progress is not None:
                on_progress(f"{candidate.name}, seed {seed}", number / len(compared))
            fit = networks[0].flows if networks[0].learnt is None else networks[0].learnt
            encoder = candidate.open(seed, fit)
            results = [reconstruct(encoder, n.flows, first_symbols=settings.first_symbols) for n in networks]
            embedded[seed] = results[0].z
            key = {"encoder": candidate.name, "kind": encoder.header.encoder.kind, "d": encoder.header.d, "seed": seed}
            _rows(tables, key, networks, results, settings)
        agreement += _agreement(candidate, embedded)
        if candidate.settings is not None and candidate.settings.kind == "pca" and networks[0].learnt is None:
            notes.append(
                f"{candidate.name}: fitted on the flows that it reconstructs; 'ethogram pretrain --kind pca' is not"
            )
        if encoder.header.encoder.kind == "fields":
            notes.append(
                f"{candidate.name}: its decoder outputs zeros for addresses and payload; their errors mean nothing"
            )
    return Reconstructions(
        **{name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in tables.items()},
        agreement=pl.DataFrame(agreement, schema={"encoder": pl.String, "seed": pl.Int64, "other": pl.Int64,
                                                  "linear_cka": pl.Float64}), notes=notes,
    )  # fmt: skip


def _network(
    where: str, inputs: Sequence[str | Path], labels: Path | None, level: str, encoders: Sequence[Candidate],
    others: Sequence[FlowFiles], settings: ReconstructionSettings, notes: list[str],
) -> NetworkFlows:  # fmt: skip
    files = FlowFiles(inputs)
    name = network_name(inputs)
    days = np.concatenate(files.days).astype(np.int64)
    usable = np.ones(days.size, np.bool_)
    devices: set[str] = set()
    for block in range(len(files.groups)):
        devices |= set(files.block(block).device.unique())
    for candidate in encoders:
        for seed in range(candidate.seeds if candidate.paths else 0):
            learnt = days_learnt(candidate.header(seed), [files, *others], devices)
            if learnt is None:
                note = f"{candidate.name}: was pretrained on files that are not given; day overlap is not checked"
                notes += [] if note in notes else [note]
            else:
                usable &= ~np.isin(days, learnt)
    if not usable.any():
        raise LeakError(f"{name}: an encoder was pretrained on every day of it; give flows of other days")
    if not usable.all():
        notes.append(f"{name}: {int((~usable).sum()):,} flows of pretraining days are excluded")
    rows = np.flatnonzero(usable)
    rows = rows[drawn(rows.size, settings.flows, settings.seed)]
    notes.append(f"{name}: {rows.size:,} of {days.size:,} flows, of {np.unique(days[rows]).size} days")
    flows = taken(files, rows)
    left_out = np.flatnonzero(~usable)
    excluded = taken(files, left_out[drawn(left_out.size, settings.flows, settings.seed)]) if left_out.size else None
    names = None
    if labels is not None:
        known = FlowLabels(read_labels(labels), level)
        code = known.of(flows.device, flows.start_us)
        notes.append(f"{name}: labels: {known.accounting.line()}")
        names = np.array([*known.names, ""], np.str_)[code]
    return NetworkFlows(where, name, flows, _services(flows), names, excluded)


def _services(flows: CustomFlows) -> NDArray[np.str_]:
    """Service of each flow by its remote port."""
    pairs = flows.protocol.astype(np.int64) << 16 | flows.remote_port
    unique, place = np.unique(pairs, return_inverse=True)
    return np.array([service_name(int(p >> 16), int(p & 0xFFFF)) for p in unique], np.str_)[place]


def _rows(
    tables: dict[str, list[dict[str, Any]]], key: dict[str, Any], networks: Sequence[NetworkFlows],
    results: Sequence[Reconstruction], settings: ReconstructionSettings,
) -> None:  # fmt: skip
    parts = [part for part in PARTS if part in results[0].errors]
    for part in parts:
        row = {**key, "part": part}
        for network, result in zip(networks, results, strict=True):
            row |= {f"{name}_{network.where}": value for name, value in error_summary(result.errors[part]).items()}
            known = result.errors[part][~np.isnan(result.errors[part])]
            if known.size:
                values = np.quantile(known, CDF)
                tables["cdf"] += [
                    {**key, "part": part, "network": network.where, "share": float(s), "error": float(v)}
                    for s, v in zip(CDF, values, strict=True)
                ]
        if len(results) == 2:
            row["shift_ratio"] = row["mean_there"] / row["mean_here"] if row["mean_here"] > 0 else None
        tables["errors"].append(row)
    for network, result in zip(networks, results, strict=True):
        for what, names in (("service", network.services), ("label", network.labels)):
            if names is not None:
                tables["by"] += _by(key, network.where, what, names, result, parts, settings)
        if result.octets is not None:
            octets = result.octets
            tables["octets"].append({
                **key, "network": network.where, "symbols": len(octets.seen), "octets": int(octets.seen.sum()),
                "accuracy": octets.accuracy, "constant": octets.constant(results[0].octets or octets),
            })  # fmt: skip
        active = result.active(settings.active_variance)
        tables["units"] += [
            {**key, "network": network.where, "unit": i, "variance": float(result.z[:, i].var()),
             "kl": None if result.kl is None else float(result.kl[i]), "active": bool(active[i])}
            for i in range(len(active) if key["kind"] != "raw" else 0)
        ]  # fmt: skip


def _by(
    key: dict[str, Any], where: str, what: str, names: NDArray[np.str_], result: Reconstruction, parts: Sequence[str],
    settings: ReconstructionSettings,
) -> list[dict[str, Any]]:  # fmt: skip
    frame = pl.DataFrame({"name": names, **{part: result.errors[part] for part in parts}}).fill_nan(None)
    grouped = (
        frame.filter(pl.col("name") != "").group_by("name").agg(pl.len().alias("flows"), pl.col(parts).mean())
        .filter(pl.col("flows") >= settings.least_flows).sort(["flows", "name"], descending=[True, False])
    )  # fmt: skip
    if what == "service":
        grouped = grouped.head(settings.services)
    return [{**key, "network": where, "by": what, **row} for row in grouped.iter_rows(named=True)]


def _agreement(candidate: Candidate, embedded: dict[int, NDArray[np.float32]]) -> list[dict[str, Any]]:
    return [
        {"encoder": candidate.name, "seed": a, "other": b, "linear_cka": linear_cka(embedded[a], embedded[b])}
        for a, b in combinations(sorted(embedded), 2)
    ]


def draw(run: Reconstructions, folder: Path) -> list[Path]:
    """Draw the plots that have data into a folder, each with its data as CSV."""
    from ethogram.representation import plots  # loads matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = [plots.error_curves(visible_frame(run.cdf), folder / "errors.png")]
    if "shift_ratio" in run.errors.columns:
        paths.append(plots.shift_bars(visible_frame(run.errors), folder / "shift.png"))
    if run.errors["d"].n_unique() > 1:
        paths.append(plots.error_by_width(visible_frame(run.errors), folder / "error-by-d.png"))
    if run.units.height and run.units["kl"].null_count() < run.units.height:
        paths.append(plots.unit_bars(visible_frame(run.units), folder / "units.png"))
    if run.by.height:
        paths.append(plots.error_by_name(visible_frame(run.by), folder / "by-service-and-label.png"))
    return paths
