"""Items with counts and flows, and both methods on two made-up networks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from user_corpus_made import write_captures

from ethogram.bench.counts.build import build
from ethogram.bench.counts.items import Items
from ethogram.bench.fused.benchmark import FusedBenchmark
from ethogram.bench.fused.figures import coverage_curve
from ethogram.bench.fused.items import FusedItems, fused_items
from ethogram.bench.fused.task import FusedMethod, FusedTask, fused_methods, fused_tasks
from ethogram.bench.groups.benchmark import GroupBenchmark, names_needed
from ethogram.bench.groups.task import GroupMethod, GroupTask, group_methods, group_tasks
from ethogram.bench.row import rows
from ethogram.config import CountSettings, IdentifySettings
from ethogram.corpora.card import Card, CardDevice
from ethogram.errors import UsageError
from ethogram.identify import metrics
from ethogram.identify.fused_verdict import DEFAULT_FLOW_CLASSIFIERS, FusedVerdictModel

KINDS = ("camera", "plug", "hub")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> FusedBenchmark:
    """Three networks with three devices each, in captures of four days."""
    root = tmp_path_factory.mktemp("corpora")
    write_captures(root, ("one", "two", "three"), days=4)
    cards = {}
    for i, name in enumerate(("one", "two", "three")):
        devices = tuple(
            CardDevice(id=kind, model=f"made-{kind}", vendor="made", type=kind, mac=f"02:00:00:00:0{i}:0{k}",
                       files=("*.pcap",)) for k, kind in enumerate(KINDS, 1)
        )  # fmt: skip
        cards[name] = Card(name=name, title=name, years="", network=name, kind="capture", runs="day", source="",
                           citation="", licence="", traps=(), devices=devices)  # fmt: skip
    return FusedBenchmark(root, cards, cache_folder=None)


def task(**changes: object) -> FusedTask:
    by_name: dict[str, object] = {
        "name": "made", "title": "made", "corpora": ("one", "two", "three"), "captures": ("one", "two", "three"),
        "level": "type", "windows": dict.fromkeys(("one", "two", "three"), 86_400), "test": ("one", "two", "three"),
        "counts": CountSettings(),
    }  # fmt: skip
    return FusedTask.of(**{**by_name, **changes})


RAW = FusedMethod(name="both", title="", group="both", fingerprints="cross-network-kinds", encoder="raw-40")


def test_each_flow_is_of_the_item_of_its_device_and_day(bench: FusedBenchmark) -> None:
    both = bench.data.items(task(flows=5))
    truth = both.items.truth
    assert len(both) == 36
    for name, loaded in bench.data.corpora(task()).items():
        owner = pl.Series(both.owner[name])
        assert (truth["id"].gather(owner) == loaded.truth["id"].gather(pl.Series(both.rows[name]))).all()
        day = truth["start"].dt.epoch("d").gather(owner)
        assert (day == loaded.truth["day"].gather(pl.Series(both.rows[name]))).all()
        assert np.bincount(both.owner[name]).max() == 5


def test_a_whole_device_is_one_item(bench: FusedBenchmark) -> None:
    both = bench.data.items(task(windows={}, flows=10_000))
    assert len(both) == 9
    assert sum(len(rows) for rows in both.rows.values()) == sum(len(c) for c in bench.data.corpora(task()).values())
    data = next(iter(bench.data._bench._task_data.values()))
    assert len(fused_items(data, {}, {}, 5)) == 9


def test_both_are_measured_on_every_network(bench: FusedBenchmark) -> None:
    figures = bench.measure(task(), RAW)
    assert figures["n"] == 36
    assert figures["values"]["macro_f1"] > 0.9
    assert figures["test"] == ["one", "two", "three"]
    assert len(figures["details"]["coverage"]) == 10
    assert set(figures["details"]["weights"]["one"]) == {"fingerprints", "embeddings"}
    alone = bench.measure(task(), RAW.model_copy(update={"encoder": ""}))
    assert set(alone["details"]["weights"]["one"]) == {"fingerprints"}
    linear = bench.measure(task(), RAW.model_copy(update={"encoder": "linear-fields", "fingerprints": ""}))
    assert linear["values"]["macro_f1"] > 0.9
    assert linear["cost"]["embedding"] == 48


def test_strangers_are_asked_and_counted_apart(bench: FusedBenchmark) -> None:
    """Without the hubs of the other networks, hubs are strangers wherever they test."""
    cards = {
        name: card.model_copy(update={"devices": tuple(d for d in card.devices if name == "one" or d.type != "hub")})
        for name, card in bench.cards.items()
    }
    fewer = FusedBenchmark(bench.root, cards, cache_folder=None)
    figures = fewer.measure(task(), RAW)
    assert figures["n"] == 24 and figures["details"]["left_out"] == 4
    assert figures["values"]["strangers_unknown"] >= 0.5 > figures["values"]["known_unknown"]
    assert figures["values"]["right_of_said"] == 1.0
    assert figures["values"]["auroc_open"] > 0.9
    fold = fewer.data.folds(task())[0]
    assert fold.network == "one" and len(fold.test) == 8 and len(fold.strangers) == 4
    assert "auroc_open" not in bench.measure(task(), RAW)["values"]


def test_the_benchmark_and_the_product_say_the_same(bench: FusedBenchmark) -> None:
    """The model of the product, fitted on the windows and flows of a fold, gives the verdicts that are counted."""
    method = RAW.model_copy(update={"experts": DEFAULT_FLOW_CLASSIFIERS})
    fold = bench.data.folds(task())[0]
    counted, fusion = bench._decide(task(), fold, method, [bench.scorer.of_flows("raw-40")], 0)
    flows, _ = bench.scorer.embedded(task(), fold, bench.scorer.of_flows("raw-40"), 0)
    items = bench.data.items(task()).items
    model = FusedVerdictModel(build(bench.scorer.of_counts("cross-network-kinds")), IdentifySettings())
    model.fit(items.take(fold.enrol).windows, fold.names, flows.take(fold.enrol), fold.groups, fold.units)
    decision = model.decide(items.take(fold.asked).windows, flows.take(fold.asked))
    assert np.allclose(decision.fused.probabilities, counted.fused.probabilities, atol=1e-6)
    assert decision.strangeness == pytest.approx(counted.strangeness)
    assert decision.verdicts == counted.verdicts
    assert model.fusion_.softness_ == pytest.approx(fusion.softness_)


def test_two_encoders_stand_beside_one_another(bench: FusedBenchmark) -> None:
    two = RAW.model_copy(update={"beside": "linear-fields", "experts": ("pooled",)})
    figures = bench.measure(task(), two)
    assert figures["values"]["macro_f1"] > 0.9
    assert figures["cost"]["embedding"] == 88
    keys = [bench.identity(task(), item)["key"] for item in (two, two.model_copy(update={"beside": "pca"}))]
    assert keys[0] != keys[1]


def test_figures_are_means_over_the_seeds_of_what_is_drawn(bench: FusedBenchmark) -> None:
    drawn = RAW.model_copy(update={"encoder": "untrained", "fingerprints": "", "experts": ("probe",), "seeds": 3})
    figures = bench.measure(task(), drawn)
    each = figures["details"]["seeds"]["calibration_error"]
    assert len(each) == 3 and len(set(each)) > 1
    assert figures["values"]["calibration_error"] == pytest.approx(np.mean(each))
    low, high = figures["intervals"]["macro_f1"]
    assert low <= figures["values"]["macro_f1"] <= high
    assert sum(map(sum, figures["details"]["confusion"]["matrix"])) == pytest.approx(figures["n"], abs=0.1)
    assert sum(count for *_, count in figures["details"]["reliability"]) == 3 * figures["n"]
    assert [share for share, *_ in figures["details"]["coverage"]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert figures["n"] == 36 and figures["details"]["weights"]["one"].keys() == {"embeddings"}


@pytest.mark.parametrize("changes", [{"encoder": "raw-40"}, {"encoder": "pca"}, {"encoder": ""}])
def test_what_nothing_is_drawn_in_is_made_once(bench: FusedBenchmark, changes: dict[str, str]) -> None:
    figures = bench.measure(task(), RAW.model_copy(update={"seeds": 3, **changes}))
    assert len(figures["details"]["seeds"]["macro_f1"]) == 1


def test_rows_are_kept_by_key_and_a_method_that_cannot_is_no_end(bench: FusedBenchmark) -> None:
    made = [row for row, _ in rows(bench, [task()], [RAW])]
    again = list(rows(bench, [task()], [RAW], known={str(made[0]["key"]): made[0]}))
    assert [fresh for _, fresh in again] == [False]
    odd = RAW.model_copy(update={"name": "odd", "fingerprints": "random-forest"})
    (row,) = [row for row, _ in rows(bench, [task()], [odd])]
    assert "flow statistics" in str(row["absent"])


def test_an_encoder_never_sees_the_network_that_tests(bench: FusedBenchmark) -> None:
    folds = list(bench.data.folds(task()))
    assert len(folds) > 1
    for fold in folds:
        unlabelled = bench.data.unlabelled(task(), fold)
        assert fold.network not in unlabelled
        units = set(bench.data.items(task()).items.truth["unit"].gather(pl.Series(fold.test)))
        seen = {u for name, rows in unlabelled.items() for u in bench.data.corpora(task())[name].truth["unit"].gather(
            pl.Series(rows))}  # fmt: skip
        assert not units & seen


def test_a_unit_that_tests_is_not_enrolled_elsewhere(bench: FusedBenchmark) -> None:
    twice = FusedBenchmark(bench.root, bench.cards, cache_folder=None)
    items = twice.data.items(task())
    one_unit = items.items.truth.with_columns(unit=pl.lit("the same"))
    for key, (_, digest) in list(twice.data._items.items()):
        twice.data._items[key] = FusedItems(Items(items.items.windows, one_unit), items.rows, items.owner), digest
    with pytest.raises(UsageError, match="nothing in enrol"):
        twice.data.folds(task())


def test_coverage_takes_the_surest_first() -> None:
    truth, values = np.array(list("aabb")), np.array(list("aaab"))
    curve = coverage_curve(truth, values, np.array([0.9, 0.8, 0.1, 0.7]))
    assert [right for _, _, right in curve][-1] == 0.75
    assert curve[4] == (0.5, 1.0, 1.0)


def test_the_packages_tasks_and_methods_fit_together() -> None:
    assert len(fused_tasks()) == 8
    assert {method.group for method in fused_methods().values()} == {"alone", "both", "baseline"}
    assert set(group_tasks()) == {"groups-stevens", "groups-aalto", "groups-unsw", "groups-behaviot"}
    assert {method.by for method in group_methods().values()} >= {"fingerprints", "embeddings", "both"}


def test_groups_need_fewer_names_than_items(bench: FusedBenchmark) -> None:
    groups = GroupBenchmark(bench.root, bench.cards, cache_folder=None)
    group_task = GroupTask.of(
        name="g", title="g", corpus="one", window=21_600, by="window", draws=2, random=5, captures=True
    )
    with pytest.raises(UsageError, match="four labels"):
        groups.measure(group_task, GroupMethod(name="f", title="", group="alone", by="fingerprints"))


def test_purity_completeness_and_names_needed() -> None:
    truth, group = np.array(list("aabb")), np.array([0, 0, 0, 1])
    assert (metrics.purity(truth, group), metrics.completeness(truth, group)) == (0.75, 0.75)
    assert names_needed([0.0, 0.5, 1.0], 0.9, 5) == 2
    assert names_needed([0.0, 0.5], 0.9, 5) == 6
    assert names_needed([1.0], 0.9, 5) == 0
