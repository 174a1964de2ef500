"""From scores to verdicts: the laws of the decision, calibration, thresholds, evidence and its sentence."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.calibrate import Calibration, softmax
from ethogram.identify.evidence import WeightOfEvidence
from ethogram.identify.explain import evidence, sentence
from ethogram.identify.identifier import Term, folds_by_time
from ethogram.identify.methods import Featurizer, identifier
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.identify.verdict import VerdictModel, _active_hours
from ethogram.schema import UNKNOWN, Windows

from .traffic import days, enrolment, ruzicka, shares, windows_of

KIT = Featurizer(shares, ruzicka, "ruzicka", "flow share")
KNOWN = enrolment(6)
STRANGER = [(6, 9999, "server", "wan", True, None, 40, 1000, 1000, 4, 4, 10)]


def judge(**values: object) -> VerdictModel:
    changed = IdentifySettings.of(**values)
    return VerdictModel(identifier(KIT, changed), changed).fit(*KNOWN)


def strange() -> Windows:
    """A plug's day in which only one service that no label has was used."""
    first = windows_of(days("plug", "x", 1, first=40))
    row = first.counts.head(1).with_columns(port=9999, flows=40).cast(first.counts.schema)
    return Windows(first.items, row)


def test_later_days_are_named_and_a_stranger_is_unknown() -> None:
    method = judge()
    verdicts = method.verdicts(windows_of(days("camera", "c", 1, first=30), days("plug", "p", 1, first=30)))
    assert [v.verdict for v in verdicts] == ["camera", "plug"]
    assert all(v.score > 0.85 and v.margin > 0.8 and v.strangeness < 1 for v in verdicts)
    stranger = method.verdicts(strange())[0]
    assert stranger.verdict == UNKNOWN
    assert stranger.strangeness > 1
    assert stranger.nearest in {"camera", "plug", "speaker"}
    assert stranger.reason.startswith("too unlike every known device")


@pytest.mark.parametrize("method", ["nearest", "likelihood", "cross-network", "mud", "bag-of-ports"])
def test_a_closed_set_never_says_unknown(method: str) -> None:
    verdict = judge(method=method, closed=True).verdicts(strange())[0]
    assert verdict.verdict == verdict.nearest != UNKNOWN


@pytest.mark.parametrize("method", ["nearest", "likelihood", "cross-network", "mud", "bag-of-ports"])
@pytest.mark.parametrize("terms", [1, 3, 50])
def test_evidence_adds_up_to_the_raw_score(method: str, terms: int) -> None:
    verdicts = judge(method=method, terms=terms).verdicts(KNOWN[0].take([0, 7, 15]))
    assert len(verdicts) == 3
    for verdict in verdicts:
        assert len(verdict.evidence) <= terms + 1
        assert sum(e.contribution for e in verdict.evidence) == pytest.approx(verdict.raw_score, abs=1e-4)


def test_the_order_of_items_does_not_matter() -> None:
    method, items = judge(), windows_of(days("camera", "c", 2, first=30), days("speaker", "s", 2, first=30))
    forth = method.verdicts(items)
    back = method.verdicts(items.take([3, 2, 1, 0]))
    assert forth == back[::-1]


def test_a_higher_quantile_calls_no_fewer_unknown() -> None:
    items = windows_of(*(days(label, "x", 5, first=50, hours=5, seed=9) for label in ("camera", "plug", "speaker")))
    before: set[int] = set()
    for quantile in (0.0, 0.05, 0.2, 0.5, 0.9):
        unknown = set(np.flatnonzero(judge(quantile=quantile).decide(items).unknown).tolist())
        assert before <= unknown
        before = unknown
    assert before


def test_two_labels_with_the_same_fingerprints_tie_and_the_margin_is_nothing() -> None:
    windows, labels = KNOWN
    twice = windows.take([*range(18), *range(6)])
    method = VerdictModel(identifier(KIT, IdentifySettings()), IdentifySettings()).fit(twice, [*labels, *["twin"] * 6])
    decision = method.decide(windows.take([0, 8]))
    assert decision.tied.sum(axis=1).tolist() == [2, 1]
    assert method.verdicts(windows.take([0]))[0].margin == 0.0


def test_a_silent_item_is_unknown_and_says_so() -> None:
    first = windows_of(days("plug", "p", 1))
    verdict = judge().verdicts(Windows(first.items, first.counts.clear()))[0]
    assert (verdict.verdict, verdict.flows, verdict.evidence) == (UNKNOWN, 0, [])
    assert verdict.reason == "silent: nothing was seen"


