"""The verb *probe*: classifiers on frozen embeddings, under splits that prove they are disjoint.

Training flows choose, standardise, fit, calibrate and set thresholds; test flows are read once, by what is then fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import ProbeSettings
from ethogram.errors import EthogramError, LeakError, UsageError
from ethogram.identify.flow_split import FlowDays, FlowSplit
from ethogram.identify.probe import Probe, Standardiser, budget_rows, choose, most_even
from ethogram.identify.probe_devices import Groups, groups_of
from ethogram.pipeline.candidates import Candidate, Embedding, candidates, supervised
from ethogram.pipeline.flow_days import FlowFiles, day_text
from ethogram.pipeline.labelled_flows import LabelledFlows, days_learnt, drawn, learnt_from
from ethogram.pipeline.probe_rows import Fitted, Rows, Tested, aggregations
from ethogram.schema import Accounting, CustomFlows

__all__ = ["ProbeRun", "draw", "probe"]

LEARNT_DAY = "day the encoder learnt from"
BETWEEN = "between the sides"
BEYOND = "more than are used"
STRANGER = "type not in training"
UNTESTED = "type not tested"
DRAWS_NOTHING = ("logistic", "knn")
TUNED = ("ae", "vae", "fields", "untrained")
"""Kinds whose networks can learn from labels."""


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
    networks = [LabelledFlows.read(inputs, labels, settings.level)]
    if test:
        networks.append(LabelledFlows.read(test, test_labels or labels, settings.level))
        _refuse_same_files(networks)
    notes: list[str] = []
    accounting: dict[str, Accounting] = {}
    both = learnt_from(inputs, test) if test else []
    known = [*(network.files for network in networks), *both, *learnt_from(inputs, pretrained_on)]
    unused, learnt = _unlearnt(networks, chosen, known, settings, notes)
    split, train, later = _split(networks, unused, learnt, settings)
    for network, kept in zip(networks, unused, strict=True):
        accounting[network.days.network] = _accounted(network, kept)
        notes += _told(network)
    material, tested = _material(train, later, settings, accounting, notes)
    rows = _measure(chosen, material, tested, tune, settings, notes, on_progress)
    for each in accounting.values():
        each.check()
    return ProbeRun(settings, split, rows.figures(), rows.types(), rows.confusion(), rows.devices(), accounting, notes)


# -- which flows


def _refuse_same_files(networks: list[LabelledFlows]) -> None:
    if networks[0].files.digest == networks[1].files.digest:
        raise LeakError("the flows that train and those that test are the same")
    if networks[0].days.network == networks[1].days.network:
        raise UsageError(f"two networks of one name: {networks[0].days.network}; rename a file")


def _unlearnt(
    networks: list[LabelledFlows], chosen: list[Candidate], known: list[FlowFiles], settings: ProbeSettings,
    notes: list[str],
) -> tuple[list[NDArray[np.int64]], dict[str, FlowDays]]:  # fmt: skip
    """Of each network the flows of days that no encoder learnt from, nor stood next to; and those it learnt from."""
    found: list[NDArray[np.int64]] = []
    sides: dict[str, FlowDays] = {}
    unknown: set[str] = set()
    for network in networks:
        devices = set(network.days.device.unique())
        learnt = np.zeros(0, np.int64)
        for candidate in chosen:
            for seed in range(candidate.seeds if candidate.paths else 0):
                days = days_learnt(candidate.header(seed), known, devices)
                if days is None:
                    unknown.add(candidate.name)
                else:
                    learnt = np.union1d(learnt, days)
        near = np.concatenate([learnt + shift for shift in range(-settings.gap_days, settings.gap_days + 1)])
        kept = ~np.isin(network.days.day, near)
        if not kept.any():
            span = np.unique(network.days.day)
            raise LeakError(
                f"an encoder learnt from every labelled day of {network.days.network} ({day_text(span[0])} to "
                f"{day_text(span[-1])}) or the one beside it: pretrain it on fewer days, or label flows of others"
            )
        side = network.days.take(np.isin(network.days.day, learnt))
        if len(side):
            sides[f"unlabelled of {side.network}"] = side
        found.append(np.flatnonzero(kept))
    notes += [
        f"{name}: learnt from files that are not here; that its days are others cannot be proved "
        "(--pretrained-on names them)"
        for name in sorted(unknown)
    ]
    return found, sides


def _split(
    networks: list[LabelledFlows], unused: list[NDArray[np.int64]], learnt: dict[str, FlowDays], settings: ProbeSettings
) -> tuple[FlowSplit, LabelledFlows, LabelledFlows]:
    """The split, which proves that training, test and what the encoders learnt from are apart, and its two sides."""
    parts = [network.take(rows) for network, rows in zip(networks, unused, strict=True)]
    if len(parts) == 2:
        sides = {"train": parts[0].days, "test": parts[1].days, **learnt}
        name = f"network {parts[0].days.network} -> {parts[1].days.network}"
        return FlowSplit(name, "network", sides, settings.gap_days), parts[0], parts[1]
    split = FlowSplit.by_day(
        parts[0].days, test_share=settings.test_share, gap_days=settings.gap_days, by=settings.split
    )
    where = [np.flatnonzero(np.isin(networks[0].days.rows, side.rows)) for side in split.sides.values()]
    split = replace(split, sides={**split.sides, **learnt})
    return split, networks[0].take(where[0]), networks[0].take(where[1])


def _accounted(network: LabelledFlows, kept: NDArray[np.int64]) -> Accounting:
    """The labels' accounting, less the days that encoders learnt from."""
    own = network.labels.accounting
    out = len(network.days) - kept.size
    if out:
        own.ignore(LEARNT_DAY, out)
        own.used -= out
    return own


