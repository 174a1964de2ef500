"""Where fingerprints and identification meet: grouping, enrolling, and what a library says about time and networks."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ethogram.config import RepresentationSettings
from ethogram.errors import InputError, LibraryError
from ethogram.fingerprint.similarity import similarity
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Library, Source
from ethogram.identify.nearest import similarity_terms
from ethogram.pipeline.fingerprints import windows_from_counts
from ethogram.pipeline.library import enrol_windows, open_library
from ethogram.pipeline.verdicts import (
    build,
    default_method,
    featurizer,
    fit_verdict_model,
    identify_windows,
    settings_for,
    time_to_converge,
)
from ethogram.pipeline.windows import ObservedWindows, export_counts, regroup
from ethogram.schema import COUNTS, Windows

HOUR = timedelta(hours=1)


def counts(devices: dict[str, list[tuple[int, int, int]]], days: int, seed: int = 0, first: int = 0) -> pl.DataFrame:
    """Hourly counts; device -> (protocol, port, flows an hour)."""
    rng = np.random.default_rng([seed, first])
    start = pl.datetime(2024, 3, 4, time_zone="UTC")
    rows = [
        {"device": device, "hour": hour, "protocol": protocol, "port": port, "role": "client", "scope": "wan",
         "answered": True, "flows": int(n), "octets_out": int(n) * 90 * (port % 7 + 1), "octets_in": int(n) * 200,
         "packets_out": int(n) * 3, "packets_in": int(n) * 2, "duration_ms": int(n) * 50}
        for device, services in devices.items()
        for hour in range(first * 24, (first + days) * 24)
        for protocol, port, mean in services
        if (n := rng.poisson(mean))
    ]  # fmt: skip
    return COUNTS.conform(pl.DataFrame(rows).with_columns(time=start + pl.duration(hours="hour")))


HOME = {
    "a": [(6, 443, 9), (17, 53, 5)],
    "b": [(6, 8883, 2), (17, 123, 1), (17, 53, 3)],
    "c": [(6, 554, 7), (17, 53, 1)],
}
LABELS = [Label("a", Identity("camera")), Label("b", Identity("plug")), Label("c", Identity("recorder"))]


def home(days: int = 8, first: int = 0, seed: int = 0) -> ObservedWindows:
    return ObservedWindows.of_counts(counts(HOME, days, seed, first), 86_400)


def library(source: str = "home", seed: int = 0) -> Library:
    return enrol_windows(home(seed=seed), LABELS, source=Source(source))[0]


def test_regrouping_keeps_every_flow() -> None:
    seen = home(3)
    for per, count in (("fingerprint", 9), ("epoch", 9), ("device", 3)):
        items = regroup(seen, per)  # type: ignore[arg-type]
        assert len(items.windows) == count == len(items.status)
        assert items.windows.counts["flows"].sum() == seen.windows.counts["flows"].sum()
    first = regroup(ObservedWindows(seen.windows, ["open"] * 8 + ["converged"]), "device")
    assert first.converged == [False, False, True]
    assert (first.windows.items["end"] - first.windows.items["start"]).to_list() == [timedelta(days=3)] * 3


def test_converged_fingerprints_are_enrolled_alone_where_there_are_some() -> None:
    seen = home(3)
    status = ["converged", "unconverged", "open"] + ["unconverged"] * 6
    known, report = enrol_windows(ObservedWindows(seen.windows, status), LABELS, source=Source("s"))
    assert known.labels().count("camera") == 1
    assert known.labels().count("plug") == 3
    assert report.unfinished == 2
    assert "left out, unfinished: 2 fingerprints of finished devices" in report.lines()
    with pytest.raises(LibraryError, match="nothing to enrol"):
        enrol_windows(seen, [Label("z", Identity("x"))], source=Source("s"))


def test_later_days_are_named_by_every_way_to_a_verdict() -> None:
    known = library()
    for method in ("nearest", "likelihood", "cross-network", "cross-network-families", "cross-network-kinds"):
        inventory = identify_windows(regroup(home(2, 20, seed=3), "device"), known, settings_for(method))
        assert [v.verdict for v in inventory.devices] == ["camera", "plug", "recorder"], method
        assert inventory.library.startswith("library ")
    assert all(v.simulated for v in identify_windows(home(1, 20), known, simulated=True).devices)


def test_time_to_converge_is_the_exporters() -> None:
    windows = library().windows()
    labels = library().labels()
    exported = export_counts(counts(HOME, 8))
    spans = exported.filter(pl.col("status").cast(pl.String) == "converged").select(
        "device", ((pl.col("end") - pl.col("start")).dt.total_seconds()).alias("s")
    )
    expected = dict(spans.group_by("device").agg(pl.col("s").median()).iter_rows())
    result = time_to_converge(windows, labels)
    assert result == {{"a": "camera", "b": "plug", "c": "recorder"}[device]: s for device, s in expected.items()}
    assert result


def test_across_networks_a_source_is_held_out_whole() -> None:
    both = library("home").merge(library("office", seed=5))
    judge = fit_verdict_model(both, settings_for("cross-network"))
    assert judge.calibration_.held_out_ == len(both)
    alone = fit_verdict_model(library(), settings_for("cross-network"))
    assert alone.calibration_.held_out_ == len(library())


def test_nothing_to_learn_from_and_nothing_to_name_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LibraryError, match="empty"):
        fit_verdict_model(Library())
    empty = ObservedWindows(Windows(home().windows.items.clear(), home().windows.counts.clear()), [])
    with pytest.raises(InputError, match="nothing to identify"):
        identify_windows(empty, library())
    monkeypatch.setattr("ethogram.pipeline.library.PACKAGED", "none.jsonl.gz")
    with pytest.raises(LibraryError, match="no bundled library"):
        open_library()


def test_the_method_fits_where_the_library_was_made() -> None:
    assert default_method(packaged=False) == "evidence"
    assert default_method(packaged=True, level="model") == "cross-network"
    assert default_method(packaged=True, level="label") == "cross-network"
    assert default_method(packaged=True, level="family") == "cross-network-families"
    assert default_method(packaged=True, level="type") == "cross-network-kinds"
    assert default_method(packaged=True, level="coarse") == "cross-network-kinds"
    assert settings_for("likelihood").window_s == 21_600


KINDS = ["ruzicka", "cosine", "total_variation", "containment_dynamic", "containment_static"]


@pytest.mark.parametrize("kind", KINDS)
def test_terms_of_a_similarity_add_up_to_what_fingerprinting_computes(kind: str) -> None:
    a, b = {"UDP/53": 0.6, "TCP/443": 0.35, "UDP/123": 0.05}, {"UDP/53": 0.4, "TCP/443": 0.55, "TCP/8883": 0.05}
    assert sum(similarity_terms(a, b, kind).values()) == pytest.approx(float(similarity(a, b, kind)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("best_of", ["best", "mean_of_3", "prototype"])
def test_nearest_fingerprints_under_every_similarity_explain_their_score(kind: str, best_of: str) -> None:
    representation = RepresentationSettings(kind="prevalence", similarity=kind)  # type: ignore[arg-type]
    settings = settings_for("nearest", best_of=best_of)
    windows = windows_from_counts(counts(HOME, 5), 86_400)
    labels = [name for name in ("camera", "plug", "recorder") for _ in range(5)]
    method = build(settings, None, representation).fit(windows, labels)
    scores, terms = method.decision_function(windows), method.explain(windows, labels)
    assert featurizer(None, representation).quantity == "flow share"
    for i, label in enumerate(labels):
        expected = scores[i, method.labels_.index(label)]
        assert sum(t.contribution for t in terms[i]) == pytest.approx(expected, abs=1e-9)