def test_a_provisional_verdict_says_how_long_it_will_take() -> None:
    changed = IdentifySettings()
    method = VerdictModel(identifier(KIT, changed), changed).fit(*KNOWN, needed_s={"camera": 172_800.0})
    items = windows_of(days("camera", "c", 1, first=30), days("plug", "p", 1, first=30))
    camera, plug = method.verdicts(items)
    assert (camera.converged, camera.expected_s, plug.expected_s) == (False, 86_400.0, None)
    assert method.verdicts(items, converged=[True, False])[0].expected_s is None


def test_an_unfitted_model_raises() -> None:
    with pytest.raises(UsageError, match="is not fitted yet"):
        VerdictModel(identifier(KIT)).decide(KNOWN[0])
    with pytest.raises(UsageError):
        Calibration().predict_proba(np.zeros((1, 2)))
    with pytest.raises(UsageError):
        Thresholds().strangeness(np.zeros((1, 2)))
    with pytest.raises(UsageError):
        Thresholds().p_values(np.zeros((1, 2)))


def test_neighbours_in_time_are_held_out_together() -> None:
    groups = folds_by_time(KNOWN[0], 3)
    assert groups.tolist() == [0, 0, 1, 1, 2, 2] * 3


# ---------------------------------------------------------------- calibration


def drawn(n: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Scores whose softmax at temperature 1/sharpness is the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 1.5
    p = softmax(logits)
    y = [str(rng.choice(4, p=row)) for row in p]
    return logits / sharpness, y


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 25.0])
@pytest.mark.parametrize("n", [150, 3000])
def test_calibrated_scores_mean_what_they_say(sharpness: float, n: int) -> None:
    fit, test = drawn(n, sharpness), drawn(4000, sharpness, seed=1)
    method = Calibration().fit(fit[0], list("0123"), fit[1])
    scores = method.predict_proba(test[0])
    top, right = scores.max(axis=1), scores.argmax(axis=1) == np.array(test[1]).astype(int)
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 1.0)):
        inside = (top >= low) & (top < high)
        assert abs(top[inside].mean() - right[inside].mean()) < 0.07


def test_few_held_out_items_allow_no_certainty() -> None:
    scores = np.array([[9.0, 0.0], [0.0, 9.0]])
    assert Calibration().fit(scores, ["a", "b"], ["a", "b"]).predict_proba(scores).max() <= 3 / 4
    nothing = Calibration().fit(np.full((1, 1), np.nan), ["a"], ["a"])
    assert nothing.predict_proba(np.ones((1, 1))).tolist() == [[0.5]]


SCORES = hnp.arrays(np.float64, (12, 3), elements=st.floats(-50, 50, allow_nan=False))


@settings(max_examples=50, deadline=None)
@given(SCORES, SCORES)
def test_calibration_keeps_the_order_and_stays_between_0_and_1(fit: np.ndarray, scores: np.ndarray) -> None:
    labels = ["a", "b", "c"] * 4
    result = Calibration().fit(fit, ["a", "b", "c"], labels).predict_proba(scores)
    assert ((result >= 0) & (result <= 1)).all()
    best = np.isclose(scores.max(axis=1), scores[np.arange(12), result.argmax(axis=1)])
    assert np.all(best | (np.ptp(result, axis=1) < 1e-12))


# ---------------------------------------------------------------- thresholds


def test_thresholds_are_each_labels_own_and_those_of_all_where_windows_are_few() -> None:
    own = np.linspace(0.8, 1.0, 21)
    scores = np.zeros((23, 2))
    scores[:21, 0] = own
    scores[21:, 1] = [0.5, 0.6]
    result = Thresholds(0.05, few=5).fit(scores, ["a", "b"], ["a"] * 21 + ["b"] * 2)
    assert result.threshold_[0] == pytest.approx(0.81)
    assert result.threshold_[1] == pytest.approx(np.quantile([*own, 0.5, 0.6], 0.05))
    assert result.strangeness(np.array([[0.81, 0.0], [0.9, 0.0]]))[:, 0] == pytest.approx([1.0, 0.0])
    assert result.p_values(np.array([[0.0, 0.0], [1.0, 1.0]]))[:, 0].tolist() == [1 / 22, 1.0]


@settings(max_examples=50, deadline=None)
@given(SCORES, SCORES)
def test_a_better_score_is_never_stranger(fit: np.ndarray, scores: np.ndarray) -> None:
    result = Thresholds().fit(fit, ["a", "b", "c"], ["a", "b", "c"] * 4)
    assert (result.strangeness(scores + 1.0) <= result.strangeness(scores)).all()
    assert (result.p_values(scores + 1.0) >= result.p_values(scores)).all()


# ---------------------------------------------------------------- words

