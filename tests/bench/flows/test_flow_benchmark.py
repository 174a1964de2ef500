"""Tasks on made-up flows from splits to rows: what is there is not made again, encoders are kept and shared."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from bench.flows.made_networks import network
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.encoders import Encoders
from ethogram.bench.flows.task import FlowMethod, FlowTask
from ethogram.bench.row import rows as made_rows
from ethogram.corpora.card import cards
from ethogram.representation.training import Training

TINY = {"widths": (8,), "d": 3, "view": "meta+packets"}


def method(name: str, **values: Any) -> FlowMethod:
    encoder = values.pop("encoder", {"kind": "raw", "view": "meta+packets"})
    return FlowMethod.of(name=name, title=name, group="encoder", encoder=encoder, steps=6, seeds=2,
                         training={"batch": 32}, **values)  # fmt: skip


def task(protocol: str, **values: Any) -> FlowTask:
    return FlowTask.of(name=f"t-{protocol}", title="t", experiment=protocol, protocol=protocol, level="type",
                       caps={"unlabelled": 20, "labelled": 10},
                       settings={"budgets": (5, None), "draws": 50, "logistic_steps": 50}, **values)  # fmt: skip


INSIDE = task("P0", encoder=("home",), probe=("home",), test=("home",))
ACROSS = task("P3", each=("home", "office"))
RAW, VAE = method("raw-40"), method("vae", encoder={"kind": "vae", **TINY})
SHUFFLED = method("shuffled", shuffled=True, budgets=False)
NETWORKS = {"home": network("home", 1, flows=500, days=16), "office": network("office", 2, flows=300, days=8)}


def bench(folder: Path | None) -> FlowBenchmark:
    made = FlowBenchmark(Path(), {}, folder, threads=1)
    made._loaded = {(name, False): loaded for name, loaded in NETWORKS.items()}
    made.cards = {name: loaded.card for name, loaded in NETWORKS.items()}
    return made


def rows_of(folder: Path | None, tasks: list[FlowTask], methods: list[FlowMethod]) -> dict[str, dict[str, Any]]:
    rows_read = made_rows(
        bench(folder), [t.model_copy(update={"methods": tuple(m.name for m in methods)}) for t in tasks], methods
    )
    return {f"{row['task']} {row['method']}": row for row, _ in rows_read}


def test_rows_hold_figures_intervals_and_what_made_them(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [INSIDE, ACROSS], [RAW, VAE, SHUFFLED])
    raw = rows["t-P0 raw-40"]
    assert "absent" not in raw and raw["values"]["macro_f1"] > 0.95
    assert rows["t-P0 shuffled"]["values"]["macro_f1"] < 0.6
    low, high = raw["intervals"]["macro_f1"]
    assert low <= raw["values"]["macro_f1"] <= high
    assert {"macro_f1@5", "device_macro_f1@5", "device_macro_f1@hour", "calibration_error", "unknown_share"} <= set(
        raw["values"]
    )
    assert len(raw["details"]["seeds"]["macro_f1"]) == 1 and len(raw["details"]["seeds"]["macro_f1@5"]) == 2
    assert sum(map(sum, raw["details"]["confusion"]["matrix"])) == pytest.approx(raw["n"])
    across = rows["t-P3 vae"]
    assert set(across["details"]["turns"]) == {"home", "office"} and across["where"] == "across"
    assert sum(fold["tested"] for fold in across["details"]["turns"].values()) == across["n"]
    assert across["values"]["shift_ratio_packets"] > 0 and len(across["details"]["errors"]) == 2
    assert across["cost"]["origin"] == "trained here" and across["cost"]["embedding"] == 3
    assert "shift_ratio_packets" not in rows["t-P0 vae"]["values"]


def test_a_budget_that_takes_all_flows_of_all_labels_is_no_budget() -> None:
    result = bench(None)
    most = max(Counter(result.corpora(INSIDE)["home"].truth["type"].gather(
        pl.Series(result.folds(INSIDE)[0].train["home"]))).values())  # fmt: skip
    settings = INSIDE.settings.model_copy(update={"budgets": (5, most - 1, most, None)})
    values = result.measure(INSIDE.model_copy(update={"settings": settings}), RAW)["values"]
    assert [name for name in values if name.startswith("macro_f1@")] == ["macro_f1@5", f"macro_f1@{most - 1}"]


def test_the_same_again_is_the_same_and_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows_of(tmp_path, [INSIDE], [VAE])["t-P0 vae"]
    monkeypatch.setattr(Encoders, "_trained", lambda *_: pytest.fail("trained again"))
    again = rows_of(tmp_path, [INSIDE], [VAE])["t-P0 vae"]
    for part in ("values", "intervals", "details", "key"):
        assert again[part] == first[part]


def test_a_run_that_was_killed_goes_on_to_the_same_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = VAE.model_copy(update={"steps": 40, "seeds": 1})
    whole = rows_of(tmp_path / "whole", [INSIDE], [longer])["t-P0 vae"]
    assert whole["details"]["training"].popitem()[1]["passes"] > 3
    save, step = Training._save, Training._step
    saves: list[None] = []
    steps: list[None] = []

    def interrupted(self: Training) -> None:
        saves.append(save(self))
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows_of(tmp_path / "cut", [INSIDE], [longer])
    monkeypatch.setattr(Training, "_save", save)
    monkeypatch.setattr(Training, "_step", lambda self, prepared: steps.append(step(self, prepared)))
    again = rows_of(tmp_path / "cut", [INSIDE], [longer])["t-P0 vae"]
    rest = len(steps)
    steps.clear()
    rows_of(tmp_path / "anew", [INSIDE], [longer])
    assert 0 < rest < len(steps)
    assert again["values"] == whole["values"]


def test_without_a_cache_the_same_seed_gives_the_same_row() -> None:
    first, second = (rows_of(None, [INSIDE], [VAE])["t-P0 vae"] for _ in range(2))
    assert first["values"] == second["values"]


def test_an_encoder_is_shared_by_tasks_and_keyed_by_what_made_it(tmp_path: Path) -> None:
    made = bench(tmp_path)
    (fold,) = made.folds(INSIDE)
    loaded = made.corpora(INSIDE)
    get = made.encoders.get
    first = get(VAE, fold.unlabelled, loaded, 0)
    assert (
        get(VAE.model_copy(update={"name": "other", "probe": "knn"}), fold.unlabelled, loaded, 0).digest == first.digest
    )
    less = {"home": fold.unlabelled["home"][1:]}
    others = [get(VAE, fold.unlabelled, loaded, 1), get(VAE, less, loaded, 0),
              get(VAE.model_copy(update={"steps": 7}), fold.unlabelled, loaded, 0)]  # fmt: skip
    assert len({other.digest for other in others} | {first.digest}) == 4
    rows = fold.train["home"]
    z, cost = made.encoders.embedding(first, loaded["home"], rows, 10)
    assert z.shape == (rows.size, 3) and cost["flows"] >= rows.size
    assert np.allclose(z, first.embed(loaded["home"], rows), atol=1e-6)
    stored = list((tmp_path / "flows" / "embeddings").glob("*.npz"))
    assert len(stored) == 1
    stored[0].write_bytes(stored[0].read_bytes()[:-50])
    fresh = bench(tmp_path)
    assert np.array_equal(fresh.encoders.embedding(fresh.encoders.get(VAE, fold.unlabelled, loaded, 0),
                                                   loaded["home"], rows, 10)[0], z)  # fmt: skip


def test_what_is_there_is_not_made_again_and_what_failed_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [INSIDE.model_copy(update={"methods": ("raw-40", "vae")})]
    broken = bench(None)
    monkeypatch.setattr(Encoders, "_trained", lambda *_: (_ for _ in ()).throw(RuntimeError("no room\nmore")))
    rows = {str(row["method"]): row for row, _ in made_rows(broken, asked, [RAW, VAE])}
    assert rows["vae"]["absent"] == "RuntimeError: no room" and rows["vae"]["failed"] and "values" in rows["raw-40"]
    monkeypatch.undo()
    known = {str(row["key"]): row for row in rows.values()}
    fresh = {str(row["method"]): made for row, made in made_rows(bench(None), asked, [RAW, VAE], known=known)}
    assert fresh == {"raw-40": False, "vae": True}


def test_strangers_are_counted_and_not_scored() -> None:
    made = bench(None)
    office = network("office", 2, flows=300, days=8)
    truth = office.truth
    strange = truth.with_columns(type=truth["type"].replace({"hub": "kettle"}))
    made._loaded["office", False] = type(office)(office.card, office.flows, None, strange, "other")
    asked = task("P3", encoder=("home",), probe=("home",), test=("office",), methods=("raw-40",))
    ((row, _),) = made_rows(made, [asked], [RAW])
    assert row["details"]["strange_labels"] == ["kettle"] and row["details"]["strangers"] > 0  # type: ignore[index]
    assert row["labels"] == 2
    assert 0 <= row["values"]["strangers_unknown"] <= 1  # type: ignore[index]


def test_two_small_networks_of_the_corpus_from_captures_to_a_row(corpus: Path, tmp_path: Path) -> None:
    names = "uclouvain_2023_firewall", "nku_lifecycle_2025"
    asked = FlowTask.of(name="t", title="t", experiment="P3", protocol="P3", level="coarse", encoder=names[:1],
                        probe=names[:1], test=names[1:], methods=("raw-40",), settings={"draws": 100})  # fmt: skip
    made = FlowBenchmark(corpus, cards(), tmp_path, threads=1)
    ((row, fresh),) = made_rows(made, [asked], [RAW])
    assert fresh and "absent" not in row, row
    assert row["n"] == 200 and row["labels"] == 2 and row["train"] == [names[0]] and row["test"] == [names[1]]
    assert row["n_enrol"] == sum(rows.size for rows in made.folds(asked)[0].train.values())
    assert 0 <= row["values"]["macro_f1"] <= 1  # type: ignore[index]