def _told(network: LabelledFlows) -> list[str]:
    notes = []
    if network.labels.bare:
        shown = ", ".join(f"{name} ({n:,} flows)" for name, n in sorted(network.labels.bare.items())[:5])
        notes.append(f"{network.days.network}: {len(network.labels.bare)} devices without a label: {shown}")
    if network.labels.unseen:
        notes.append(f"{network.days.network}: labelled and not seen: {', '.join(network.labels.unseen[:8])}")
    return notes


@dataclass(frozen=True)
class Material:
    """Training flows with their types, and which of them are held out to choose and calibrate by."""

    names: list[str]
    flows: CustomFlows
    truth: NDArray[np.int64]
    early: NDArray[np.bool_]
    late: NDArray[np.bool_]
    hours: LabelledFlows


def _material(
    train: LabelledFlows, test: LabelledFlows, settings: ProbeSettings, accounting: dict[str, Accounting],
    notes: list[str],
) -> tuple[Material, Tested]:  # fmt: skip
    own, tested = accounting[train.days.network], accounting[test.days.network]
    if settings.shared_types:
        shared = np.flatnonzero(np.isin(train.types, np.unique(test.types)))
        _move(own, UNTESTED, len(train.days) - shared.size)
        train = train.take(shared)
    names, counts = np.unique(train.types, return_counts=True)
    if not names.size:
        raise UsageError(f"no {settings.level} stands in training and in test")
    if names.size < 2:
        raise UsageError(f"training flows of one {settings.level} only ({names[0]}): a probe needs two")
    most = most_even(counts.tolist(), settings.train_flows)
    code = np.searchsorted(names, train.types)
    rows = budget_rows(code, most, 0)
    truth = np.where(np.isin(test.types, names), np.searchsorted(names, test.types), -1)
    truth = np.where(truth == names.size, -1, truth)
    strangers = int((truth < 0).sum())
    if strangers == truth.size:
        raise UsageError(
            f"no {settings.level} that is tested was trained: {', '.join(np.unique(test.types)[:5])} are not among "
            f"{', '.join(names[:5])}"
        )
    test_rows = drawn(len(test.days), settings.test_flows, 0)
    _move(own, BEYOND, len(train.days) - rows.size)
    _move(tested, STRANGER, int((truth[test_rows] < 0).sum()))
    _move(tested, BEYOND, len(test.days) - test_rows.size)
    _move(own, BETWEEN, own.used - rows.size - (0 if own is not tested else int((truth[test_rows] >= 0).sum())))
    if strangers:
        unseen = sorted(set(test.types[truth < 0]))
        notes.append(f"{strangers:,} test flows of types not in training, as strangers: {', '.join(unseen[:8])}")
    part = train.take(rows)
    early, late = _held_out(part, settings, notes)
    part_test = test.take(test_rows)
    material = Material([str(name) for name in names], part.flows(), code[rows], early, late, part)
    return material, Tested.of(part_test, truth[test_rows])


def _move(accounting: Accounting, reason: str, count: int) -> None:
    if count:
        accounting.ignore(reason, count)
        accounting.used -= count


