"""Behaviour: statistics against manual counts, probabilities against their formula."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from ethogram.identify.behaviour import STATISTICS, Behaviour, behaviour
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.cross_network_kind import CrossNetworkKind
from ethogram.schema import ITEM_COUNTS, Windows

from .traffic import HABITS, START, days, windows_of

# protocol, port, role, scope, flows, octets out, octets in, packets out, packets in
ROWS = [
    (6, 443, "client", "wan", 4, 9_000, 2_900, 30, 20),
    (6, 443, "client", "wan", 1, 1_000, 1_100, 10, 10),
    (6, 554, "server", "lan", 2, 5_000, 900, 5, 6),
    (17, 53, "client", "lan", 7, 420, 700, 7, 7),
    (17, 3478, "client", "wan", 1, 300, 200, 2, 2),
    (17, 5353, "client", "multicast", 3, 300, 0, 3, 0),
    (17, 50_001, "client", "wan", 1, 40, 40, 1, 1),
    (17, 60_001, "client", "wan", 1, 40, 40, 1, 1),
]


def window(rows: list[tuple[object, ...]], duration_ms: int = 1_000) -> Windows:
    items = windows_of(days("plug", "x", 1)).items
    counts = [(0, START, *row[:4], row[3] != "multicast", None, *row[4:], duration_ms) for row in rows]
    return Windows(items, pl.DataFrame(counts, schema=ITEM_COUNTS.schema, orient="row"))


def statistics(windows: Windows) -> dict[str, float]:
    return dict(zip(STATISTICS, behaviour(windows)[0].tolist(), strict=True))


def test_statistics_match_a_manual_count() -> None:
    result = statistics(window(ROWS))
    packets = 50 + 11 + 14 + 4 + 3 + 2 + 2 + 20
    outside = 50 + 20 + 4 + 2 + 2
    assert result["octets out over in, outside"] == pytest.approx(math.log((10_380 + 100) / (4_280 + 100)))
    assert result["octets out over in, TCP outside"] == pytest.approx(math.log((10_000 + 100) / (4_000 + 100)))
    assert result["packet size out, TCP outside"] == pytest.approx(math.log(10_000 / 40))
    assert result["packet size in, TCP outside"] == pytest.approx(math.log(4_000 / 30))
    assert result["packet size out, UDP outside"] == pytest.approx(math.log(380 / 4))
    assert result["packet size out, inside"] == pytest.approx(math.log(5_000 / 5))
    assert result["share of TCP outside"] == pytest.approx(70 / packets)
    assert result["share of UDP outside"] == pytest.approx(8 / packets)
    assert result["share inside"] == pytest.approx(11 / packets)
    assert result["share of multicast"] == pytest.approx(3 / packets)
    assert result["packets for each DNS packet"] == pytest.approx(math.log((outside + 1) / (14 + 1)))
    assert result["packets of a flow outside"] == pytest.approx(math.log((outside + 1) / (8 + 1)))
    # The two ports of the dynamic range are one service.
    assert result["services"] == pytest.approx(math.log(1 + 6))
    present = {name for name, value in result.items() if name in STATISTICS[14:] and value == 1.0}
    assert present == {
        "serves video", "multicast DNS", "HTTPS outside", "other UDP outside", "finds its way through NAT",
    }  # fmt: skip


def test_statistics_that_a_source_lacks_are_nan() -> None:
    no_ports = statistics(window([(*row[:1], 0, *row[2:]) for row in ROWS]))
    assert all(math.isnan(no_ports[name]) for name in STATISTICS[13:])
    assert no_ports["share inside"] > 0
    no_time = statistics(window(ROWS, duration_ms=0))
    assert math.isnan(no_time["packets of a flow outside"])
    silent = behaviour(Windows(window(ROWS).items, window(ROWS).counts.clear()))
    assert silent.shape == (1, len(STATISTICS))
    assert np.isnan(silent).all()


def test_small_packets_count_as_padded_and_few_packets_as_nothing() -> None:
    result = statistics(window([(6, 443, "client", "wan", 1, 120, 80, 3, 2)]))
    assert result["packet size out, TCP outside"] == pytest.approx(math.log(46))
    assert math.isnan(result["packet size in, TCP outside"])


def homes(count: int = 3) -> tuple[Windows, list[str]]:
    parts = [days(kind, f"{kind}-{i}", 1, seed=i) for kind in HABITS for i in range(count)]
    return windows_of(*parts), [kind for kind in HABITS for _ in range(count)]


def test_probabilities_match_the_formula() -> None:
    windows, kinds = homes()
    model = Behaviour().fit(windows, kinds)
    result = behaviour(windows)
    z = np.zeros_like(result)
    for j, column in enumerate(result.T):
        seen = column[~np.isnan(column)]
        if seen.size and seen.std() > 1e-9:
            z[:, j] = np.clip(np.nan_to_num((column - seen.mean()) / seen.std(), nan=0.0), -3, 3)
    raw = z @ model.coefficients_.T + model.offsets_
    expected = np.log(np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_log_proba(windows), expected, atol=1e-9)
    assert [model.kinds_[j] for j in model.predict_log_proba(windows).argmax(axis=1)] == kinds


@pytest.mark.parametrize("kinds", [["camera"], ["camera", "plug"], ["camera", "plug", "speaker"]])
def test_terms_of_behaviour_add_up(kinds: list[str]) -> None:
    windows = windows_of(*(days(kind, kind, 2) for kind in kinds))
    model = Behaviour().fit(windows, [kind for kind in kinds for _ in range(2)])
    logs = model.predict_log_proba(windows)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1.0)
    for row, terms in zip(logs, model.explain(windows, [kinds[0]] * len(windows)), strict=True):
        assert sum(term.contribution for term in terms) == pytest.approx(row[0] + math.log(len(kinds)))
    standard = {term.service: term.expected for term in model.explain(windows, kinds[:1] * len(windows))[0][:-1]}
    pair = [model.explain(windows.take([i]), kinds[:1])[0][:-1] for i in range(2)]
    for service, expected in standard.items():
        seen = [term.observed for terms in pair for term in terms if term.service == service]
        if len(seen) == 2:
            assert expected == pytest.approx(sum(seen) / 2)


def test_a_new_product_gets_its_kind() -> None:
    windows, kinds = homes()
    labels = [f"maker{i % 3}/{kind}" for i, kind in enumerate(kinds)]
    method = CrossNetworkKind().fit(windows, labels)
    near = CrossNetwork(name_sizes=False).fit(windows, labels).decision_function(windows)
    behaves = Behaviour().fit(windows, kinds)
    columns = [behaves.kinds_.index(label.split("/")[1]) for label in method.labels_]
    expected = near + math.log(3) + behaves.predict_log_proba(windows)[:, columns]
    np.testing.assert_allclose(method.decision_function(windows), expected)
    # Nothing is known of its services or names: what is left is how it behaves.
    ports = pl.when(pl.col("scope").cast(pl.String) == "wan").then(pl.lit(40_000)).otherwise("port").cast(pl.UInt16)
    later = windows_of(days("camera", "new", 1, first=9, seed=7))
    strange = Windows(later.items, later.counts.filter(pl.col("port") != 554).with_columns(port=ports))
    assert method.labels_[int(method.decision_function(strange)[0].argmax())].endswith("/camera")


def test_kinds_with_one_item_are_not_fitted() -> None:
    windows, _ = homes()
    labels = [f"model {i}" for i in range(len(windows))]
    near = CrossNetwork(name_sizes=False).fit(windows, labels).decision_function(windows)
    np.testing.assert_allclose(CrossNetworkKind().fit(windows, labels).decision_function(windows), near, atol=1e-9)
