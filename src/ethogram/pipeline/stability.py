"""The verb *stability*: tables and plots of how fingerprints converge, come back, and tell types apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._text import json_text
from ethogram.config import RepresentationSettings
from ethogram.errors import UsageError
from ethogram.fingerprint import stability as measures
from ethogram.fingerprint.key import with_service
from ethogram.fingerprint.similarity import pairwise
from ethogram.identify.labels import Label
from ethogram.pipeline.fingerprints import FingerprintRun, service_matrix, windows_from_fingerprints
from ethogram.pipeline.text import visible_frame
from ethogram.schema import ServiceMatrix

__all__ = ["GRANULARITIES", "TABLES", "Stability", "draw", "stability", "types_at"]

TABLES = ("convergence", "recurrence", "completeness", "distinguishability")
"""Tables of figures, in order."""

GRANULARITIES = (1, 2, 4, 8, 16, 32, 0)
"""G for which types are compared; 0 stands for infinity."""

THRESHOLDS = [i / 50 for i in range(51)]


@dataclass(frozen=True)
class Stability:
    """What :func:`stability` found; each table is documented by the function of the same name in the fingerprint room.

    Attributes
    ----------
    convergence, recurrence, completeness
        Per device.
    distinguishability
        Per type, at the granularity of the fingerprints; empty without two types.
    classes
        Types that no granularity can tell apart.
    survival
        Kaplan-Meier curve per device.
    recurrence_curve
        Per device, of all, and by chance.
    pairs
        Similarity within and between types per granularity.
    days
        Share of each service per device and day.
    """

    convergence: pl.DataFrame
    recurrence: pl.DataFrame
    completeness: pl.DataFrame
    distinguishability: pl.DataFrame
    classes: list[list[str]]
    survival: pl.DataFrame
    recurrence_curve: pl.DataFrame
    pairs: pl.DataFrame
    days: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Every figure of the tables of figures as one row: ``table``, ``of``, ``measure``, ``value``."""
        schema = {"table": pl.String, "of": pl.String, "measure": pl.String, "value": pl.Float64}
        return pl.DataFrame(list(self.rows()), schema=schema, orient="row", strict=False)

    def rows(self) -> Iterator[tuple[str, object, str, object]]:
        """The rows of :meth:`to_frame`."""
        for name in TABLES:
            for row in getattr(self, name).to_dicts():
                of, *rest = row
                yield from ((name, row[of], measure, row[measure]) for measure in rest)

    def to_dict(self) -> dict[str, Any]:
        """All tables but ``days`` as plain data, as ``ethogram stability --format json`` prints them."""
        tables = {name: getattr(self, name).to_dicts() for name in (*TABLES, "survival", "recurrence_curve", "pairs")}
        return {"format": "ethogram.stability/1", **tables, "classes": self.classes}

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict())


def types_at(labels: Iterable[Label], level: str) -> dict[str, str]:
    """Device to type, at a level of its identity: label, model, family or type.

    Raises
    ------
    UsageError
        If the level is another one.
    """
    if level not in ("label", "model", "family", "type"):
        raise UsageError(f"--level: invalid level {level!r}; expected label, model, family or type")
    names = {row.device: row.identity.at(level) for row in labels}
    return {device: name for device, name in names.items() if name}


def stability(
    run: FingerprintRun, types: Mapping[str, str] | None = None, *, alike: float = 0.9, seed: int = 0
) -> Stability:
    """Measure the stability of exported fingerprints.

    Parameters
    ----------
    run
        What :func:`ethogram.pipeline.fingerprints.fingerprint` or ``read_fingerprints`` gave.
    types
        Device to type. Without it each device is its own type; with it, devices without a type are left out of the
        comparison of types.
    alike
        Similarity from which a fingerprint counts as one that came back.
    seed
        For the level of chance.

    Returns
    -------
    stability
        Windows that were still open at the end of the input count as censored in convergence, and not elsewhere.
    """
    closed = run.table.filter(pl.col("status") != "open").sort("device", "start")
    windows = windows_from_fingerprints(closed)
    devices, representation = closed["device"].to_list(), run.settings.representation
    matrix = service_matrix(windows, run.settings.key, representation)
    similar = pairwise(matrix, kind=representation.similarity)
    prevalence = RepresentationSettings(kind="prevalence", weight=representation.weight)
    shares = service_matrix(windows, run.settings.key, prevalence)
    typed = [i for i, device in enumerate(devices) if types is None or device in types]
    names = [types[devices[i]] if types is not None else devices[i] for i in typed]
    per_g = {}
    for g in GRANULARITIES:
        leveled = service_matrix(
            windows, run.settings.key, RepresentationSettings(granularity=g, weight=representation.weight)
        ).take(typed)  # fmt: skip
        per_g[str(g or "inf")] = pairwise(leveled, kind=representation.similarity)
    return Stability(
        convergence=measures.convergence(run.table),
        recurrence=measures.recurrence(matrix, devices, closed["start"], similar, alike),
        completeness=measures.completeness(shares, devices),
        distinguishability=measures.distinguishability(similar[np.ix_(typed, typed)], names),
        classes=measures.equivalence_classes(per_g, names),
        survival=_survival(run.table),
        recurrence_curve=_recurrence_curves(matrix, devices, similar, representation, seed),
        pairs=_pairs(per_g, names),
        days=_days(run),
    )


