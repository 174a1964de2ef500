"""Probes and their figures, against plain loops and other libraries."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as others

from ethogram.config import ProbeSettings
from ethogram.errors import ConfigurationError, UsageError
from ethogram.identify import metrics
from ethogram.identify.calibrate import softmax
from ethogram.identify.probe import PROBES, Probe, Standardiser, budget_rows, choose, grid_of, most_even
from ethogram.identify.probe_devices import DeviceVerdicts, groups_of

QUICK = ProbeSettings(trees=10, mlp_passes=20, mlp_width=8)


def clouds(n: int, seed: int = 0, d: int = 5, types: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Types as clusters of points with a different variance in each direction."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % types
    centres = np.random.default_rng(99).standard_normal((types, d)) * 4
    return ((centres[truth] + random.standard_normal((n, d))) * 10.0 ** np.arange(d)).astype(np.float32), truth


class TestFigures:
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
    def test_as_other_implementations_have_them(self, pairs: list[tuple[int, int]]) -> None:
        truth, values = np.array(pairs).T
        table = metrics.confusion_of(truth, values, 4)
        present = np.unique(truth)
        assert metrics.macro_f1_of(table) == pytest.approx(
            others.f1_score(truth, values, labels=present, average="macro", zero_division=0)
        )
        assert metrics.macro_f1_of(table) == pytest.approx(metrics.macro_f1(truth.astype(str), values.astype(str)))
        recall = [np.mean(values[truth == code] == code) for code in present]
        assert metrics.balanced_accuracy_of(table) == pytest.approx(np.mean(recall))
        assert metrics.accuracy_of(table) == pytest.approx(np.mean(truth == values))
        rows = {row["type"]: row for row in metrics.per_type(table, ["a", "b", "c", "d"])}
        assert set(rows) == {"abcd"[code] for code in present}
        for code in present:
            row = rows["abcd"[code]]
            assert row["items"] == np.sum(truth == code)
            assert row["f1"] == pytest.approx(others.f1_score(truth == code, values == code, zero_division=0))

    def test_the_bootstrap_draws_whole_device_days(self) -> None:
        random = np.random.default_rng(1)
        truth, cluster = random.integers(0, 3, 400), random.integers(0, 25, 400)
        values = np.where(random.random(400) < 0.7, truth, random.integers(0, 3, 400))
        parts = metrics.confusions(truth, values, cluster, 3)
        assert parts.sum() == 400
        assert np.array_equal(parts[7], metrics.confusion_of(truth[cluster == 7], values[cluster == 7], 3))
        low, high = metrics.percentile_interval(metrics.bootstrap_macro_f1(parts, draws=3000))
        names = truth.astype(str), values.astype(str)
        other = metrics.bootstrap_interval(
            lambda rows: metrics.macro_f1(names[0][rows], names[1][rows]), cluster.astype(str).tolist(), draws=600
        )
        assert (low, high) == pytest.approx(other, abs=0.015)
        assert low < metrics.macro_f1_of(parts.sum(0)) < high

    def test_one_bad_day_widens_the_interval_more_than_as_many_bad_flows(self) -> None:
        truth = np.tile([0, 1], 200)
        cluster = np.repeat(np.arange(10), 40)
        one_day = np.where(cluster == 3, 1 - truth, truth)
        scattered = np.where(np.arange(400) % 10 == 3, 1 - truth, truth)
        reach = []
        for predicted in (one_day, scattered):
            parts = metrics.confusions(truth, predicted, cluster, 2)
            low, high = metrics.percentile_interval(metrics.bootstrap_macro_f1(parts))
            reach.append(high - low)
        assert reach[0] > 3 * reach[1]

    def test_nothing_tested(self) -> None:
        parts = metrics.confusions(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), 2)
        assert np.isnan(metrics.percentile_interval(metrics.bootstrap_macro_f1(parts))).all()
        assert np.isnan(metrics.macro_f1_of(np.zeros((2, 2), np.int64)))

    def test_calibration_error(self) -> None:
        random = np.random.default_rng(0)
        sure = random.random(500)
        right = random.random(500) < sure
        bins = [np.flatnonzero((sure * 10).astype(int) == k) for k in range(10)]
        plain = sum(abs(sure[inside].mean() - right[inside].mean()) * inside.size for inside in bins) / sure.size
        assert metrics.calibration_error(sure, right) == pytest.approx(plain)
        assert metrics.calibration_error(np.full(4, 0.9), np.zeros(4, bool)) == pytest.approx(0.9)


class TestStandardiser:
    def test_constant_dimensions_stay_zero(self) -> None:
        z = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
        z[:, 1] = 7
        standard = Standardiser().fit(z)
        assert np.allclose(standard.transform(z).std(0), [1, 0, 1], atol=1e-4)
        assert standard.transform(np.full((1, 3), 1e6, np.float32))[0, 1] == 0

    def test_whitening_decorrelates_and_drops_empty_directions(self) -> None:
        random = np.random.default_rng(0)
        z = random.standard_normal((400, 3)).astype(np.float32) @ np.array([[1, 0.9, 0], [0, 0.2, 1], [0, 0, 1]])
        z = np.column_stack([z, z[:, 0] + z[:, 1]]).astype(np.float32)  # one direction says nothing new
        white = Standardiser(whiten=True).fit(z).transform(z)
        assert white.shape == (400, 3)
        assert np.allclose(np.cov(white.T), np.eye(3), atol=1e-3)

    def test_transform_depends_on_the_fitted_flows_alone(self) -> None:
        train, test = clouds(90)[0], clouds(90, seed=5)[0] * 3
        standard = Standardiser(whiten=True).fit(train)
        alone = standard.transform(test[:1])
        assert np.array_equal(standard.transform(test)[:1], alone) or np.allclose(standard.transform(test)[:1], alone)


@pytest.mark.parametrize("name", PROBES)
class TestProbes:
    def test_probes_separate_clusters(self, name: str) -> None:
        z, truth = clouds(150)
        standard = Standardiser().fit(z)
        learnt = Probe(name, QUICK, grid_of(name, QUICK)[0]).fit(standard.transform(z), truth)
        later, known = clouds(90, seed=1)
        result = learnt.predict_log_proba(standard.transform(later), 3)
        assert np.allclose(np.exp(result).sum(1), 1, atol=1e-6)
        assert np.mean(result.argmax(1) == known) > 0.95

    def test_the_same_seed_gives_the_same_result(self, name: str) -> None:
        z, truth = clouds(60)
        z = Standardiser().fit(z).transform(z)
        first, second = (Probe(name, QUICK, seed=4).fit(z, truth).predict_log_proba(z, 3) for _ in range(2))
        assert np.array_equal(first, second)

    def test_types_without_training_flows_get_the_minimum(self, name: str) -> None:
        z, truth = clouds(60, types=2)
        learnt = Probe(name, QUICK).fit(Standardiser().fit(z).transform(z), np.where(truth == 1, 3, truth))
        result = learnt.predict_log_proba(Standardiser().fit(z).transform(z), 5)
        assert set(result.argmax(1)) == {0, 3}
        assert np.all(result[:, [1, 2, 4]] == np.log(1e-12))

    def test_one_type_is_refused(self, name: str) -> None:
        z, _ = clouds(6)
        with pytest.raises(UsageError, match="at least two"):
            Probe(name, QUICK).fit(z, np.zeros(6, np.int64))


def test_types_have_equal_weight() -> None:
    random = np.random.default_rng(0)
    z = np.concatenate([random.normal(0, 1, 900), random.normal(1.5, 1, 30)]).astype(np.float32)[:, None]
    truth = np.repeat([0, 1], [900, 30])
    for name in ("logistic", "mlp"):
        recall = []
        for balanced in (True, False):
            settings = QUICK.model_copy(update={"balanced": balanced, "mlp_passes": 60})
            result = Probe(name, settings).fit(z, truth).predict_log_proba(z, 2).argmax(1)
            recall.append(np.mean(result[truth == 1]))
        assert recall[0] > recall[1] + 0.2, name


def test_the_grid_is_searched_on_held_out_flows() -> None:
    # Many numbers, few flows and wrong labels among them: the weakest penalty fits the training flows best and the
    # held-out ones worst.
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 400)
    z = rng.standard_normal((400, 60)).astype(np.float32)
    z[:, 0] += 3.0 * truth
    fit, held_out = np.arange(60), np.arange(60, 400)
    labels = truth[fit].copy()
    labels[::4] = 1 - labels[::4]
    settings = QUICK.model_copy(update={"logistic_c": (0.001, 1.0, 1000.0)})
    choice, predict_log_proba = choose("logistic", settings, 0, (z[fit], labels), (z[held_out], truth[held_out]), 2)

    def scores(rows: np.ndarray, codes: np.ndarray) -> dict[float, float]:
        by_option = {}
        for option in grid_of("logistic", settings):
            probe = Probe("logistic", settings, option).fit(z[fit], labels)
            predicted = probe.predict_log_proba(z[rows], 2).argmax(1)
            by_option[option["c"]] = metrics.macro_f1_of(metrics.confusion_of(codes, predicted, 2))
        return by_option

    on_held_out, on_training = scores(held_out, truth[held_out]), scores(fit, labels)
    assert max(on_training, key=on_training.__getitem__) != choice["c"], "the training flows would choose another"
    assert on_held_out[choice["c"]] == max(on_held_out.values())
    assert predict_log_proba.shape == (340, 2)
    assert grid_of("logistic", ProbeSettings())[0] == {"c": 1.0}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(1, 12))
def test_budgets_cap_the_flows_per_type(truth: list[int], per_type: int) -> None:
    rows = budget_rows(np.array(truth), per_type, seed=3)
    assert len(set(rows)) == rows.size
    for code in set(truth):
        assert sum(truth[row] == code for row in rows) == min(per_type, truth.count(code))


@given(st.lists(st.integers(1, 500), min_size=1, max_size=9), st.integers(9, 900))
def test_the_cap_lowers_the_largest_types(counts: list[int], most: int) -> None:
    limit = most_even(counts, most)
    total = sum(min(count, limit) for count in counts)
    assert total <= most or limit == 1
    assert total == sum(counts) or sum(min(count, limit + 1) for count in counts) > most


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"probes": ["svm"]}, {"budgets": [0]}, {"test_share": 1.0}, {"probes": []}, {"neighbors": 5}):
        with pytest.raises(ConfigurationError):
            ProbeSettings.of(**wrong)


class TestDevices:
    @given(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3 * 86_400)), max_size=50),
        st.integers(1, 5),
        st.booleans(),
    )
    def test_groups_match_a_plain_loop(self, rows: list[tuple[str, int]], size: int, clock: bool) -> None:
        device = pl.Series([name for name, _ in rows], dtype=pl.String)
        start = np.array([second for _, second in rows], np.int64) * 1_000_000
        result = groups_of(device, start, 0 if clock else size, 3600 if clock else 0)
        expected: set[tuple[int, ...]] = set()
        step = 3600 if clock else 86_400
        for key in {(name, second // step) for name, second in rows}:
            own = [i for i, (name, second) in enumerate(rows) if (name, second // step) == key]
            own.sort(key=lambda i: (rows[i][1], i))
            if clock:
                expected.add(tuple(own))
            else:
                expected |= {tuple(own[i : i + size]) for i in range(0, len(own) - size + 1, size)}
        made = {
            tuple(sorted(np.flatnonzero(result.owner == i), key=lambda r: (rows[r][1], r))) for i in range(len(result))
        }
        assert made == expected
        assert all(result.owner[result.first[i]] == i for i in range(len(result)))

    def test_a_group_is_of_one_type(self) -> None:
        start = np.arange(4, dtype=np.int64)
        result = groups_of(pl.Series(["a"] * 4), start, seconds=3600, truth=np.array([0, 1, 0, 1]))
        assert sorted(np.bincount(result.owner).tolist()) == [2, 2]

    def test_more_flows_raise_confidence_and_strangers_become_unknown(self) -> None:
        random = np.random.default_rng(0)
        n, types = 6000, 3

        def talk(truth: np.ndarray, clear: float) -> np.ndarray:
            scores = random.standard_normal((truth.size, types))
            scores[np.arange(truth.size), truth] += clear
            return np.log(softmax(scores))

        truth = np.repeat(np.arange(60) % types, n // 60)
        device = pl.Series([f"d{i}" for i in np.repeat(np.arange(60), n // 60)])
        start = np.tile(np.arange(n // 60), 60).astype(np.int64) * 1_000_000
        accuracy, unknown, strange = {}, {}, {}
        for flows in (1, 20):
            groups = groups_of(device, start, flows)
            judge = DeviceVerdicts(0.05).fit(talk(truth, 1.5), truth, groups, ["a", "b", "c"])
            scores = judge.decision_function(talk(truth, 1.5), groups)
            best, verdict, probability = judge.verdicts(scores)
            accuracy[flows] = np.mean(best == truth[groups.first])
            unknown[flows] = np.mean(verdict < 0)
            gap = metrics.calibration_error(probability, best == truth[groups.first])
            assert gap < 0.05
            nobody = judge.decision_function(talk(truth, 0.0), groups)
            strange[flows] = np.mean(judge.verdicts(nobody)[1] < 0)
        assert accuracy[20] > 0.99 > accuracy[1]
        assert unknown[1] == pytest.approx(0.05, abs=0.03)
        assert unknown[20] < 0.12
        assert strange[20] > 0.8

    def test_means_as_a_plain_loop_has_them(self) -> None:
        values = np.log(softmax(np.random.default_rng(0).standard_normal((7, 2))))
        groups = groups_of(pl.Series(["a", "b", "a", "a", "b", "a", "a"]), np.arange(7), flows=2)
        scores = DeviceVerdicts.decision_function(values, groups)
        for i in range(len(groups)):
            assert scores[i] == pytest.approx(values[groups.owner == i].mean(0))
        assert np.sum(groups.owner < 0) == 1
