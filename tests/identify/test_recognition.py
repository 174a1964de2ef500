"""Whether an item is an enrolled device: pooled figures with one window, the library's own cases with many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.evidence import WeightOfEvidence
from ethogram.identify.recognition import PooledFigures, Recognition, fit_figures, own_scores, pooled_figures
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import UNKNOWN

from .traffic import days, enrolment, windows_of

EVIDENCE = IdentifySettings(method="evidence")
FIGURES = PooledFigures(-5.0, 12.0, ((0.05, 0.02), (0.02, 0.01)), 0.85, 1.5)
NONE = np.full((3, 3), np.nan)


def test_one_enrolled_day_names_later_days_and_rejects_a_stranger() -> None:
    known = windows_of(*(days(label, label, 1) for label in ("camera", "plug")))
    model = VerdictModel(WeightOfEvidence(), EVIDENCE).fit(known, ["camera", "plug"])
    later = windows_of(*(days(label, label, 3, first=5) for label in ("camera", "plug", "speaker")))
    verdicts = model.verdicts(later)
    assert [v.verdict for v in verdicts] == ["camera"] * 3 + ["plug"] * 3 + [UNKNOWN] * 3
    assert all(v.score > 0.8 for v in verdicts)
    for verdict in verdicts:
        total = sum(verdict.known_types.values())
        if verdict.verdict == UNKNOWN:
            assert verdict.score == pytest.approx(1.0 - total)
            assert verdict.reason.startswith("too unlike every known device")
        else:
            assert verdict.score == verdict.known_types[verdict.verdict]


def test_twins_are_a_tie_and_not_unknown() -> None:
    windows = windows_of(days("camera", "a", 3), days("camera", "b", 3, seed=1), days("plug", "p", 3))
    labels = ["porch"] * 3 + ["yard"] * 3 + ["plug"] * 3
    model = VerdictModel(WeightOfEvidence(), EVIDENCE).fit(windows, labels)
    camera, plug = model.verdicts(windows_of(days("camera", "c", 1, first=9, seed=3), days("plug", "p", 1, first=9)))
    assert {camera.verdict, *camera.tied_with} == {"porch", "yard"}
    assert "porch or yard" in camera.reason or "yard or porch" in camera.reason
    assert "cannot be told apart" in camera.reason
    assert 0.3 < camera.score < 0.8
    assert (plug.verdict, plug.tied_with) == ("plug", [])


def test_a_closed_verdict_is_not_lowered_by_the_chance_of_a_stranger() -> None:
    known = enrolment(2)
    model = VerdictModel(WeightOfEvidence(), IdentifySettings(method="evidence", closed=True)).fit(*known)
    verdict = model.verdicts(known[0].take([0]))[0]
    assert sum(verdict.known_types.values()) == pytest.approx(1.0)


def test_without_own_cases_the_pooled_figures_decide() -> None:
    enrolled = np.array([[20.0, 0.0, 0.0], [0.0, 10.0, 0.0], [0.0, 0.0, 0.2]])
    result = Recognition(FIGURES).fit(NONE, np.arange(3), enrolled)
    assert result.own_.tolist() == [20.0, 10.0, 1.0]  # at least one nat
    assert result.predict_proba(np.array([[20.0, 0.0, 0.0]]))[0] == pytest.approx(
        [1 / (1 + math.exp(-7)), *[1 / (1 + math.exp(5))] * 2]
    )
    limit = 5.0 / 12.0
    strangeness = result.strangeness(np.array([[20 * limit, 10 * 0.85, 0.0]]))[0]
    assert strangeness[:2] == pytest.approx([1.0, 0.0])
    assert strangeness[2] > 1
    assert result.held_out_ == 0


def test_own_cases_move_the_figures_more_the_more_there_are() -> None:
    rng = np.random.default_rng(0)

    def limit(windows: int) -> float:
        truth = np.repeat(np.arange(3), windows)
        # Own windows reach half of their score, strangers a tenth: the limit falls below the pooled one.
        held = rng.normal(0.1, 0.05, (len(truth), 3)) * 20
        held[np.arange(len(truth)), truth] = rng.normal(0.5, 0.05, len(truth)) * 20
        result = Recognition(FIGURES).fit(held, truth, np.full(held.shape, 20.0))
        return float(-result.coefficients_[0] / result.coefficients_[1])

    limits = [5.0 / 12.0, *(limit(windows) for windows in (2, 10, 200))]
    assert limits == sorted(limits, reverse=True)
    assert 0.2 < limits[-1] < 0.35


def test_twins_of_the_library_are_no_strangers() -> None:
    truth = np.repeat([0, 1, 2], 4)
    held = np.array([[18.0, 17.0, 1.0]] * 4 + [[17.0, 18.0, 1.0]] * 4 + [[1.0, 1.0, 18.0]] * 4)
    result = Recognition(FIGURES).fit(held, truth, np.full(held.shape, 20.0))
    alone = Recognition(FIGURES).fit(held[:, [0, 2]][[0, 1, 2, 3, 8, 9, 10, 11]], truth[[0] * 4 + [4] * 4],
                                     np.full((8, 2), 20.0))  # fmt: skip
    assert result.coefficients_ == pytest.approx(alone.coefficients_, rel=0.1)


def test_the_slope_is_never_negative_and_the_information_is_that_of_a_logistic_regression() -> None:
    shares, known = np.array([0.1, 0.2, 0.8, 0.9]), np.array([True, True, False, False])
    fitted, information = fit_figures(shares, known, np.ones(4))
    assert fitted[1] == pytest.approx(1e-6, abs=1e-4)
    assert information[0, 0] == pytest.approx(1.0, rel=1e-3)  # four cases at probability one half
    assert information[0, 1] == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("least", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_strangeness_passes_one_where_the_probability_falls_below_the_least(least: float) -> None:
    result = Recognition(FIGURES).fit(NONE, np.arange(3), np.full((3, 3), 10.0))
    scores = np.linspace(-5.0, 12.0, 200)[:, None] * np.ones((1, 3))
    assert ((result.strangeness(scores, least) > 1.0) == (result.predict_proba(scores) < least)).all()


def test_own_score_is_the_median_of_the_labels_windows() -> None:
    enrolled = np.array([[8.0, 1.0], [12.0, 1.0], [0.0, 4.0]])
    assert own_scores(enrolled, np.array([0, 0, 1])).tolist() == [10.0, 4.0]
    assert own_scores(np.zeros((1, 2)), np.array([0])).tolist() == [1.0, 1.0]


def test_the_packaged_figures_say_where_they_come_from() -> None:
    figures = pooled_figures("evidence")
    assert figures is not None
    assert 0.3 < -figures.intercept / figures.slope < 0.5
    assert figures.provenance["made_by"] == "benchmarks/own_library.py figures"
    networks = {"stevens_lsif_2019", "unsw_2016_kics_flows", "neu_behaviot_2021"}
    assert set(figures.provenance["cases"]) == networks  # type: ignore[call-overload]
    assert set(figures.provenance["inputs"]) == networks  # type: ignore[call-overload]
    assert pooled_figures("no such method") is None


def test_unfitted_raises() -> None:
    with pytest.raises(UsageError, match="not fitted"):
        Recognition(FIGURES).predict_proba(np.zeros((1, 2)))
