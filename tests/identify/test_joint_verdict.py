"""Two verdicts on one device as one: your own library decides first, and probabilities add up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ethogram.identify.joint_verdict import join_verdicts
from ethogram.schema import UNKNOWN, Verdict, Window

NAMES = ("home", "packaged")
WINDOW = Window(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))


def verdict(scores: dict[str, float], *, known: bool, strangeness: float = 0.5, flows: int = 9) -> Verdict:
    nearest = max(scores, key=lambda label: scores[label])
    return Verdict(
        device="d", verdict=nearest if known else UNKNOWN, score=0.5, margin=0.1, nearest=nearest, known_types=scores,
        strangeness=strangeness, evidence=[], window=WINDOW, flows=flows, converged=False,
    )  # fmt: skip


def test_the_own_library_decides_first() -> None:
    joint = join_verdicts(
        verdict({"den": 0.6, "hall": 0.1}, known=True), verdict({"camera": 0.9}, known=True), names=NAMES
    )
    assert (joint.verdict, joint.score, joint.library) == ("den", 0.6, "home")
    assert joint.known_types == pytest.approx({"den": 0.6, "hall": 0.1, "camera": 0.27})
    assert joint.margin == pytest.approx(0.33)


def test_the_other_library_names_what_is_no_own_device() -> None:
    own = verdict({"den": 0.1}, known=False, strangeness=1.4)
    joint = join_verdicts(own, verdict({"camera": 0.7, "plug": 0.2}, known=True), names=NAMES)
    assert (joint.verdict, joint.library) == ("camera", "packaged")
    assert joint.score == pytest.approx(0.63)
    unsure = join_verdicts(verdict({"den": 0.49}, known=False), verdict({"camera": 0.9}, known=True), names=NAMES)
    assert (unsure.verdict, unsure.library) == (UNKNOWN, "home")
    assert unsure.score == pytest.approx(1 - 0.49)


def test_a_label_of_both_is_one_label() -> None:
    joint = join_verdicts(
        verdict({"camera": 0.6}, known=True), verdict({"camera": 0.5, "plug": 0.2}, known=True), names=NAMES
    )
    assert joint.known_types == pytest.approx({"camera": 0.8, "plug": 0.08})
    assert (joint.verdict, joint.library) == ("camera", "home")
    assert joint.score == pytest.approx(0.8)


def test_unknown_to_both_is_unknown() -> None:
    joint = join_verdicts(
        verdict({"den": 0.2}, known=False, strangeness=1.5), verdict({"camera": 0.1}, known=False, strangeness=1.2),
        names=NAMES,
    )  # fmt: skip
    assert (joint.verdict, joint.nearest) == (UNKNOWN, "den")
    assert joint.score == pytest.approx(0.8 * 0.9)


def test_methods_that_do_not_estimate_strangers_are_scaled_by_strangeness() -> None:
    own = verdict({"den": 0.7, "hall": 0.3}, known=False, strangeness=1.5)
    joint = join_verdicts(own, verdict({"camera": 0.9}, known=True), names=NAMES)
    assert joint.verdict == "camera"
    assert sum(joint.known_types.values()) <= 1.0
    assert joint.known_types["camera"] > 0.8


def test_closed_gives_the_most_probable_label() -> None:
    own = verdict({"den": 0.3}, known=False)
    joint = join_verdicts(own, verdict({"camera": 0.6}, known=False), names=NAMES, closed=True)
    assert (joint.verdict, joint.library) == ("camera", "packaged")
    assert joint.score == pytest.approx(0.42)


def test_a_silent_device_is_silent() -> None:
    silent = verdict({"den": 0.3}, known=False, flows=0).model_copy(update={"score": 0.0})
    joint = join_verdicts(silent, silent, names=NAMES)
    assert (joint.verdict, joint.score) == (UNKNOWN, 0.0)


def test_a_contradicted_own_label_leaves_the_verdict_to_the_other_library() -> None:
    own, other = verdict({"den": 0.9}, known=True), verdict({"camera": 0.7, "plug": 0.2}, known=True)
    joint = join_verdicts(own, other, names=NAMES, contradicted=True)
    assert (joint.verdict, joint.library) == ("camera", "packaged")
    assert joint.known_types["den"] < 0.05
    assert joint.score == pytest.approx(joint.known_types["camera"])
    assert sum(joint.known_types.values()) <= 1.0
