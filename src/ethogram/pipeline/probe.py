"""The verb *probe*: evaluate classifiers on frozen embeddings under splits that are checked to be disjoint.

Standardisation, hyperparameters, probes, calibration and thresholds come from training flows; test flows are only
scored, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._text import json_text
from ethogram.config import ProbeSettings
from ethogram.errors import EthogramError
from ethogram.identify.probe import DETERMINISTIC, FrozenProbe, budget_rows
from ethogram.identify.probe_devices import Groups, groups_of
from ethogram.identify.split import Split
from ethogram.pipeline.candidates import Candidate, Embedding, candidates, supervised
from ethogram.pipeline.labelled_flows import LabelledFlows, learnt_from
from ethogram.pipeline.probe_data import (
    ProbeData,
    accounted,
    exclude_pretraining_days,
    probe_data_of,
    refuse_shared,
    split_of,
    summary,
)
from ethogram.pipeline.probe_rows import Fitted, Rows, Tested, aggregations
from ethogram.pipeline.text import visible_frame
from ethogram.representation.build import build_network
from ethogram.representation.kinds import KINDS, kind_of
from ethogram.representation.needs import need
from ethogram.schema import Accounting

__all__ = ["TABLES", "ProbeRun", "draw", "probe"]

TABLES = ("figures", "types", "confusion", "devices")
"""Tables of a run, in order."""


@dataclass
class ProbeRun:
    """Result of :func:`probe`.

    Parameters
    ----------
    figures, types, confusion, devices
        Tables: by encoder, seed, probe and budget; by type; by pair of types; by aggregation.
    split
        The split, which was checked to be disjoint.
    accounting
        Accounting of the labelled flows of each network.
    notes
        Messages for the user.
    """

    settings: ProbeSettings
    split: Split
    figures: pl.DataFrame = field(default_factory=pl.DataFrame)
    types: pl.DataFrame = field(default_factory=pl.DataFrame)
    confusion: pl.DataFrame = field(default_factory=pl.DataFrame)
    devices: pl.DataFrame = field(default_factory=pl.DataFrame)
    accounting: dict[str, Accounting] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_frame(self) -> pl.DataFrame:
        """The table ``figures``."""
        return self.figures

    def head(self) -> dict[str, Any]:
        """Settings, split and accounting as plain data."""
        return {
            "format": "ethogram.probe/1", "settings": self.settings.model_dump(mode="json"), "notes": self.notes,
            "split": {"name": self.split.name, "digest": self.split.digest, "gap_days": self.split.gap_days},
            "accounting": {name: accounting.as_dict() for name, accounting in self.accounting.items()},
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All tables as plain data, as ``ethogram probe --format json`` prints them."""
        return {**self.head(), **{name: getattr(self, name).to_dicts() for name in TABLES}}

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict())