TERMS = [
    Term("TCP/443", "share", 0.6, 0.5, 0.5),
    Term("UDP/53", "share", 0.3, 0.4, 0.3),
    Term("TCP/80", "share", 0.1, 0.0, 0.0),
    Term("UDP/123", "share", 0.0, 0.1, 0.0),
]


def test_terms_become_evidence_the_weightiest_first_and_the_rest_in_one() -> None:
    result = evidence(TERMS, 2)
    assert [(e.service, e.contribution) for e in result] == [("TCP/443", 0.5), ("UDP/53", 0.3), ("2 more", 0.0)]
    assert [e.note for e in evidence(TERMS)] == ["", "", "extra", "missing"]


def test_the_sentence_says_what_speaks_for_it_what_is_extra_and_what_is_missing() -> None:
    presence = {"TCP/443": 1.0, "UDP/53": 0.6}
    assert sentence("camera", "camera", evidence(TERMS), presence, hours=20) == (
        "uses HTTPS every hour and DNS in 12 of 20 hours as camera does; HTTP not seen before; NTP missing"
    )
    assert sentence("camera", "camera", evidence(TERMS[:2]), presence) == (
        "uses HTTPS all the time and DNS 60 % of the time as camera does"
    )
    assert sentence(UNKNOWN, "camera", evidence(TERMS[:1]), {}) == (
        "too unlike every known device; the nearest is camera; it shares HTTPS"
    )
    assert sentence("camera", "camera", [], {}) == "nearest to camera"


def test_a_kind_of_service_is_only_named_when_no_service_is() -> None:
    general = Term("all traffic", "flows", 5.0, 5.0, 2.0)
    assert sentence("a", "a", evidence([general, TERMS[0]]), {}) == "uses HTTPS as a does"
    assert sentence("a", "a", evidence([general]), {}) == "resembles a in all traffic"


def test_how_known_a_window_looks_is_its_share_of_the_usual_score_times_its_calibrated_one() -> None:
    held = np.array([[4.0, np.nan], [6.0, 1.0], [0.0, 10.0]])
    result = Coverage().fit(held, ["a", "b"], ["a", "a", "b"])
    # medians: a 5 of two windows, b 10 of one, all 6: (2 * 5 + 6) / 3 and (10 + 6) / 2
    assert result.usual_ == pytest.approx([16 / 3, 8.0])
    known = result.transform(np.array([[16 / 3, 4.0], [-1.0, 80.0]]), np.array([[0.5, 0.25], [0.9, 0.1]]))
    assert known == pytest.approx(np.array([[0.5, 0.125], [0.0, 0.15]]))
    with pytest.raises(UsageError):
        Coverage().transform(held, held)


def test_a_label_that_is_unlikely_is_not_said() -> None:
    known = windows_of(*(days(label, label, 4) for label in ("camera", "plug", "speaker")))
    labels = [label for label in ("camera", "plug", "speaker") for _ in range(4)]
    later = windows_of(days("camera", "x", 1, first=9, seed=4))
    bold = IdentifySettings(method="evidence", quantile=0.0, least_score=0.0)
    shy = bold.model_copy(update={"least_score": 1.0})
    message = {
        name: VerdictModel(WeightOfEvidence(), settings).fit(known, labels).verdicts(later)[0]
        for name, settings in (("bold", bold), ("shy", shy))
    }
    assert message["bold"].verdict == "camera"
    assert message["shy"].verdict == UNKNOWN
    assert message["shy"].nearest == "camera"
    assert message["shy"].reason.startswith("not sure enough; the nearest is camera")


def test_sentences_name_services_as_network_engineers_do() -> None:
    services = ("IP/1 client lan", "IP/2 client multicast 224.0.0.22", "UDP/67 client lan", "TCP/8883 client wan")
    terms = [Term(service, "flows", 1.0, 1.0, 5.0 - i) for i, service in enumerate(services[:3])]
    terms.append(Term(services[3], "flows", 1.0, 0.0, -1.0))
    presence = {"IP/1": 1.0, "IP/2": 0.125, "UDP/67": 0.125}
    assert sentence("hub", "hub", evidence(terms), presence, hours=24) == (
        "uses pings on the LAN every hour and IGMP and DHCP in 3 of 24 hours as hub does; "
        "MQTT over TLS not seen before"
    )


def test_hours_are_counted_where_counts_are_by_the_hour() -> None:
    windows = KNOWN[0]
    assert _active_hours(windows).tolist() == [
        windows.counts.filter(pl.col("item") == item)["time"].n_unique() for item in range(len(windows))
    ]
    minutes = Windows(windows.items, windows.counts.with_columns(pl.col("time") + pl.duration(minutes=1)))
    assert set(_active_hours(minutes).tolist()) == {0}
