"""Similarity of an epoch to the epochs of a fingerprint, in terms that add up to it.

Let ``z`` be log(1 + octets) of each term (a service and direction, a name, an hour of the day) in an epoch, ``low`` and
``high`` its least and largest value in the epochs of the fingerprint, and ``r`` the value between them that is nearest
to ``z``. The score of a part is Ružička's similarity of ``z`` and ``r``::

    1 - sum |z - r| / sum max(z, r)

and the score of the epoch is the mean over the parts with traffic. Each term therefore has a share of ``1 - score``,
and the shares add up to it. A volume counts by its order of magnitude; a rare service of the fingerprint neither has to
be there nor to be missing.

The limit of a score comes from the fingerprint itself: each of its epochs is scored against the others, and the limit
is the lower prediction limit of a further epoch, of ``log(margin + 1 - score)`` by Student's t, at the probability
``alarms_a_month`` epochs of a month.

References
----------
M. Ružička, Anwendung mathematisch-statistischer Methoden in der Geobotanik, 1958. Prediction limits: G. J. Hahn,
W. Q. Meeker, Statistical Intervals, 1991, section 4.8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reference", "learn_reference", "score_epochs"]

MARGIN = 0.02
"""Smallest distance that is told from none."""
SPREAD = 0.3
"""Least standard deviation that is assumed of the logarithm of a distance, as in the monitor's limits."""
LEAST_SCORES = 3
"""Epochs, scored against each other, from which a limit is learnt."""
MONTH_S = 30 * 86_400
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Reference:
    """What the epochs of a fingerprint span.

    Parameters
    ----------
    low, high
        (terms) Least and largest log volume.
    limit
        A lower score is a deviation; None if there are too few epochs to tell.
    epochs
        Number of epochs.
    """

    low: Floats
    high: Floats
    limit: float | None
    epochs: int


def score_epochs(z: Floats, low: Floats, high: Floats, parts: Ints) -> tuple[Floats, Floats]:
    """Scores of epochs, and the share that each term has of ``1 - score``.

    Parameters
    ----------
    z
        (epochs, terms) Log volumes.
    low, high
        (terms) or (epochs, terms) Least and largest of the fingerprint.
    parts
        (terms) Part that each term belongs to, from 0.

    Returns
    -------
    (epochs) scores from 0 to 1, and (epochs, terms) signed shares: positive where the epoch has more.

    Examples
    --------
    >>> scores, shares = score_epochs(np.array([[4.0, 4.0]]), np.array([4.0, 0.0]), np.array([4.0, 0.0]),
    ...                               np.array([0, 0]))
    >>> scores.tolist(), shares.tolist()
    ([0.5], [[0.0, 0.5]])
    """
    nearest = np.clip(z, low, high)
    distance, larger = z - nearest, np.maximum(z, nearest)
    shares = np.zeros_like(z)
    used = np.zeros(len(z))
    for part in np.unique(parts):
        columns = parts == part
        total = larger[:, columns].sum(axis=1)
        there = total > 0
        used += there
        shares[:, columns] = distance[:, columns] / np.where(there, total, 1.0)[:, None]
    shares /= np.maximum(used, 1)[:, None]
    return 1 - np.abs(shares).sum(axis=1), shares


def learn_reference(z: Floats, groups: Ints, parts: Ints, epoch_s: int, alarms_a_month: float) -> Reference:
    """What epochs span, with the limit of scores.

    Parameters
    ----------
    z
        (epochs, terms) Log volumes.
    groups
        (epochs) Epochs of one group are left out together to learn the limit: those of one device of a label.
    parts
        (terms) Part of each term.
    epoch_s
        Length of an epoch in seconds.
    alarms_a_month
        Deviations in a month that the limit allows if nothing changes.
    """
    if len(np.unique(groups)) < 2:
        groups = np.arange(len(z))
    scores: list[float] = []
    if len(z) > LEAST_SCORES:
        for group in np.unique(groups):
            mine = groups == group
            others = z[~mine]
            scores += score_epochs(z[mine], others.min(axis=0), others.max(axis=0), parts)[0].tolist()
    probability = min(alarms_a_month * epoch_s / MONTH_S, 0.5)
    return Reference(z.min(axis=0), z.max(axis=0), _limit(scores, probability), len(z))


def _limit(scores: list[float], probability: float) -> float | None:
    from scipy.stats import t as student

    n = len(scores)
    if n < LEAST_SCORES:
        return None
    distances = np.log(MARGIN + 1 - np.asarray(scores))
    sd = max(float(distances.std(ddof=1)), SPREAD)
    upper = float(distances.mean()) + float(student.isf(probability, n - 1)) * sd * (1 + 1 / n) ** 0.5
    limit = 1 + MARGIN - float(np.exp(min(upper, 1.0)))
    return min(limit, 1.0) if limit > 0 else None
