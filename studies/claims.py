"""The paper's three claims, judged on rows: the effects of the KL term on shift and on transfer, and of size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ethogram.bench import FlowRow
from studies.contrasts import Contrast, contrast

__all__ = ["Claim", "Verdict", "claim_lines", "claims"]

Verdict = Literal["holds", "does not hold", "cannot be told"]

REPORTED_KL = 1e-3
"""KL weight reported in the paper; claims about the KL term are judged at it if it was measured."""

BLOCKS = ("meta", "packets", "payload")
SIZES = ("small", "base", "large")
OTHER_PROBES = "probes"
"""Group of rows with another probe; they are excluded from pairs."""

LEAST_PAIRS = 3
"""Minimum number of pairs of rows for a verdict."""

NO_HELP = 0.02
"""Maximum gain in macro-F1 of a larger network for which size is said not to help."""


@dataclass(frozen=True)
class Claim:
    """One claim, its verdict, and the contrasts behind it."""

    says: str
    rule: str
    figure: str
    verdict: Verdict
    sides: tuple[str, str]
    contrasts: tuple[Contrast, ...] = ()
    notes: tuple[str, ...] = ()


def claims(by_task: Mapping[str, Sequence[FlowRow]]) -> list[Claim]:
    """The three claims, judged on the rows of tasks across networks; the third one within autoencoders.

    :mod:`studies.size_claim` judges the third claim over all encoders.

    Parameters
    ----------
    by_task
        Rows of flow tasks.
    """
    rows = [
        row for task_rows in by_task.values() for row in task_rows
        if row.where == "across" and not row.detector and row.group != OTHER_PROBES
    ]  # fmt: skip
    return [_shift(rows), _transfer(rows), _size(rows)]


def _but_kind(row: FlowRow) -> object:
    return row.task, row.encoder.view, row.encoder.size, row.encoder.loss


def _but_size(row: FlowRow) -> object:
    return row.task, row.encoder.view, row.encoder.kind, row.encoder.kl_weight, row.encoder.loss


def _kind(rows: Sequence[FlowRow], kind: str, weight: float | None = None) -> list[FlowRow]:
    of_kind = [row for row in rows if row.encoder.kind == kind]
    return of_kind if weight is None else [row for row in of_kind if row.encoder.kl_weight == weight]


def _weights(rows: Sequence[FlowRow]) -> list[float]:
    return sorted({row.encoder.kl_weight for row in _kind(rows, "vae") if row.encoder.kl_weight})


def _judged(weights: Sequence[float]) -> float | None:
    """The KL weight at which claims are judged: the reported one, else the largest."""
    return REPORTED_KL if REPORTED_KL in weights else max(weights, default=None)


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """Combine verdicts: all must hold, and one that does not hold decides."""
    if not verdicts or (any(v == "cannot be told" for v in verdicts) and "does not hold" not in verdicts):
        return "cannot be told"
    return "does not hold" if "does not hold" in verdicts else "holds"


def _shift(rows: Sequence[FlowRow]) -> Claim:
    contrasts, verdicts = [], list[Verdict]()
    weights = _weights(rows)
    for weight in weights:
        for block in BLOCKS:
            name = f"{block}: VAE, KL weight {weight:g}, against AE"
            figure = f"shift_ratio_{block}"
            shifted = contrast(name, _kind(rows, "ae"), _kind(rows, "vae", weight), figure, _but_kind, quotient=True)
            if shifted is None:
                continue
            contrasts.append(shifted)
            if weight == _judged(weights):
                verdicts.append(_below(shifted, 1.0))
    return Claim(
        "The KL term lowers the shift ratio of every block",
        "holds when for every block the quotient of the ratios (VAE / AE) is below 1 with its whole interval; does not"
        " hold when for one of them it is above 1 with its whole interval",
        "shift ratio (error there / error here)",
        _together(verdicts),
        ("AE", "VAE"),
        tuple(contrasts),
        _weight_note(weights),
    )  # fmt: skip


def _transfer(rows: Sequence[FlowRow]) -> Claim:
    weights = _weights(rows)
    contrasts, verdicts = [], list[Verdict]()
    for weight in weights:
        name = f"VAE, KL weight {weight:g}, against AE"
        gain = contrast(name, _kind(rows, "ae"), _kind(rows, "vae", weight), "macro_f1", _but_kind)
        if gain is None:
            continue
        contrasts.append(gain)
        if weight == _judged(weights):
            verdicts.append(_above(gain, 0.0))
    return Claim(
        "The KL term raises macro-F1 under shift",
        "holds when the difference (VAE - AE) is above 0 with its whole interval, does not hold when it is below 0 with"
        " its whole interval",
        "macro-F1 across networks",
        _together(verdicts),
        ("AE", "VAE"),
        tuple(contrasts),
        _weight_note(weights),
    )  # fmt: skip


def _size(rows: Sequence[FlowRow]) -> Claim:
    trained = [row for row in rows if row.encoder.kind in ("ae", "vae")]
    contrasts, verdicts = [], list[Verdict]()
    for small, large in ((0, 1), (1, 2), (0, 2)):
        gain = contrast(
            f"{SIZES[large]} against {SIZES[small]}",
            [row for row in trained if row.encoder.size == SIZES[small]],
            [row for row in trained if row.encoder.size == SIZES[large]], "macro_f1", _but_size,
        )  # fmt: skip
        if gain is not None:
            contrasts.append(gain)
            verdicts.append(_no_gain(gain))
    return Claim(
        "Size does not help across networks, within AE and VAE",
        f"holds when no larger network gains more than {NO_HELP:.2f} (upper end of the interval), does not hold when"
        " one gains with its whole interval",
        "macro-F1 across networks",
        _together(verdicts),
        ("smaller", "larger"),
        tuple(contrasts),
    )  # fmt: skip


def _below(effect: Contrast, bound: float) -> Verdict:
    if math.isnan(effect.low) or effect.pairs < LEAST_PAIRS:
        return "cannot be told"
    return "holds" if effect.high < bound else "does not hold" if effect.low > bound else "cannot be told"


def _above(effect: Contrast, bound: float) -> Verdict:
    if math.isnan(effect.low) or effect.pairs < LEAST_PAIRS:
        return "cannot be told"
    return "holds" if effect.low > bound else "does not hold" if effect.high < bound else "cannot be told"


def _no_gain(effect: Contrast) -> Verdict:
    if math.isnan(effect.low) or effect.pairs < LEAST_PAIRS:
        return "cannot be told"
    return "does not hold" if effect.low > 0 else "holds" if effect.high <= NO_HELP else "cannot be told"


def _weight_note(weights: Sequence[float]) -> tuple[str, ...]:
    judged = _judged(weights)
    if judged is None:
        return ("No rows of a variational autoencoder across networks.",)
    return (f"Judged at KL weight {judged:g} (summed over the latent units, averaged over the batch).",)


def claim_lines(claims_made: Sequence[Claim], over_all: Sequence[str] = (), verdict_over_all: str = "") -> list[str]:
    """Markdown section of the claims: all verdicts, and for each its rule and a table of figures.

    Parameters
    ----------
    claims_made
        The claims.
    over_all, verdict_over_all
        Section and verdict of the third claim over all encoders.
    """
    lines = ["## The paper's claims", ""]
    if not any(claim.contrasts for claim in claims_made) and not over_all:
        return [*lines, "Cannot be told: no rows of encoders across networks that differ in one setting alone.", ""]
    numbers = [*map(str, range(1, len(claims_made))), f"{len(claims_made)}a"]
    lines += ["| claim | |", "|---|---|"]
    numbered = list(zip(numbers, claims_made, strict=True))
    lines += [f"| {number}. {claim.says} | **{claim.verdict}** |" for number, claim in numbered]
    if verdict_over_all:
        lines.append(f"| {len(claims_made)}b. Larger encoders are not necessarily more robust, over all encoders |"
                     f" **{verdict_over_all}** |")  # fmt: skip
    lines += [
        "",
        "Judged on the tasks across networks. Intervals of 1 to 3a are over seeds: how much chance there is in",
        f"training, not how the next network will do. Fewer than {LEAST_PAIRS} pairs say nothing.",
        "",
    ]
    for number, claim in numbered:
        lines += [f"### {number}. {claim.says}: {claim.verdict}", "", f"- Rule: {claim.rule}."]
        lines += [*(f"- {note}" for note in claim.notes), ""]
        if not claim.contrasts:
            lines += ["There are no pairs of rows to compare.", ""]
            continue
        effect = "quotient" if claim.contrasts[0].quotient else "difference"
        lines += [
            f"| {claim.figure} | {' | '.join(claim.sides)} | {effect} | 95 % over seeds | seeds | higher |",
            "|---|---|---|---|---|---|---|",
        ]
        for compared in claim.contrasts:
            form = _form(compared)
            limits = f"[{compared.low:{form}}, {compared.high:{form}}]"
            between = "one seed" if math.isnan(compared.low) else limits
            lines.append(
                f"| {compared.name} | {compared.low_side:.3f} | {compared.high_side:.3f} |"
                f" {compared.effect:{form}} | {between} |"
                f" {compared.seeds} | {compared.above} of {compared.pairs} pairs |"
            )
        lines.append("")
    return [*lines, *over_all]


def _form(effect: Contrast) -> str:
    return ".3f" if effect.quotient else "+.3f"
