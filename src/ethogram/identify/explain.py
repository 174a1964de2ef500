"""Why: the terms of a score as evidence, and the weightiest of them in one short sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ethogram.identify.identifier import Term
from ethogram.schema import UNKNOWN, Evidence

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
    speaks = {e.service for e in found if e.note == "" and e.quantity != "sum" and e.contribution > 0}
    against = {e.service for e in found if e.contribution < 0 and e.quantity != "sum"} - speaks
    ordered = list(dict.fromkeys(e.service for e in found))
    uses = [_use(service, presence) for service in ordered if service in speaks][:3]
    extra = _names(e.service for e in found if e.note == "extra" and e.service not in speaks)
    missing = _names(e.service for e in found if e.note == "missing" and e.service not in speaks)
    unlike = _names(s for s in ordered if s in against and s not in {*extra, *missing})
    parts = []
    if label == UNKNOWN:
        parts.append(f"too unlike every known device; the nearest is {nearest}" if nearest else "nothing to compare")
        if uses:
            parts.append(f"it shares {_list(uses)}")
    elif uses:
        parts.append(f"uses {_list(uses)} as {nearest} does")
    else:
        parts.append(f"nearest to {nearest}")
    for names, what in ((extra, "extra"), (missing, "missing"), (unlike, "unlike it")):
        if names:
            parts.append(f"{_list(names)} {'is' if len(names) == 1 else 'are'} {what}")
    return "; ".join(parts)


def _use(service: str, presence: Mapping[str, float]) -> str:
    return f"{service} {how_often(presence[service])}" if service in presence else service


def _names(services: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(services))[:2]


def _list(words: Sequence[str]) -> str:
    """Join words as people do."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