def _survival(table: pl.DataFrame) -> pl.DataFrame:
    ended = table["status"].is_in(["converged", "change"])
    parts = [("all", table.with_columns(ended.alias("ended")))]
    parts += [(str(key), part) for (key,), part in parts[0][1].sort("device").group_by("device", maintain_order=True)]
    curves = [
        measures.kaplan_meier(part["epochs"].to_list(), part["ended"].to_list()).select(
            pl.lit(name).alias("device"), pl.all()
        )
        for name, part in parts
    ]  # fmt: skip
    return pl.concat(curves)


def _recurrence_curves(
    matrix: ServiceMatrix, devices: list[str], similar: NDArray[np.float64], representation: RepresentationSettings,
    seed: int,
) -> pl.DataFrame:  # fmt: skip
    pasts = measures.best_earlier(devices, similar)
    chance = measures.shuffled(matrix, seed)
    by_chance = measures.best_earlier(devices, pairwise(chance, kind=representation.similarity))
    named = [("all", pasts), *((past.device, [past]) for past in pasts if len(past.best)), ("chance", by_chance)]
    return pl.concat(
        measures.recurrence_curve(list(some), THRESHOLDS).select(pl.lit(name).alias("curve"), pl.all())
        for name, some in named
    )


def _pairs(per_g: Mapping[str, NDArray[np.float64]], names: list[str]) -> pl.DataFrame:
    """Quartiles of the similarity of pairs of fingerprints, of one type and of two."""
    kind = np.array(names)
    same = kind[:, None] == kind[None, :]
    upper = np.triu(np.ones(same.shape, dtype=bool), k=1)
    rows = []
    for pairs, mask in (("within", same & upper), ("between", ~same & upper)):
        for g, similar in per_g.items():
            values = similar[mask]
            if len(values):
                rows.append((g, pairs, len(values), *(float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))))
    schema = {"granularity": pl.String, "pairs": pl.String, "n": pl.Int64, "q1": pl.Float64, "median": pl.Float64,
              "q3": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _days(run: FingerprintRun) -> pl.DataFrame:
    rows = run.table.select("device", "counts").explode("counts").drop_nulls("counts").unnest("counts")
    named: pl.DataFrame = with_service(rows, run.settings.key)
    day = pl.col("time").dt.date().alias("day")
    return (
        named.group_by("device", day, "service").agg(pl.col("flows").sum())
        .with_columns((pl.col("flows") / pl.col("flows").sum().over("device", "day")).alias("share"))
        .sort("device", "day", "service")
    )  # fmt: skip


def draw(measured: Stability, folder: Path) -> list[Path]:
    """Draw every plot that has data into a folder, with the data of each beside it as CSV."""
    from ethogram.fingerprint import plots  # matplotlib takes long to load and is wanted only here

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if measured.days.height:
        drawn.append(plots.heat_map(visible_frame(measured.days), folder / "services-by-day.png"))
    if measured.survival.height:
        drawn.append(plots.convergence_plot(visible_frame(measured.survival), folder / "convergence.png"))
    if measured.recurrence_curve["share"].null_count() < measured.recurrence_curve.height:
        drawn.append(plots.recurrence_plot(visible_frame(measured.recurrence_curve), folder / "recurrence.png"))
    if measured.pairs.height:
        drawn.append(plots.similarity_plot(visible_frame(measured.pairs), folder / "within-and-between.png"))
    return drawn
