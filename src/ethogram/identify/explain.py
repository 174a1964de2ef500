"""Why: the terms of a score as evidence, and the weightiest of them in one short sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ethogram.identify.identifier import Term
from ethogram.schema import UNKNOWN, Evidence

GENERAL = ("any ", "all traffic")

__all__ = ["evidence", "how_often", "sentence"]


def evidence(terms: Sequence[Term], most: int = 12) -> list[Evidence]:
    """Terms as data, the weightiest first; those beyond ``most`` are added up in one.

    The contributions add up to those of the terms, hence to the raw score.

    >>> rest = evidence([Term("TCP/443", "share", 0.5, 0.5, 0.4), Term("UDP/53", "share", 0.1, 0.0, 0.0)])
    >>> [(e.service, e.contribution, e.note) for e in rest]
    [('TCP/443', 0.4, ''), ('UDP/53', 0.0, 'extra')]
    """
    ranked = sorted(terms, key=lambda t: (-abs(t.contribution), -max(_plain(t.observed), _plain(t.expected)), t.service,
                                          t.quantity))  # fmt: skip
    shown = [_evidence(term) for term in ranked[:most]]
    rest = ranked[most:]
    if rest:
        total = math.fsum(term.contribution for term in rest)
        shown.append(
            Evidence(
                service=f"{len(rest)} more",
                quantity="sum",
                observed=math.fsum(_plain(term.observed) for term in rest),
                expected=math.fsum(_plain(term.expected) for term in rest),
                contribution=total,
            )
        )
    return shown


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
    """The share of a window's active hours in words.

    >>> [how_often(share) for share in (1.0, 0.7, 0.3, 0.02)]
    ['all the time', 'most hours', 'every few hours', 'now and then']
    """
    for least, words in ((0.9, "all the time"), (0.5, "most hours"), (0.15, "every few hours")):
        if share >= least:
            return words
    return "now and then"


def sentence(label: str, nearest: str, found: Sequence[Evidence], presence: Mapping[str, float]) -> str:
    """The evidence in one sentence.

    Parameters
    ----------
    label, nearest
        The verdict, and the best label, which differ when the verdict is unknown.
    found
        As :func:`evidence` gives it.
    presence
        Service to the share of the window's active hours in which it was used; may be empty.
    """
    named = [e for e in found if e.quantity != "sum"]
    # Evidence about a kind of service, or all traffic, is only worth words when nothing is said of a service itself.
    single = [e for e in named if not e.service.startswith(GENERAL)] or named
    total: dict[str, float] = {}
    for e in single:
        total[e.service] = total.get(e.service, 0.0) + e.contribution
    notes = {e.service: e.note for e in single if e.note and (e.contribution <= 0 or e.quantity != "presence")}
    speaks = [s for s in sorted(total, key=lambda s: -total[s]) if total[s] > 0 and notes.get(s, "") == ""][:3]
    extra = [s for s, note in notes.items() if note == "extra" and s not in speaks][:2]
    missing = [s for s, note in notes.items() if note == "missing" and s not in speaks][:2]
    unlike = [s for s in sorted(total, key=lambda s: total[s]) if total[s] < 0 and s not in {*extra, *missing}][:2]
    parts = []
    if label == UNKNOWN:
        parts.append(f"too unlike every known device; the nearest is {nearest}")
        if speaks:
            parts.append(f"it shares {_uses(speaks, presence)}")
    elif speaks:
        parts.append(f"uses {_uses(speaks, presence)} as {nearest} does")
    else:
        parts.append(f"nearest to {nearest}")
    for names, what in ((extra, "extra"), (missing, "missing"), (unlike, "unlike it")):
        if names:
            parts.append(f"{_list(names)} {'is' if len(names) == 1 else 'are'} {what}")
    return "; ".join(parts)


def _uses(services: Sequence[str], presence: Mapping[str, float]) -> str:
    """Services with how often they are used, each frequency said once."""
    spans: dict[str, list[str]] = {}
    for service in services:
        share = presence.get(service, presence.get(service.split(" ")[0]))
        spans.setdefault("" if share is None else " " + how_often(share), []).append(service)
    return _list([_list(names) + words for words, names in spans.items()])


def _list(words: Sequence[str]) -> str:
    """Join words as people do."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
