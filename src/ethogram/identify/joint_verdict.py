"""Join the verdict by the user's own library with that by a library of other networks.

Your own library decides first, since it was observed inside the network; what it leaves open is divided among the
labels of the other one, so that the probabilities of all labels and of *none of them* add up to 1:

    P(own label a)   = P_own(a)
    P(other label b) = P_own(none) P_other(b)           a label of both libraries is one label: the sum
    P(none)          = P_own(none) P_other(none)

The verdict is that of the own library unless that is *unknown*, or contradicted by a better supported statement; then
that of the other library, if the device is probably one of its products after all; else *unknown*.
"""

from __future__ import annotations

import numpy as np

from ethogram.identify.verdict import stranger_probability
from ethogram.schema import UNKNOWN, Verdict

__all__ = ["join_verdicts"]

ALL = 1.0 - 1e-6
RIGHT_ANYWAY = 0.05
"""Share of contradicted own labels that are right: 2 of 59 on three networks, as (2 + 1) / (59 + 2)."""


def join_verdicts(
    own: Verdict, other: Verdict, *, names: tuple[str, str], least: float = 0.5, closed: bool = False,
    contradicted: bool = False,
) -> Verdict:  # fmt: skip
    """The verdict on one device by two libraries.

    Parameters
    ----------
    own, other
        Verdicts on the same window, neither of them closed.
    names
        Names of both libraries.
    least
        Least probability that the device is one of the other library's products.
    closed
        Always give a label: the most probable one.
    contradicted
        The other library names another product, and that is better supported than the own label.

    Returns
    -------
    Verdict
        The verdict of the library that decided, with the probabilities of all labels of both.
    """
    own_scores, own_none = _shares(own)
    if contradicted:
        own_scores = {label: score * RIGHT_ANYWAY for label, score in own_scores.items()}
        own_none = 1.0 - sum(own_scores.values())
    other_scores, other_none = _shares(other)
    scores = dict(own_scores)
    for label, score in other_scores.items():
        scores[label] = scores.get(label, 0.0) + own_none * score
    best = max(scores, key=lambda label: scores[label], default="")
    other_is_likely = own_none * (1.0 - other_none) >= least
    if closed:
        of_own = own_scores.get(best, 0.0) >= own_none * other_scores.get(best, 0.0)
        label = best
    elif (own.verdict != UNKNOWN and not contradicted) or not own.flows:
        of_own, label = True, own.verdict
    elif other.verdict != UNKNOWN and other_is_likely:
        of_own, label = False, other.verdict
    else:
        of_own = own_scores.get(own.nearest, 0.0) >= own_none * other_scores.get(other.nearest, 0.0)
        label = UNKNOWN
    verdict, name = (own, names[0]) if of_own else (other, names[1])
    if not own.flows and not closed:
        return verdict.model_copy(update={"known_types": scores, "library": name})
    none = own_none * other_none
    strange = own.strangeness > 1.0 and other.strangeness > 1.0
    of_unknown = max(none, 0.5) if strange else 1.0 - scores.get(best, 0.0)
    score = of_unknown if label == UNKNOWN else scores[label]
    second = max((value for each, value in scores.items() if each != verdict.nearest), default=0.0)
    same = verdict.margin == 0.0 and bool(verdict.tied_with)
    return verdict.model_copy(update={
        "verdict": label, "score": min(score, 1.0), "known_types": scores, "library": name,
        "margin": 0.0 if same else scores.get(verdict.nearest, 0.0) - second,
        "fallback": (own.fallback or other.fallback) if label == UNKNOWN else None,
    })  # fmt: skip


def _shares(verdict: Verdict) -> tuple[dict[str, float], float]:
    """Probability of each label, and of none of them: by strangeness, for methods that do not estimate it."""
    total = sum(verdict.known_types.values())
    if total < ALL:
        return verdict.known_types, 1.0 - total
    none = float(stranger_probability(np.array([verdict.strangeness]))[0])
    return {label: score * (1.0 - none) / total for label, score in verdict.known_types.items()}, none