def probe(
    inputs: Sequence[str | Path],
    labels: Path,
    encoders: Sequence[str],
    *,
    test: Sequence[str | Path] = (),
    test_labels: Path | None = None,
    pretrained_on: Sequence[str | Path] = (),
    tune: bool = False,
    settings: ProbeSettings | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> ProbeRun:
    """Fit classifiers on embeddings of labelled flows, and test them on other days or on another network.

    Parameters
    ----------
    inputs
        Custom flows of one network.
    labels
        Label file of its devices.
    encoders
        As for :func:`ethogram.pipeline.candidates.candidates`.
    test, test_labels
        Flows and labels of a test network; default: later days of ``inputs``.
    pretrained_on
        Pretraining files of the encoders that are not among ``inputs`` and ``test``; their days are excluded.
    tune
        Also fine-tune the encoder, and train the same network from scratch (needs torch).
    settings
        All other settings.
    on_progress
        Called with the current step and the share of the work that is done.

    Raises
    ------
    LeakError
        When no flow remains after excluding pretraining days, or a flow is in training and in test.
    InputError, ConfigurationError, LibraryError, UsageError
        When flows, labels or encoders are unusable or insufficient.
    """
    settings = settings or ProbeSettings()
    encoders_to_probe = candidates(list(encoders))
    if tune:
        need("--tune", "torch")
    for candidate in encoders_to_probe if tune else ():
        if candidate.exported:
            candidate.weights(0)  # raises UsageError
    networks = [LabelledFlows.read(inputs, labels, settings.level)]
    if test:
        networks.append(LabelledFlows.read(test, test_labels or labels, settings.level))
        refuse_shared(*networks)
    notes: list[str] = []
    accounting: dict[str, Accounting] = {}
    both = learnt_from(inputs, test) if test else []
    known = [*(network.files for network in networks), *both, *learnt_from(inputs, pretrained_on)]
    unused, learnt = exclude_pretraining_days(networks, encoders_to_probe, known, settings, notes)
    split, train, later = split_of(networks, unused, learnt, settings)
    for network, remaining in zip(networks, unused, strict=True):
        accounting[network.days.network] = accounted(network, remaining)
        notes += summary(network)
    data, tested = probe_data_of(train, later, settings, accounting, notes)
    measurement = _Measurement(data, tested, settings)
    notes += measurement.measure(encoders_to_probe, tune, on_progress)
    for each in accounting.values():
        each.check()
    rows = measurement.rows
    return ProbeRun(settings, split, rows.figures(), rows.types(), rows.confusion(), rows.devices(), accounting, notes)


class _Measurement:
    """Fits probes on the training flows, scores the test flows, and collects the tables of a run."""

    def __init__(self, data: ProbeData, tested: Tested, settings: ProbeSettings) -> None:
        self.data, self.settings = data, settings
        self.rows = Rows(data.names, tested, settings)
        tested.group(settings)
        late = np.flatnonzero(data.late)
        held_out, truth = data.hours.take(late), data.truth[late]
        self.groups: dict[str, Groups] = {
            name: groups_of(held_out.days.device, held_out.start_us, flows, seconds, truth)
            for name, flows, seconds in aggregations(settings)
        }

    def measure(
        self, encoders: list[Candidate], tune: bool, on_progress: Callable[[str, float], None] | None
    ) -> list[str]:
        """Measure every encoder and seed; return messages for the user.

        Raises
        ------
        EthogramError
            When the weights of a frozen encoder change.
        """
        notes: list[str] = []
        done, total = 0, len(encoders) * self.settings.seeds
        for candidate in encoders:
            last, measured = "", set[str]()
            for seed in range(self.settings.seeds):
                if on_progress is not None:
                    on_progress(f"{candidate.name}, seed {seed}", done / total)
                done += 1
                if not seed or candidate.seeds != 1:
                    encoder = candidate.open(seed, self.data.flows)
                digest, kind = encoder.digest, encoder.header.encoder.kind
                if digest != last:
                    embed, last = candidate.embedder(encoder, seed), digest
                    train, test = (
                        Embedding(embed, flows, encoder.header.d) for flows in (self.data.flows, self.rows.tested.flows)
                    )
                first = Fitted(candidate.name, kind, seed, "", None, 0, encoder.header.d, "")
                self._frozen(first, train, test, again=digest in measured)
                measured.add(digest)
                if encoder.digest != digest:
                    raise EthogramError(f"{candidate.name}: weights of a frozen encoder changed")
                if tune and KINDS[kind].network:
                    self._tuned(candidate, seed)
            if tune and not kind_of(candidate.header(0).encoder).network:
                notes.append(f"{candidate.name}: not a network, so it cannot be fine-tuned")
        return notes

    def _rows_of(self, budget: int | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Training rows within a label budget: all, those to fit on, and those held out."""
        used = budget_rows(self.data.truth, budget, seed)
        return used, used[self.data.early[used]], used[self.data.late[used]]

    def _frozen(self, encoder: Fitted, train: Embedding, test: Embedding, *, again: bool) -> None:
        """Probe the embeddings of a frozen encoder; ``again`` if another seed had the same weights."""
        z, types = train.whole(), len(self.data.names)
        for budget in self.settings.budgets:
            used, fit, late = self._rows_of(budget, encoder.seed)
            for name in self.settings.probes:
                if again and budget is None and name in DETERMINISTIC:
                    continue  # same encoder, same flows, deterministic probe: same figures
                frozen = FrozenProbe.select(
                    z, self.data.truth, used, fit, late, types, name=name, settings=self.settings, seed=encoder.seed
                )  # fmt: skip
                logs = [frozen.predict_log_proba(batch, types) for batch in test.batches()]
                fitted = replace(
                    encoder, probe=name, budget=budget, trained_on=used.size, d=z.shape[1],
                    choice=str(frozen.probe.choice),
                )  # fmt: skip
                held_out = frozen.held_out if budget is None else None
                self.rows.add(fitted, np.concatenate(logs), held_out, self.data.truth[late], self.groups)

    def _tuned(self, candidate: Candidate, seed: int) -> None:
        """Fine-tune the encoder, and train its network from scratch; early stopping uses held-out training days."""
        module = supervised()
        header = candidate.header(seed)
        weights = candidate.weights(seed)[1] if candidate.paths else None
        truth, flows = self.data.truth, self.data.flows
        for name in ("unfrozen", "scratch"):
            if name == "unfrozen" and weights is None:
                continue
            for budget in self.settings.budgets:
                used, fit, late = self._rows_of(budget, seed)
                fit = fit if np.unique(truth[fit]).size > 1 else used
                net = build_network(header.encoder, seed + 1, weights if name == "unfrozen" else None)
                network = module.LabelledNetwork(net, len(self.data.names), self.settings, seed)
                network.fit(flows, truth, fit, late)
                held_out = network.predict_log_proba(flows.take(late)) if budget is None and late.size else None
                kind = header.encoder.kind
                self.rows.add(
                    Fitted(candidate.name, kind, seed, name, budget, used.size, header.d, ""),
                    network.predict_log_proba(self.rows.tested.flows), held_out, truth[late], self.groups,
                )  # fmt: skip


def draw(run: ProbeRun, folder: Path) -> list[Path]:
    """Draw the plots that have data into a folder, each with its data as CSV."""
    from ethogram.representation import plots  # loads matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    over_seeds = run.figures.filter(pl.col("seed").is_null())
    paths = [plots.label_curves(visible_frame(over_seeds), folder / "macro-f1.png")]
    whole = run.confusion.filter(pl.col("budget").is_null())
    if whole.height:
        first = pl.col("seed") == pl.col("seed").min().over("encoder")
        of_first_probe = whole.filter(first & (pl.col("probe") == pl.col("probe").first()))
        paths.append(plots.confusion_plot(visible_frame(of_first_probe), folder / "confusion.png"))
    if run.devices.height:
        paths.append(plots.verdict_curves(visible_frame(run.devices), folder / "verdicts.png"))
    return paths
