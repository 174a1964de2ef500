"""Explain a verdict: the terms of a score as evidence, and the largest of them in one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ethogram.identify.identifier import Term
from ethogram.identify.terms import TermTable
from ethogram.schema import UNKNOWN, Evidence
from ethogram.schema.service_words import GROUP_WORDS, LOCAL, service_words

GENERAL = ("any ", "all traffic", "all services", "all names")
NAME = "name "
NEW = 3  # maximum number of new services in a verdict
OFTEN = 0.15  # minimum share of active hours of a new service, which excludes stray ports

__all__ = ["evidence", "how_often", "new_services", "sentence", "service_phrase", "share_of_new"]


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


def share_of_new(flow_shares: Mapping[str, float], usual: Collection[str]) -> float:
    """Share of the flows on services that a label never used; changing ports do not count.

    >>> share_of_new({"TCP/443": 0.2, "TCP/23": 0.7, "TCP/dyn": 0.1}, {"TCP/443"})
    0.7
    """
    return math.fsum(share for service, share in flow_shares.items() if service not in usual and "/dyn" not in service)


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


def how_often(share: float, hours: int = 0) -> str:
    """Describe a share of a window's active hours.

    Parameters
    ----------
    share
        Share of the active hours, 0 to 1.
    hours
        Number of active hours; 0 if unknown.

    >>> [how_often(share, 24) for share in (1.0, 0.125, 0.001)], how_often(1.0, 1), how_often(0.3)
    (['every hour', 'in 3 of 24 hours', 'in 1 of 24 hours'], '', '30 % of the time')
    """
    if not hours:
        return "all the time" if share >= 1 else f"{max(share, 0.01):.0%} of the time".replace("%", " %")
    count = max(round(share * hours), 1)
    if hours == 1:
        return ""
    return "every hour" if count >= hours else f"in {count:,} of {hours:,} hours"


def sentence(
    label: str, nearest: str, evidence_terms: Sequence[Evidence], presence: Mapping[str, float], *,
    strange: bool = True, hours: int = 0, tied: Sequence[str] = (), new_share: float = 0.0,
) -> str:  # fmt: skip
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
    hours
        Number of active hours in the window; 0 if unknown.
    tied
        Other labels that cannot be told from the nearest one.
    new_share
        Share of the flows on services that the nearest label never used; 0: not worth a word.
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
    if tied:
        parts.append(f"{_list([nearest, *tied], 'or')}: they cannot be told apart")
    if label == UNKNOWN and tied:
        parts.append("not sure enough of any of them")
    elif label == UNKNOWN:
        parts.append(f"{'too unlike every known device' if strange else 'not sure enough'}; the nearest is {nearest}")
        if speaks:
            parts.append(f"it shares {_uses(speaks, presence, hours)}")
    elif speaks and speaks[0].startswith(GENERAL):
        parts.append(f"resembles {'them' if tied else nearest} in {_list(speaks)}")
    elif speaks:
        parts.append(f"uses {_uses(speaks, presence, hours)} as {'they do' if tied else f'{nearest} does'}")
    elif not tied:
        parts.append(f"nearest to {nearest}")
    spoken = {service_phrase(service) for service in speaks}
    for names, what in ((extra, "not seen before"), (missing, "missing"), (unlike, "used differently")):
        phrases = [phrase for phrase in dict.fromkeys(map(service_phrase, names)) if phrase not in spoken]
        if phrases:
            parts.append(f"{_list(phrases)} {what}")
    if new_share:
        parts.append(f"unusual: {new_share:.0%} of its flows use services that {nearest} never used")
    return "; ".join(parts)


def _uses(services: Sequence[str], presence: Mapping[str, float], hours: int) -> str:
    """Services grouped by how often they are used."""
    spans: dict[str, list[str]] = {}
    for service in services:
        share = presence.get(service, presence.get(service.split(" ")[0]))
        often = "" if share is None else how_often(share, hours)
        names = spans.setdefault(f" {often}" if often else "", [])
        if service_phrase(service) not in names:
            names.append(service_phrase(service))
    return _list([_list(names) + words for words, names in spans.items()])


def service_phrase(service: str) -> str:
    """A service in words; the usual role (client) and scope (WAN) are omitted, and what a service implies.

    >>> services = ("TCP/443 client wan", "TCP/80 server lan", "UDP/53 client lan", "name example.com")
    >>> [service_phrase(service) for service in services]
    ['HTTPS', 'HTTP as a server on the LAN', 'DNS on the LAN', 'example.com']
    >>> [service_phrase(f"{s} client multicast 224.0.0.251") for s in ("IP/2", "UDP/5353", "UDP/6000")]
    ['IGMP for mDNS', 'mDNS', 'UDP/6000 for mDNS']
    """
    if service.startswith(NAME):
        return service.removeprefix(NAME)
    base, *rest = service.split()
    name = service_words(base)
    words = [name]
    for part in rest:
        if part == "server":
            words.append("as a server")
        elif part == "lan" and name not in LOCAL:
            words.append("on the LAN")
        elif part == "multicast" and name not in LOCAL and rest[-1] == part:
            words.append("to all")
        elif part in GROUP_WORDS:
            group = GROUP_WORDS[part]
            words += ["for", group] if group and group != name else []
        elif part not in ("client", "wan", "any", "lan", "multicast"):
            words += ["to", part] if rest[-1] == part and "multicast" in rest else [part]
    return " ".join(words)


def _list(words: Sequence[str], last: str = "and") -> str:
    """Join words with commas and a final "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