def _held_out(
    part: LabelledFlows, settings: ProbeSettings, notes: list[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The last training days, apart from the others by the gap; none where the days do not suffice."""
    nothing = np.zeros(len(part.days), np.bool_)
    try:
        if not settings.held_out:
            raise UsageError("nothing is held out")
        inner = FlowSplit.by_day(part.days, test_share=settings.held_out, gap_days=settings.gap_days,
                                 by=settings.split, names=("fit", "held out"))  # fmt: skip
    except UsageError as error:
        notes.append(f"not calibrated, nothing called unknown, first choice of the grid: {error}")
        return ~nothing, nothing
    early, late = (np.isin(part.days.rows, side.rows) for side in inner.sides.values())
    return early, late


# -- what is measured


def _measure(
    chosen: list[Candidate], material: Material, tested: Tested, tune: bool, settings: ProbeSettings,
    notes: list[str], on_progress: Callable[[str, float], None] | None,
) -> Rows:  # fmt: skip
    rows = Rows(material.names, tested, settings)
    held = _Groups(material, settings)
    tested.group(settings)
    done, total = 0, len(chosen) * settings.seeds
    for candidate in chosen:
        last = ""
        for seed in range(settings.seeds):
            if on_progress is not None:
                on_progress(f"{candidate.name}, seed {seed}", done / total)
            done += 1
            if not seed or candidate.seeds != 1:
                encoder = candidate.open(seed, material.flows)
            before = encoder.digest
            again = before == last
            if not again:
                embed = candidate.embedder(encoder, seed)
                last = before
                seen, unseen = (Embedding(embed, flows, encoder.header.d) for flows in (material.flows, tested.flows))
            kind = encoder.header.encoder.kind
            _frozen(rows, held, candidate.name, seed, seen, unseen, material, settings, kind, again)
            if encoder.digest != before:
                raise EthogramError(f"{candidate.name}: its weights changed while it was probed")
            if tune and kind in TUNED:
                _tuned(rows, held, candidate, seed, material, settings)
        if tune and candidate.header(0).encoder.kind not in TUNED:
            notes.append(f"{candidate.name}: no network that learns from labels")
    return rows


class _Groups:
    """Groups of the held-out training flows, for each aggregation."""

    def __init__(self, material: Material, settings: ProbeSettings) -> None:
        late = np.flatnonzero(material.late)
        own = material.hours.take(late)
        truth = material.truth[late]
        self.groups: dict[str, Groups] = {}
        for name, flows, seconds in aggregations(settings):
            self.groups[name] = groups_of(own.days.device, own.start_us, flows, seconds, truth)


def _frozen(
    rows: Rows, held: _Groups, name: str, seed: int, train: Embedding, test: Embedding, material: Material,
    settings: ProbeSettings, kind: str, again: bool,
) -> None:  # fmt: skip
    z, types = train.whole(), len(material.names)
    for budget in settings.budgets:
        used = budget_rows(material.truth, budget, seed)
        fit, late = used[material.early[used]], used[material.late[used]]
        for probe_name in settings.probes:
            if again and budget is None and probe_name in DRAWS_NOTHING:
                continue  # the same encoder, the same flows: the same figures
            choosing = late.size > 0 and np.unique(material.truth[fit]).size > 1
            choice, said = None, None
            if choosing:
                first = Standardiser(settings.whiten, settings.whiten_floor).fit(z[fit])
                choice, said = choose(
                    probe_name, settings, seed, (first.apply(z[fit]), material.truth[fit]),
                    (first.apply(z[late]), material.truth[late]), types,
                )  # fmt: skip
            standard = Standardiser(settings.whiten, settings.whiten_floor).fit(z[used])
            final = Probe(probe_name, settings, choice, seed).fit(standard.apply(z[used]), material.truth[used])
            found = [final.log_probabilities(standard.apply(batch), types) for batch in test.batches()]
            rows.add(
                Fitted(name, kind, seed, probe_name, budget, used.size, z.shape[1], str(final.choice)),
                np.concatenate(found), said if budget is None else None, material.truth[late], held.groups,
            )  # fmt: skip


def _tuned(
    rows: Rows, held: _Groups, candidate: Candidate, seed: int, material: Material, settings: ProbeSettings
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
            net = module.network_of(header.encoder, seed + 1, weights if name == "unfrozen" else None)
            learnt = module.LabelledNetwork(net, len(material.names), settings, seed)
            learnt.fit(material.flows, material.truth, fit, late)
            said = learnt.log_probabilities(material.flows.take(late)) if budget is None and late.size else None
            rows.add(
                Fitted(candidate.name, header.encoder.kind, seed, name, budget, used.size, header.d, ""),
                learnt.log_probabilities(rows.tested.flows), said, material.truth[late], held.groups,
            )  # fmt: skip


def draw(found: ProbeRun, folder: Path) -> list[Path]:
    """Draw every plot that has data into a folder, with the data of each beside it as CSV."""
    from ethogram.representation import plots  # matplotlib takes long to load and is wanted only here

    folder.mkdir(parents=True, exist_ok=True)
    together = found.figures.filter(pl.col("seed").is_null())
    drawn_ = [plots.label_curves(together, folder / "macro-f1.png")]
    whole = found.confusion.filter(pl.col("budget").is_null())
    if whole.height:
        first = pl.col("seed") == pl.col("seed").min().over("encoder")
        one = whole.filter(first & (pl.col("probe") == pl.col("probe").first()))
        drawn_.append(plots.confusion_plot(one, folder / "confusion.png"))
    if found.devices.height:
        drawn_.append(plots.verdict_curves(found.devices, folder / "verdicts.png"))
    return drawn_
