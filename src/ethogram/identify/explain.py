"""Explain a verdict: the terms of a score as evidence, and the largest of them in one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ethogram.identify.identifier import Term
from ethogram.identify.terms import TermTable
from ethogram.schema import UNKNOWN, Evidence

GENERAL = ("any ", "all traffic", "all services", "all names")
NAME = "name "
NEW = 3  # maximum number of new services in a verdict
OFTEN = 0.15  # minimum share of active hours of a new service, which excludes stray ports

__all__ = ["evidence", "how_often", "new_services", "sentence"]


def evidence(terms: Sequence[Term], most: int = 12) -> list[Evidence]:
    """Evidence from terms, the largest contribution first; terms beyond ``most`` are summed into one.

    The contributions sum to those of the terms, and thus to the raw score.

    >>> rest = evidence([Term("TCP/443", "share", 0.5, 0.5, 0.4), Term("UDP/53", "share", 0.1, 0.0, 0.0)])
    >>> [(e.service, e.contribution, e.note) for e in rest]
    [('TCP/443', 0.4, ''), ('UDP/53', 0.0, 'extra')]
    """
    others = TermTable((), np.zeros(0, np.int64), np.zeros((3, 0)))
    if isinstance(terms, TermTable):
        terms, others = terms.split_largest(most)
    ranked = sorted(terms, key=lambda t: (-abs(t.contribution), -max(_plain(t.observed), _plain(t.expected)), t.service,
                                          t.quantity))  # fmt: skip
    shown = [_evidence(term) for term in ranked[:most]]
    rest = ranked[most:]
    if rest or len(others):
        columns = np.array([(t.observed, t.expected, t.contribution) for t in rest], np.float64).reshape(-1, 3).T
        columns = np.concatenate([columns, others.columns], axis=1)
        observed, expected, total = (math.fsum(row) for row in np.where(np.isfinite(columns), columns, 0.0).tolist())
        shown.append(
            Evidence(
                service=f"{len(rest) + len(others)} more",
                quantity="sum",
                observed=observed,
                expected=expected,
                contribution=total,
            )
        )
    return shown


def new_services(presence: Mapping[str, float], usual: Collection[str]) -> list[Evidence]:
    """Services that the nearest label was never seen with, the most frequent first; they have no term in the score.

    Parameters
    ----------
    presence
        Share of the window's active hours in which each service was used.
    usual
        Services of the label's enrolled windows.

    >>> [e.service for e in new_services({"TCP/443": 1.0, "TCP/23": 0.9, "TCP/dyn": 0.1}, {"TCP/443"})]
    ['TCP/23']
    """
    new = [s for s in presence if s not in usual and not s.endswith("/dyn") and presence[s] >= OFTEN]
    return [
        Evidence(service=s, quantity="share of active hours", observed=presence[s], expected=0.0, contribution=0.0,
                 note="extra")
        for s in sorted(new, key=lambda s: (-presence[s], s))[:NEW]
    ]  # fmt: skip


def _plain(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _evidence(term: Term) -> Evidence:
    observed, expected = _plain(term.observed), _plain(term.expected)
    here, known = observed > 0, expected > 0
    return Evidence(
        service=term.service,
        quantity=term.quantity,
        observed=observed,
        expected=expected,
        contribution=term.contribution,
        note="missing" if known and not here else "extra" if here and not known else "",
    )


def how_often(share: float) -> str:
    """Describe a share of a window's active hours in words.

    >>> [how_often(share) for share in (1.0, 0.7, 0.3, 0.02)]
    ['all the time', 'most hours', 'every few hours', 'now and then']
    """
    for least, words in ((0.9, "all the time"), (0.5, "most hours"), (0.15, "every few hours")):
        if share >= least:
            return words
    return "now and then"


def sentence(
    label: str, nearest: str, evidence_terms: Sequence[Evidence], presence: Mapping[str, float], *, strange: bool = True
) -> str:
    """Summarise the evidence in one sentence.

    Parameters
    ----------
    label, nearest
        The verdict and the best label; they differ if the verdict is unknown.
    evidence_terms
        From :func:`evidence`.
    presence
        Share of the window's active hours in which each service was used; may be empty.
    strange
        Whether an unknown device is unlike the nearest label, rather than equally like several.
    """
    named = [e for e in evidence_terms if e.quantity not in {"sum", "offset"}]
    # Aggregates (a kind of service, all traffic) are mentioned only if there is no evidence about a single service.
    single = [e for e in named if not e.service.startswith(GENERAL)] or named
    total: dict[str, float] = {}
    for e in single:
        total[e.service] = total.get(e.service, 0.0) + e.contribution
    notes = {e.service: e.note for e in single if e.note and (e.contribution <= 0 or e.quantity != "presence")}
    speaks = [s for s in sorted(total, key=lambda s: -total[s]) if total[s] > 0 and notes.get(s, "") == ""][:3]
    extra = [s for s, note in notes.items() if note == "extra" and s not in speaks][:NEW]
    missing = [s for s, note in notes.items() if note == "missing" and s not in speaks][:2]
    unlike = [s for s in sorted(total, key=lambda s: total[s]) if total[s] < 0 and s not in {*extra, *missing}]
    # Aggregates over all services are not services.
    unlike = [s for s in unlike if not s.startswith(GENERAL)][:2]
    parts = []
    if label == UNKNOWN:
        parts.append(f"{'too unlike every known device' if strange else 'not sure enough'}; the nearest is {nearest}")
        if speaks:
            parts.append(f"it shares {_uses(speaks, presence)}")
    elif speaks:
        parts.append(f"uses {_uses(speaks, presence)} as {nearest} does")
    else:
        parts.append(f"nearest to {nearest}")
    for names, what in ((extra, "extra"), (missing, "missing"), (unlike, "unlike it")):
        if names:
            phrases = list(dict.fromkeys(_in_words(name) for name in names))
            parts.append(f"{_list(phrases)} {'is' if len(phrases) == 1 else 'are'} {what}")
    return "; ".join(parts)


def _uses(services: Sequence[str], presence: Mapping[str, float]) -> str:
    """Services grouped by how often they are used."""
    spans: dict[str, list[str]] = {}
    for service in services:
        share = presence.get(service, presence.get(service.split(" ")[0]))
        names = spans.setdefault("" if share is None else " " + how_often(share), [])
        if _in_words(service) not in names:
            names.append(_in_words(service))
    return _list([_list(names) + words for words, names in spans.items()])


def _in_words(service: str) -> str:
    """A service in words; the usual role (client) and scope (WAN) are omitted.

    >>> [_in_words(s) for s in ("TCP/443 client wan", "TCP/80 server lan", "UDP/53 client lan", "name example.com")]
    ['TCP/443', 'TCP/80 as a server inside', 'UDP/53 inside', 'example.com']
    """
    first, _, rest = service.removeprefix(NAME).partition(" ")
    words = {"client": "", "server": "as a server", "wan": "", "any": "", "lan": "inside", "multicast": "to all"}
    return " ".join(filter(None, [first, *(words.get(word, word) for word in rest.split())]))


def _list(words: Sequence[str]) -> str:
    """Join words with commas and a final "and"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
