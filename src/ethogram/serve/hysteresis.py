"""When the statement about a device changes, and why: labels that stay.

A statement is refined at once when a deeper level of the same kind and vendor becomes sure. Another statement replaces
it if it is more probable by a margin, or if several judgements in a row say so. Every change has a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ethogram.config import JudgeSettings

__all__ = ["Stated", "StatementDecision", "decide", "facts_of"]

UNKNOWN, SEVERAL = "unknown", "several"
_DEPTH = {UNKNOWN: 0, "platform": 1, "kind": 2, "vendor": 3, "family": 4, "model": 5, "device": 6}
MOST_FACTS = 5


@dataclass(frozen=True)
class Stated:
    """What a judgement states about a device.

    Parameters
    ----------
    statement, level, score
        Statement in words, its level, and its calibrated probability.
    kind, vendor, model
        As far as they are sure.
    library
        Name and digest of the library.
    provisional
        Whether it rests on less than one whole epoch.
    facts
        Facts that support it, the largest first.
    """

    statement: str
    level: str
    score: float
    kind: str = ""
    vendor: str = ""
    model: str = ""
    library: str = ""
    provisional: bool = False
    facts: tuple[str, ...] = ()

    @classmethod
    def of(cls, verdict: Mapping[str, Any], library: str, *, provisional: bool) -> Stated:
        """From a verdict of ``ethogram.inventory/2``."""
        ladder = verdict.get("ladder")
        if not ladder:
            return cls(str(verdict["verdict"]), "device" if verdict["verdict"] != UNKNOWN else UNKNOWN,
                       float(verdict["score"]), library=library, provisional=provisional)  # fmt: skip
        return cls(
            ladder["statement"], ladder["level"], float(ladder["score"]), ladder["kind"], ladder["vendor"],
            ladder["model"], library, provisional, facts_of(verdict),
        )  # fmt: skip


@dataclass(frozen=True)
class StatementDecision:
    """Whether the new statement holds.

    Parameters
    ----------
    accepted
        Whether the new judgement is what is stated from now on; if not, the earlier statement stays.
    reason
        Why the statement changed; empty if the words are the same or the change is not accepted.
    evidence
        Facts that came with the change.
    candidate
        The other statement, while it does not hold long enough.
    cause
        The reason in one word, for rules.
    """

    accepted: bool
    reason: str = ""
    evidence: tuple[str, ...] = ()
    candidate: dict[str, Any] | None = None
    cause: Literal["", "first", "library", "request", "provisional", "more", "probable", "repeated"] = ""


def facts_of(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """The facts behind the stated levels of a verdict, the deepest level first."""
    levels = (verdict.get("ladder") or {}).get("levels", [])
    texts = [fact["text"] for level in reversed(levels) if level["stated"] for fact in level["evidence"]]
    return tuple(dict.fromkeys(texts))


def decide(
    before: Stated | None, after: Stated, candidate: Mapping[str, Any] | None, now: datetime, settings: JudgeSettings,
    *, again: bool = False,
) -> StatementDecision:  # fmt: skip
    """Decide whether a new statement replaces the earlier one.

    Parameters
    ----------
    before
        What is stated now; None at the first judgement.
    after
        The new judgement.
    candidate
        The other statement that the latest judgements gave, as this function returned it.
    now
        Time of the data behind the new judgement.
    settings
        Margin and number of judgements.
    again
        Whether devices are judged again on request: the new statement holds at once.

    Examples
    --------
    >>> from datetime import UTC
    >>> now, settings = datetime(2026, 1, 1, tzinfo=UTC), JudgeSettings()
    >>> camera, plug = Stated("camera", "kind", 0.8, kind="camera"), Stated("plug", "kind", 0.85, kind="plug")
    >>> first = decide(camera, plug, None, now, settings)
    >>> first.accepted, first.candidate["times"]
    (False, 1)
    >>> second = decide(camera, plug, first.candidate, now, settings)
    >>> decide(camera, plug, second.candidate, now, settings).reason
    'three judgements in a row say so'
    """
    if before is None:
        return StatementDecision(True, "first judgement", after.facts[:MOST_FACTS], cause="first")
    if before.statement == after.statement:
        return StatementDecision(True)
    new = tuple(fact for fact in after.facts if fact not in before.facts)[:MOST_FACTS]
    if before.library != after.library:
        return StatementDecision(True, f"judged with another library: {after.library}", new, cause="library")
    if again:
        return StatementDecision(True, "judged again on request", new, cause="request")
    if before.provisional:
        reason = "first traffic" if after.provisional else "first whole epoch"
        return StatementDecision(
            True, f"{reason}: the earlier statement was provisional", new, cause="provisional"
        )
    if _refines(before, after):
        return StatementDecision(True, f"more is known: {after.level}", new, cause="more")
    if after.level != UNKNOWN and after.score >= before.score + settings.change_margin:
        reason = f"more probable than before ({after.score:.2f} against {before.score:.2f})"
        return StatementDecision(True, reason, new, cause="probable")
    same = candidate is not None and candidate["statement"] == after.statement
    times = int(candidate["times"]) + 1 if candidate is not None and same else 1
    if times >= settings.change_times:
        return StatementDecision(True, f"{_number(times)} judgements in a row say so", new, cause="repeated")
    since = str(candidate["since"]) if candidate is not None and same else now.isoformat()
    return StatementDecision(False, candidate={
        "statement": after.statement, "level": after.level, "score": after.score, "since": since, "times": times,
    })  # fmt: skip


def _refines(before: Stated, after: Stated) -> bool:
    """Whether a statement is more specific, and agrees with the kind, vendor and model that were sure before."""
    if before.level == UNKNOWN:
        return after.level != UNKNOWN
    if before.level == SEVERAL:
        return False
    agree = all(not old or old == new for old, new in (
        (before.kind, after.kind), (before.vendor, after.vendor), (before.model, after.model)
    ))  # fmt: skip
    return agree and _DEPTH.get(after.level, 0) > _DEPTH.get(before.level, 0)


def _number(times: int) -> str:
    return {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}.get(times, str(times))
