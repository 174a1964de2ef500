"""The verb *probe*: evaluate classifiers on frozen embeddings under splits that are checked to be disjoint.

Standardisation, hyperparameters, probes, calibration and thresholds come from training flows; test flows are only
scored, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.config import ProbeSettings
from ethogram.errors import EthogramError
from ethogram.identify.flow_split import FlowSplit
from ethogram.identify.probe import DETERMINISTIC, FrozenProbe, budget_rows
from ethogram.identify.probe_devices import Groups, groups_of
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

__all__ = ["ProbeRun", "draw", "probe"]


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
    split: FlowSplit
    figures: pl.DataFrame = field(default_factory=pl.DataFrame)
    types: pl.DataFrame = field(default_factory=pl.DataFrame)
    confusion: pl.DataFrame = field(default_factory=pl.DataFrame)
    devices: pl.DataFrame = field(default_factory=pl.DataFrame)
    accounting: dict[str, Accounting] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
    chosen = candidates(list(encoders))
    if tune:
        need("--tune", "torch")
    for candidate in chosen if tune else ():
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
    unused, learnt = exclude_pretraining_days(networks, chosen, known, settings, notes)
    split, train, later = split_of(networks, unused, learnt, settings)
    for network, kept in zip(networks, unused, strict=True):
        accounting[network.days.network] = accounted(network, kept)
        notes += summary(network)
    material, tested = probe_data_of(train, later, settings, accounting, notes)
    rows = _measure(chosen, material, tested, tune, settings, notes, on_progress)
    for each in accounting.values():
        each.check()
    return ProbeRun(settings, split, rows.figures(), rows.types(), rows.confusion(), rows.devices(), accounting, notes)


def _measure(
    chosen: list[Candidate], material: ProbeData, tested: Tested, tune: bool, settings: ProbeSettings,
    notes: list[str], on_progress: Callable[[str, float], None] | None,
) -> Rows:  # fmt: skip
    rows = Rows(material.names, tested, settings)
    held = _Groups(material, settings)
    tested.group(settings)
    done, total = 0, len(chosen) * settings.seeds
    for candidate in chosen:
        last, met = "", set[str]()
        for seed in range(settings.seeds):
            if on_progress is not None:
                on_progress(f"{candidate.name}, seed {seed}", done / total)
            done += 1
            if not seed or candidate.seeds != 1:
                encoder = candidate.open(seed, material.flows)
            before = encoder.digest
            again = before in met
            met.add(before)
            if before != last:
                embed = candidate.embedder(encoder, seed)
                last = before
                seen, unseen = (Embedding(embed, flows, encoder.header.d) for flows in (material.flows, tested.flows))
            kind = encoder.header.encoder.kind
            _frozen(rows, held, candidate.name, seed, seen, unseen, material, settings, kind, again)
            if encoder.digest != before:
                raise EthogramError(f"{candidate.name}: weights of a frozen encoder changed")
            if tune and KINDS[kind].network:
                _tuned(rows, held, candidate, seed, material, settings)
        if tune and not kind_of(candidate.header(0).encoder).network:
            notes.append(f"{candidate.name}: not a network, so it cannot be fine-tuned")
    return rows


class _Groups:
    """Groups of the held-out training flows by aggregation."""

    def __init__(self, material: ProbeData, settings: ProbeSettings) -> None:
        late = np.flatnonzero(material.late)
        own = material.hours.take(late)
        truth = material.truth[late]
        self.groups: dict[str, Groups] = {}
        for name, flows, seconds in aggregations(settings):
            self.groups[name] = groups_of(own.days.device, own.start_us, flows, seconds, truth)


def _frozen(
    rows: Rows, held: _Groups, name: str, seed: int, train: Embedding, test: Embedding, material: ProbeData,
    settings: ProbeSettings, kind: str, again: bool,
) -> None:  # fmt: skip
    z, types = train.whole(), len(material.names)
    for budget in settings.budgets:
        used = budget_rows(material.truth, budget, seed)
        fit, late = used[material.early[used]], used[material.late[used]]
        for probe_name in settings.probes:
            if again and budget is None and probe_name in DETERMINISTIC:
                continue  # same encoder, same flows, deterministic probe: same figures
            frozen = FrozenProbe.fit(
                z, material.truth, used, fit, late, types, name=probe_name, settings=settings, seed=seed
            )  # fmt: skip
            logs = [frozen.predict_log_proba(batch, types) for batch in test.batches()]
            rows.add(
                Fitted(name, kind, seed, probe_name, budget, used.size, z.shape[1], str(frozen.probe.choice)),
                np.concatenate(logs), frozen.held_out if budget is None else None, material.truth[late], held.groups,
            )  # fmt: skip


def _tuned(
    rows: Rows, held: _Groups, candidate: Candidate, seed: int, material: ProbeData, settings: ProbeSettings
) -> None:
    """Fine-tune the encoder and train its network from scratch, both with early stopping on held-out training days."""
    module = supervised()
    header = candidate.header(seed)
    weights = candidate.weights(seed)[1] if candidate.paths else None
    for name in ("unfrozen", "scratch"):
        if name == "unfrozen" and weights is None:
            continue
        for budget in settings.budgets:
            used = budget_rows(material.truth, budget, seed)
            fit, late = used[material.early[used]], used[material.late[used]]
            fit = fit if np.unique(material.truth[fit]).size > 1 else used
            net = build_network(header.encoder, seed + 1, weights if name == "unfrozen" else None)
            learnt = module.LabelledNetwork(net, len(material.names), settings, seed)
            learnt.fit(material.flows, material.truth, fit, late)
            held_out = learnt.predict_log_proba(material.flows.take(late)) if budget is None and late.size else None
            rows.add(
                Fitted(candidate.name, header.encoder.kind, seed, name, budget, used.size, header.d, ""),
                learnt.predict_log_proba(rows.tested.flows), held_out, material.truth[late], held.groups,
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
