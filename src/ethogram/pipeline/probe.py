"""The verb *probe*: classifiers on frozen embeddings, under splits that prove they are disjoint.

Training flows choose, standardise, fit, calibrate and set thresholds; test flows are read once, by what is then fixed.
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
from ethogram.identify.probe import DRAWS_NOTHING, FrozenProbe, budget_rows
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
    """What a run of :func:`probe` came to.

    Parameters
    ----------
    figures, types, confusion, devices
        Tables: one row for each encoder, seed, probe and budget; by type; by pair of types; by aggregation.
    split
        The proof.
    accounting
        Labelled flows of each network: where each went.
    notes
        Lines for the user.
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
    """Fit classifiers on embeddings of labelled flows and test them on other days, or on another network.

    Parameters
    ----------
    inputs
        Custom flows of one network.
    labels
        Label file: what its devices are, and when.
    encoders
        As for :func:`ethogram.pipeline.candidates.candidates`.
    test, test_labels
        Flows and labels of the network that tests; none: later days of ``inputs`` do.
    pretrained_on
        Files that an encoder learnt from, where those are not ``inputs`` or ``test``: days it learnt from are left out.
    tune
        Also the encoder let loose, and its network from scratch (needs torch).
    settings
        Everything else.
    on_progress
        Called with what is being done, and the share that is done.

    Raises
    ------
    LeakError
        When nothing is left that an encoder did not learn from.
    InputError, ConfigurationError, LibraryError, UsageError
        When flows, labels or encoders cannot be used, or do not suffice.
    """
    settings = settings or ProbeSettings()
    chosen = candidates(list(encoders))
    if tune:
        need("--tune", "torch")
    for candidate in chosen if tune else ():
        if candidate.exported:
            candidate.weights(0)  # refuses: there is nothing to train
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
                raise EthogramError(f"{candidate.name}: its weights changed while it was probed")
            if tune and KINDS[kind].network:
                _tuned(rows, held, candidate, seed, material, settings)
        if tune and not kind_of(candidate.header(0).encoder).network:
            notes.append(f"{candidate.name}: no network that learns from labels")
    return rows


class _Groups:
    """Groups of the held-out training flows, for each aggregation."""

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
            if again and budget is None and probe_name in DRAWS_NOTHING:
                continue  # the same encoder, the same flows: the same figures
            frozen = FrozenProbe.fit(
                z, material.truth, used, fit, late, types, name=probe_name, settings=settings, seed=seed
            )  # fmt: skip
            found = [frozen.predict_log_proba(batch, types) for batch in test.batches()]
            rows.add(
                Fitted(name, kind, seed, probe_name, budget, used.size, z.shape[1], str(frozen.probe.choice)),
                np.concatenate(found), frozen.held_out if budget is None else None, material.truth[late], held.groups,
            )  # fmt: skip


def _tuned(
    rows: Rows, held: _Groups, candidate: Candidate, seed: int, material: ProbeData, settings: ProbeSettings
) -> None:
    """The encoder let loose, and its network from scratch, both stopped by held-out training days."""
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
            said = learnt.predict_log_proba(material.flows.take(late)) if budget is None and late.size else None
            rows.add(
                Fitted(candidate.name, header.encoder.kind, seed, name, budget, used.size, header.d, ""),
                learnt.predict_log_proba(rows.tested.flows), said, material.truth[late], held.groups,
            )  # fmt: skip


def draw(found: ProbeRun, folder: Path) -> list[Path]:
    """Draw every plot that has data into a folder, with the data of each beside it as CSV."""
    from ethogram.representation import plots  # matplotlib takes long to load and is wanted only here

    folder.mkdir(parents=True, exist_ok=True)
    together = found.figures.filter(pl.col("seed").is_null())
    drawn_ = [plots.label_curves(visible_frame(together), folder / "macro-f1.png")]
    whole = found.confusion.filter(pl.col("budget").is_null())
    if whole.height:
        first = pl.col("seed") == pl.col("seed").min().over("encoder")
        one = whole.filter(first & (pl.col("probe") == pl.col("probe").first()))
        drawn_.append(plots.confusion_plot(visible_frame(one), folder / "confusion.png"))
    if found.devices.height:
        drawn_.append(plots.verdict_curves(visible_frame(found.devices), folder / "verdicts.png"))
    return drawn_
